"""The `ict` rig: ICT-FaceKit light (USC ICT, MIT), packed by `openau.synth.ict_pack`.

A scanned-looking head of 100 identity modes and 53 ARKit expressions. The light model has no brows, no hair and no skin texture: those
are painted, or come from an asset folder. What is changed here: wisdom teeth and molars are left out (they showed at the mouth's
corner when the jaw opened at an angle), one lash sheet of three is kept per lid and shortened, shapes never move the eyeballs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from openau.errors import WeightsError
from openau.facs import Side
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
    renumber,
    rest_pitch,
    smoothstep,
    split_sides,
)

LANDMARKS: tuple[int, ...] = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
"""The 68 Multi-PIE landmarks in ICT-FaceKit's numbering (its `vertex_indices.json`)."""

IDENTITY_SPREAD = 0.95
"""Standard deviation of the identity coefficients; 1 is the model's own."""

SEX_SHIFT = 0.8
"""How far, in standard deviations, men and women stand apart from the mean along `_masculinity`, each to their side."""

_FACE, _SOCKETS = 9409, 11248
"""First vertex that is not face, and first that is a mouth or eye socket's inner wall."""

_EYES: Mapping[Side, tuple[int, int]] = {"L": (21451, 22221), "R": (23021, 23791)}
_SCLERA: Mapping[Side, str] = {"L": "M_ScleraLeft", "R": "M_ScleraRight"}

_LASH_SHEETS: tuple[tuple[int, int, float], ...] = (
    (25351, 25465, 0.8), (25693, 25807, 0.5), (26035, 26149, 0.8), (26377, 26491, 0.5),
)  # fmt: skip
"""First and end vertex of the lash sheets that are kept (upper and lower, left and right), and their length relative to the original."""

_FRONT_TEETH = (8.3, 8.9)
"""Upper and lower teeth whose front stays behind this z (cm) are left out: molars, and the lower second premolars."""


RECIPES: Mapping[int, Mapping[str, float]] = MappingProxyType(
    {
        1: both("browInnerUp", 1.7),  # gain measured: the rig's own moves Face Mesh a third as far as people do
        2: both("browOuterUp", 1.5),  # gain measured, as above
        4: both("browDown", 2.2) | both("adduct", 1.3),  # the rig's own lowers but hardly draws together
        5: both("eyeWide", 1.5),  # gain measured, as are 10, 15, 17 and 26
        6: both("cheekSquint"),  # cheeks up, lower lid bulges
        7: both("eyeSquint", 1.1) | both("eyeBlink", 0.22),  # lower lid up, upper lid slightly down
        9: both("noseSneer") | both("mouthUpperUp", -0.3),  # the sneer without most of AU 10's lip
        10: both("mouthUpperUp", 1.2),
        12: both("mouthSmile"),
        14: both("mouthDimple"),
        15: both("mouthFrown", 1.5),
        16: both("mouthLowerDown"),
        17: {"mouthShrugLower": 1.4, "mouthShrugUpper": 0.7},  # chin boss and lower lip push the upper lip
        18: {"mouthPucker": 1.0},
        20: both("mouthStretch"),
        22: {"mouthFunnel": 1.0},
        23: {"mouthRollLower": 0.35, "mouthRollUpper": 0.35} | both("mouthPress", 0.6),  # narrowed red lips
        24: both("mouthPress"),
        25: both("mouthLowerDown", 0.5) | both("mouthUpperUp", 0.25),  # lips part, teeth stay closed
        26: {"jawOpen": 0.5},
        27: {"jawOpen": 1.0},
        28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
        43: both("eyeBlink"),
    }
)
"""AU → shape weights at full intensity on both sides."""


