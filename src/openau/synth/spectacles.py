"""Spectacles as geometry: rims, bridge and temples that sit on a head and turn with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.synth.parameters import Glasses
from openau.synth.rig import Floats, Ints

Points = npt.NDArray[np.float64]

_RIM_STEPS = 32
_HALF_BRIDGE = 0.14
"""Least distance of a lens from the middle, in inter-ocular distances."""

_DEPTH = 0.28
"""Depth of the frame from front to back, cm."""


@dataclass(frozen=True, slots=True, eq=False)
class Spectacles:
    """A frame and its lenses on a neutral head: vertices (K, 3) cm, triangles of frame (T, 3) and lenses (U, 3)."""

    vertices: Floats
    frame: Ints
    lenses: Ints


def build(glasses: Glasses, landmarks: Floats, corneas: Floats) -> Spectacles:
    """Fit a pair of spectacles.

    Args:
        glasses: what they look like.
        landmarks: (68, 3) of the neutral head, cm.
        corneas: (2, 3) foremost points of the left and right eyeball, cm.
    """
    points = landmarks.astype(np.float64)
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    between = float(np.linalg.norm(left - right))
    middle = (left + right) / 2
    plane = max(float(corneas[:, 2].max()) + 0.9, float(points[19:25, 2].max()) + 0.5, float(points[28, 2]) - 0.35)
    thickness = max(glasses.thickness * between, 0.09)
    mesh = _Mesh()
    for eye, outward in ((right, -1.0), (left, 1.0)):
        aside = max(1.04 * abs(eye[0] - middle[0]), (glasses.width + _HALF_BRIDGE) * between)
        centre = np.array([middle[0] + outward * aside, middle[1] - (glasses.drop + 0.08) * between, plane])
        rim = _rim(glasses, centre, between)
        mesh.ring(rim, centre, thickness, float(middle[0]))
        half_width = glasses.width * between + 0.5 * thickness
        hinge = centre + np.array([outward * half_width, 0.45 * glasses.height * between, 0])
        hinge[2] -= _bend(hinge[0], float(middle[0]))
        ear = points[16 if outward > 0 else 0] + np.array([outward * 0.45, 0.0, 0.0])
        ear[1] = middle[1] + 0.1
        behind = ear + np.array([-outward * 0.2, -0.3, -2.2])
        corner = hinge + np.array([outward * 0.16, 0.0, -0.3])
        mesh.rod(np.array([hinge, corner, 0.5 * (corner + ear), ear, behind]), 0.12, max(0.2, 0.7 * thickness))
    half = max(0.52 * abs(left[0] - right[0]) - glasses.width * between, _HALF_BRIDGE * between)
    along = np.linspace(-1, 1, 7)
    height = middle[1] - (glasses.drop + 0.02) * between
    bridge = np.stack([middle[0] + along * half, height + 0.18 * (1 - along**2), plane + 0.15 * (1 - along**2)], 1)
    mesh.rod(bridge, 0.14, max(0.14, thickness))
    return mesh.finish()


def _bend(x: npt.ArrayLike, middle: float) -> Points:
    """How far the frame lies back at x: fronts are slightly curved around the face."""
    return np.asarray(0.022 * (np.asarray(x, np.float64) - middle) ** 2)


def _rim(glasses: Glasses, centre: Points, between: float) -> Points:
    """Outline (N, 2) of a lens: between an ellipse and a rounded rectangle, a little narrower below."""
    angle = np.linspace(0, 2 * np.pi, _RIM_STEPS, endpoint=False)
    power = 2 / (2 + 3.5 * glasses.squareness)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    x *= 1 + 0.06 * y
    return centre[:2] + np.stack([x * glasses.width, y * glasses.height], 1) * between


class _Mesh:
    def __init__(self) -> None:
        self._vertices: list[Points] = []
        self._frame: list[npt.NDArray[np.int64]] = []
        self._lenses: list[npt.NDArray[np.int64]] = []
        self._count = 0

    def ring(self, outline: Points, centre: Points, thickness: float, middle: float) -> None:
        """A rim of rectangular section around an outline, and the lens inside."""
        outward = outline - centre[:2]
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        section = []
        for side, back in ((0.0, 0.0), (1.0, 0.0), (1.0, -_DEPTH), (0.0, -_DEPTH)):
            flat = outline + outward * side * thickness
            section.append(np.column_stack([flat, centre[2] - _bend(flat[:, 0], middle) + back]))
        first, count = self._add(np.concatenate(section)), len(outline)
        step, following = np.arange(count), (np.arange(count) + 1) % count
        for a in range(4):
            b = (a + 1) % 4
            self._quads(
                first + a * count + step,
                first + b * count + step,
                first + b * count + following,
                first + a * count + following,
            )
        hub = self._add(np.array([[centre[0], centre[1], centre[2] - _bend(centre[0], middle) - 0.4 * _DEPTH]]))
        inner = first + 3 * count
        self._lenses.append(np.stack([np.full(count, hub), inner + step, inner + following], 1))

    def rod(self, path: Points, width: float, height: float) -> None:
        """A rod of rectangular section along a path; width lies across the path in the horizontal plane."""
        direction = np.gradient(path, axis=0)
        across = np.stack([-direction[:, 2], np.zeros(len(path)), direction[:, 0]], 1)
        across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
        up = np.array([0.0, 1.0, 0.0])
        section = [path + a * width / 2 * across + b * height / 2 * up for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        first, count = self._add(np.concatenate(section)), len(path)
        step = np.arange(count - 1)
        for a in range(4):
            b = (a + 1) % 4
            self._quads(
                first + a * count + step,
                first + b * count + step,
                first + b * count + step + 1,
                first + a * count + step + 1,
            )

    def finish(self) -> Spectacles:
        return Spectacles(
            np.concatenate(self._vertices).astype(np.float32),
            np.concatenate(self._frame).astype(np.int32),
            np.concatenate(self._lenses).astype(np.int32),
        )

    def _add(self, vertices: Points) -> int:
        first = self._count
        self._vertices.append(vertices)
        self._count += len(vertices)
        return first

    def _quads(self, *corners: npt.NDArray[np.int64]) -> None:
        a, b, c, d = corners
        self._frame += [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
