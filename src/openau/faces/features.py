"""What AU models read off a located face: frontalised geometry and hypercolumns of the frozen mesh network.

A *hypercolumn* is the column of feature values under one landmark, through several tapped maps of the frozen Face Mesh network
(48×48×32, 24×24×64 and 12×12×128: 224 values), sampled bilinearly. *Geometry* is the landmarks after a rigid alignment to the canonical
face, so that head pose is gone, and the distances FACS coders look at.

Both are plain NumPy: training writes them to disk once, detection computes them per frame, and the code is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_PAIRS: tuple[tuple[int, int], ...] = (
    (70, 300), (63, 293), (105, 334), (66, 296), (107, 336), (46, 276), (53, 283), (52, 282), (65, 295), (55, 285),
    (33, 263), (160, 387), (159, 386), (158, 385), (133, 362), (153, 380), (145, 374), (144, 373), (130, 359), (226, 446),
    (31, 261), (230, 450), (119, 348), (229, 449), (118, 347), (50, 280), (205, 425), (36, 266), (206, 426), (203, 423),
    (98, 327), (48, 278), (131, 360), (198, 420), (122, 351), (193, 417), (61, 291), (40, 270), (37, 267), (84, 314),
    (91, 321), (146, 375), (81, 311), (178, 402), (57, 287), (43, 273), (106, 335), (182, 406), (140, 369), (187, 411),
    (207, 427), (212, 432), (216, 436), (104, 333), (69, 299), (108, 337), (103, 332), (156, 383), (117, 346), (123, 352),
    (29, 259), (27, 257), (222, 442), (221, 441), (111, 340),
)  # fmt: skip
_MIDLINE: tuple[int, ...] = (9, 8, 168, 6, 197, 4, 2, 164, 0, 13, 14, 17, 18, 200, 199, 152, 151, 10, 195)

POINTS: npt.NDArray[np.intp] = np.array([a for a, _ in _PAIRS] + [b for _, b in _PAIRS] + list(_MIDLINE))
"""(P,) Face Mesh ids of the landmarks where AUs show: brows, glabella, lids, under the eyes, nose, nasolabial fold, lips, chin,
cheeks, forehead. The subject's right side first, then the left side in the same order, then the midline."""

RIGID: npt.NDArray[np.intp] = np.array(
    [33, 133, 362, 263, 6, 197, 195, 168, 127, 356, 234, 454, 10, 109, 338, 93, 323, 5, 4, 1, 2, 98, 327]
)
"""Landmarks that expressions hardly move: eye corners, nose, temples, forehead."""

CANONICAL: Floats = np.load(Path(__file__).with_name("canonical.npy"), allow_pickle=False)
"""(468, 3) symmetric neutral face looking at the camera: x right in the picture, y down, z away from the camera; the unit is the
distance between the outer eye corners, the origin their midpoint. Mean of Face Mesh over frontal renders of 60 identities and their
mirror images, aligned on `RIGID`."""

LEVELS: tuple[tuple[int, int], ...] = ((48, 32), (24, 64), (12, 128))
"""Side and channels of the maps that hypercolumns go through."""
CHANNELS = sum(channels for _, channels in LEVELS)
"""Length of a hypercolumn: 224."""

_DISTANCES: tuple[tuple[str, int, int], ...] = (
    # brows above the eyes (height only), brow gap, forehead
    ("y", 105, 159), ("y", 334, 386), ("y", 107, 133), ("y", 336, 362), ("y", 70, 33), ("y", 300, 263), ("d", 107, 336),
    # eye openings
    ("y", 159, 145), ("y", 386, 374), ("y", 158, 153), ("y", 385, 380), ("y", 160, 144), ("y", 387, 373),
    # mouth: width, lips' gap, height, to the nose, to the chin, corners against the lips
    ("d", 61, 291), ("y", 13, 14), ("y", 0, 17), ("y", 0, 2), ("y", 17, 152), ("y", 61, 13), ("y", 291, 13), ("y", 61, 14),
    ("y", 291, 14), ("y", 61, 2), ("y", 291, 2),
    # cheeks, lower lids, nose wings, nasolabial fold, chin
    ("d", 50, 33), ("d", 280, 263), ("y", 118, 145), ("y", 347, 374), ("d", 98, 327), ("d", 205, 2), ("d", 425, 2),
    ("y", 152, 2), ("d", 40, 98), ("d", 270, 327), ("y", 0, 13), ("y", 14, 17), ("d", 61, 152), ("d", 291, 152),
    ("y", 230, 145), ("y", 450, 374), ("d", 107, 6), ("d", 336, 6),
)  # fmt: skip
DISTANCES: tuple[str, ...] = tuple(f"{kind}{a}-{b}" for kind, a, b in _DISTANCES)
"""Names of the distances at the end of `geometry`: `y` vertical, `d` Euclidean, then the two landmarks."""

