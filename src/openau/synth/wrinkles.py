"""Wrinkles of the face as height maps: what each Action Unit folds, drawn anew for every person.

A wrinkle is a soft valley with low shoulders along a curve, of varying depth and width, often interrupted; never a drawn line.
Curves are laid out in centimetres around the landmarks of the skin texture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numba as nb
import numpy as np
import numpy.typing as npt

from openau.synth.fields import blurred

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

WRINKLED_AUS: tuple[int, ...] = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24)
"""AUs that fold the skin."""


def wrinkle_maps(landmark_uv: Floats, side: int, rng: np.random.Generator) -> Mapping[int, Floats]:
    """Draw a person's wrinkles.

    Args:
        landmark_uv: (68, 2) landmarks in the skin texture, v up.
        side: of the maps in pixels.
        rng: jitters every place, length and depth.

    Returns:
        AU → (side, side) float32 heights in cm at full strength; valleys are negative.
    """
    folds = _Folds(landmark_uv, side, rng)
    return {number: folds.draw(number) for number in WRINKLED_AUS}


_NARROWEST = 0.1
"""Least width (sigma) of a valley, cm: narrower ones would look drawn."""


class _Folds:
    """Where a face folds. Points are pixels of the map, y down; `cm` is a centimetre in pixels."""

    def __init__(self, landmark_uv: Floats, side: int, rng: np.random.Generator) -> None:
        self.points = np.stack([landmark_uv[:, 0], 1 - landmark_uv[:, 1]], 1).astype(np.float64) * side
        self.cm = float(np.linalg.norm(self.points[45] - self.points[36])) / 9.0
        self.side, self.rng = side, rng

    def draw(self, number: int) -> Floats:
        """The height map of one AU."""
        if number == 17:
            return self._chin()
        valley = np.zeros((self.side, self.side), np.float32)
        shoulder = np.zeros_like(valley)
        for curve, depth, width in self._curves(number):
            count = max(int(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum() / 2), 6)
            curve = _resample(curve, count)
            curve += self._wander(count) * 0.06 * self.cm
            depths = depth * self._envelope(count)
            widths = self.cm * np.maximum(width * np.clip(1 + 0.3 * self._wander(count)[:, 0], 0.7, 1.6), _NARROWEST)
            _carve(valley, shoulder, curve.astype(np.float32), widths.astype(np.float32), depths.astype(np.float32))
        return np.asarray(0.45 * shoulder - valley, np.float32)

    def _curves(self, number: int) -> list[tuple[Points, float, float]]:
        """Curves (N, 2), depth and width (sigma) in cm."""
        return {
            1: self._forehead_middle, 2: self._forehead_sides, 4: self._frown, 6: self._crows_feet, 7: self._lower_lids,
            9: self._nose, 10: self._nasolabial_high, 12: self._nasolabial, 14: self._dimples, 15: self._corners_down,
            18: self._lip_lines, 20: self._stretched, 23: self._lip_lines, 24: self._lip_lines,
        }[number]()  # fmt: skip

    def _wander(self, count: int) -> Points:
        """Slow random walk without drift, (count, 2), about ±1."""
        knots = self.rng.normal(0, 1, (max(count // 6, 3), 2))
        places = np.linspace(0, len(knots) - 1, count)
        return np.stack([np.interp(places, np.arange(len(knots)), knots[:, i]) for i in range(2)], 1)

    def _envelope(self, count: int) -> Points:
        """Depth along a wrinkle: fades at both ends, varies, is sometimes interrupted."""
        along = np.linspace(0, 1, count)
        ends = np.sin(np.pi * np.clip(along, 0.02, 0.98)) ** 0.7
        return np.asarray(ends * np.clip(0.75 + 0.45 * self._wander(count)[:, 0], 0.05, 1.3))

    def _vary(self, value: float, share: float = 0.25) -> float:
        return float(value * np.exp(self.rng.normal(0, share)))

    def _forehead_middle(self) -> list[tuple[Points, float, float]]:
        return self._forehead([(-2.6, 2.6)], rows=int(self.rng.integers(2, 5)), sag=0.25)

    def _forehead_sides(self) -> list[tuple[Points, float, float]]:
        return self._forehead([(-5.4, -1.4), (1.4, 5.4)], rows=int(self.rng.integers(2, 5)), sag=-0.45)

    def _forehead(self, spans: list[tuple[float, float]], rows: int, sag: float) -> list[tuple[Points, float, float]]:
        brow = self.points[17:27].mean(0)
        spacing, lowest = self._vary(0.85, 0.15), self._vary(1.5, 0.15)
        curves = []
        for row in range(rows):
            for left, right in spans:
                a, b = left + self.rng.normal(0, 0.4), right + self.rng.normal(0, 0.4)
                along = np.linspace(0, 1, 20)
                x = a + (b - a) * along
                y = lowest + row * spacing + self.rng.normal(0, 0.08) - sag * np.sin(np.pi * along)
                curve = np.stack([brow[0] + x * self.cm, brow[1] - y * self.cm], 1)
                curves.append((curve, self._vary(0.075 * (1 - 0.12 * row)), self._vary(0.16)))
        return curves

    def _frown(self) -> list[tuple[Points, float, float]]:
        """One to three furrows between the brows, leaning outward at the top."""
        middle, curves = (self.points[21] + self.points[22]) / 2, []
        spread = self._vary(0.75, 0.2)
        for place in self.rng.choice([-1.0, 0.0, 1.0], int(self.rng.integers(1, 4)), replace=False, p=[0.4, 0.2, 0.4]):
            along = np.linspace(-1, 1, 16)
            height = self._vary(1.1, 0.2)
            x = place * spread * (1 + 0.18 * along) + self.rng.normal(0, 0.08)
            y = 0.15 + height * along
            curve = np.stack([middle[0] + x * self.cm, middle[1] - y * self.cm], 1)
            curves.append((curve, self._vary(0.085 if place else 0.055), self._vary(0.18)))
        return curves

    def _crows_feet(self) -> list[tuple[Points, float, float]]:
        curves = []
        for corner, outward, eye in ((self.points[36], -1.0, slice(36, 42)), (self.points[45], 1.0, slice(42, 48))):
            for angle in np.linspace(-38, 42, int(self.rng.integers(3, 6))) + self.rng.normal(0, 5):
                reach = np.linspace(self._vary(0.75, 0.15), self._vary(2.3, 0.2), 14)
                bend = np.radians(angle + (reach - reach[0]) * self.rng.normal(4 * np.sign(angle), 3))
                curve = np.stack(
                    [corner[0] + outward * reach * np.cos(bend) * self.cm, corner[1] + reach * np.sin(bend) * self.cm],
                    1,
                )
                curves.append((curve, self._vary(0.045), self._vary(0.14)))
            middle = self.points[eye].mean(0)
            along = np.linspace(-1, 1, 18)
            for drop, sigma in ((self._vary(0.95, 0.12), 0.16), (self._vary(0.6, 0.12), 0.1)):
                x = 0.2 * outward + 1.45 * along
                y = drop + 0.45 * (1 - along**2)
                curve = np.stack([middle[0] + x * self.cm, middle[1] + y * self.cm], 1)
                curves.append((curve, self._vary(0.04), self._vary(sigma, 0.15)))
        return curves

    def _lower_lids(self) -> list[tuple[Points, float, float]]:
        curves = []
        for eye in (slice(36, 42), slice(42, 48)):
            middle, along = self.points[eye].mean(0), np.linspace(-1, 1, 16)
            for row in range(int(self.rng.integers(1, 3))):
                y = 0.38 + 0.28 * row + 0.25 * (1 - along**2)
                curve = np.stack([middle[0] + 1.2 * along * self.cm, middle[1] + y * self.cm], 1)
                curves.append((curve, self._vary(0.03), self._vary(0.12)))
        return curves

    def _nose(self) -> list[tuple[Points, float, float]]:
        """Oblique lines on both flanks of the nose and one across its root."""
        root, curves = self.points[27] * 0.75 + self.points[28] * 0.25, []
        for outward in (-1.0, 1.0):
            for row in range(int(self.rng.integers(2, 5))):
                along = np.linspace(0, 1, 12)
                x = outward * (0.25 + 1.15 * along)
                y = -0.2 + 0.48 * row + self.rng.normal(0, 0.06) - 0.55 * along
                curve = np.stack([root[0] + x * self.cm, root[1] + y * self.cm], 1)
                curves.append((curve, self._vary(0.05), self._vary(0.15)))
        for row in range(int(self.rng.integers(1, 3))):
            along = np.linspace(-0.7, 0.7, 10)
            curve = np.stack([root[0] + along * self.cm, root[1] - (0.5 + 0.4 * row + 0.1 * along**2) * self.cm], 1)
            curves.append((curve, self._vary(0.05), self._vary(0.13)))
        return curves

    def _nasolabial_high(self) -> list[tuple[Points, float, float]]:
        return self._nasolabial_at(length=0.75, depth=0.075)

    def _nasolabial(self) -> list[tuple[Points, float, float]]:
        curves = self._nasolabial_at(length=1.15, depth=0.08)
        if self.rng.random() < 0.5:  # a second fold over the cheek
            for nostril, corner, outward in self._mouth_sides():
                along = np.linspace(0.25, 1.0, 16)
                x = nostril[0] + (corner[0] - nostril[0]) * along + outward * (1.5 + 0.6 * along) * self.cm
                y = nostril[1] + (corner[1] - nostril[1] + 0.5 * self.cm) * along
                curves.append((np.stack([x, y], 1), self._vary(0.03), self._vary(0.2)))
        return curves

    def _mouth_sides(self) -> list[tuple[Points, Points, float]]:
        return [(self.points[31], self.points[48], -1.0), (self.points[35], self.points[54], 1.0)]

    def _nasolabial_at(self, length: float, depth: float) -> list[tuple[Points, float, float]]:
        curves, breadth = [], self._vary(1.0, 0.12)
        for nostril, corner, outward in self._mouth_sides():
            along = np.linspace(0, length, 24)
            start = nostril + np.array([outward * 0.35, -0.65]) * self.cm
            x = start[0] + (corner[0] - start[0] + outward * 0.85 * breadth * self.cm) * along**0.8
            y = start[1] + (corner[1] - start[1]) * along
            curves.append((np.stack([x, y], 1), self._vary(depth, 0.2), self._vary(0.2, 0.2)))
        return curves

    def _dimples(self) -> list[tuple[Points, float, float]]:
        curves = []
        for _, corner, outward in self._mouth_sides():
            along = np.linspace(-1, 1, 12)
            x = outward * (0.55 + 0.12 * (1 - along**2)) + self.rng.normal(0, 0.06)
            y = -0.05 + 0.6 * along
            curves.append(
                (np.stack([corner[0] + x * self.cm, corner[1] + y * self.cm], 1), self._vary(0.07), self._vary(0.17))
            )
        return curves

    def _corners_down(self) -> list[tuple[Points, float, float]]:
        curves = []
        for _, corner, outward in self._mouth_sides():
            along = np.linspace(0, 1, 14)
            x = outward * (0.25 + 0.55 * along)
            y = 0.1 + self._vary(1.5, 0.15) * along
            curves.append(
                (np.stack([corner[0] + x * self.cm, corner[1] + y * self.cm], 1), self._vary(0.055), self._vary(0.17))
            )
        return curves

    def _stretched(self) -> list[tuple[Points, float, float]]:
        curves = []
        for _, corner, outward in self._mouth_sides():
            for row in range(int(self.rng.integers(1, 3))):
                along = np.linspace(-1, 1, 14)
                x = outward * (0.7 + 0.6 * row + 0.3 * (1 - along**2))
                y = 0.15 + self._vary(1.1, 0.15) * along
                curve = np.stack([corner[0] + x * self.cm, corner[1] + y * self.cm], 1)
                curves.append((curve, self._vary(0.04), self._vary(0.18)))
        return curves

    def _lip_lines(self) -> list[tuple[Points, float, float]]:
        """Short lines that radiate from the lips."""
        centre, curves = self.points[48:60].mean(0), []
        for point in self.points[[49, 50, 51, 52, 53, 55, 56, 57, 58, 59]]:
            direction = (point - centre) / np.linalg.norm(point - centre)
            for _ in range(int(self.rng.integers(1, 3))):
                start = point + self.rng.normal(0, 0.2, 2) * self.cm
                reach = np.linspace(0.05, self._vary(0.65, 0.2), 8)[:, None]
                curves.append((start + direction * reach * self.cm, self._vary(0.022), self._vary(0.12)))
        return curves

    def _chin(self) -> Floats:
        """The mentalis' cobblestones, and the crease under the lower lip."""
        chin, lip = self.points[8], self.points[57]
        centre = 0.45 * lip + 0.55 * chin
        grain = blurred(self.rng.standard_normal((self.side, self.side), np.float32), 0.2 * self.cm)
        grain *= np.float32(2 / max(float(np.abs(grain).max()), 1e-6))
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        near = np.exp(-(((x - centre[0]) / (1.5 * self.cm)) ** 2) - ((y - centre[1]) / (1.1 * self.cm)) ** 2)
        valley, shoulder = np.zeros((self.side, self.side), np.float32), np.zeros((self.side, self.side), np.float32)
        along = np.linspace(-1, 1, 24)
        crease = np.stack([lip[0] + 1.9 * along * self.cm, lip[1] + (0.75 - 0.25 * (1 - along**2)) * self.cm], 1)
        _carve(
            valley, shoulder, crease.astype(np.float32), np.full(24, 0.2 * self.cm, np.float32),
            (self._vary(0.06) * self._envelope(24)).astype(np.float32),
        )  # fmt: skip
        return np.asarray(np.float32(self._vary(0.035)) * grain * near + 0.45 * shoulder - valley, np.float32)