class ICTRig:
    """ICT-FaceKit as a `Rig`.

    Identity is `IDENTITY_SPREAD` times standard normal over the 100 modes. The modes carry no names: sex only shifts the mean along
    the direction in which jaw, brow ridge, chin and nose grow (`SEX_SHIFT`); age and ancestry do not act on this rig's shape.

    Args:
        npz: the packed file.

    Raises:
        WeightsError: the file cannot be read or is not a packed ICT-FaceKit.
    """

    name: Literal["ict", "anny"] = "ict"

    def __init__(self, npz: Path) -> None:
        arrays = _read(Path(npz))
        neutral = arrays["neutral"].astype(np.float32)
        expressions = arrays["exp"].astype(np.float32)
        modes = arrays["ident"].astype(np.float32)
        roots, length = _lash_roots(neutral, arrays)
        for field in (neutral[None], expressions, modes):
            field[:, roots[0]] = field[:, roots[1]] + length[:, None] * (field[:, roots[0]] - field[:, roots[1]])
        for first, end in _EYES.values():
            expressions[:, first:end] = 0

        parts = _parts(neutral, arrays)
        kept, new = renumber([part.triangles for part in parts], np.array(LANDMARKS, np.int32))
        self._eyes = {side: np.intersect1d(new[np.arange(a, b)], new[kept]) for side, (a, b) in _EYES.items()}
        self.parts: tuple[Part, ...] = tuple(
            Part(part.material, new[part.triangles], part.uv, None if part.occlusion is None else part.occlusion[kept])
            for part in parts
        )
        self.landmarks: Ints = new[np.array(LANDMARKS)]
        self.landmark_uv: Floats = _corner_uv(arrays)[np.array(LANDMARKS)]
        self.neutral: Floats = neutral[kept]
        """(V, 3) the mean head, cm."""
        self.skin_vertices: Ints = new[kept[kept < _FACE]]
        """Vertices of the face proper (with the skin's texture)."""
        self._modes = np.ascontiguousarray(modes[:, kept].reshape(len(modes), -1))
        self._masculinity = _masculinity(self.neutral, self._modes.reshape(len(modes), -1, 3), self.landmarks)
        self._shapes = _shapes(arrays, expressions[:, kept], self.neutral, self.landmarks, kept < _FACE)
        self.shapes: tuple[str, ...] = self._shapes.names
        self._whites = {side: ids[_is_white(self.neutral[ids])] for side, ids in self._eyes.items()}

    def recipe(self, au: int) -> Mapping[str, float]:
        """Shape weights of one AU at full intensity (FACS E) on both sides.

        Raises:
            KeyError: the rig has no recipe for this AU.
        """
        return RECIPES[au]

    def body(self, person: Person, rng: np.random.Generator, hair: Sequence[Card] = ()) -> Body:
        """The geometry of a new person; `hair` are cards that were fitted to this rig."""
        coefficients = rng.normal(0, IDENTITY_SPREAD, len(self._modes))
        coefficients += SEX_SHIFT * (1 if person.sex == "m" else -1) * self._masculinity
        offsets = (coefficients.astype(np.float32) @ self._modes).reshape(-1, 3)
        vertices = self.neutral + offsets
        for side, ids in self._eyes.items():
            vertices[ids] = self._round_eyeball(side, vertices)
        return Body(vertices, tuple(hair))

    def deform(self, body: Body, weights: Mapping[str, float]) -> Floats:
        """(V, 3) head vertices under these shape weights.

        Raises:
            KeyError: a name is not one of `shapes`.
        """
        return self._shapes.displaced(body.vertices, weights)

    def eyes(self, vertices: Floats) -> tuple[tuple[Floats, float], tuple[Floats, float]]:
        """Centre (3,) and radius of the left and the right eyeball, cm."""
        return fit_sphere(vertices[self._whites["L"]]), fit_sphere(vertices[self._whites["R"]])

    def turn_eyes(self, vertices: Floats, yaw: float, pitch: float) -> Floats:
        """The vertices with both eyeballs turned (degrees; yaw + to the subject's left, pitch + up); open lids follow the pitch."""
        turned = follow_gaze(self._shapes, vertices, self.neutral, self.landmarks, pitch)
        rotation = gaze_rotation(yaw, pitch)
        for side, ids in self._eyes.items():
            centre, _ = fit_sphere(vertices[self._whites[side]])
            turned[ids] = (vertices[ids] - centre) @ rotation.T + centre
        return turned

    def _round_eyeball(self, side: Side, vertices: Floats) -> Floats:
        """The neutral eyeball where the identity modes put theirs (which they leave lopsided), looking out between the lids."""
        centre, radius = fit_sphere(self.neutral[self._whites[side]])
        new_centre, new_radius = fit_sphere(vertices[self._whites[side]])
        rest = gaze_rotation(0, rest_pitch(vertices[self.landmarks], side, new_centre, new_radius))
        ball = (self.neutral[self._eyes[side]] - centre) * (new_radius / radius)
        return np.asarray(ball @ rest.T + new_centre, np.float32)


