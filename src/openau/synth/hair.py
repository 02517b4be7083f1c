"""Hair grown on any head when no photographic hair cards are at hand: alpha-tested shells over the scalp, and a curtain for long hair.

A shell is the scalp lifted along its normals, with gaps between its strands; two of them over the painted scalp give a soft outline
and some depth. The hairline is `painter.hair_depth`, the same one the scalp was painted with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openau.synth.fields import noise, resized, smoothstep, streaks
from openau.synth.painter import Sheet, Wardrobe, hair_depth
from openau.synth.parameters import Person
from openau.synth.rig import Card, Floats, Part

_SIDE = 256
_GREY = 134
"""Mean brightness of the textures: the hair's own colour comes from the surface's tint."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A haircut: thickness (cm) on the sides and on top, lumpiness and curl of the surface, length below the ears (0 for none)."""

    sides: float
    top: float
    lumps: float
    curl: float
    length: float


def grow(
    person: Person,
    wardrobe: Wardrobe,
    vertices: Floats,
    normals: Floats,
    landmarks: Floats,
    parts: dict[str, Part],
    rng: np.random.Generator,
) -> tuple[Card, ...]:
    """Hair cards of a person; none for the bald.

    Args:
        person: whose hair it is.
        wardrobe: with the hairline.
        vertices: (V, 3) neutral head.
        normals: (V, 3) of it.
        landmarks: (68, 3) of it.
        parts: the head's parts by material; hair grows on skin and scalp.
        rng: draws the cut and every strand.
    """
    if person.hair is None:
        return ()
    cut = _cut(person, rng)
    depth = hair_depth(vertices, landmarks, wardrobe.hairline, wardrobe.recession)
    lift = _thickness(cut, vertices, landmarks, depth, rng)
    cards = []
    for material in ("skin", "scalp"):
        if material in parts:
            cards += _shells(parts[material], vertices, normals, landmarks, depth, lift, wardrobe, cut, rng)
    if cut.length > 0:
        cards.append(_curtain(cut, vertices, landmarks, depth, rng))
    return tuple(cards)


def _cut(person: Person, rng: np.random.Generator) -> _Cut:
    curl = float(rng.uniform(0.5, 1) if rng.random() < 0.15 + 0.5 * person.ancestry[1] else 0)
    if person.sex == "m" or rng.random() < 0.2:
        sides = rng.uniform(0.25, 1.0)
        return _Cut(float(sides), float(sides + rng.uniform(0.2, 2.2)), float(rng.uniform(0.1, 0.45)), curl, 0.0)
    sides = rng.uniform(0.5, 1.4) + 1.2 * curl
    tied_back = rng.random() < 0.3
    length = 0.0 if tied_back else rng.uniform(3, 20)
    return _Cut(float(sides), float(sides + rng.uniform(0.3, 1.0)), float(rng.uniform(0.08, 0.3)), curl, float(length))