GEOMETRY_SIZE = 3 * len(POINTS) + len(_DISTANCES)
"""Length G of a geometry vector."""


@cache
def mirror() -> npt.NDArray[np.intp]:
    """(468,) for each landmark the id of its mirror twin (midline points are their own)."""
    reflected = CANONICAL * np.array([-1, 1, 1], np.float32)
    gaps = np.linalg.norm(CANONICAL[:, None] - reflected[None], axis=-1)
    return np.asarray(gaps.argmin(axis=1), np.intp)


def align_rigidly(points: npt.NDArray[np.floating], reference: Floats = CANONICAL) -> tuple[Floats, Floats]:
    """Rotate, scale and move faces onto a reference, judged by the `RIGID` landmarks (least squares, no reflection; Umeyama 1991).

    Args:
        points: (..., 468, 3) landmarks; any unit, z in the unit of x.
        reference: (468, 3).

    Returns:
        The aligned landmarks (..., 468, 3) in the reference's unit, and the rotations (..., 3, 3) with `aligned ∝ points @ rotation`.
    """
    batch = np.asarray(points, np.float64).reshape(-1, 468, 3)
    target = reference[RIGID].astype(np.float64)
    target_centre = target.mean(axis=0)
    target = target - target_centre
    centred = batch - batch[:, RIGID].mean(axis=1, keepdims=True)
    source = centred[:, RIGID]
    u, singular, vt = np.linalg.svd(np.einsum("nki,kj->nij", source, target))
    sign = np.sign(np.linalg.det(u @ vt))
    signs = np.stack([np.ones_like(sign), np.ones_like(sign), sign], axis=-1)
    rotation = (u * signs[:, None, :]) @ vt
    scale = (singular * signs).sum(axis=-1) / np.maximum((source**2).sum(axis=(1, 2)), 1e-12)
    aligned = scale[:, None, None] * (centred @ rotation) + target_centre
    lead = np.shape(points)[:-2]
    return aligned.reshape(*lead, 468, 3).astype(np.float32), rotation.reshape(*lead, 3, 3).astype(np.float32)


def geometry(points: npt.NDArray[np.floating]) -> Floats:
    """Pose-free geometry of faces.

    Args:
        points: (..., 468, 3) landmarks, pixels of any image.

    Returns:
        (..., G): x, y, z of `POINTS` after alignment, then `DISTANCES`; in units of the canonical eye distance (about ±1.3).
    """
    aligned, _ = align_rigidly(points)
    chosen = aligned[..., POINTS, :].reshape(*aligned.shape[:-2], -1)
    kinds = np.array([kind == "y" for kind, _, _ in _DISTANCES])
    first = aligned[..., [a for _, a, _ in _DISTANCES], :]
    second = aligned[..., [b for _, _, b in _DISTANCES], :]
    vertical = second[..., 1] - first[..., 1]
    euclidean = np.linalg.norm(first - second, axis=-1)
    return np.concatenate([chosen, np.where(kinds, vertical, euclidean)], axis=-1).astype(np.float32)


def hypercolumns(maps: Sequence[Floats], landmarks: Floats, size: int = 192) -> Floats:
    """Feature columns under the AU-relevant landmarks.

    Args:
        maps: the mesh network's maps, among them (48, 48, 32), (24, 24, 64) and (12, 12, 128).
        landmarks: (468, 3) in pixels of the crop the maps were computed on.
        size: side of that crop.

    Returns:
        (P, 224) float32.

    Raises:
        ValueError: a map is missing.
    """
    by_side = {feature_map.shape[0]: feature_map for feature_map in maps}
    relative = (landmarks[POINTS, :2] / size).astype(np.float32)
    columns = np.empty((len(POINTS), CHANNELS), np.float32)
    start = 0
    for side, channels in LEVELS:
        feature_map = by_side.get(side)
        if feature_map is None or feature_map.shape != (side, side, channels):
            raise ValueError(f"hypercolumns need a {side}×{side}×{channels} map; got {[m.shape for m in maps]}")
        columns[:, start : start + channels] = _bilinear(feature_map, relative)
        start += channels
    return columns


def _bilinear(feature_map: Floats, relative: Floats) -> Floats:
    """Sample an (S, S, C) map at (P, 2) positions given as fractions of its side; outside, the border's value."""
    side, _, channels = feature_map.shape
    grid = np.clip(relative * side - 0.5, 0, side - 1.001)
    low = grid.astype(np.intp)
    fraction = (grid - low).astype(np.float32)
    fx, fy = fraction[:, 0], fraction[:, 1]
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], axis=1)
    corners = (low[:, 1] * side + low[:, 0])[:, None] + np.array([0, 1, side, side + 1])
    values = feature_map.reshape(-1, channels).take(corners, axis=0)
    return np.asarray(np.matmul(weights[:, None, :], values)[:, 0], np.float32)
