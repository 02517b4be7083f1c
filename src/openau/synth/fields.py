"""Smooth fields over an image: noise, blur, soft steps, and the way back to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def noise(side: int, cells: Mapping[int, float], rng: np.random.Generator) -> Floats:
    """Smooth noise (side, side) of roughly unit variance: a sum of random grids (cells per side → weight), enlarged."""
    total = np.zeros((side, side), np.float32)
    for count, weight in cells.items():
        grid = rng.standard_normal((count, count), np.float32)
        interpolation = cv2.INTER_CUBIC if count < side // 4 else cv2.INTER_LINEAR
        total += np.float32(weight) * cv2.resize(grid, (side, side), interpolation=interpolation)
    return total / np.float32(np.sqrt(sum(weight * weight for weight in cells.values())))


def streaks(side: int, across: float, along: float, rng: np.random.Generator) -> Floats:
    """Noise (side, side) of unit variance, drawn out vertically: blurred by `across` and `along` pixels."""
    grain = rng.standard_normal((side, side), np.float32)
    lines = np.asarray(cv2.GaussianBlur(grain, (0, 0), sigmaX=across, sigmaY=along), np.float32)
    return lines / np.float32(max(float(lines.std()), 1e-6))


def smoothstep(low: float, high: float, value: npt.NDArray[np.floating[Any]]) -> Floats:
    """0 at `low`, 1 at `high` (either may be the larger), smooth between and constant beyond."""
    share = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def blurred(image: npt.NDArray[np.floating[Any]] | Bytes, sigma: float) -> Floats:
    """Gaussian blur; bytes become 0–1."""
    soft = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.asarray(soft, np.float32) / np.float32(255 if image.dtype == np.uint8 else 1)


def resized(image: npt.NDArray[Any], side: int) -> Floats:
    """The image at (side, side), enlarged linearly or reduced by area."""
    interpolation = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=interpolation), np.float32)


def to_bytes(colour: npt.NDArray[np.floating[Any]]) -> Bytes:
    """0–255 rounded and clipped to uint8."""
    rounded: Bytes = np.clip(colour + 0.5, 0, 255).astype(np.uint8)
    return rounded
