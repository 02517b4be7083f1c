"""What AU models read off a FAN: its landmarks without position, size and roll, and its map averaged over the cells of a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openau.faces.align import apply, similarity
from openau.faces.fan import MESH_IDS, POINTS
from openau.faces.features import CANONICAL

Floats = npt.NDArray[np.float32]

MEAN_SHAPE: Floats = CANONICAL[MESH_IDS, :2]
"""(68, 2) symmetric neutral face: Face Mesh's canonical points at the places of the 68 landmarks; the unit is the distance between the
outer eye corners, the origin their midpoint."""

RIGID: npt.NDArray[np.intp] = np.array([27, 28, 29, 30, 33, 36, 39, 42, 45])
"""Landmarks that expressions hardly move: nose and eye corners."""

GEOMETRY_SIZE = 2 * POINTS
"""Length G of a geometry vector: 136."""

_LARGEST = 6e4
"""Feature stores keep 16 bits."""


def geometry(landmarks: Floats) -> Floats:
    """Landmarks after the similarity that lays their `RIGID` ones onto the mean shape's (least squares, no reflection).

    Args:
        landmarks: (68, 2) pixels of any picture.

    Returns:
        (136,) x, y of each landmark in units of the mean shape's eye distance. Pitch and yaw remain: two dimensions do not show them.
    """
    matrix = similarity(landmarks[RIGID], MEAN_SHAPE[RIGID])
    return apply(matrix, landmarks).reshape(-1)


def cells(features: Floats, grid: int) -> Floats:
    """A map averaged over the cells of a grid.

    Args:
        features: (C, H, H).
        grid: cells S of a row and a column; divides H.

    Returns:
        (S², C), row by row from the top left corner.
    """
    channels, side, _ = features.shape
    size = side // grid
    pooled = features.reshape(channels, grid, size, grid, size).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(np.clip(pooled.reshape(channels, -1).T, -_LARGEST, _LARGEST), np.float32)
