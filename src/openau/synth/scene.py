"""A studio: people sit down once, are painted once, and are photographed many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numba as nb
import numpy as np
import numpy.typing as npt

from openau.synth.backdrop import backdrop
from openau.synth.fields import smoothstep
from openau.synth.finish import apply_finish, occlude
from openau.synth.hair import grow
from openau.synth.painter import (
    EYE_SPAN,
    OTHER_SIDE,
    SKIN_SIDE,
    Head,
    Paint,
    Sheet,
    clothing_depth,
    paint,
)
from openau.synth.parameters import Camera, Person, RigName, Shot
from openau.synth.renderer import Draw, Relief, Surface, Texture, View, render, vertex_normals
from openau.synth.rig import Body, Card, Floats, Ints, Material, Part, Rig
from openau.synth.spectacles import Spectacles, build

Bytes = npt.NDArray[np.uint8]

FACE_CENTRE = -0.36
"""Where the picture is centred: this many face heights above the eyes."""

AUTO_EXPOSURE = 0.55
"""How far the camera evens out dark and bright faces, 0–1."""

TOE = 0.018
"""Linear brightness below which the camera's curve deepens shadows."""

IRIS_RADIUS = 0.6
"""Of a human eye, cm."""

_OUTSIDE = ("skin", "scalp", "body")
"""Materials of a head's outer surface."""

_TORSO = (0.15, 0.4, 0.25)
"""How much of the head's pitch, yaw and roll the shoulders follow."""