def _thickness(cut: _Cut, vertices: Floats, landmarks: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """How far (V,) the outer shell stands off the head, cm."""
    brow = float(landmarks[17:27, 1].mean())
    height = smoothstep(brow + 2.0, brow + 8.0, vertices[:, 1])
    body = (cut.sides + (cut.top - cut.sides) * height) * (0.15 + 0.85 * smoothstep(0.0, 2.2, depth))
    waves = np.zeros(len(vertices), np.float32)
    for frequency, weight in ((0.5, 1.0), (1.1, 0.7), (2.3, 0.4 + cut.curl)):
        direction = rng.normal(0, frequency, (3, 2)).astype(np.float32)
        waves += np.float32(weight) * np.sin(vertices @ direction + rng.uniform(0, 6, 2).astype(np.float32)).sum(1)
    return np.asarray(np.maximum(body * (1 + cut.lumps * 0.4 * waves), 0.05), np.float32)


def _shells(
    part: Part,
    vertices: Floats,
    normals: Floats,
    landmarks: Floats,
    depth: Floats,
    lift: Floats,
    wardrobe: Wardrobe,
    cut: _Cut,
    rng: np.random.Generator,
) -> list[Card]:
    covered = (depth[part.triangles] > -0.5).any(1) & (depth[part.triangles] > -2.0).all(1)
    triangles, uv = part.triangles[covered], part.uv[covered]
    if len(triangles) == 0:
        return []
    used, inverse = np.unique(triangles, return_inverse=True)
    local = np.asarray(inverse.reshape(-1, 3), np.int32)
    sheet = Sheet.of(vertices, part.triangles, part.uv, _SIDE)
    inside = resized(hair_depth(sheet.position, landmarks, wardrobe.hairline, wardrobe.recession), _SIDE)
    strands = _strands(_SIDE, cut, rng)
    ragged = inside + 0.45 * noise(_SIDE, {12: 1, 40: 0.8}, rng)
    cards = []
    for share, gaps in ((0.6, -3.5), (1.0, -0.5)):  # the inner shell is closed, or the background would shine through
        alpha = smoothstep(-0.4, 1.6, ragged + 0.15 * strands) * smoothstep(gaps - 0.5, gaps + 0.5, strands)
        texture = np.empty((_SIDE, _SIDE, 4), np.uint8)
        texture[..., :3] = np.clip(_GREY * (0.8 + 0.2 * share + 0.13 * strands), 20, 235)[..., None].astype(np.uint8)
        texture[..., 3] = (255 * alpha).astype(np.uint8)
        offset = normals[used] * (share * lift[used])[:, None]
        cards.append(
            Card(
                "hair",
                local,
                uv,
                used[:, None].astype(np.int32),
                np.ones((len(used), 1), np.float32),
                offset.astype(np.float32),
                texture,
            )
        )
    return cards


def _strands(side: int, cut: _Cut, rng: np.random.Generator) -> Floats:
    """Streaks along the hair (side, side), unit variance; shorter and rounder when it curls."""
    fine = streaks(side, 0.7 + 0.6 * cut.curl, 9 - 7.5 * cut.curl, rng)
    broad = streaks(side, 3.0, 24 - 18 * cut.curl, rng)
    return np.asarray((fine + 0.8 * broad) / 1.28, np.float32)


def _curtain(cut: _Cut, vertices: Floats, landmarks: Floats, depth: Floats, rng: np.random.Generator) -> Card:
    """Hair that hangs from the sides and the back of the head, down to `cut.length` below the ears."""
    brow, nose = float(landmarks[17:27, 1].mean()), float(landmarks[33, 1])
    middle = np.array([landmarks[27, 0], landmarks[[0, 16], 2].mean() - 2.8], np.float32)
    columns, rows = 49, 18
    front = rng.uniform(62, 84)
    azimuth = np.radians(np.linspace(front, 360 - front, columns))
    outward = np.stack([np.sin(azimuth), np.cos(azimuth)], 1)
    head = vertices[(depth > 0) & (vertices[:, 1] > brow - 2)]
    flat = head[:, [0, 2]] - middle
    reach = np.array(
        [
            (flat @ direction)[(flat @ direction) > 0.97 * np.linalg.norm(flat, axis=1)].max(initial=6.0)
            for direction in outward
        ]
    )
    reach = np.convolve(np.pad(reach, 3, mode="edge"), np.ones(7) / 7, "valid") + 0.75 * cut.sides
    top, bottom = brow + 3.5, nose - cut.length
    down = np.linspace(0, 1, rows)
    waves = cut.lumps * 1.2 * np.sin(np.linspace(0, rng.uniform(4, 14), columns) + rng.uniform(0, 6))
    swing = rng.uniform(-0.12, 0.1) + (0.12 * np.sin(np.pi * down * rng.uniform(0.6, 1.4)))
    radius = (
        reach[None] * (0.9 + 0.12 * np.sin(np.pi * np.minimum(down * 2.2, 0.5)) + 0.9 * swing * down)[:, None]
        + waves[None] * down[:, None]
    )
    points = np.stack(
        [
            middle[0] + radius * outward[None, :, 0],
            np.broadcast_to((top + (bottom - top) * down)[:, None], radius.shape),
            middle[1] + radius * outward[None, :, 1],
        ],
        -1,
    ).reshape(-1, 3)
    crown = int(np.argmax(vertices[:, 1]))
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None]).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + columns, corner + 1], 1),
            np.stack([corner + 1, corner + columns, corner + columns + 1], 1),
        ]
    ).astype(np.int32)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, columns), 1 - down), -1).reshape(-1, 2)
    strands = _strands(_SIDE, cut, rng)
    steps = (np.arange(_SIDE) + 0.5) / _SIDE
    fall = smoothstep(1.02, 0.8, steps[:, None] + 0.1 * strands)  # ragged below
    edge = smoothstep(0.0, 0.07, np.minimum(steps, 1 - steps)[None] + 0.025 * strands)
    start = smoothstep(0.0, 0.12, steps[:, None] + 0.03 * strands)
    texture = np.empty((_SIDE, _SIDE, 4), np.uint8)
    texture[..., :3] = np.clip(_GREY * (1 + 0.15 * strands), 20, 235)[..., None].astype(np.uint8)
    texture[..., 3] = (255 * fall * edge * start * smoothstep(-3.4, -2.2, strands)).astype(np.uint8)
    return Card(
        "hair",
        triangles,
        grid[triangles].astype(np.float32),
        np.full((len(points), 1), crown, np.int32),
        np.ones((len(points), 1), np.float32),
        (points - vertices[crown]).astype(np.float32),
        texture,
    )