def _read(file: Path) -> dict[str, npt.NDArray[np.generic]]:
    from openau.synth.ict_pack import ARRAYS

    try:
        with np.load(file, allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in ARRAYS}
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror or error})") from None
    except KeyError as error:
        raise WeightsError(f"{file}: not a packed ICT-FaceKit: the array {error.args[0]!r} is missing") from None
    except (ValueError, EOFError) as error:
        raise WeightsError(f"{file}: not a packed ICT-FaceKit ({error})") from None
    if arrays["neutral"].shape[0] <= max(end for _, end, _ in _LASH_SHEETS):
        raise WeightsError(f"{file}: not the light model of ICT-FaceKit: it has {len(arrays['neutral'])} vertices")
    return arrays


def _corner_uv(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
    """(V, 2) texture coordinates per vertex, within its material's tile; a vertex on a seam has one of its several."""
    uv = np.zeros((len(arrays["neutral"]), 2), np.float32)
    uv[arrays["faces"].ravel()] = arrays["uv"][arrays["faces_uv"].ravel()]
    return uv


def _is_white(eyeball: Floats) -> npt.NDArray[np.bool_]:
    """Which vertices of an eyeball lie on its sphere: all but the bulging cornea at the front."""
    return np.asarray(eyeball[:, 2] < eyeball[:, 2].max() - 0.6)


def _lash_roots(neutral: Floats, arrays: Mapping[str, npt.NDArray[np.generic]]) -> tuple[tuple[Ints, Ints], Floats]:
    """Lash vertices and, for each, the one at the lid it grows from; and how much of its length each keeps."""
    uv = _corner_uv(arrays)
    tips, roots, lengths = [], [], []
    for first, end, length in _LASH_SHEETS:
        ids = np.arange(first, end)
        at_root = ids[_root_to_tip(neutral, uv, ids) < 0.01]
        nearest = np.abs(uv[ids][:, None, 0] - uv[at_root][None, :, 0]).argmin(1)
        tips.append(ids)
        roots.append(at_root[nearest])
        lengths.append(np.full(len(ids), length))
    return (np.concatenate(tips), np.concatenate(roots)), np.concatenate(lengths).astype(np.float32)


def _root_to_tip(neutral: Floats, uv: Floats, ids: npt.NDArray[np.integer]) -> Floats:
    """0 at the lid to 1 at the tips for the vertices of one lash sheet; its rows have equal v, and the lid's row is nearest to skin."""
    from scipy.spatial import cKDTree

    v = uv[ids, 1]
    along = (v - v.min()) / (v.max() - v.min())
    distance, _ = cKDTree(neutral[:_FACE]).query(neutral[ids])
    if distance[along > 0.99].mean() < distance[along < 0.01].mean():
        along = 1 - along
    return np.asarray(along, np.float32)


def _parts(neutral: Floats, arrays: Mapping[str, npt.NDArray[np.generic]]) -> list[Part]:
    """The head's parts in the packed file's vertex numbering."""
    faces, material = arrays["faces"].astype(np.int32), arrays["mat"]
    uv = arrays["uv"].astype(np.float32)[arrays["faces_uv"]] % 1.0
    face, back = material == "M_Face", material == "M_BackHead"
    sockets = back & (faces >= _SOCKETS).any(1)
    back &= ~sockets
    shoulders = back & (neutral[faces].mean(1)[:, 1] < -9.5)
    scalp = back & ~shoulders
    occlusion = _occlusion(neutral, faces, face | back)
    inner = sockets | (material == "M_GumsTongue")
    teeth = np.flatnonzero(material == "M_Teeth")
    tooth_front, tooth_top = _component_reach(neutral, faces[teeth])
    teeth = teeth[tooth_front > np.where(tooth_top > -2.5, *_FRONT_TEETH)]
    parts = [
        Part("skin", faces[face], uv[face], occlusion),
        Part("scalp", faces[scalp], uv[scalp], occlusion),
        Part("body", faces[shoulders], uv[shoulders], occlusion),
        Part("mouth", faces[inner], uv[inner], occlusion),
        Part("teeth", faces[teeth], uv[teeth], occlusion),
    ]
    for side, (first, end) in _EYES.items():
        polar = _polar_uv(neutral, first, end)
        ball = faces[material == _SCLERA[side]]
        front = np.linalg.norm(polar[ball].mean(1) - 0.5, axis=1) < 0.5 * 115 / 180
        parts.append(Part("eye_L" if side == "L" else "eye_R", ball[front], polar[ball[front]], occlusion))
    parts.append(_lashes(neutral, arrays))
    return parts


def _occlusion(neutral: Floats, faces: Ints, outside: npt.NDArray[np.bool_]) -> Floats:
    occlusion = cavities(neutral, faces[outside], strength=0.8)
    depth = neutral[:, 2]
    occlusion[_SOCKETS:14062] = 0.15
    occlusion[14062:17039] = (0.10 + 0.55 * smoothstep(6.5, 10.2, depth))[14062:17039]
    occlusion[17039:21451] = (0.10 + 0.82 * smoothstep(8.4, 10.2, depth))[17039:21451]
    for first, end in _EYES.values():
        occlusion[first:end] = _lid_shade(neutral[first:end], neutral[:_FACE])
    return occlusion


def _lid_shade(eyeball: Floats, skin: Floats) -> Floats:
    """The lids' shade on an eyeball: darker where skin is near."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(skin).query(eyeball)
    return np.asarray(0.45 + 0.55 * smoothstep(0.05, 0.45, distance), np.float32)


def _component_reach(neutral: Floats, triangles: Ints) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For every triangle (T,), the largest z and the largest y of the connected piece it belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(neutral), len(neutral)))
    _, piece = connected_components(graph, directed=False)
    reach = np.full((2, piece.max() + 1), -np.inf)
    np.maximum.at(reach[0], piece, neutral[:, 2])
    np.maximum.at(reach[1], piece, neutral[:, 1])
    front, top = reach[:, piece[triangles[:, 0]]]
    return front, top


def _polar_uv(neutral: Floats, first: int, end: int) -> Floats:
    """(V, 2) polar texture coordinates of one eyeball: the distance from (.5, .5) is half the angle from the optical axis / 180°."""
    ball = neutral[first:end]
    centre, _ = fit_sphere(ball[_is_white(ball)])
    axis = ball - centre
    angle = np.arccos(np.clip(axis[:, 2] / np.linalg.norm(axis, axis=1), -1, 1)) / np.pi
    around = np.arctan2(axis[:, 1], axis[:, 0])
    uv = np.zeros((len(neutral), 2), np.float32)
    uv[first:end] = 0.5 + 0.5 * angle[:, None] * np.column_stack([np.cos(around), np.sin(around)])
    return uv


def _lashes(neutral: Floats, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Part:
    corner = _corner_uv(arrays)
    uv = np.zeros((len(neutral), 2), np.float32)
    sheets = []
    for first, end, _ in _LASH_SHEETS:
        ids = np.arange(first, end)
        u = corner[ids, 0]
        uv[ids, 0] = (u - u.min()) / (u.max() - u.min())
        uv[ids, 1] = _root_to_tip(neutral, corner, ids)
        triangles = arrays["faces"].astype(np.int32)
        sheets.append(triangles[(triangles >= first).all(1) & (triangles < end).all(1)])
    triangles = np.concatenate(sheets)
    return Part("lashes", triangles, uv[triangles])


def _shapes(
    arrays: Mapping[str, npt.NDArray[np.generic]],
    expressions: Floats,
    neutral: Floats,
    landmarks: Ints,
    skin: npt.NDArray[np.bool_],
) -> ShapeSet:
    everywhere = np.arange(len(neutral))
    fields: dict[str, Offsets] = {
        str(name): (everywhere, offsets) for name, offsets in zip(arrays["exp_names"], expressions, strict=True)
    }
    draw = adduction(neutral, landmarks, skin)
    fields["adduct"] = draw
    fields["adduct_L"], fields["adduct_R"] = split_sides(draw, neutral[draw[0], 0], width=0.4)
    return ShapeSet.from_fields(fields, threshold=0.002)


def _masculinity(neutral: Floats, modes: Floats, landmarks: Ints) -> npt.NDArray[np.float64]:
    """Unit direction (I,) of the identity modes along which heads grow what men's have more of.

    Wide jaw, long chin, prominent brow ridge and large nose against large eyes and full lips; each measure in its own standard deviations.
    """
    points = modes[:, landmarks].astype(np.float64)

    def mean(axis: int, *ids: int) -> npt.NDArray[np.float64]:
        return np.asarray(points[:, list(ids), axis].mean(1))

    measures = [
        mean(0, 11, 12) - mean(0, 4, 5),  # jaw width
        mean(1, 57) - mean(1, 8),  # chin height
        mean(2, 19, 20, 23, 24) - mean(2, 36, 39, 42, 45),  # brow ridge
        mean(0, 35) - mean(0, 31),  # nose width
        mean(2, 30) - mean(2, 31, 35),  # nose length
        -(mean(1, 37, 38, 43, 44) - mean(1, 40, 41, 46, 47)),  # eye height
        -(mean(1, 51) - mean(1, 57)),  # lip height
    ]
    direction = sum(measure / np.linalg.norm(measure) for measure in measures)
    return np.asarray(direction / np.linalg.norm(direction))
