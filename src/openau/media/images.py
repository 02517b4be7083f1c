"""One picture file → one upright RGB array."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from openau.errors import InputError

MAX_PIXELS = 300_000_000

_ORIENTATION_TAG = 0x0112
_pillow_limit = threading.Lock()


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Read a picture.

    EXIF orientation is applied; transparent parts are shown on white; grey, palette, CMYK and the like become RGB; 16-bit and
    floating-point values (0–1) are scaled to 8 bits over their full range; of an animation, the first picture is read.

    Args:
        path: the file.
        max_pixels: a larger picture is refused by its header, before it is decoded.

    Returns:
        (H, W, 3) RGB uint8, upright.

    Raises:
        InputError: the file is missing, unreadable, not an image, truncated or too large.
    """
    path = Path(path)
    with open_image(path) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise InputError(
                f"{path}: the image has {width} × {height} pixels = {width * height / 1e6:,.0f} megapixels; "
                f"the limit is {max_pixels / 1e6:,.0f}"
            )
        try:
            pixels = _plain_jpeg(path) if image.format == "JPEG" and image.mode == "RGB" else None
            if pixels is None:
                image.load()
                pixels = _rgb(image)
            orientation = _orientation(image)
        except MemoryError:
            raise InputError(f"{path}: there is not enough memory to decode {width} × {height} pixels") from None
        except Exception as error:  # Pillow's readers raise many types on broken files.
            reason = "truncated" if "truncated" in str(error).lower() else "damaged or truncated"
            raise InputError(f"{path}: the image file is {reason} ({_sentence(error)})") from None
    return _upright(pixels, orientation)


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image file and read its header only.

    Raises:
        InputError: the file is missing, unreadable or not an image.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not an image")
    try:
        image = _open_header(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except PermissionError:
        raise InputError(f"{path}: the file may not be read (permission denied)") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise InputError(
            f"{path}: the file is empty" if empty else f"{path}: this is not an image OpenAU can read"
        ) from None
    except Exception as error:  # Pillow's readers raise many types on broken headers.
        raise InputError(f"{path}: the image cannot be opened ({_sentence(error)})") from None
    with image:
        yield image


def _open_header(path: Path) -> ImageFile.ImageFile:
    # Pillow keeps its own, lower limit of pixels in a module variable and warns or raises from `open`; ours replaces it.
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _plain_jpeg(path: Path) -> npt.NDArray[np.uint8] | None:
    """The pixels as OpenCV decodes them: the same as Pillow's, without its copies; None if the file does not end as a JPEG file must.

    Pillow, which notices where data are missing, has the last word on such a file.
    """
    data = np.fromfile(path, np.uint8)
    if data[-2:].tobytes() != b"\xff\xd9":
        return None
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)  # type: ignore[return-value]


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _to_8_bit(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        page.alpha_composite(layer)
        image = page
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)


def _to_8_bit(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Grey values of 16-bit integers (0–65535, also in wider types) or floats (0–1) as 0–255."""
    floating = np.issubdtype(values.dtype, np.floating)
    scaled = np.nan_to_num(values) * 255.0 if floating else values / 257.0
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Damaged EXIF data says nothing; the picture itself is fine.
        return 1


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undo the EXIF orientation 1–8; other values are ignored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
