"""What pictures suffer in real life, applied before the frozen network sees them.

Rendered faces are clean; news photos, webcams and old films are not. A *mild* copy varies exposure, colour, noise and focus; a *heavy* copy
may lose resolution, colour and contrast, gain shading, glasses, blur, sharpening and JPEG blocks. Degrading the picture before the mesh,
rather than the mesh's features, is what carries over to photos.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_RIGHT_EYE, _LEFT_EYE = (33, 133), (362, 263)
_TEMPLES = (127, 356)
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


def mild(image: Image, rng: np.random.Generator) -> Image:
    """An RGB image (H, W, 3) as a slightly different camera would have taken it: focus, exposure, contrast, colour, noise."""
    picture = image.astype(np.float32)
    if rng.random() < 0.5:
        picture = _blur(picture, float(rng.uniform(0.3, 0.9)))
    picture = _gamma(picture, float(rng.uniform(0.8, 1.25)))
    picture = (picture - 128) * np.float32(rng.uniform(0.85, 1.2)) + np.float32(128 + rng.normal(0, 8))
    picture = picture * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    return _bytes(picture + _noise(picture, float(rng.uniform(0, 3)), rng))


def heavy(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """A badly degraded copy of an RGB image (H, W, 3) whose face has these landmarks (468, 2 or 3) in pixels."""
    source = glasses(image, landmarks, rng) if rng.random() < 0.12 else image
    picture = source.astype(np.float32)
    face_width = float(np.ptp(landmarks[:, 0]))
    if rng.random() < 0.35:
        picture = _shade(picture, landmarks[1, :2], face_width, rng)
    if rng.random() < 0.5:
        picture = np.repeat((picture @ _GREY_WEIGHTS)[..., None], 3, axis=-1)
    picture = _gamma(picture, float(np.exp(rng.normal(0, 0.3))))
    picture = (picture - 128) * np.float32(rng.uniform(0.6, 1.5)) + np.float32(128 + rng.normal(0, 15))
    if rng.random() < 0.5:
        picture = picture * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.7:
        picture = _lose_resolution(picture, face_width, rng)
    if rng.random() < 0.4:
        picture = _blur(picture, float(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.25:
        picture = picture + np.float32(rng.uniform(0.2, 1)) * (picture - _blur(picture, 1.5))
    degraded = _bytes(picture + _noise(picture, float(rng.uniform(0, 7)), rng))
    return _jpeg(degraded, int(rng.integers(25, 92))) if rng.random() < 0.6 else degraded


def glasses(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Draw spectacles over the eyes of an image: a frame, a bridge, temples, now and then tinted lenses."""
    right, left = (landmarks[list(corners), :2].mean(axis=0) for corners in (_RIGHT_EYE, _LEFT_EYE))
    across = left - right
    distance = float(np.linalg.norm(across))
    unit = across / max(distance, 1e-6)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    drop = np.array([0.0, distance * rng.uniform(0, 0.1)])
    axes = (int(distance * rng.uniform(0.33, 0.42)), int(distance * rng.uniform(0.2, 0.33)))
    colour = tuple(float(value) for value in rng.uniform(0, 60 if rng.random() < 0.7 else 200, 3))
    thickness = max(1, round(distance * float(rng.uniform(0.02, 0.1))))
    drawn = image.copy()
    rims = [tuple(int(value) for value in eye + drop) for eye in (right, left)]
    if rng.random() < 0.3:
        tinted = drawn.copy()
        tint = tuple(float(value) for value in rng.uniform(0, 255, 3))
        for rim in rims:
            cv2.ellipse(tinted, rim, axes, angle, 0, 360, tint, -1)
        strength = float(rng.uniform(0.05, 0.3))
        drawn = np.asarray(cv2.addWeighted(drawn, 1 - strength, tinted, strength, 0), np.uint8)
    for rim in rims:
        cv2.ellipse(drawn, rim, axes, angle, 0, 360, colour, thickness, cv2.LINE_AA)
    strokes = [(right + drop * 0.6 + unit * axes[0], left + drop * 0.6 - unit * axes[0])]
    strokes += [
        (right + drop * 0.6 - unit * axes[0], landmarks[_TEMPLES[0], :2]),
        (left + drop * 0.6 + unit * axes[0], landmarks[_TEMPLES[1], :2]),
    ]
    for start, end in strokes:
        cv2.line(drawn, _pixel(start), _pixel(end), colour, thickness, cv2.LINE_AA)
    return drawn


def _pixel(point: npt.NDArray[Any]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _shade(picture: Floats, centre: Floats, face_width: float, rng: np.random.Generator) -> Floats:
    """Light falls off across the face, from bright to dark."""
    direction = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    along = ((columns - centre[0]) * np.cos(direction) + (rows - centre[1]) * np.sin(direction)) / max(face_width, 1)
    gain = 1 + rng.uniform(0.2, 0.7) * np.tanh(along * rng.uniform(1, 4))
    return np.asarray(picture * gain[..., None], np.float32)


def _lose_resolution(picture: Floats, face_width: float, rng: np.random.Generator) -> Floats:
    """Shrink so that the face is 32–110 px wide, add what a small file suffers, enlarge again."""
    rows, columns = picture.shape[:2]
    scale = min(1.0, float(rng.uniform(32, 110)) / max(face_width, 1))
    small = (max(8, int(columns * scale)), max(8, int(rows * scale)))
    reduced = np.asarray(cv2.resize(np.clip(picture, 0, 255), small, interpolation=cv2.INTER_AREA), np.float32)
    if rng.random() < 0.5:
        reduced = reduced + _noise(reduced, float(rng.uniform(0, 8)), rng)
    if rng.random() < 0.6:
        reduced = _jpeg(_bytes(reduced), int(rng.integers(35, 92))).astype(np.float32)
    method = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.45, 0.5, 0.05]))
    return np.asarray(cv2.resize(reduced, (columns, rows), interpolation=method), np.float32)


def _gamma(picture: Floats, gamma: float) -> Floats:
    return np.asarray(255 * np.power(np.clip(picture, 0, 255) / 255, gamma), np.float32)


def _blur(picture: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _noise(picture: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    return np.asarray(rng.standard_normal(picture.shape, np.float32) * np.float32(sigma), np.float32)


def _jpeg(image: Image, quality: int) -> Image:
    """An RGB image as it comes back from a JPEG file."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


def _bytes(picture: Floats) -> Image:
    return np.clip(picture, 0, 255).astype(np.uint8)


View = Callable[[Image, Floats, np.random.Generator], Image]
"""A way to degrade: image, landmarks, generator → image."""


def view(number: int) -> View:
    """View 0 is mild, all others are heavy."""
    if number == 0:
        return lambda image, _landmarks, rng: mild(image, rng)
    return heavy
