"""Crops: which part of the picture a network sees, under a name, the same in training and detection.

A crop is described by a 2×3 matrix that maps image points to crop points. Points count from the outer corner of the first
pixel (pixel centres at +0.5); OpenCV's own functions count from pixel centres, and `warp` is the one place that converts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from openau.faces.detect import Detection

Points = npt.NDArray[Any]
"""(N, 2) or (N, 3) points in pixels."""
Matrix = npt.NDArray[np.float64]
"""(2, 3) affine map from image points to crop points."""
Image = npt.NDArray[np.uint8]

MESH_SIZE = 192
MESH_MARGIN = 1.5
"""Side of Face Mesh's region, in extents of the landmarks (or of the detector's box): what the network was trained with."""

CROP_SIZE = 320
CROP_MARGIN = MESH_MARGIN * 1.25
"""Rim of `crop320` around `mesh192`'s square: its central 256 pixels are that square."""

MESH_IN_CROP: Matrix = np.array([[0.75, 0, -24], [0, 0.75, -24]])
"""(2, 3) from the points of a `crop320` to those of the `mesh192` in its middle."""

FAN_SIZE = 256
"""Side of the crop a FAN sees."""

WIDE_MARGIN, WIDE_RISE = 400 / 195, 0.12
"""The published FANs' crop [R: face-alignment, and the authors' Torch7 code]: a square of 200 (w + h) / 195 around the box of the 68
landmarks, w × h, moved up by 0.12 h; so its side is 2.05 times the box's mean side."""

FACE_OUTLINE = (
    127, 234, 93, 58, 172, 149, 176, 148, 152, 377, 400, 378, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
)  # fmt: skip
"""Face Mesh's points nearest the jaw and brows of the 68 landmarks, which make up their box."""

RIGHT_EYE, LEFT_EYE = (33, 133), (263, 362)
"""Outer and inner corner of the subject's right and left eye."""
NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
"""The subject's right and left corner of the mouth."""

FACE224 = np.array([(77.0, 88.0), (147.0, 88.0), (112.0, 126.0), (85.0, 158.0), (139.0, 158.0)])
"""Where `face224` puts the eye centres, the nose tip and the mouth corners (image left first), in crop pixels.

Eye centres are 70 px apart: a frontal adult face, brows to chin, fills about 150 of the 224 rows and a dropped jaw still
stays inside.
"""


@dataclass(frozen=True, slots=True)
class Template:
    """A named way to crop a face.

    Attributes:
        name: its key in `TEMPLATES`; a model card names it.
        size: side of the square crop, pixels.
        fit: landmarks (468, 2 or 3) in image pixels → matrix (2, 3) from image to crop.
    """

    name: str
    size: int
    fit: Callable[[Points], Matrix]

    def at(self, size: int) -> Template:
        """The same part of the picture on a crop of another side, pixels."""
        factor = size / self.size
        return replace(self, size=size, fit=lambda points: factor * self.fit(points))


def align(image: Image, points: Points, template: Template | str) -> tuple[Image, Matrix]:
    """Crop a face.

    Args:
        image: (H, W, 3) uint8.
        points: Face Mesh landmarks (468, 2 or 3) in image pixels.
        template: a `Template` or its name.

    Returns:
        The crop (size, size, 3) and the matrix (2, 3) that maps image points to crop points.
    """
    chosen = TEMPLATES[template] if isinstance(template, str) else template
    matrix = chosen.fit(points)
    return warp(image, matrix, chosen.size), matrix


