"""Paints a person: skin, lips, brows, beard, hair and clothes into a head's textures; wrinkles as height maps; eyes.

Colours go by *where a texel lies on the head* (a position map of the neutral face, in cm) and by the landmarks in the texture, so one
painter serves every rig and nothing breaks at the seams between texture charts. All randomness comes from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numba as nb
import numpy as np
import numpy.typing as npt

from openau.synth.fields import blurred, noise, resized, smoothstep, streaks, to_bytes
from openau.synth.parameters import BrowStyle, Person
from openau.synth.wrinkles import wrinkle_maps

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

SKIN_SIDE = 768
"""Side of the skin texture in pixels: about three texels per pixel of a 224-pixel picture."""
OTHER_SIDE = 384
RELIEF_SIDE = 512
EYE_SIDE = 128
EYE_SPAN = 1.25
"""Angle (radians) from the optical axis at which the eye texture ends."""

_MELANIN = np.array(
    [
        [238, 211, 198],
        [230, 190, 167],
        [211, 165, 136],
        [183, 133, 104],
        [146, 101, 77],
        [106, 75, 59],
        [75, 54, 45],
    ],
    np.float32,
)
"""sRGB of skin from light to dark, evenly spaced in tone."""

_REFERENCE_SPAN = 0.37
"""Distance between the outer eye corners in the texture that brow styles are measured with."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A texture chart laid out on a head.

    Attributes:
        position: (S, S, 3) float32 cm, where each texel lies on the neutral head (filled in smoothly outside the chart).
        side: of the texture to paint, in pixels; `position` may be coarser.
    """

    position: Floats
    side: int

    @classmethod
    def of(cls, vertices: Floats, triangles: npt.NDArray[np.int32], uv: Floats, side: int, coarse: int = 192) -> Sheet:
        """Lay out the chart of triangles (T, 3) with corner coordinates uv (T, 3, 2)."""
        position = np.zeros((coarse, coarse, 4), np.float32)
        _lay_out(vertices, triangles, uv, position)
        return cls(_fill(position), side)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What the painter must know of a head.

    Attributes:
        landmarks: (68, 3) neutral landmarks, cm.
        landmark_uv: (68, 2) the same in the skin texture.
        skin: chart of the face. others: charts of the back of the head, the shoulders …, where the rig has separate ones.
        iris_angle: half the angle the iris spans, seen from the eyeball's centre.
    """

    landmarks: Floats
    landmark_uv: Floats
    skin: Sheet
    others: Mapping[str, Sheet]
    iris_angle: float = 0.42


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """A painted person.

    Attributes:
        albedo: (768, 768, 3) uint8 skin. others: back of head, neck, clothes.
        relief: (512, 512) float32 static heights in cm. wrinkles: AU → heights in cm at full strength.
        eye: (128, 128, 3) uint8, polar around the optical axis. lashes: (32, 256, 4) uint8, roots at the bottom.
        wardrobe: clothes and hairline.
    """

    albedo: Bytes
    others: Mapping[str, Bytes]
    relief: Floats
    wrinkles: Mapping[int, Floats]
    eye: Bytes
    lashes: Bytes
    wardrobe: Wardrobe


