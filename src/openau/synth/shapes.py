"""Offsets that move a mesh: named, sparse, summed fast; and the geometry both rigs need around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from openau.facs import Side
from openau.synth.rig import Floats, Ints

LID_RANGE = 30.0
"""Pitch of the gaze (degrees) at which the rigs' `eyeLookUp` and `eyeLookDown` move the lids fully."""

Offsets = tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]
"""Vertex ids (N,) and their offsets (N, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapeSet:
    """Named offset fields over one mesh, each stored for the vertices it moves only.

    Attributes:
        names: name of each field.
        starts: (S + 1,) where each field's rows begin.
        rows: (N,) vertex ids. deltas: (N, 3) float32 offsets, cm.
    """

    names: tuple[str, ...]
    starts: Ints
    rows: Ints
    deltas: Floats

    @classmethod
    def from_fields(cls, fields: Mapping[str, Offsets], threshold: float = 0.0) -> ShapeSet:
        """Collect fields; offsets no longer than `threshold` (cm) are left out."""
        rows, deltas, starts = [], [], [0]
        for ids, offsets in fields.values():
            kept = np.linalg.norm(offsets, axis=1) > threshold
            rows.append(ids[kept].astype(np.int32))
            deltas.append(offsets[kept].astype(np.float32))
            starts.append(starts[-1] + int(kept.sum()))
        return cls(tuple(fields), np.array(starts, np.int32), np.concatenate(rows), np.concatenate(deltas))

    def displaced(self, vertices: Floats, weights: Mapping[str, float]) -> Floats:
        """A copy of the vertices (V, 3) moved by Σ weight · field.

        Raises:
            KeyError: a name is not one of this set's.
        """
        for name in weights:
            if name not in self.names:
                raise KeyError(f"no shape is called {name!r}")
        active = [(self.names.index(name), weight) for name, weight in weights.items() if weight != 0]
        moved = np.array(vertices, np.float32)
        if active:
            ids = np.array([index for index, _ in active], np.int32)
            strengths = np.array([weight for _, weight in active], np.float32)
            _add(moved, self.starts, self.rows, self.deltas, ids, strengths)
        return moved


@nb.njit(cache=True, nogil=True)
def _add(vertices, starts, rows, deltas, ids, strengths):  # type: ignore[no-untyped-def]
    for k in range(ids.shape[0]):
        strength = strengths[k]
        for i in range(starts[ids[k]], starts[ids[k] + 1]):
            row = rows[i]
            vertices[row, 0] += strength * deltas[i, 0]
            vertices[row, 1] += strength * deltas[i, 1]
            vertices[row, 2] += strength * deltas[i, 2]


def both(name: str, weight: float = 1.0) -> dict[str, float]:
    """A recipe's entry for the left and the right half of a shape."""
    return {f"{name}_L": weight, f"{name}_R": weight}