class Assets(Protocol):
    """Optional material: photographic skins and hair, backgrounds."""

    def skin(self, rig: RigName, person: Person, rng: np.random.Generator) -> Bytes | None:
        """A photographic skin (T, T, 3) in the rig's texture layout, or None."""
        ...

    def hair(self, rig: RigName, person: Person, rng: np.random.Generator) -> Sequence[Card]:
        """Hair fitted to the rig's head; empty for none."""
        ...

    @property
    def backgrounds(self) -> Sequence[Path]:
        """Image files to use as backgrounds; empty for procedural ones."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sitter:
    """A person ready to be photographed: geometry, textures, and what is computed once."""

    person: Person
    body: Body
    paint: Paint
    textures: Mapping[str, Texture]
    cards: tuple[tuple[Card, Texture], ...]
    face_height: float
    pivot: Floats
    follows_head: Floats
    """(V,) 1 where a vertex turns with the head, 0 where it stays with the shoulders."""
    neutral_lip_gap: float
    rim: Ints
    """(E, 2) edges where the rig's bust ends below."""
    spectacles: Spectacles | None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A photograph and what is seen in it.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        landmarks: (68, 2) float32 pixels, Multi-PIE order.
        lip_gap: visible gap between the inner lips in mm, 0 when closed.
        eye_opening: gap between the lids in mm, subject's left and right.
    """

    image: Bytes
    landmarks: Floats
    lip_gap: float
    eye_opening: tuple[float, float]


class Studio:
    """Photographs people with one rig.

    Args:
        rig: the deformable head.
        assets: optional skins, hair and backgrounds; None for everything procedural.
        size: side of the pictures in pixels.
        supersample: samples per pixel along each side.
        shadows: whether the key light casts a shadow.
    """

    def __init__(
        self, rig: Rig, assets: Assets | None = None, size: int = 224, supersample: int = 2, shadows: bool = True
    ) -> None:
        self.rig, self.assets = rig, assets
        self.size, self.supersample, self.shadows = size, supersample, shadows
        self._parts = tuple(_with_eye_scale(part) for part in rig.parts)
        self._by_material: dict[str, Part] = {part.material: part for part in self._parts}
        self._eye_vertices = {
            side: np.unique(self._by_material[f"eye_{side}"].triangles)
            for side in "LR"
            if f"eye_{side}" in self._by_material
        }

        outside = [part.triangles for part in self._parts if part.material in _OUTSIDE]
        self._rim = _boundary(np.concatenate(outside))

    def person(self, person: Person, rng: np.random.Generator) -> Sitter:
        """Give a person a body, paint it, and prepare what all pictures share."""
        hair = () if self.assets is None else tuple(self.assets.hair(self.rig.name, person, rng))
        base = None if self.assets is None else self.assets.skin(self.rig.name, person, rng)
        body = self.rig.body(person, rng)
        landmarks = body.vertices[self.rig.landmarks]
        skin = self._by_material["skin"]
        others = {
            material: Sheet.of(body.vertices, part.triangles, part.uv, OTHER_SIDE)
            for material, part in self._by_material.items()
            if material in ("scalp", "body")
        }
        radius = self.rig.eyes(body.vertices)[0][1]
        head = Head(
            landmarks,
            self.rig.landmark_uv,
            Sheet.of(body.vertices, skin.triangles, skin.uv, SKIN_SIDE),
            others,
            iris_angle=float(np.arcsin(min(IRIS_RADIUS / radius, 0.9))),
        )
        painted = paint(head, person, rng, base)
        if not hair:
            outside = [part.triangles for part in self._parts if part.material in _OUTSIDE]
            normals = vertex_normals(body.vertices, *outside)
            hair = grow(person, painted.wardrobe, body.vertices, normals, landmarks, self._by_material, rng)
        textures = {"skin": Texture.from_image(painted.albedo)}
        textures |= {material: Texture.from_image(image) for material, image in painted.others.items()}
        textures["eye_L"] = textures["eye_R"] = Texture.from_image(painted.eye)
        red, green, blue = (float(value) / 255 for value in painted.wardrobe.colour)
        textures["clothes"] = Texture.plain((red, green, blue))
        textures["lashes"] = Texture.from_image(painted.lashes)
        eyes = landmarks[36:48].mean(0)
        chin = float(landmarks[8, 1])
        return Sitter(
            person=person,
            body=Body(self._clothed(body.vertices, painted, landmarks), body.hair),
            paint=painted,
            textures=textures,
            cards=tuple((card, Texture.from_image(card.texture)) for card in (*body.hair, *hair)),
            face_height=float(eyes[1]) - chin,
            pivot=np.array([eyes[0], chin + 1.0, landmarks[[0, 16], 2].mean() - 2.5], np.float32),
            follows_head=smoothstep(chin - 9.0, chin - 1.5, body.vertices[:, 1]),
            neutral_lip_gap=float(landmarks[62, 1] - landmarks[66, 1]),
            rim=self._rim[(body.vertices[self._rim, 1] < chin - 5.0).all(1)],
            spectacles=self._spectacles(person, body.vertices),
        )

    def shoot(self, sitter: Sitter, shot: Shot, rng: np.random.Generator) -> Picture:
        """Photograph a sitter: deform, turn, light, render, finish."""
        if shot.glasses is not None:
            person = replace(sitter.person, glasses=shot.glasses)
            sitter = replace(sitter, person=person, spectacles=self._spectacles(person, sitter.body.vertices))
        face = self.rig.deform(sitter.body, shot.expression)
        aperture = float(face[self.rig.landmarks[62], 1] - face[self.rig.landmarks[66], 1]) - sitter.neutral_lip_gap
        head = self._tucked(self.rig.turn_eyes(face, *shot.gaze))
        landmarks = head[self.rig.landmarks]
        posed, view = self._pose(sitter, shot, head)
        draws = self._draws(sitter, shot, head, posed, aperture)
        behind = backdrop(shot.background, self.size, () if self.assets is None else self.assets.backgrounds)
        image = render(
            draws, view, shot.lights, shot.ambient, behind,
            supersample=self.supersample, shadows=self.shadows, auto_exposure=AUTO_EXPOSURE, toe=TOE,
        )  # fmt: skip
        if shot.occluder is not None:
            image = occlude(image, shot.occluder, rng)
        points = view.project(posed[self.rig.landmarks], self.size)
        return Picture(
            image=apply_finish(image, shot.finish, rng),
            landmarks=points,
            lip_gap=max(10 * aperture, 0.0),
            eye_opening=_openings(landmarks),
        )

    def _tucked(self, head: Floats) -> Floats:
        """Draw the eyeballs back a little as the lids close, so that no cornea shows through a lid."""
        points = head[self.rig.landmarks]
        tucked = head
        for (side, ids), opening in zip(self._eye_vertices.items(), _openings(points), strict=False):
            closing = _TUCK * float(smoothstep(4.0, 1.0, np.array(opening)))
            if closing > 0:
                tucked = tucked.copy() if tucked is head else tucked
                centre, _ = self.rig.eyes(head)[0 if side == "L" else 1]
                tucked[ids] = centre + (head[ids] - centre) * np.float32(1 - closing)
        return tucked

    def _spectacles(self, person: Person, vertices: Floats) -> Spectacles | None:
        if person.glasses is None:
            return None
        corneas = np.array(
            [centre + np.array([0, 0, radius]) for centre, radius in self.rig.eyes(vertices)], np.float32
        )
        return build(person.glasses, vertices[self.rig.landmarks], corneas)

    def _clothed(self, vertices: Floats, painted: Paint, landmarks: Floats) -> Floats:
        """Push out what the clothes cover, so that they have an edge."""
        depth = clothing_depth(vertices, landmarks, painted.wardrobe.neckline, painted.wardrobe.v_shape)
        outside = [part.triangles for part in self._parts if part.material in _OUTSIDE]
        thickness = 0.3 * smoothstep(0.0, 0.35, depth)
        return np.asarray(vertices + thickness[:, None] * vertex_normals(vertices, *outside), np.float32)

    def _pose(self, sitter: Sitter, shot: Shot, head: Floats) -> tuple[Floats, View]:
        """Turn the head on its shoulders and put the camera in front of the face."""
        turn = head_rotation(*shot.head)
        torso = head_rotation(*(angle * share for angle, share in zip(shot.head, _TORSO, strict=True)))
        posed = np.empty_like(head)
        _turn(head, sitter.pivot, turn, torso, sitter.follows_head, posed)
        (left, _), (right, _) = self.rig.eyes(sitter.body.vertices)
        height, camera = sitter.face_height, shot.camera
        middle = (left + right) / 2 + np.array([0, FACE_CENTRE * height, 0.2 * height], np.float32)
        middle = turn @ (middle - sitter.pivot) + sitter.pivot
        return posed, _view(np.asarray(middle, np.float32), height, camera)

    def _draws(self, sitter: Sitter, shot: Shot, head: Floats, posed: Floats, aperture: float) -> list[Draw]:
        outside = [part.triangles for part in self._parts if part.material in _OUTSIDE]
        inside = [part.triangles for part in self._parts if part.material not in (*_OUTSIDE, "lashes")]
        normals = vertex_normals(posed, *outside) + vertex_normals(posed, *inside)
        relief = Relief.from_heights(_folded(sitter.paint, shot.wrinkles))
        eye_light = self._eye_light(head)
        mouth_light = np.float32(0.35 + 0.65 * float(smoothstep(0.1, 1.6, np.array(aperture, np.float32))))
        draws = []
        for part in self._parts:
            if part.material == "lashes" and sitter.person.lashes < 0.3:
                continue
            occlusion = part.occlusion
            if part.material in ("eye_L", "eye_R"):
                occlusion = eye_light
            elif part.material in ("mouth", "teeth", "tongue") and occlusion is not None:
                occlusion = occlusion * mouth_light
            draws.append(
                Draw(
                    posed, part.triangles, part.uv,
                    texture=sitter.textures.get(part.material, _PLAIN),
                    surface=_surface(part.material, sitter.person),
                    normals=normals if part.material != "lashes" else None,
                    occlusion=occlusion,
                    relief=relief if part.material == "skin" else None,
                    casts_shadow=part.material in _OUTSIDE,
                )
            )  # fmt: skip
        if len(sitter.rim):
            draws.append(self._chest(sitter, posed))
        draws += self._worn(sitter, shot)
        for card, texture in sitter.cards:
            hung = (posed[card.bind] * card.weights[..., None]).sum(1) + card.offset @ head_rotation(*shot.head).T
            draws.append(
                Draw(
                    np.asarray(hung, np.float32),
                    card.triangles,
                    card.uv,
                    texture,
                    _surface(card.material, sitter.person),
                )
            )
        return draws

    def _worn(self, sitter: Sitter, shot: Shot) -> list[Draw]:
        """The spectacles' frame, and their lenses if they are tinted."""
        glasses, built = sitter.person.glasses, sitter.spectacles
        if glasses is None or built is None:
            return []
        turned = np.asarray((built.vertices - sitter.pivot) @ head_rotation(*shot.head).T + sitter.pivot, np.float32)
        red, green, blue = (float(value) for value in np.array(glasses.colour) ** 2.2)
        frame = Surface((red, green, blue), specular=1.5, gloss=45, two_sided=True)
        draws = [Draw(turned, built.frame, np.zeros((len(built.frame), 3, 2), np.float32), surface=frame)]
        if glasses.tint > 0.05:
            lens = np.zeros((2, 2, 4), np.uint8)
            lens[..., 3] = round(255 * min(glasses.tint + 0.1, 0.9))
            surface = Surface(specular=2.0, gloss=200, two_sided=True, alpha_tested=True)
            flat = np.zeros((len(built.lenses), 3, 2), np.float32)
            draws.append(Draw(turned, built.lenses, flat, Texture.from_image(lens), surface, casts_shadow=False))
        return draws

    def _chest(self, sitter: Sitter, posed: Floats) -> Draw:
        """Clothes from where the rig's bust ends down out of the picture."""
        rim = posed[sitter.rim].reshape(-1, 3)
        count = len(rim)
        rings = [rim]
        for widen, deepen, drop in _CHEST:
            scale = np.array([widen, 1, deepen], np.float32)
            rings.append((rim - sitter.pivot) * scale + sitter.pivot - np.array([0, drop, 0], np.float32))
        first = 2 * np.arange(len(sitter.rim))[:, None]
        strip = np.concatenate([first + np.array([1, 0, count]), first + np.array([1, count, count + 1])])
        triangles = np.concatenate([strip + ring * count for ring in range(len(_CHEST))]).astype(np.int32)
        return Draw(
            np.concatenate(rings).astype(np.float32),
            triangles,
            np.zeros((len(triangles), 3, 2), np.float32),
            sitter.textures["clothes"],
            _SURFACES["body"],
            casts_shadow=False,
        )

    def _eye_light(self, head: Floats) -> Floats:
        """Ambient light on the eyeballs (V,): the upper lid shades their upper part, the lower lid and the corners a little."""
        light = np.ones(len(head), np.float32)
        points = head[self.rig.landmarks]
        for side, upper, lower in (
            ("L", (42, 43, 44, 45), (42, 47, 46, 45)),
            ("R", (36, 37, 38, 39), (36, 41, 40, 39)),
        ):
            if side not in self._eye_vertices:
                continue
            ids = self._eye_vertices[side]
            x, y = head[ids, 0], head[ids, 1]
            roof = np.interp(x, points[list(upper), 0], points[list(upper), 1]).astype(np.float32)
            floor = np.interp(x, points[list(lower), 0], points[list(lower), 1]).astype(np.float32)
            from_corner = np.minimum(x - points[upper[0], 0], points[upper[-1], 0] - x)
            shade = (0.25 + 0.75 * smoothstep(-0.1, 0.42, roof - y)) * (0.7 + 0.3 * smoothstep(-0.05, 0.18, y - floor))
            light[ids] = shade * (0.55 + 0.45 * smoothstep(0.0, 0.55, from_corner))
        return light


