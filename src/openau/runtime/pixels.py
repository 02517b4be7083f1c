"""Pictures that come as arrays: whatever a library hands over becomes RGB uint8."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def as_rgb(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turn an array into (H, W, 3) RGB uint8.

    Args:
        image: (H, W), (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA (laid on white); uint8, uint16 (0–65535), float (0–1) or bool.

    Raises:
        ValueError: another shape or type, an empty picture, or floats outside 0–1.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)) or 0 in image.shape:
        raise ValueError(f"a picture must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {image.shape}")
    pixels = _as_uint8(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.uint16)
        blended = (pixels[:, :, :3].astype(np.uint16) * alpha + 255 * (255 - alpha) + 127) // 255
        pixels = blended.astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _as_uint8(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a picture of floating-point numbers must lie in 0–1, not in {low:g} to {high:g}")
        return np.round(image * 255).astype(np.uint8)
    raise ValueError(f"a picture must be uint8, uint16, bool or float in 0–1, not {image.dtype}")
