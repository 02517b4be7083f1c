"""Which Action Units appear together, how strongly, and what else the face does meanwhile.

The mixtures follow what faces do: prototypes of emotion displays (after EMFACS) and their parts, single units, brow movements, talking.
Everything is sparse: most faces show few AUs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from openau.facs import Side
from openau.synth.parameters import Activation

_TEMPLATES: tuple[tuple[tuple[int, ...], float], ...] = (
    # smiles
    ((6, 12), 3), ((6, 12, 25), 4), ((6, 12, 25, 26), 2), ((12,), 3), ((12, 25), 1.5), ((12, 14), 0.7), ((6, 7, 12, 25), 0.8),
    # surprise and fear
    ((1, 2, 5, 26), 3), ((1, 2, 26), 1), ((1, 2, 5), 1), ((1, 2), 2), ((1, 2, 5, 25, 27), 1.2), ((25, 27), 1.2),
    ((1, 2, 4, 5, 20, 25, 26), 1.5), ((1, 2, 4, 5), 0.7),
    # anger and disgust
    ((4, 7, 9, 10), 2), ((9, 10), 1.5), ((9,), 1.5), ((10,), 1.5), ((10, 25), 1), ((4, 9, 17), 0.7), ((4, 7), 2), ((4, 7, 23), 1.5),
    ((4, 5, 7, 24), 1), ((4,), 3), ((4, 7, 10, 25), 0.7), ((6, 7, 43, 4, 9), 0.5), ((4, 7, 10, 25, 26), 0.8),
    # sadness
    ((1, 4, 15, 17), 2), ((1, 4), 1.5), ((1, 4, 15), 1), ((15,), 1.5), ((15, 17), 1),
    # single units of brow, eye and mouth
    ((2,), 1), ((1,), 2), ((5,), 1.5), ((7,), 1.5), ((6,), 1.5), ((6, 7), 0.7), ((20,), 1), ((20, 25), 1), ((14,), 1.5), ((17,), 1.5),
    ((24,), 1.5), ((17, 24), 0.8), ((23,), 1), ((25,), 1.5), ((26,), 1.5), ((25, 26), 1.5), ((43,), 1), ((18,), 0.8), ((22, 25), 0.8),
    ((28,), 0.7), ((16, 25), 0.8),
)  # fmt: skip
"""AU mixtures and how often each is drawn, relative to the others."""

_BROWS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((4,), 2), ((4, 7), 3), ((4, 9), 1.5), ((4, 7, 9), 1), ((4, 7, 10, 25, 26), 1.5), ((4, 7, 23), 1), ((4, 17), 0.7), ((4, 24), 0.7),
    ((1, 4), 1.5), ((1, 4, 15), 1), ((1, 2), 2), ((1, 2, 5), 1), ((1,), 2), ((2,), 2), ((1, 2, 4), 1),
)  # fmt: skip
"""Mixtures around the brows, drawn more often because brows are the hardest."""

_COMMON: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 43)
_RARE: tuple[int, ...] = (16, 18, 22, 28)

_UNILATERAL: frozenset[int] = frozenset({2, 4, 6, 10, 12, 14, 15})
"""AUs that also appear on one side only."""

NEUTRAL_SHARE = 0.35
"""Share of pictures without any AU (some of them talking)."""


def sample_levels(rng: np.random.Generator) -> tuple[dict[int, float], bool]:
    """Draw the AUs of one picture: AU → activation 0–1, and whether the mouth is talking."""
    kind = rng.random()
    if kind < NEUTRAL_SHARE:
        return {}, bool(rng.random() < 0.4)
    if kind < NEUTRAL_SHARE + 0.15:
        levels = _from_template(_BROWS, rng, low=0.15)
        talking = rng.random() < 0.3
    else:
        levels = {}
        while not levels:
            levels = _from_mixture(rng)
        talking = rng.random() < 0.12
    if 4 in levels and rng.random() < 0.35:
        levels[7] = max(levels.get(7, 0.0), float(rng.uniform(0.1, 0.8)))
    return exclude(levels, rng), bool(talking)


def exclude(levels: Mapping[int, float], rng: np.random.Generator) -> dict[int, float]:
    """Remove what cannot or hardly happens together: closed eyes with 5 or 7, a dropped jaw with 17, 23, 24, 28, pressed lips with 25."""
    kept = dict(levels)
    if kept.get(43, 0) > 0.4:
        kept.pop(5, None)
        kept.pop(7, None)
    if kept.get(26, 0) > 0.3 or kept.get(27, 0) > 0.1:
        for closed in (17, 24, 23, 28):
            kept.pop(closed, None)
    if 24 in kept or 28 in kept:
        kept.pop(25, None)
        kept.pop(16, None)
    if 12 in kept and 15 in kept and rng.random() < 0.6:
        kept.pop(15)
    return kept


def _from_template(
    templates: tuple[tuple[tuple[int, ...], float], ...], rng: np.random.Generator, low: float
) -> dict[int, float]:
    weights = np.array([weight for _, weight in templates])
    chosen = templates[int(rng.choice(len(templates), p=weights / weights.sum()))][0]
    return {number: float(rng.uniform(low, 1)) for number in chosen}


def _from_mixture(rng: np.random.Generator) -> dict[int, float]:
    kind = rng.random()
    levels: dict[int, float] = {}
    if kind < 0.72:
        levels = _from_template(_TEMPLATES, rng, low=0.1)
        if rng.random() < 0.3:
            levels[int(rng.choice(_COMMON))] = float(rng.uniform(0.1, 1))
    elif kind < 0.9:
        for number in rng.choice(_COMMON, int(rng.integers(1, 3)), replace=False):
            levels[int(number)] = float(rng.uniform(0.1, 1))
    if rng.random() < 0.25:
        levels[int(rng.choice(_RARE))] = float(rng.uniform(0.1, 0.7))
    return levels


def split_sides(levels: Mapping[int, float], rng: np.random.Generator) -> Activation:
    """Give each AU a left and a right activation: mildly unequal, and now and then (AUs 2 4 6 10 12 14 15) nearly one-sided."""
    sides: dict[tuple[int, Side], float] = {}
    for number, level in levels.items():
        tilt = float(rng.normal(0, 0.10))
        if number in _UNILATERAL and rng.random() < 0.12:
            tilt = float(rng.choice([-1, 1]) * rng.uniform(0.5, 1))
        sides[number, "L"] = float(np.clip(level * min(1, 1 + tilt), 0, 1))
        sides[number, "R"] = float(np.clip(level * min(1, 1 - tilt), 0, 1))
    return sides


def talking_mouth(rng: np.random.Generator) -> dict[str, float]:
    """Shapes of a mouth that speaks: jaw and lips in passing positions, not AUs held as an expression."""
    shapes: dict[str, float] = {}
    if rng.random() < 0.75:
        shapes["jawOpen"] = float(rng.uniform(0.05, 0.45))
    for name, chance, top in (
        ("mouthFunnel", 0.3, 0.6), ("mouthPucker", 0.2, 0.4), ("mouthRollLower", 0.15, 0.5), ("mouthShrugUpper", 0.1, 0.3),
    ):  # fmt: skip
        if rng.random() < chance:
            shapes[name] = float(rng.uniform(0, top))
    for name, chance, top in (
        ("mouthLowerDown", 0.4, 0.5), ("mouthUpperUp", 0.25, 0.25), ("mouthStretch", 0.25, 0.3), ("mouthSmile", 0.1, 0.15),
    ):  # fmt: skip
        if rng.random() < chance:
            level = rng.uniform(0, top)
            for side in "LR":
                shapes[f"{name}_{side}"] = float(level * rng.uniform(0.8, 1.2))
    return shapes


def passing_shapes(rng: np.random.Generator) -> dict[str, float]:
    """Small movements that are no AU of ours: jaw or mouth to one side, puffed cheeks, jaw forward."""
    shapes: dict[str, float] = {}
    for name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight", "jawForward"):
        if rng.random() < 0.1:
            shapes[name] = float(rng.uniform(0, 0.4))
    if rng.random() < 0.1:
        level = rng.uniform(0, 0.4)
        shapes["cheekPuff_L"] = shapes["cheekPuff_R"] = float(level)
    return shapes