def head_rotation(pitch: float, yaw: float, roll: float) -> Floats:
    """Rotation matrix (3, 3) of a head pose in degrees: roll · yaw · pitch, signs as in `openau.faces.pose`."""
    (cp, sp), (cy, sy), (cr, sr) = ((np.cos(np.radians(a)), np.sin(np.radians(a))) for a in (pitch, yaw, roll))
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float32)


_CHEST = ((1.45, 1.08, 2.5), (1.7, 1.15, 7.0), (1.8, 1.25, 35.0))
"""Rings of the chest below the rig's bust: factors on its width and depth, and how far below it they lie, cm."""

_TUCK = 0.09
"""How much an eyeball shrinks behind closed lids, as a share of its radius."""

_PLAIN = Texture.plain((1, 1, 1))

_SURFACES: Mapping[Material, Surface] = {
    "mouth": Surface((0.40, 0.13, 0.12), specular=0.8, gloss=30, wrap=0.15, scatter=0.4),
    "tongue": Surface((0.45, 0.18, 0.17), specular=0.6, gloss=25, wrap=0.15, scatter=0.4),
    "teeth": Surface((0.72, 0.66, 0.54), specular=1.2, gloss=60, wrap=0.2, scatter=0.2),
    "eye_L": Surface(specular=1.3, gloss=300, wrap=0.25, scatter=0.3),
    "eye_R": Surface(specular=1.3, gloss=300, wrap=0.25, scatter=0.3),
    "lashes": Surface(specular=0, two_sided=True, alpha_tested=True),
    "brows": Surface(specular=0.05, two_sided=True, alpha_tested=True),
    "body": Surface(specular=0.15, gloss=6, wrap=0.15),
}


