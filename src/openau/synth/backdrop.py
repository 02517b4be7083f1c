"""What is behind a face: defocused rooms and streets, studio walls, or crops of a folder's images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openau.errors import InputError
from openau.synth.fields import noise, to_bytes

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def backdrop(seed: int, size: int, images: Sequence[Path] = ()) -> Bytes:
    """A background (size, size, 3) uint8 RGB: procedural, or a blurred crop of one of the images.

    Args:
        seed: picks and draws it.
        size: side in pixels.
        images: image files to choose from; none makes it procedural.

    Raises:
        InputError: the chosen file is not a readable image.
    """
    rng = np.random.default_rng(seed)
    if images:
        return _crop(images[int(rng.integers(len(images)))], size, rng)
    kind = rng.random()
    if kind < 0.25:
        picture = _studio(size, rng)
    elif kind < 0.7:
        picture = _room(size, rng)
    else:
        picture = _outdoors(size, rng)
    grey = picture.mean(-1, keepdims=True)
    picture = grey + (picture - grey) * np.float32(rng.uniform(0.25, 0.95))
    picture = picture * np.float32(rng.uniform(0.55, 1.15))
    return to_bytes(picture)


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float) -> Floats:
    """An sRGB colour of a brightness between `low` and `high` and at most this saturation."""
    value = rng.uniform(low, high)
    warm, green = rng.normal(0.15, 0.5), rng.normal(0, 0.18)
    # things are brown to blue more often than anything else
    tint = np.array([warm - 0.5 * green, 0.15 * warm + green, -warm - 0.5 * green])
    return np.asarray(np.clip(value * (1 + saturation * np.clip(tint, -1, 1)), 0, 255), np.float32)


def _studio(size: int, rng: np.random.Generator) -> Floats:
    """A plain wall with the light falling off towards the corners."""
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    centre = rng.uniform(0.2, 0.8, 2)
    distance = np.hypot(steps[None, :] - centre[0], steps[:, None] - centre[1]).astype(np.float32)
    falloff = 1 - np.float32(rng.uniform(0.1, 0.75)) * distance
    wall = _colour(rng, 30, 235, 0.35) * falloff[..., None]
    return np.asarray(
        wall * (1 + np.float32(rng.uniform(0, 0.04)) * noise(size, {3: 1, 9: 0.7, 40: 0.4}, rng)[..., None]), np.float32
    )


def _room(size: int, rng: np.random.Generator) -> Floats:
    """Walls, door frames, shelves, pictures, windows and lamps, out of focus."""
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = _colour(rng, 60, 215, 0.3)
    picture *= np.linspace(rng.uniform(0.7, 1.2), rng.uniform(0.6, 1.1), size, dtype=np.float32)[None, :, None]
    if rng.random() < 0.6:  # a table, a bench, the floor
        picture[int(size * rng.uniform(0.5, 0.95)) :] = _colour(rng, 30, 170, 0.5)
    for _ in range(int(rng.integers(2, 9))):
        upright = rng.random() < 0.6
        width, height = (
            (rng.uniform(0.03, 0.25), rng.uniform(0.3, 1.2))
            if upright
            else (rng.uniform(0.2, 1.0), rng.uniform(0.02, 0.2))
        )
        x, y = rng.uniform(-0.2, 1.0), rng.uniform(-0.3, 0.9)
        corner, far = (int(x * size), int(y * size)), (int((x + width) * size), int((y + height) * size))
        colour = _colour(rng, 20, 245, 0.45)
        cv2.rectangle(picture, corner, far, tuple(float(c) for c in colour), -1)
        if width > 0.15 and rng.random() < 0.4:  # shelves of small things
            for step in np.arange(corner[0], far[0], max(size // 40, 2)):
                band = _colour(rng, 20, 220, 0.6)
                top = int(far[1] - (far[1] - corner[1]) * rng.uniform(0.5, 1))
                cv2.rectangle(
                    picture, (int(step), top), (int(step + size // 50), far[1]), tuple(float(c) for c in band), -1
                )
    if rng.random() < 0.4:
        _lamps(picture, rng, int(rng.integers(1, 5)))
    return _defocus(picture, rng, 2.5, 11)


def _outdoors(size: int, rng: np.random.Generator) -> Floats:
    """Sky or bright air above, foliage, house fronts or a street below."""
    picture = np.empty((size, size, 3), np.float32)
    sky = np.array([rng.uniform(150, 235)] * 3, np.float32) + np.array([-12, 0, 14], np.float32) * np.float32(
        rng.uniform(0, 2)
    )
    ground = _colour(rng, 60, 170, 0.25)
    horizon = rng.uniform(0.2, 0.9)
    share = np.clip(
        (np.linspace(0, 1, size, dtype=np.float32) - horizon) / np.float32(rng.uniform(0.02, 0.4)) + 0.5, 0, 1
    )
    picture[:] = (sky * (1 - share[:, None]) + ground * share[:, None])[:, None]
    if rng.random() < 0.65:
        leaves = noise(size, {6: 1, 14: 0.9, 34: 0.8, 80: 0.6}, rng)
        cover = np.clip(noise(size, {3: 1, 6: 0.8}, rng) * 1.5 + rng.uniform(-0.5, 1.2), 0, 1)[..., None]
        green = np.array([rng.uniform(45, 95), rng.uniform(70, 110), rng.uniform(35, 65)], np.float32)
        picture += cover * (green * (1 + 0.45 * leaves[..., None]) - picture)
    else:
        for _ in range(int(rng.integers(2, 7))):
            x, width, top = rng.uniform(-0.1, 1), rng.uniform(0.1, 0.5), rng.uniform(0.0, 0.6)
            front = tuple(float(c) for c in _colour(rng, 50, 200, 0.35))
            cv2.rectangle(picture, (int(x * size), int(top * size)), (int((x + width) * size), size), front, -1)
    if rng.random() < 0.35:
        _lamps(picture, rng, int(rng.integers(4, 22)))
    return _defocus(picture, rng, 2.5, 12)


def _lamps(picture: Floats, rng: np.random.Generator, count: int) -> None:
    """Out-of-focus highlights: discs of light."""
    size = picture.shape[0]
    radius = max(int(size * rng.uniform(0.01, 0.05)), 1)
    warm = np.array([255, 235, 205], np.float32)
    layer = np.zeros((size, size), np.float32)
    for _ in range(count):
        centre = (int(rng.uniform(0, size)), int(rng.uniform(0, 0.8 * size)))
        cv2.circle(layer, centre, radius, float(rng.uniform(0.25, 0.8)), -1)
    picture += layer[..., None] * (warm - picture)


def _defocus(picture: Floats, rng: np.random.Generator, low: float, high: float) -> Floats:
    size = picture.shape[0]
    sigma = float(np.exp(rng.uniform(np.log(low), np.log(high)))) * size / 224
    uneven = 1 + np.float32(rng.uniform(0.02, 0.16)) * noise(size, {3: 1, 7: 0.8, 24: 0.3}, rng)[..., None]
    return np.asarray(cv2.GaussianBlur(picture * uneven, (0, 0), sigma), np.float32)


def _crop(path: Path, size: int, rng: np.random.Generator) -> Bytes:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise InputError(f"{path}: not an image that can serve as a background")
    short = min(image.shape[:2])
    side = max(int(short * rng.uniform(0.4, 1.0)), 1)
    x, y = int(rng.integers(image.shape[1] - side + 1)), int(rng.integers(image.shape[0] - side + 1))
    crop = np.asarray(
        cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA), np.uint8
    )
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.6, 6)) * size / 224), np.uint8)