def planes(crops: Image) -> npt.NDArray[np.float32]:
    """Crops (n, S, S, 3) RGB uint8 as ONNX networks take them: (n, 3, S, S) float32 in [0, 1]."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) * np.float32(1 / 255)


def region_from_landmarks(points: Points, size: int = MESH_SIZE, margin: float = MESH_MARGIN) -> Matrix:
    """Square region around landmarks (468, 2 or 3): upright with respect to the eyes, `margin` times their larger extent."""
    xy = np.asarray(points, np.float64)[:, :2]
    across = xy[LEFT_EYE[0]] - xy[RIGHT_EYE[0]]
    angle = math.atan2(across[1], across[0])
    upright = xy @ _rotation(-angle).T
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = _rotation(angle) @ ((low + high) / 2)
    return _square(centre, float((high - low).max()) * margin, angle, size)


def region_from_detection(detection: Detection, size: int = MESH_SIZE, margin: float = MESH_MARGIN) -> Matrix:
    """Square region around a detector's box: upright with respect to its eyes, `margin` times the larger side."""
    x, y, width, height = (float(v) for v in detection.box)
    across = detection.keypoints[1] - detection.keypoints[0]
    angle = math.atan2(across[1], across[0])
    return _square(np.array([x + width / 2, y + height / 2]), max(width, height) * margin, angle, size)


def wide_region(points: Points, size: int = FAN_SIZE) -> Matrix:
    """The square region in which published FANs expect the face of Face Mesh landmarks (468, 2 or 3).

    `WIDE_MARGIN` and `WIDE_RISE` around the box of the points of `FACE_OUTLINE`. The published code does not turn the crop; here the box
    and the square are upright with respect to the eyes, as in all our templates [I].
    """
    xy = np.asarray(points, np.float64)[:, :2]
    across = xy[LEFT_EYE[0]] - xy[RIGHT_EYE[0]]
    return region_around(xy[list(FACE_OUTLINE)], math.atan2(across[1], across[0]), WIDE_MARGIN, WIDE_RISE, size)


def region_around(points: Points, angle: float, margin: float, rise: float, size: int) -> Matrix:
    """The square turned by `angle` (radians) around points (N, 2).

    Its side is `margin` times the mean side of their box, its centre lies `rise` box heights above the box's.
    """
    upright = np.asarray(points, np.float64) @ _rotation(-angle).T
    low, high = upright.min(axis=0), upright.max(axis=0)
    width, height = high - low
    centre = (low + high) / 2 - (0, rise * height)
    return _square(_rotation(angle) @ centre, float(width + height) / 2 * margin, angle, size)


def five_points(points: Points) -> npt.NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners (5, 2) of Face Mesh landmarks (468, 2 or 3), image left first."""
    xy = np.asarray(points, np.float64)[:, :2]
    eyes = [xy[list(corners)].mean(axis=0) for corners in (RIGHT_EYE, LEFT_EYE)]
    return np.stack([*eyes, xy[NOSE_TIP], *xy[list(MOUTH_CORNERS)]])


def similarity(source: Points, target: Points) -> Matrix:
    """Least-squares rotation, uniform scale and shift (no reflection) that maps `source` (N, 2) onto `target` (N, 2)."""
    z, w = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (source, target))
    z_mean, w_mean = z.mean(), w.mean()
    centred = z - z_mean
    power = float((np.abs(centred) ** 2).sum())
    turn = complex((centred.conj() * (w - w_mean)).sum() / power) if power > 0 else 1 + 0j
    shift = complex(w_mean - turn * z_mean)
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def warp(image: Image, matrix: Matrix, size: int, border: int = cv2.BORDER_CONSTANT) -> Image:
    """Resample a square crop, bilinear; what lies outside the image is black, unless `border` says otherwise.

    A region more than twice as large as the crop is first reduced by area averaging, so that fine structure does not alias.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) from image points to crop points (pixel centres at +0.5).
        size: side of the crop, pixels.
        border: one of OpenCV's ways to go on outside the image.

    Returns:
        (size, size, 3) uint8.
    """
    shrinkage = 1 / math.sqrt(max(abs(float(np.linalg.det(matrix[:, :2]))), 1e-12))
    if shrinkage >= 2:
        image, reduction = _reduce(image, matrix, size, 2 ** int(math.log2(shrinkage)))
        if image.size == 0:
            return np.zeros((size, size, 3), np.uint8)
        matrix = compose(matrix, invert(reduction))
    to_centres = matrix.copy()
    to_centres[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    return np.asarray(
        cv2.warpAffine(image, to_centres, (size, size), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
    )


def apply(matrix: Matrix, points: Points) -> npt.NDArray[np.float32]:
    """Map points (N, 2 or 3); a third coordinate, z, is scaled like x."""
    points = np.asarray(points, np.float64)
    mapped = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if points.shape[1] == 3:
        scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
        mapped = np.concatenate([mapped, points[:, 2:] * scale], axis=1)
    return mapped.astype(np.float32)


def invert(matrix: Matrix) -> Matrix:
    """The matrix of the way back, from crop points to image points."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The matrix that applies `inner` first, then `outer`."""
    linear = outer[:, :2] @ inner
    linear[:, 2] += outer[:, 2]
    return linear