def _surface(material: Material, person: Person) -> Surface:
    """How a material meets light on this person."""
    skin = Surface(
        specular=(0.4 + 0.7 * person.oiliness) * (1 - 0.45 * person.tone),
        gloss=18 + 26 * person.oiliness,
        wrap=0.1,
        scatter=0.9 - 0.3 * person.tone,
        weighs_exposure=True,
    )
    if material == "skin":
        return skin
    if material == "scalp":
        return skin if person.hair is None else Surface(specular=0.35, gloss=10, wrap=0.1)
    if material == "hair":
        tint = np.clip(np.array(person.hair_colour) * 1.9 + 0.04, 0, 1.15) ** 2.2
        return Surface(
            (float(tint[0]), float(tint[1]), float(tint[2])),
            specular=0.5,
            gloss=14,
            wrap=0.2,
            two_sided=True,
            alpha_tested=True,
        )
    return _SURFACES[material]


def _with_eye_scale(part: Part) -> Part:
    """Eyes: the rig's polar coordinates span 180°, the painter's texture only what can be seen."""
    if part.material not in ("eye_L", "eye_R"):
        return part
    return Part(
        part.material,
        part.triangles,
        ((part.uv - 0.5) * np.float32(np.pi / EYE_SPAN) + 0.5).astype(np.float32),
        part.occlusion,
    )


