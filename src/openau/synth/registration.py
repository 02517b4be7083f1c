"""Smooth maps between the two rigs: what fits MakeHuman's head is bent until it fits another.

Thin-plate splines through the 68 landmarks and, in space, through points of the skull that are found by projection.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from openau.synth.rig import Floats, Ints
from openau.synth.shapes import normals_of

Points = npt.NDArray[np.floating]
Warp = Callable[[Points], Floats]
"""Maps points (N, D) to points (N, D)."""

_SKULL_POINTS = 220
_ROUNDS = 3


def spline(source: Points, target: Points, smoothing: float = 0.0) -> Warp:
    """The thin-plate spline that takes points `source` (N, D) to `target` (N, D)."""
    from scipy.interpolate import RBFInterpolator

    interpolator = RBFInterpolator(
        np.asarray(source, np.float64), np.asarray(target, np.float64), kernel="thin_plate_spline", smoothing=smoothing
    )
    return lambda points: np.asarray(interpolator(np.asarray(points, np.float64)), np.float32)


def bend_head(
    source: Floats,
    source_landmarks: Floats,
    source_skull: Ints,
    target: Floats,
    target_landmarks: Floats,
    target_skull: Ints,
) -> Warp:
    """The map that bends one head onto another.

    The landmarks tie the faces together; points of the source's skull are then taken, step by step, to the nearest point of the
    target's.

    Args:
        source: (V, 3) head to be bent, cm.
        source_landmarks: (68, 3) of it.
        source_skull: vertex ids of its scalp.
        target: (W, 3) head it is bent onto, cm.
        target_landmarks: (68, 3) of it.
        target_skull: vertex ids of its scalp.

    Returns:
        the map of points around the source head to points around the target head.
    """
    from scipy.spatial import cKDTree

    # Contour landmarks 0–16 slide over the cheek, and lips may be closed differently: they say little about the skull's place.
    firm = np.r_[0, 8, 16, 17:48]
    anchors, goals = source_landmarks[firm], target_landmarks[firm]
    skull = source[source_skull]
    skull = skull[:: max(len(skull) // _SKULL_POINTS, 1)]
    rough = _extents(skull, target[target_skull])
    tree = cKDTree(target[target_skull])
    warp = spline(np.concatenate([anchors, skull]), np.concatenate([goals, rough(skull)]), smoothing=0.5)
    for _ in range(_ROUNDS):
        moved = warp(skull)
        _, nearest = tree.query(moved)
        warp = spline(
            np.concatenate([anchors, skull]), np.concatenate([goals, target[target_skull][nearest]]), smoothing=0.5
        )
    return warp


def _extents(source: Floats, target: Floats) -> Warp:
    """The map that takes one bounding box to the other: a start for the projection."""
    low, high = source.min(0), source.max(0)
    new_low, new_high = target.min(0), target.max(0)
    return lambda points: np.asarray((points - low) / (high - low) * (new_high - new_low) + new_low, np.float32)


def lift_out(points: Floats, head: Floats, triangles: Ints, clearance: float = 0.15) -> Floats:
    """Points (K, 3) with those that lie under a surface, or nearer than `clearance` (cm), lifted off it along its normals."""
    from scipy.spatial import cKDTree

    outer = np.unique(triangles)
    normals = normals_of(head, triangles)[outer]
    distance, nearest = cKDTree(head[outer]).query(points)
    height = ((points - head[outer[nearest]]) * normals[nearest]).sum(1)
    # Far from the surface the sign means nothing: strands that hang free stay where they are.
    lift = np.where(distance < 2.5, np.maximum(clearance - height, 0), 0)
    return np.asarray(points + lift[:, None] * normals[nearest], np.float32)


def bind(points: Floats, head: Floats, candidates: Ints, count: int = 4) -> tuple[Ints, Floats, Floats]:
    """Hang points on a head.

    Args:
        points: (K, 3) cm, as they lie on the neutral head.
        head: (V, 3) neutral head.
        candidates: vertex ids they may hang on.
        count: vertices per point, J.

    Returns:
        bind (K, J) int32, weights (K, J) and offset (K, 3) as in `openau.synth.rig.Card`.
    """
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(head[candidates]).query(points, k=count)
    weights = 1 / (distance + 0.3) ** 2
    weights /= weights.sum(1, keepdims=True)
    ids = candidates[nearest].astype(np.int32)
    offset = points - (head[ids] * weights[..., None]).sum(1)
    return ids, weights.astype(np.float32), offset.astype(np.float32)