def smoothstep(low: float, high: float, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """0 below `low`, 1 above `high`, smooth between; also falling, where high < low."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def split_sides(offsets: Offsets, x: npt.NDArray[np.floating], width: float) -> tuple[Offsets, Offsets]:
    """The left and the right part of a field; they sum to it and blend over |x| < `width` (cm; x of each row, + is left)."""
    ids, deltas = offsets
    left = smoothstep(-width, width, x)[:, None]
    return (ids, deltas * left), (ids, deltas * (1 - left))


def adduction(vertices: Floats, landmarks: Sequence[int] | Ints, movable: npt.NDArray[np.bool_]) -> Offsets:
    """Brows drawn together and down, with the bulge between them: what corrugator and procerus add to a lowered brow (AU 4).

    Gaussian pulls of 1.8 mm in, 1.2 mm down at the inner brow ends (landmarks 20–23 of 68) and a bulge of 1.2 mm on the glabella.

    Args:
        vertices: (V, 3) neutral head, cm.
        landmarks: the 68 landmarks' vertex ids.
        movable: (V,) which vertices are facial skin.
    """
    points = vertices.astype(np.float64)
    offsets = np.zeros_like(points)
    for landmark, share in ((20, 0.7), (21, 1.0), (22, 1.0), (23, 0.7)):
        centre = points[landmarks[landmark]]
        pull = 0.55 * share * np.exp(-((points - centre) ** 2).sum(1) / (2 * 0.75**2))
        offsets += pull[:, None] * np.array([-0.32 * np.sign(centre[0]), -0.22, 0.05])
    glabella = (points[landmarks[21]] + points[landmarks[22]]) / 2
    bulge = np.exp(-((points - glabella) ** 2).sum(1) / (2 * 0.5**2))
    offsets += bulge[:, None] * np.array([0, -0.12, 0.12])
    offsets[~movable] = 0
    ids = np.flatnonzero(np.linalg.norm(offsets, axis=1) > 5e-4)
    return ids, offsets[ids]


def fit_sphere(points: npt.NDArray[np.floating]) -> tuple[Floats, float]:
    """Centre (3,) and radius of the sphere nearest to points (N, 3), in the algebraic least-squares sense."""
    points = np.asarray(points, np.float64)
    middle = points.mean(0)
    local = points - middle
    solution, *_ = np.linalg.lstsq(np.column_stack([2 * local, np.ones(len(local))]), (local**2).sum(1), rcond=None)
    centre = solution[:3]
    return (centre + middle).astype(np.float32), float(np.sqrt(solution[3] + centre @ centre))


def gaze_rotation(yaw: float, pitch: float) -> Floats:
    """The rotation (3, 3) that turns +z by these degrees: yaw + towards +x (the subject's left), pitch + up."""
    y, p = np.radians([yaw, pitch])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    lift = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return np.asarray(turn @ lift, np.float32)


def follow_gaze(shapes: ShapeSet, vertices: Floats, neutral: Floats, landmarks: Ints, pitch: float) -> Floats:
    """The vertices with the lids following an eye that looks up or down, as far as each eye is open.

    Args:
        shapes: a rig's shapes, with `eyeLookUp_L` and its kind.
        vertices: (V, 3) the head whose eyes turn.
        neutral: (V, 3) the rig's mean head, for how open eyes normally are.
        landmarks: the 68 landmarks' vertex ids.
        pitch: degrees, + up.
    """
    if pitch == 0:
        return np.array(vertices, np.float32)
    weights: dict[str, float] = {}
    direction = "eyeLookUp" if pitch > 0 else "eyeLookDown"
    for side, upper, lower in (("R", [37, 38], [41, 40]), ("L", [43, 44], [47, 46])):
        gap = (vertices[landmarks[upper], 1] - vertices[landmarks[lower], 1]).mean()
        rest = (neutral[landmarks[upper], 1] - neutral[landmarks[lower], 1]).mean()
        weights[f"{direction}_{side}"] = float(np.clip(gap / rest, 0, 1)) * min(abs(pitch) / LID_RANGE, 1.0)
    return shapes.displaced(vertices, weights)


def rest_pitch(landmarks: Floats, side: Side, centre: Floats, radius: float) -> float:
    """Where an eye looks by itself: the pitch (degrees) of the middle between its lids, seen from the eyeball's centre.

    Without it, lids that hang low leave the pupil half hidden under the upper lid.

    Args:
        landmarks: (68, 3) of the neutral head, cm.
        side: which eye.
        centre: (3,) of the eyeball.
        radius: of the eyeball, cm.
    """
    upper, lower = ([43, 44], [46, 47]) if side == "L" else ([37, 38], [40, 41])
    angles = [np.arcsin(np.clip((landmarks[lid, 1].mean() - centre[1]) / radius, -1, 1)) for lid in (upper, lower)]
    return float(np.clip(np.degrees(np.mean(angles)), -8, 4))


def cavities(vertices: Floats, triangles: Ints, radius: float = 1.2, strength: float = 1.0) -> Floats:
    """Ambient occlusion (V,) of a mesh from how far its surface rises around each vertex: 1 open, towards 0 in folds and pits.

    A vertex's neighbours within `radius` (cm) that stand above its tangent plane hide that part of the sky.

    Args:
        vertices: (V, 3) cm.
        triangles: (T, 3) the surface; vertices outside it get 1.
        radius: reach of the occlusion, cm.
        strength: factor on the mean elevation of the neighbours.
    """
    from scipy.spatial import cKDTree

    used = np.unique(triangles)
    normals = normals_of(vertices, triangles)
    points = vertices[used].astype(np.float64)
    count = min(64, len(points))
    distance, neighbour = cKDTree(points).query(points, k=count, distance_upper_bound=radius)
    inside = (neighbour < len(points)) & (distance > 1e-6)
    rise = points[np.minimum(neighbour, len(points) - 1)] - points[:, None]
    sine = (rise * normals[used][:, None]).sum(-1) / np.maximum(np.linalg.norm(rise, axis=-1), 1e-6)
    # Surfaces that turn their backs are another layer (the inside of a lip), not a wall of this pit.
    facing = (normals[used][np.minimum(neighbour, len(points) - 1)] * normals[used][:, None]).sum(-1) > -0.5
    counted = inside & facing
    hidden = (np.clip(sine, 0, 1) * counted).sum(1) / np.maximum(counted.sum(1), 1)
    occlusion = np.ones(len(vertices), np.float32)
    occlusion[used] = np.clip(1 - strength * 2 * hidden, 0.2, 1)
    return occlusion


def normals_of(vertices: Floats, triangles: Ints) -> Floats:
    """Unit vertex normals (V, 3), area-weighted; zero where no triangle touches a vertex."""
    corners = vertices[triangles].astype(np.float64)
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(vertices), 3))
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(triangles[:, corner], face[:, axis], len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-12), np.float32)


def renumber(triangles: Iterable[Ints], extra: Ints) -> tuple[Ints, Ints]:
    """Which vertices of a mesh are needed, and their new ids.

    Args:
        triangles: lists (T, 3) that are kept.
        extra: vertex ids to keep besides.

    Returns:
        kept (K,) old ids in ascending order, and new (V,) with -1 for vertices that are dropped.
    """
    kept = np.unique(np.concatenate([extra.ravel(), *(part.ravel() for part in triangles)]))
    new = np.full(int(kept.max()) + 1, -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    return kept.astype(np.int32), new