def _view(middle: Floats, face_height: float, camera: Camera) -> View:
    width = camera.framing * face_height
    x, y, z = (float(value) for value in middle)
    return View((x - camera.shift[0] * width, y + camera.shift[1] * width, z), camera.distance * face_height, width)


def _boundary(triangles: Ints) -> Ints:
    """Edges (E, 2) of a mesh that belong to one triangle only, in that triangle's direction."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    span = int(triangles.max()) + 1
    forward, backward = edges[:, 0] * span + edges[:, 1], edges[:, 1] * span + edges[:, 0]
    return np.asarray(edges[~np.isin(forward, backward)], np.int32)


def _folded(painted: Paint, wrinkles: Mapping[int, float]) -> Floats:
    """The skin's heights with these dynamic wrinkles."""
    heights = painted.relief
    for number, strength in sorted(wrinkles.items()):
        if strength > 0 and number in painted.wrinkles:
            heights = heights + np.float32(strength) * painted.wrinkles[number]
    return heights


def _openings(landmarks: Floats) -> tuple[float, float]:
    """Gap between the lids in mm, left and right."""
    left = 10 * float(landmarks[[43, 44], 1].mean() - landmarks[[46, 47], 1].mean())
    right = 10 * float(landmarks[[37, 38], 1].mean() - landmarks[[40, 41], 1].mean())
    return max(left, 0.0), max(right, 0.0)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _turn(points, pivot, head, torso, share, turned):  # type: ignore[no-untyped-def]
    """Turn every point about the pivot, by a mix of the head's and the torso's rotation."""
    for v in range(points.shape[0]):
        x, y, z = points[v, 0] - pivot[0], points[v, 1] - pivot[1], points[v, 2] - pivot[2]
        for i in range(3):
            with_head = head[i, 0] * x + head[i, 1] * y + head[i, 2] * z
            with_torso = torso[i, 0] * x + torso[i, 1] * y + torso[i, 2] * z
            turned[v, i] = pivot[i] + with_torso + share[v] * (with_head - with_torso)
