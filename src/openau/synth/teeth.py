"""Teeth for a head that has none: two arches of crowns, each vertex hung on the mouthpiece MakeHuman gives for the purpose.

The mouthpiece is a plain band per jaw. Crowns are laid along its front, bulging a little, with gaps between and rounded edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openau.synth.rig import Floats, Ints

UPPER_EDGE = (15069, 15086, 15071, 15070, 15085, 15078, 15077, 15076)
UPPER_GUM = (15061, 15060, 15062, 15063, 15064, 15065, 15066, 15067)
LOWER_EDGE = (15010, 15001, 15002, 15003, 15004, 15005, 15006, 15007)
LOWER_GUM = (14993, 14992, 14994, 14995, 14996, 14997, 14998, 14999)
"""Vertices of the band's front from the middle to the left, along the biting edge and along the gum."""

UPPER_WIDTHS = (0.86, 0.67, 0.76, 0.71, 0.68)
LOWER_WIDTHS = (0.54, 0.60, 0.68, 0.71, 0.71)
"""Widths of a half arch's teeth from the middle to the second premolar, cm (textbook averages)."""

_ACROSS, _DOWN = 7, 5
"""Vertices across and along one crown."""


@dataclass(frozen=True, slots=True, eq=False)
class Arch:
    """A row of crowns.

    Shapes: bind (K, 4) vertex ids of the band; weights (K, 4); offset (K, 3) cm; triangles (T, 3) into the K crown vertices;
    uv (K, 2), u across the tooth, v from the gum (0) to the edge (1).
    """

    bind: Ints
    weights: Floats
    offset: Floats
    triangles: Ints
    uv: Floats


def build_arch(
    vertices: Floats, edge: Sequence[int], gum: Sequence[int], widths: Sequence[float], height: float
) -> Arch:
    """Lay crowns along one jaw's band.

    Args:
        vertices: (V, 3) base head, cm.
        edge: the band's vertices along the biting edge, from the middle to the left.
        gum: the same along the gum.
        widths: of the teeth of one half, cm.
        height: of the middle tooth's crown, cm.
    """
    both = [_mirrored(vertices, ids) for ids in (edge, gum)]
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(vertices[both[0]], axis=0), axis=1))])
    arc -= arc[-1] / 2
    crowns: list[tuple[Ints, Floats, Floats, Floats]] = []
    triangles: list[Ints] = []
    for side in (-1, 1):
        start = 0.0
        for number, width in enumerate(widths):
            triangles.append(len(crowns) * _ACROSS * _DOWN + _grid(flip=side < 0))
            crowns.append(_crown(vertices, both, arc, side * start, side * width, height * (1 - 0.06 * number)))
            start += width
    faces = np.concatenate(triangles)
    if vertices[edge[0], 1] > vertices[gum[0], 1]:
        faces = faces[:, ::-1]
    bind, weights, offset, uv = (np.concatenate(column) for column in zip(*crowns, strict=True))
    return Arch(bind, weights, offset, np.ascontiguousarray(faces, np.int32), uv)


def _mirrored(vertices: Floats, ids: Sequence[int]) -> Ints:
    """The row from right to left: the given half and its mirror image."""
    from scipy.spatial import cKDTree

    half = np.array(ids[1:])
    _, other = cKDTree(vertices[14992:15128]).query(vertices[half] * np.array([-1, 1, 1]))
    return np.concatenate([14992 + other[::-1], ids]).astype(np.int32)


def _crown(
    vertices: Floats, rows: Sequence[Ints], arc: Floats, start: float, width: float, height: float
) -> tuple[Ints, Floats, Floats, Floats]:
    """Binding, weights, offsets and texture coordinates of one crown's grid, row by row from the gum."""
    edge, gum = rows
    length = float(np.linalg.norm(vertices[edge] - vertices[gum], axis=1).mean())
    across, down = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, _ACROSS), np.linspace(0, 1, _DOWN)))
    # Corners of the edge are rounded: the crown ends earlier at its sides.
    shorter = 0.10 * np.abs(2 * across - 1) ** 4 * down
    place = start + across * width
    segment = np.clip(np.searchsorted(arc, place) - 1, 0, len(arc) - 2)
    along = (place - arc[segment]) / (arc[segment + 1] - arc[segment])
    above = (height * (1 - down) + shorter) / length
    bind = np.stack([edge[segment], edge[segment + 1], gum[segment], gum[segment + 1]], 1)
    weight = np.stack([(1 - above) * (1 - along), (1 - above) * along, above * (1 - along), above * along], 1)
    tangent = vertices[edge[segment + 1]] - vertices[edge[segment]]
    outward = np.cross(tangent, np.array([0, 1, 0]))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    outward *= np.sign((outward * (vertices[edge[segment]] - np.array([0, vertices[edge[0], 1], 10.0]))).sum(1))[
        :, None
    ]
    bulge = 0.11 * (1 - np.abs(2 * across - 1) ** 3) * (0.65 + 0.35 * np.sin(np.pi * np.clip(down, 0, 0.9)))
    offset = outward * (bulge - 0.06)[:, None]
    uv = np.stack([across, down], 1)
    return bind.astype(np.int32), weight.astype(np.float32), offset.astype(np.float32), uv.astype(np.float32)


def _grid(flip: bool) -> Ints:
    """Triangles of one crown's grid."""
    corner = (np.arange(_DOWN - 1)[:, None] * _ACROSS + np.arange(_ACROSS - 1)[None, :]).ravel()
    below = corner + _ACROSS
    triangles = np.concatenate([np.stack([corner, below, corner + 1], 1), np.stack([corner + 1, below, below + 1], 1)])
    return (triangles[:, ::-1] if flip else triangles).astype(np.int32)