def paint(head: Head, person: Person, rng: np.random.Generator, base: Bytes | None = None) -> Paint:
    """Paint a person.

    Args:
        head: the person's neutral head.
        person: who it is.
        rng: source of everything the person's parameters leave open.
        base: (T, T, 3) uint8 photographic skin in the same texture layout, moved to the person's tone and mixed in.
    """
    complexion = _complexion(person, rng)
    wardrobe = Wardrobe.of(person, rng)
    skin = _Skin(head, person, complexion, rng)
    skin.mottle()
    if base is not None:
        skin.mix_in(base)
    skin.blush()
    skin.shade_eyes()
    skin.spot()
    skin.lips()
    skin.beard()
    skin.brows()
    _dress(skin.colour, head.skin.position, head.landmarks, complexion, wardrobe, rng)
    others = {}
    for material, sheet in head.others.items():
        colour = _plain_skin(sheet.side, complexion, rng)
        _dress(colour, sheet.position, head.landmarks, complexion, wardrobe, rng)
        others[material] = to_bytes(colour)
    wrinkles = wrinkle_maps(head.landmark_uv, RELIEF_SIDE, rng)
    return Paint(
        albedo=to_bytes(skin.colour),
        others=others,
        relief=_static_relief(skin, wrinkles, person, rng),
        wrinkles=wrinkles,
        eye=paint_eye(person, head.iris_angle, rng),
        lashes=_paint_lashes(person, rng),
        wardrobe=wardrobe,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Complexion:
    base: Floats
    red: Floats
    """Factors on the colour where blood shows."""
    hair: Floats
    blotchiness: float


def _complexion(person: Person, rng: np.random.Generator) -> _Complexion:
    place = person.tone * (len(_MELANIN) - 1)
    low = min(int(place), len(_MELANIN) - 2)
    base = _MELANIN[low] * (1 - place + low) + _MELANIN[low + 1] * (place - low)
    warmth = rng.normal(0, 0.03)
    base = base * np.array([1 + 0.4 * warmth, 1.0, 1 - 1.2 * warmth]) * rng.normal(1, 0.02)
    red = np.array([1.02, 0.84, 0.82]) if person.tone < 0.55 else np.array([0.98, 0.86, 0.84])
    return _Complexion(
        np.clip(base, 20, 250).astype(np.float32),
        red.astype(np.float32),
        np.array(person.hair_colour, np.float32) * 255,
        float(rng.uniform(0.6, 1.3) * (0.8 + 0.6 * person.age)),
    )


def _plain_skin(side: int, complexion: _Complexion, rng: np.random.Generator) -> Floats:
    colour = np.empty((side, side, 3), np.float32)
    colour[:] = complexion.base
    pigment = noise(side, {4: 1, 16: 0.6, 64: 0.5}, rng)
    colour *= 1 + np.float32(0.03 * complexion.blotchiness) * pigment[..., None]
    return colour


class _Skin:
    """The face's texture while it is being painted, layer by layer; colour (T, T, 3) float32 sRGB 0–255."""

    def __init__(self, head: Head, person: Person, complexion: _Complexion, rng: np.random.Generator) -> None:
        self.person, self.complexion, self.rng = person, complexion, rng
        self.side = head.skin.side
        self.uv = head.landmark_uv.astype(np.float32)
        self.points = np.stack([self.uv[:, 0], 1 - self.uv[:, 1]], 1) * self.side
        span = float(np.linalg.norm(self.points[45] - self.points[36]))
        self.scale = span / (_REFERENCE_SPAN * self.side)
        self.unit = span / 9.0
        """Pixels per centimetre, taking 9 cm between the outer eye corners."""
        self.colour = np.empty((self.side, self.side, 3), np.float32)
        self.colour[:] = complexion.base
        self.lip_mask = self._lip_mask()

    def mottle(self) -> None:
        """Pigment and blood vary at every scale."""
        k = np.float32(self.complexion.blotchiness)
        pigment = noise(self.side, {3: 0.8, 8: 0.7, 24: 0.6, 64: 0.5, 160: 0.5}, self.rng)
        blood = noise(self.side, {5: 1, 12: 0.8, 40: 0.7, 110: 0.5}, self.rng)
        pores = noise(self.side, {256: 1, 384: 0.8}, self.rng)
        for channel, (a, b) in enumerate(((0.026, 0.008), (0.034, 0.032), (0.04, 0.03))):
            self.colour[..., channel] *= (
                1 - k * (np.float32(a) * pigment + np.float32(b) * blood) + np.float32(0.028) * pores
            )

    def mix_in(self, base: Bytes) -> None:
        """Lay photographic skin over the face, except near its edge and the brows, moved to this person's tone."""
        photo = base
        if photo.shape[0] != self.side:
            photo = np.asarray(cv2.resize(base, (self.side, self.side), interpolation=cv2.INTER_AREA), np.uint8)
        inside = self._polygon(np.concatenate([self.points[1:16], self._above_brows()]), 0.9, shrink=0.9)
        weight = (
            inside * (1 - 0.97 * self._brow_band()) * (1 - self._lid_edges()) * np.float32(self.rng.uniform(0.55, 0.9))
        )
        mean = (photo * inside[..., None]).sum((0, 1)) / max(float(inside.sum()), 1.0)
        gain = (self.complexion.base / np.maximum(mean, 1)).astype(np.float32)
        detail = photo.astype(np.float32) * gain
        # the photo's own shading is kept in part only: lights are ours to place
        self.colour += weight[..., None] * (
            0.5 * detail + 0.5 * self.colour * (detail / self.complexion.base) - self.colour
        )

    def blush(self) -> None:
        """Cheeks, nose, ears and chin are redder, the forehead a little paler."""
        p, strength = self.points, self.rng.uniform(0.15, 0.75) * (1 - 0.5 * self.person.tone)
        irregular = 1 + np.float32(0.35) * noise(self.side, {6: 1, 14: 0.7, 40: 0.5}, self.rng)
        places = [
            ((p[31] + p[2]) / 2 + (0, -0.4 * self.unit), 2.4, 1.8, 0.75),
            ((p[35] + p[14]) / 2 + (0, -0.4 * self.unit), 2.4, 1.8, 0.75),
            (p[30], 1.3, 1.2, 0.65),
            ((p[57] + p[8]) / 2, 1.8, 1.2, 0.35),
            (p[31], 0.5, 0.7, 0.35),
            (p[35], 0.5, 0.7, 0.35),
            (p[0] + (-1.6 * self.unit, 2.5 * self.unit), 1.2, 2.5, 0.6),
            (p[16] + (1.6 * self.unit, 2.5 * self.unit), 1.2, 2.5, 0.6),
        ]
        red = np.zeros((self.side, self.side), np.float32)
        for centre, sx, sy, amount in places:
            self._add_blob(red, centre, sx, sy, amount)
        self._multiply(np.clip(red * irregular * np.float32(strength), 0, 1), self.complexion.red)
        if self.person.sex == "m":  # shaven skin is darker and cooler even without stubble
            self._multiply(self._beard_region() * np.float32(0.5), np.array([0.93, 0.945, 0.965], np.float32))

    def shade_eyes(self) -> None:
        """Darker skin around the eyes, bluish or brown below them, and the lash line."""
        rng, p = self.rng, self.points
        dark = np.zeros((self.side, self.side), np.float32)
        below = np.zeros_like(dark)
        for eye in (slice(36, 42), slice(42, 48)):
            centre = p[eye].mean(0)
            self._add_blob(dark, centre + np.array([0, -0.1 * self.unit]), 2.0, 1.2, 1.0)
            self._add_blob(below, centre + np.array([0, 0.9 * self.unit]), 1.5, 0.7, 1.0)
        strength = rng.uniform(0.06, 0.26) * (1 + 0.6 * self.person.tone)
        self._multiply(np.clip(dark * np.float32(strength), 0, 1), np.array([0.55, 0.42, 0.45], np.float32))
        strength = rng.uniform(0.05, 0.22) * (0.7 + 0.8 * self.person.age)
        self._multiply(np.clip(below * np.float32(strength), 0, 1), np.array([0.6, 0.45, 0.58], np.float32))
        line = np.zeros((self.side, self.side), np.uint8)
        upper = 120 + 110 * self.person.lashes
        for curve, shade in (
            (p[36:40], upper),
            (p[42:46], upper),
            (p[[36, 41, 40, 39]], 60),
            (p[[42, 47, 46, 45]], 60),
        ):
            cv2.polylines(line, [_fixed(curve)], False, int(shade), 2, cv2.LINE_AA, shift=4)
        soft = blurred(line, 1.4 * self.scale)
        self._cover(np.clip(soft * 1.1, 0, 0.85), self.complexion.hair * 0.3 + self.complexion.base * 0.12)

    def spot(self) -> None:
        """Freckles over nose and cheeks, age spots, a few moles."""
        rng, person = self.rng, self.person
        layer = np.zeros((self.side, self.side), np.uint8)
        across, cheek = (self.points[16] - self.points[0])[0], self.points[29]
        for _ in range(int(420 * person.freckles)):
            centre = cheek + rng.normal(0, [0.22 * abs(across), 2.3 * self.unit])
            self._dot(layer, centre, rng.uniform(0.02, 0.05), int(rng.uniform(60, 190)))
        for _ in range(int(rng.poisson(max(0.0, person.age - 0.5) * 24))):
            centre = self.points[27] + rng.normal(0, [5 * self.unit, 4.5 * self.unit])
            self._dot(layer, centre, rng.uniform(0.08, 0.25), int(rng.uniform(30, 90)))
        self._multiply(blurred(layer, 0.9), np.array([0.72, 0.55, 0.45], np.float32))
        moles = np.zeros_like(layer)
        for _ in range(int(rng.poisson(1.6))):
            centre = self.points[30] + rng.normal(0, [4.5 * self.unit, 4.5 * self.unit])
            self._dot(moles, centre, rng.uniform(0.04, 0.11), int(rng.uniform(120, 230)))
        self._cover(blurred(moles, 0.8), self.complexion.base * np.array([0.45, 0.35, 0.3], np.float32))

    def lips(self) -> None:
        """Lips a shade redder and darker than the skin, with fine lines; lipstick covers them."""
        person, base = self.person, self.complexion.base
        tint = np.array([0.87, 0.66, 0.69]) if person.tone < 0.6 else np.array([0.9, 0.74, 0.77])
        natural = base * tint.astype(np.float32) * np.float32(self.rng.uniform(0.88, 1.08))
        lines = 1 + np.float32(0.05) * streaks(self.side, 1.1, 5.0, self.rng)
        share = self.lip_mask * np.float32(self.rng.uniform(0.55, 0.9))
        self._cover(share, natural, lines)
        if person.lipstick > 0:
            painted = np.array(person.lip_colour, np.float32) * 255 * np.float32(1 - 0.35 * person.tone)
            self._cover(self.lip_mask * np.float32(person.lipstick), painted, lines)

    def beard(self) -> None:
        """Stubble to full beard: hairs, denser at moustache and chin, thinning out over cheeks and neck."""
        amount = self.person.beard
        if amount <= 0:
            return
        rng, p = self.rng, self.points
        region = self._beard_region()
        dense = np.zeros((self.side, self.side), np.float32)
        self._add_blob(dense, (p[57] + p[8]) / 2, 2.6, 2.0, 1.0)
        self._add_blob(dense, (p[33] + p[51]) / 2, 2.4, 0.9, 1.0)
        patchy = smoothstep(-1.6, 1.0, noise(self.side, {12: 1, 30: 0.8, 70: 0.6}, rng) + 1.6 * region - 0.6)
        density = region * (0.65 + 0.35 * np.clip(dense, 0, 1)) * patchy
        grey = rng.uniform(0.1, 0.6) if self.person.age > 0.7 else 0.0
        hair = self.complexion.hair * np.float32(0.8) * (1 - grey) + np.float32(150 * grey)
        self._cover(density * np.float32(min(0.16 + 0.55 * amount, 0.62)), 0.55 * hair + 0.3 * self.complexion.base)
        count, length = int(6000 + 9000 * amount), (0.05 + 0.55 * amount) * self.unit
        ys, xs = np.nonzero(density > 0.08)
        if len(xs) == 0:
            return
        chosen = rng.integers(0, len(xs), count)
        chosen = chosen[rng.random(count) < density[ys[chosen], xs[chosen]]]
        roots = np.stack([xs[chosen], ys[chosen]], 1) + rng.random((len(chosen), 2))
        outward = (roots[:, 0] - p[8, 0]) / (6 * self.unit)
        angle = np.pi / 2 - 0.7 * outward + rng.normal(0, 0.35, len(roots))
        reach = length * rng.uniform(0.5, 1.2, len(roots))
        tips = roots + np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
        strands = self._strands(roots, tips, rng, low=0.3)
        self._cover(np.clip(strands * np.float32(0.5 + 0.4 * amount), 0, 0.9), hair)

    def brows(self) -> None:
        """Eyebrows as the person's `BrowStyle` says: hairs over a faint shadow."""
        roots, tips, weights = brow_hairs(self.uv, self.person.brow, self.rng)
        side = np.float32(self.side)
        to_pixels = np.array([side, -side], np.float32)
        shift = np.array([0, side], np.float32)
        strands = self._strands(
            roots * to_pixels + shift, tips * to_pixels + shift, self.rng, low=0.35, weights=weights
        )
        shadow = blurred(strands, 3.2 * self.scale)
        grey = 0.55 * max(0.0, self.person.age - 0.75) / 0.25
        colour = self.complexion.hair * np.float32(0.78 * (1 - grey)) + np.float32(130 * grey)
        colour = np.minimum(colour, self.complexion.base * np.float32(0.72))
        density = np.float32(min(self.person.brow.density, 1.2))
        self._cover(np.clip(shadow * 0.55 * density, 0, 0.6), 0.75 * colour + 0.2 * self.complexion.base)
        fine = np.clip(self.person.brow.thickness / 0.012, 0.6, 1.0)  # thin brows are made of thinner hairs
        self._cover(np.clip(strands * np.float32(0.85 * fine) * density, 0, 0.9), colour)

    def _strands(
        self,
        roots: npt.NDArray[np.floating],
        tips: npt.NDArray[np.floating],
        rng: np.random.Generator,
        low: float,
        weights: npt.NDArray[np.floating] | None = None,
    ) -> Floats:
        """Draw hairs as fine lines of varying strength; (T, T) float32 0–1."""
        layer = np.zeros((self.side, self.side), np.uint8)
        strength = rng.uniform(low, 1.0, len(roots)) * (1.0 if weights is None else weights)
        lines = np.round(np.stack([roots, tips], 1) * 16).astype(np.int32)
        for step in range(8):  # one call per shade is much faster than one per hair
            band = (strength > step / 8) & (strength <= (step + 1) / 8)
            if band.any():
                cv2.polylines(layer, list(lines[band]), False, int(255 * (step + 0.7) / 8), 1, cv2.LINE_AA, shift=4)
        return layer.astype(np.float32) / np.float32(255)

    def _lip_mask(self) -> Floats:
        return self._polygon(self.points[48:60], 0.11)

    def _above_brows(self) -> Floats:
        """Forehead outline above the brows, from the subject's left to right."""
        line = self.points[[26, 24, 22, 21, 19, 17]] - np.array([0, 2.6 * self.unit])
        return np.asarray(line, np.float32)

    def _brow_band(self) -> Floats:
        band = np.zeros((self.side, self.side), np.uint8)
        for brow in (self.points[17:22], self.points[22:27]):
            cv2.polylines(
                band,
                [_fixed(brow + np.array([0, 0.2 * self.unit]))],
                False,
                255,
                int(2.0 * self.unit),
                cv2.LINE_AA,
                shift=4,
            )
        return blurred(band, 0.35 * self.unit)

    def _lid_edges(self) -> Floats:
        """A narrow band where the lids meet: photographs show lashes and eyeballs there."""
        band = np.zeros((self.side, self.side), np.uint8)
        for eye in (self.points[36:42], self.points[42:48]):
            cv2.fillPoly(band, [_fixed(eye)], 255, cv2.LINE_AA, shift=4)
            cv2.polylines(band, [_fixed(eye)], True, 255, max(int(0.45 * self.unit), 1), cv2.LINE_AA, shift=4)
        return blurred(band, 0.12 * self.unit)

    def _beard_region(self) -> Floats:
        """Where hair grows on a man's face, soft towards cheeks and neck."""
        right: list[tuple[int, float, float]] = [  # landmark, cm outwards, cm down
            (1, -0.4, 0), (2, -1.6, 0), (48, 1.5, -0.9), (31, 0.3, 0.6), (33, 0, 0.35),
        ]  # fmt: skip
        below: list[tuple[int, float, float]] = [(3, 0, 0), (4, 0, 0), (5, 0, 0.9), (7, 0, 2.2)]
        mirror = {1: 15, 2: 14, 3: 13, 4: 12, 5: 11, 7: 9, 31: 35, 48: 54}
        left = [(mirror[number], -out, down) for number, out, down in (*reversed(right[:-1]), *below)]
        corners = [*right, *left, *reversed(below)]
        outline = [self.points[number] + np.array([-out, down]) * self.unit for number, out, down in corners]
        region = self._polygon(np.array(outline, np.float32), 0.65)
        return np.asarray(region * (1 - np.clip(self.lip_mask * 1.7, 0, 1)), np.float32)

    def _polygon(self, points: npt.NDArray[np.floating], blur: float, shrink: float = 0.0) -> Floats:
        """A filled outline, blurred by `blur` cm and first shrunk by `shrink` cm; painted at half size."""
        half = self.side // 2
        mask = np.zeros((half, half), np.uint8)
        cv2.fillPoly(mask, [_fixed(points / 2)], 255, cv2.LINE_AA, shift=4)
        if shrink > 0:
            size = 2 * round(shrink * self.unit / 2) + 1
            mask = np.asarray(cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)
        return resized(blurred(mask, blur * self.unit / 2), self.side)

    def _add_blob(self, layer: Floats, centre: npt.NDArray[np.floating], sx: float, sy: float, amount: float) -> None:
        """Add a Gaussian bump with radii in cm."""
        steps = np.arange(self.side, dtype=np.float32)
        row = np.exp(-(((steps - np.float32(centre[0])) / np.float32(sx * self.unit)) ** 2))
        column = np.exp(-(((steps - np.float32(centre[1])) / np.float32(sy * self.unit)) ** 2))
        layer += np.float32(amount) * column[:, None] * row[None, :]

    def _dot(self, layer: Bytes, centre: npt.NDArray[np.floating], radius: float, value: int) -> None:
        at = (round(float(centre[0]) * 16), round(float(centre[1]) * 16))
        cv2.circle(layer, at, max(round(radius * self.unit * 16), 6), value, -1, cv2.LINE_AA, shift=4)

    def _multiply(self, amount: Floats, factors: Floats) -> None:
        _stain(self.colour, amount, np.asarray(factors, np.float32))

    def _cover(self, alpha: Floats, colour: Floats, shade: Floats | None = None) -> None:
        _cover(self.colour, alpha, colour, shade)


def brow_hairs(landmark_uv: Floats, style: BrowStyle, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Hairs of both eyebrows.

    Args:
        landmark_uv: (68, 2) landmarks in the texture, v up.
        style: of the brows, in fractions of the reference texture.
        rng: draws the hairs.

    Returns:
        Roots (N, 2), tips (N, 2) in texture coordinates, v up, and strengths (N,) 0–1.
    """
    scale = float(np.linalg.norm(landmark_uv[45] - landmark_uv[36])) / _REFERENCE_SPAN
    count = int(520 * np.clip(style.density, 0.3, 1.4))
    roots, tips, weights = [], [], []
    for line, outward in ((landmark_uv[17:22][::-1], -1.0), (landmark_uv[22:27], 1.0)):
        along = rng.uniform(0, 1, count) ** 0.92
        places = np.linspace(0, 1, 5)
        x, y = np.interp(along, places, line[:, 0]), np.interp(along, places, line[:, 1])
        x += outward * style.gap * scale * (1 - along)
        y += scale * (style.height + style.tilt * (1 - 2 * along) + style.arch * np.sin(np.pi * along))
        half = np.hypot(style.thickness, 0.004) * scale * np.minimum(1, 0.55 + 3.0 * along) * (1 - 0.72 * along**1.6)
        offset = np.clip(rng.normal(0, 0.5, count), -1.1, 1.1)
        y += offset * half
        # hairs stand up at the inner end, lie down along the brow, and meet from above and below
        lean = np.where(along < 0.25, 78 - 170 * along, 34 - 22 * along)
        angle = np.radians(lean - 32 * offset * (along > 0.12) + rng.normal(0, 9, count))
        length = rng.uniform(0.008, 0.017, count) * scale * (1 - 0.3 * along)
        roots.append(np.stack([x, y], 1))
        tips.append(np.stack([x + outward * length * np.cos(angle), y + 0.85 * length * np.sin(angle)], 1))
        weights.append(
            (1 - 0.45 * np.abs(offset)) * np.minimum(1, 0.35 + 4 * along) * np.minimum(1, 0.35 + 3 * (1 - along))
        )
    return (
        np.concatenate(roots).astype(np.float32),
        np.concatenate(tips).astype(np.float32),
        np.concatenate(weights).astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things are on a head, cm: heights of brows, eyes, nose and chin, half width at the temples, depth of the ears."""

    brow: float
    eyes: float
    nose: float
    chin: float
    half_width: float
    middle: float
    ears: float

    @classmethod
    def of(cls, landmarks: Floats) -> _Frame:
        return cls(
            brow=float(landmarks[17:27, 1].mean()),
            eyes=float(landmarks[36:48, 1].mean()),
            nose=float(landmarks[33, 1]),
            chin=float(landmarks[8, 1]),
            half_width=float(landmarks[16, 0] - landmarks[0, 0]) / 2,
            middle=float(landmarks[27, 0]),
            ears=float(landmarks[[0, 16], 2].mean()) - 0.8,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Wardrobe:
    """Clothes and hairline.

    Attributes:
        colour: (3,) sRGB 0–255 of the clothes. neckline: depth at the throat in cm; v_shape: how much deeper it is in the middle.
        hairline: height above the brows in cm; recession: how much higher at the temples.
        hair_cover: 0–1 how much of the scalp's skin the hair hides.
    """

    colour: Floats
    neckline: float
    v_shape: float
    hairline: float
    recession: float
    hair_cover: float

    @classmethod
    def of(cls, person: Person, rng: np.random.Generator) -> Wardrobe:
        """Draw what the person's parameters leave open."""
        grey = rng.uniform(18, 235)
        colour = np.array([grey, grey, grey]) if rng.random() < 0.45 else rng.uniform(25, 225, 3)
        colour = colour.mean() + (colour - colour.mean()) * rng.uniform(0.3, 0.9)
        man = person.sex == "m"
        return cls(
            colour.astype(np.float32),
            neckline=float(rng.uniform(-1.0, 2.5)),
            v_shape=float(rng.uniform(0, 5) if rng.random() < 0.45 else rng.uniform(0, 1)),
            hairline=float(rng.normal(5.4, 0.5) + (1.0 * person.age if man else 0.0)),
            recession=float(rng.uniform(0, 1.6) * (0.4 + person.age) if man else rng.uniform(0, 0.5)),
            hair_cover=float(rng.uniform(0, 0.45)) if person.hair is None else 0.96,
        )


def hair_depth(position: Floats, landmarks: Floats, height: float, recession: float) -> Floats:
    """How far (cm, roughly) points (..., 3) lie inside the hair-covered part of a head; negative outside.

    `height` is the hairline's above the brows at the middle; `recession` how much further up it goes at the temples.
    """
    frame = _Frame.of(landmarks)
    x, y, z = position[..., 0] - frame.middle, position[..., 1], position[..., 2]
    azimuth = np.degrees(np.abs(np.arctan2(x, z - (frame.ears - 2.0))))
    top = frame.brow + height
    ear_top = frame.brow - 0.2
    angles = np.array([0, 18, 32, 44, 54, 62, 72, 84, 95, 110, 140, 180], np.float32)
    heights = np.array(
        [
            top, top + 0.3 + 0.3 * recession, top + recession, top - 1.0 + recession * 0.9, ear_top + 3.4, ear_top + 1.6, ear_top,
            frame.nose + 1.4, ear_top - 0.5, frame.nose - 1.0, frame.nose - 3.2, frame.nose - 4.0,
        ],
        np.float32,
    )  # fmt: skip
    line = np.interp(azimuth, angles, heights).astype(np.float32)
    depth = y - line
    ear = (
        (np.abs(x) > frame.half_width + 0.55)
        & (y < frame.brow + 1.2)
        & (y > frame.nose - 2.5)
        & (azimuth > 60)
        & (azimuth < 122)
    )
    return np.where(ear, np.float32(-3.0), depth).astype(np.float32)


def clothing_depth(position: Floats, landmarks: Floats, neckline: float, v_shape: float) -> Floats:
    """How far (cm) points (..., 3) lie below the edge of the clothes; negative above."""
    frame = _Frame.of(landmarks)
    x = np.abs(position[..., 0] - frame.middle)
    front = smoothstep(frame.ears - 5.0, frame.ears + 2.0, position[..., 2])
    edge = (
        frame.chin
        - 6.0
        + 0.12 * x
        - front * (np.float32(neckline + v_shape) - np.minimum(x, 5) * np.float32(v_shape / 5))
    )
    return np.asarray(edge - position[..., 1], np.float32)


def _dress(
    colour: Floats,
    position: Floats,
    landmarks: Floats,
    complexion: _Complexion,
    wardrobe: Wardrobe,
    rng: np.random.Generator,
) -> None:
    """Paint hair roots and clothes over a chart, where its (coarser) position map says they lie on the head."""
    side = colour.shape[0]
    strands = streaks(side, 0.8, 7.0, rng)
    depth = resized(hair_depth(position, landmarks, wardrobe.hairline, wardrobe.recession), side)
    ragged = depth + 0.16 * strands + 0.35 * noise(side, {10: 1, 30: 0.8}, rng)
    covered = smoothstep(-0.6, 1.5, ragged) * np.float32(wardrobe.hair_cover)
    _cover(colour, covered, complexion.hair, 1 + np.float32(0.16) * strands)
    worn = smoothstep(
        -0.06, 0.06, resized(clothing_depth(position, landmarks, wardrobe.neckline, wardrobe.v_shape), side)
    )
    weave = 1 + np.float32(0.03) * noise(side, {8: 1, 64: 0.6, min(160, side): 0.8}, rng)
    _cover(colour, worn, wardrobe.colour, weave)


def paint_eye(person: Person, iris_angle: float, rng: np.random.Generator) -> Bytes:
    """Eyeball texture (128, 128, 3), polar around the optical axis: iris fibres, limbal ring, soft vessels towards the corners."""
    steps = (np.arange(EYE_SIDE, dtype=np.float32) + 0.5) / EYE_SIDE * 2 - 1
    x, y = steps[None, :], -steps[:, None]
    radius = np.hypot(x, y) * np.float32(EYE_SPAN)
    angle = np.arctan2(y, x)
    white = np.array([214, 204, 196], np.float32) * np.float32(rng.uniform(0.9, 1.0)) - np.array(
        [2, 8, 16], np.float32
    ) * np.float32(person.age)
    sclera = np.empty((EYE_SIDE, EYE_SIDE, 3), np.float32)
    sclera[:] = white
    edge = np.clip((radius - iris_angle) / 0.75, 0, 1)
    sclera -= edge[..., None] * np.array([26, 58, 60], np.float32) * np.float32(rng.uniform(0.5, 1.0))
    vessels = np.zeros((EYE_SIDE, EYE_SIDE), np.uint8)
    for _ in range(int(rng.integers(4, 16))):
        start = rng.uniform(0, 2 * np.pi)
        reach = np.linspace(1.2, iris_angle + rng.uniform(0.12, 0.5), 8)
        bend = start + np.cumsum(rng.normal(0, 0.05, 8))
        points = np.stack([reach * np.cos(bend), -reach * np.sin(bend)], 1) / EYE_SPAN * EYE_SIDE / 2 + EYE_SIDE / 2
        cv2.polylines(vessels, [_fixed(points)], False, int(rng.uniform(40, 120)), 1, cv2.LINE_AA, shift=4)
    red = blurred(vessels, 0.7)[..., None]
    sclera *= 1 - red * np.array([0.1, 0.5, 0.5], np.float32)

    fibres = sum(
        np.cos(angle * count + rng.uniform(0, 6)) / np.sqrt(count / 6) for count in rng.integers(7, 60, 12)
    ) * np.float32(0.22)
    colour = np.array(person.eye_colour, np.float32) * np.float32(255 * (1 - 0.5 * person.tone))
    ring = np.exp(-(((radius - iris_angle * 0.55) / 0.08) ** 2))
    iris = colour * (0.85 + fibres + 0.35 * ring)[..., None]
    iris *= 1 - 0.7 * smoothstep(0.74, 1.0, radius / iris_angle)[..., None]
    iris *= (0.78 + 0.28 * smoothstep(0.6, -0.8, y * np.ones_like(x)))[..., None]  # the lid shades its upper half
    inside = smoothstep(iris_angle + 0.035, iris_angle - 0.035, radius)[..., None]
    eye = sclera * (1 - inside) + iris * inside
    pupil = smoothstep(iris_angle * person.pupil + 0.02, iris_angle * person.pupil - 0.02, radius)[..., None]
    return to_bytes(eye * (1 - pupil) + 9 * pupil)


def _paint_lashes(person: Person, rng: np.random.Generator) -> Bytes:
    """A strip of lashes (32, 256, 4), roots at the bottom, thinner and shorter for light lashes."""
    alpha = np.zeros((32, 256), np.uint8)
    for _ in range(int(30 + 60 * person.lashes)):
        root, height = rng.uniform(0, 256), rng.uniform(9, 14 + 16 * person.lashes)
        tip = root + rng.normal(0, 6)
        line = np.array([[root, 31.5], [(root * 2 + tip) / 3, 31 - 0.6 * height], [tip, 31 - height]])
        cv2.polylines(alpha, [_fixed(line)], False, int(rng.uniform(90, 190)), 1, cv2.LINE_AA, shift=4)
    strip = np.empty((32, 256, 4), np.uint8)
    strip[..., :3] = np.clip(np.array(person.hair_colour) * 255 * 0.25 + 8, 0, 70).astype(np.uint8)
    strip[..., 3] = alpha
    return strip


def _static_relief(skin: _Skin, wrinkles: Mapping[int, Floats], person: Person, rng: np.random.Generator) -> Floats:
    """Heights (512, 512) in cm that are always there: pores, unevenness that grows with age, lip lines, the person's furrows."""
    side = RELIEF_SIDE
    coarse = noise(side, {20: 1, 45: 0.9, 90: 0.6}, rng) * np.float32(0.005 + 0.007 * person.age)
    pores = noise(side, {170: 1, 256: 1}, rng) * np.float32(0.0035)
    lips = np.asarray(cv2.resize(skin.lip_mask, (side, side)), np.float32)
    lines = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), sigmaX=1.0, sigmaY=5.0)
    relief = (coarse + pores) * (1 - 0.6 * lips) + lips * lines * np.float32(0.006 / max(float(lines.std()), 1e-6))
    for number, strength in sorted(person.furrows.items()):
        if number in wrinkles:
            relief += np.float32(0.75 * strength) * wrinkles[number]
    return np.asarray(relief, np.float32)


def _fixed(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Pixel positions for OpenCV's drawing with 4 fractional bits; OpenCV counts from pixel centres."""
    return np.round((np.asarray(points) - 0.5) * 16).astype(np.int32)


def _fill(position: Floats) -> Floats:
    """Spread a position map (S, S, 4; the last channel tells where it is known) beyond its chart."""
    levels = [position]
    while levels[-1].shape[0] > 3:
        half = max(levels[-1].shape[0] // 2, 1)
        levels.append(np.asarray(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA), np.float32))
    filled = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-6)
    for level in reversed(levels[:-1]):
        filled = np.asarray(cv2.resize(filled, level.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        known = level[..., 3:]
        filled = np.where(known > 0.02, level[..., :3] / np.maximum(known, 1e-6), filled)
    return np.ascontiguousarray(filled, np.float32)


def _cover(image: Floats, alpha: Floats, colour: Floats, shade: Floats | None = None) -> None:
    """Lay a colour (3,), brightened or darkened by `shade` (T, T), over an image with this opacity (T, T)."""
    _blend(image, np.asarray(alpha, np.float32), np.asarray(colour, np.float32), _EVEN if shade is None else shade)


_EVEN: Floats = np.ones((1, 1), np.float32)


@nb.njit(cache=True, nogil=True)
def _blend(image, alpha, colour, shade):  # type: ignore[no-untyped-def]
    shaded = shade.shape[0] > 1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            share = alpha[y, x]
            if share > 0:
                factor = shade[y, x] if shaded else np.float32(1)
                for i in range(3):
                    image[y, x, i] += share * (colour[i] * factor - image[y, x, i])


@nb.njit(cache=True, nogil=True)
def _stain(image, amount, factors):  # type: ignore[no-untyped-def]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for i in range(3):
                image[y, x, i] *= 1 - amount[y, x] * (1 - factors[i])


@nb.njit(cache=True, nogil=True)
def _lay_out(vertices, triangles, uv, position):  # type: ignore[no-untyped-def]
    """Write the position of the surface into every texel it covers, and 1 into the last channel; where several do, the front one wins."""
    side = position.shape[0]
    for t in range(triangles.shape[0]):
        x0, y0 = uv[t, 0, 0] * side - 0.5, (1 - uv[t, 0, 1]) * side - 0.5
        x1, y1 = uv[t, 1, 0] * side - 0.5, (1 - uv[t, 1, 1]) * side - 0.5
        x2, y2 = uv[t, 2, 0] * side - 0.5, (1 - uv[t, 2, 1]) * side - 0.5
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        for y in range(max(int(np.ceil(min(y0, y1, y2))), 0), min(int(np.floor(max(y0, y1, y2))), side - 1) + 1):
            for x in range(max(int(np.ceil(min(x0, x1, x2))), 0), min(int(np.floor(max(x0, x1, x2))), side - 1) + 1):
                k1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                k2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                k0 = 1 - k1 - k2
                if k0 < 0 or k1 < 0 or k2 < 0:
                    continue
                z = (
                    k0 * vertices[triangles[t, 0], 2]
                    + k1 * vertices[triangles[t, 1], 2]
                    + k2 * vertices[triangles[t, 2], 2]
                )
                if position[y, x, 3] > 0 and position[y, x, 2] >= z:
                    continue
                for i in range(2):
                    position[y, x, i] = (
                        k0 * vertices[triangles[t, 0], i]
                        + k1 * vertices[triangles[t, 1], i]
                        + k2 * vertices[triangles[t, 2], i]
                    )
                position[y, x, 2] = z
                position[y, x, 3] = 1
