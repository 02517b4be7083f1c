"""Pictures that are difficult in one stated respect: pose, light, occlusion or quality.

A data set with *conditions* (`Plan.conditions`) deals each person's pictures to them in fixed shares. Every picture is first `eased`, so
that none is difficult by chance, and then made difficult in its condition's way. Expression, and with it every label, stays as drawn: a
difficulty hides at most about a quarter of the face, and lets a person still see what the face does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from openau.synth.parameters import Condition, Finish, Glasses, Light, Occluder, Shot, Triple

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

EASY_POSE = (0.7, 0.6, 1.0)
"""How much of the drawn pitch, yaw and roll an easy picture keeps: a yaw of up to 42° becomes one of up to 25°."""

EASY_AMBIENT = 0.2
"""Least ambient light from above in an easy picture; hard light comes with .05 to .15."""

EASY_RESOLUTION = 0.8
"""Least resolution of an easy picture, as a share of its own."""


def deal(shares: Mapping[Condition, float], count: int, rng: np.random.Generator) -> tuple[Condition, ...]:
    """The conditions of a person's `count` pictures: in these shares (largest remainders), in random order.

    Raises:
        ValueError: the shares do not sum to 1.
    """
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares of conditions sum to {sum(shares.values())}, not 1")
    # Rounded, since 40 × .15 is not quite 6.
    wanted = {condition: round(share * count, 9) for condition, share in shares.items()}
    dealt = {condition: int(number) for condition, number in wanted.items()}
    short = count - sum(dealt.values())
    for condition in sorted(wanted, key=lambda name: dealt[name] - wanted[name])[:short]:
        dealt[condition] += 1
    cards = [condition for condition, number in dealt.items() for _ in range(number)]
    return tuple(cards[int(place)] for place in rng.permutation(count))


def place_under(shot: Shot, condition: Condition, size: int, rng: np.random.Generator) -> Shot:
    """A drawn picture under a condition.

    Args:
        shot: as drawn.
        condition: what is to be difficult; `plain` for nothing.
        size: side of the picture in pixels: blur and resolution are meant for 224 and adapt to smaller ones.
        rng: draws the difficulty.
    """
    easy = eased(shot)
    match condition:
        case "plain":
            return easy
        case "pose":
            return _turned(easy, rng)
        case "light":
            return _badly_lit(easy, rng)
        case "occlusion":
            return _covered(easy, rng)
        case "degraded":
            return replace(easy, finish=_degraded(easy.finish, size, rng))


def eased(shot: Shot) -> Shot:
    """A picture without what may make it difficult: nearly frontal, softly lit, nothing in front of the face, in focus."""
    pitch, yaw, roll = (angle * kept for angle, kept in zip(shot.head, EASY_POSE, strict=True))
    lift = max(1.0, EASY_AMBIENT / max(shot.ambient[0]))
    return replace(
        shot,
        head=(pitch, yaw, roll),
        occluder=None,
        ambient=(_scaled(shot.ambient[0], lift), _scaled(shot.ambient[1], lift)),
        finish=replace(shot.finish, resolution=max(shot.finish.resolution, EASY_RESOLUTION)),
    )


def _turned(shot: Shot, rng: np.random.Generator) -> Shot:
    """Turned far to a side, or lifted or lowered; tilted more than usual."""
    pitch, yaw, roll = shot.head
    if rng.random() < 0.65:
        yaw = _sign(rng) * rng.uniform(30, 52)
    else:
        pitch = _sign(rng) * rng.uniform(16, 28)
        yaw += rng.normal(0, 8)
    roll += rng.normal(0, 12)
    return replace(shot, head=(float(pitch), float(yaw), float(np.clip(roll, -35, 35))))


def _badly_lit(shot: Shot, rng: np.random.Generator) -> Shot:
    """One hard light from a side, from above or below, or hardly any light."""
    kind = rng.random()
    if kind < 0.3:
        return _dim(shot, rng)
    key, fill, rim = shot.lights
    if kind < 0.7:
        direction = (_sign(rng) * rng.uniform(0.9, 1.3), rng.uniform(-0.1, 0.5), rng.uniform(0.0, 0.3))
    else:
        height = rng.uniform(1.0, 1.6) if rng.random() < 0.6 else -rng.uniform(0.6, 1.0)
        direction = (rng.normal(0, 0.3), height, rng.uniform(0.3, 0.6))
    bright = float(rng.uniform(1.1, 1.7)) / max(key.colour)
    hard = Light(_floats(*direction), _scaled(key.colour, bright), casts_shadow=True)
    weak = replace(fill, colour=_scaled(fill.colour, float(rng.uniform(0.03, 0.08)) / max(fill.colour)))
    level = float(rng.uniform(0.05, 0.1)) / max(shot.ambient[0])
    ambient = (_scaled(shot.ambient[0], level), _scaled(shot.ambient[1], level))
    return replace(shot, lights=(hard, weak, rim), ambient=ambient)


def _dim(shot: Shot, rng: np.random.Generator) -> Shot:
    """A face in the dark: the camera lifts it only in part, and its noise shows."""
    share = float(rng.uniform(0.2, 0.4))
    finish = replace(
        shot.finish,
        gamma=shot.finish.gamma * float(rng.uniform(1.15, 1.5)),
        brightness=float(rng.uniform(-20, 0)),
        contrast=shot.finish.contrast * float(rng.uniform(0.7, 0.9)),
        noise=float(rng.uniform(4, 9)),
    )
    return replace(
        shot,
        lights=tuple(replace(light, colour=_scaled(light.colour, share)) for light in shot.lights),
        ambient=(_scaled(shot.ambient[0], share), _scaled(shot.ambient[1], share)),
        finish=finish,
    )


def _covered(shot: Shot, rng: np.random.Generator) -> Shot:
    """Something in front of one part of the face, or heavy or tinted spectacles.

    Sizes and places are in face heights (eyes to chin); a picture is `framing` of them wide, and shows the eyes about .36 above its middle.
    """
    kind = rng.random()
    if kind < 0.25:
        return replace(shot, glasses=_heavy_glasses(rng))
    unit = 1 / shot.camera.framing
    across, down = _PLACES[int(rng.integers(len(_PLACES)))]
    across, down = across * _sign(rng) + rng.normal(0, 0.05), down + rng.normal(0, 0.06)
    blob = kind < 0.65
    occluder = Occluder(
        kind="blob" if blob else "bar",
        centre=_pair(0.5 + across * unit, 0.5 + (down - 0.36) * unit),
        size=float(rng.uniform(0.22, 0.33) if blob else rng.uniform(0.25, 0.42)) * unit,
        angle=float(rng.uniform(0, 180) if blob else 90 + rng.normal(0, 30)),
        colour=_floats(*rng.uniform(0.05, 0.8, 3)),
    )
    return replace(shot, occluder=occluder)


_PLACES = ((0.42, -0.25), (0.45, 0.05), (0.5, 0.4), (0.38, 0.7), (0.2, 1.0))
"""What may be covered, in face heights aside and below the eyes: one brow, one eye's outer half, a cheek, a mouth corner, the chin."""