def resize(image: Image, columns: int, rows: int) -> Image:
    """Resample a whole image (H, W, 3) without aliasing: halved as often as possible, which is fast, then area-averaged."""
    height, width = image.shape[:2]
    while width >= 2 * columns and height >= 2 * rows:
        width, height = (width + 1) // 2, (height + 1) // 2
        # At exactly one half, linear interpolation is the average of 2×2 pixels.
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if (width, height) != (columns, rows):
        smaller = columns < width or rows < height
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = cv2.resize(image, (columns, rows), interpolation=method)  # type: ignore[assignment]
    return image


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def _square(centre: npt.NDArray[np.float64], side: float, angle: float, size: int) -> Matrix:
    linear = _rotation(-angle) * (size / max(side, 1e-6))
    return np.concatenate([linear, (size / 2 - linear @ centre)[:, None]], axis=1)


def _reduce(image: Image, matrix: Matrix, size: int, factor: int) -> tuple[Image, Matrix]:
    """The part of the image under the crop, reduced `factor` times, and the exact map from the image to it."""
    corners = apply(invert(matrix), np.array([(0, 0), (size, 0), (0, size), (size, size)]))
    margin = 2 * factor
    edges = []
    for axis, length in enumerate((image.shape[1], image.shape[0])):
        low, high = float(corners[:, axis].min()) - margin, float(corners[:, axis].max()) + margin
        # Whole blocks of `factor` pixels, except for the last one at the far edge of the image.
        edges.append((max(0, math.floor(low / factor) * factor), min(length, math.ceil(high / factor) * factor)))
    (x0, x1), (y0, y1) = edges
    if x1 <= x0 or y1 <= y0:
        return image[:0, :0], np.eye(2, 3)
    columns, rows = math.ceil((x1 - x0) / factor), math.ceil((y1 - y0) / factor)
    sx, sy = columns / (x1 - x0), rows / (y1 - y0)
    return resize(image[y0:y1, x0:x1], columns, rows), np.array([[sx, 0, -x0 * sx], [0, sy, -y0 * sy]])


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "mesh192": Template("mesh192", MESH_SIZE, region_from_landmarks),
        "face224": Template("face224", 224, lambda points: similarity(five_points(points), FACE224)),
        "crop320": Template("crop320", CROP_SIZE, lambda points: region_from_landmarks(points, CROP_SIZE, CROP_MARGIN)),
        "fan256": Template("fan256", FAN_SIZE, lambda points: region_from_landmarks(points, FAN_SIZE)),
        "fan256_wide": Template("fan256_wide", FAN_SIZE, wide_region),
    }
)
"""`mesh192`: square around the landmarks, what Face Mesh sees. `face224`: similarity to five points (`FACE224`). `crop320`: the square
of `mesh192` with a rim, in which prepared data sets keep faces; both others can be cut from it, turned and shifted a little. `fan256`: the
square of `mesh192` at 256 px, what our own FANs see. `fan256_wide`: what published FANs expect (`wide_region`)."""
