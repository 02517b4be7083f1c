"""What happens between the lens and the file: things in front of the face, blur, tone, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from openau.synth.fields import blurred, to_bytes
from openau.synth.parameters import Finish, Occluder

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def apply_finish(image: Bytes, finish: Finish, rng: np.random.Generator) -> Bytes:
    """Blur, reduced resolution, tone, monochrome and noise of an RGB image (H, W, 3) uint8; JPEG is `encode`'s part.

    Parameters that change nothing leave every byte as it is.
    """
    picture = image
    if finish.blur > 0.05:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), finish.blur), np.uint8)
    if finish.resolution < 1:
        height, width = picture.shape[:2]
        small = (max(round(width * finish.resolution), 8), max(round(height * finish.resolution), 8))
        picture = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), np.uint8)
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    curves = _tone_curves(finish)
    if curves is not None:
        picture = np.asarray(cv2.LUT(picture, curves), np.uint8)
    if finish.grey:
        picture = np.repeat(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, axis=2)
    if finish.noise > 0:
        picture = _add_noise(picture, finish.noise, finish.grey, rng)
    return picture


def occlude(image: Bytes, occluder: Occluder, rng: np.random.Generator) -> Bytes:
    """Put a soft-edged, lightly shaded object in front of an RGB image (H, W, 3) uint8."""
    size = image.shape[0]
    mask = np.zeros(image.shape[:2], np.uint8)
    centre = np.array(occluder.centre) * size
    turn = np.radians(occluder.angle)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    if occluder.kind == "bar":
        half = 0.3 * occluder.size * size
        outline = [centre + a * 2 * size * along + b * half * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    else:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = occluder.size * size * np.exp(np.repeat(rng.normal(0, 0.12, 8), 3))
        outline = [
            centre + r * (1.3 * np.cos(a) * along + 0.8 * np.sin(a) * across)
            for a, r in zip(angles, radius, strict=True)
        ]
    cv2.fillPoly(mask, [np.round(np.array(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    soft = blurred(mask, max(0.006 * size, 0.5))[..., None]
    shading = blurred(mask, 0.35 * occluder.size * size)[..., None]
    ramp = np.linspace(1.12, 0.85, size, dtype=np.float32)[:, None, None]
    muted = 0.4 * np.array(occluder.colour, np.float32) + 0.6 * np.float32(np.mean(occluder.colour))
    colour = muted * 255 * (0.55 + 0.45 * shading) * ramp
    return to_bytes(image * (1 - soft) + colour * soft)


def encode(image: Bytes, finish: Finish) -> bytes:
    """The JPEG file of an RGB image, at the finish's quality."""
    written, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, finish.quality]
    )
    if not written:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as JPEG")
    return data.tobytes()


def _tone_curves(finish: Finish) -> Bytes | None:
    """Gamma, contrast around the middle, brightness and colour gains as one table (1, 256, 3); None where they change nothing."""
    if finish.gamma == 1 and finish.contrast == 1 and finish.brightness == 0 and finish.colour == (1.0, 1.0, 1.0):
        return None
    level = 255 * (np.arange(256) / 255) ** finish.gamma
    level = (level - 127.5) * finish.contrast + 127.5 + finish.brightness
    return to_bytes(level[:, None] * np.array(finish.colour))[None]


def _add_noise(picture: Bytes, sigma: float, grey: bool, rng: np.random.Generator) -> Bytes:
    """Luminance noise with a little colour noise, drawn from a table (a normal draw per pixel would cost more than the whole finish)."""
    height, width = picture.shape[:2]
    table = (sigma * rng.standard_normal(4096, np.float32)).astype(np.float32)
    luma = table[rng.integers(0, 4096, (height, width), np.uint16)]
    result = picture.astype(np.float32) + luma[..., None]
    if not grey:
        chroma = table[rng.integers(0, 4096, (height // 2 + 1, width // 2 + 1, 3), np.uint16)] * np.float32(0.5)
        result += cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
    return to_bytes(result)