def _heavy_glasses(rng: np.random.Generator) -> Glasses:
    """Thick dark rims or tinted lenses."""
    tinted = rng.random() < 0.5
    return Glasses(
        width=float(rng.uniform(0.38, 0.45)),
        height=float(rng.uniform(0.26, 0.37)),
        thickness=float(rng.uniform(0.03, 0.06) if tinted else rng.uniform(0.08, 0.13)),
        drop=float(rng.uniform(-0.02, 0.08)),
        colour=_floats(*rng.uniform(0, 0.15, 3)),
        tint=float(rng.uniform(0.25, 0.5)) if tinted else 0.0,
        squareness=float(rng.uniform(0, 1)),
    )


def _degraded(finish: Finish, size: int, rng: np.random.Generator) -> Finish:
    """Two of: low resolution, blur, noise, strong compression."""
    scale = min(size / 224, 1.0)
    chosen = {int(kind) for kind in rng.choice(4, 2, replace=False)}
    resolution, blur = float(rng.uniform(0.3, 0.5)) * 224 / size, float(rng.uniform(1.2, 2.4)) * scale
    noise, quality = float(rng.uniform(7, 15)), int(rng.integers(14, 36))
    return replace(
        finish,
        resolution=min(resolution, 0.85) if 0 in chosen else finish.resolution,
        blur=blur if 1 in chosen else finish.blur,
        noise=noise if 2 in chosen else finish.noise,
        quality=quality if 3 in chosen else finish.quality,
    )


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _scaled(colour: Triple, factor: float) -> Triple:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def _floats(first: float, second: float, third: float) -> Triple:
    return float(first), float(second), float(third)


def _pair(first: float, second: float) -> tuple[float, float]:
    return float(first), float(second)