def _resample(curve: Points, count: int) -> Points:
    """The curve as `count` points at equal arc lengths."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    places = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(places, lengths, curve[:, i]) for i in range(2)], 1)


@nb.njit(cache=True, nogil=True)
def _carve(valley, shoulder, curve, widths, depths):  # type: ignore[no-untyped-def]
    """Deepen a valley of Gaussian profile along a curve, and raise a wider, lower shoulder; each keeps the larger value."""
    side = valley.shape[0]
    for i in range(curve.shape[0] - 1):
        ax, ay = curve[i, 0], curve[i, 1]
        dx, dy = curve[i + 1, 0] - ax, curve[i + 1, 1] - ay
        length = dx * dx + dy * dy + 1e-6
        reach = 7 * max(widths[i], widths[i + 1])
        for y in range(max(int(min(ay, ay + dy) - reach), 0), min(int(max(ay, ay + dy) + reach) + 1, side - 1) + 1):
            for x in range(max(int(min(ax, ax + dx) - reach), 0), min(int(max(ax, ax + dx) + reach) + 1, side - 1) + 1):
                px, py = x + 0.5 - ax, y + 0.5 - ay
                along = min(max((px * dx + py * dy) / length, 0.0), 1.0)
                gap = (px - along * dx) ** 2 + (py - along * dy) ** 2
                if gap > reach * reach:
                    continue
                width = widths[i] + along * (widths[i + 1] - widths[i])
                depth = depths[i] + along * (depths[i + 1] - depths[i])
                near = depth * np.exp(-gap / (2 * width * width)) if gap < 12 * width * width else 0.0
                if near > valley[y, x]:
                    valley[y, x] = near
                wide = depth * np.exp(-gap / (2 * (2.4 * width) ** 2))
                if wide > shoulder[y, x]:
                    shoulder[y, x] = wide
