"""People for look-alike data sets: the package's own demo clip (rendered, nobody's face), made into different people by colour and shape.

The frames of one person follow each other as in a recording, and the same call gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from openau.demo import CLIP
from openau.media import open_video

Image = npt.NDArray[np.uint8]
Size = tuple[int, int]

SIZE: Size = (320, 240)
"""Width and height of a frame."""

_FACE = (150.0, 235.0)
"""Middle of the face in the demo clip, pixels …"""
_FACE_HEIGHT = 230.0
"""… and about its height, brows to chin and a little more."""


def person_frames(subject_number: int, count: int, size: Size = SIZE) -> list[Image]:
    """A short recording of one person, who moves; a face can be found in every frame.

    Args:
        subject_number: people of different numbers differ in colour, proportions, place and expression.
        count: of frames; after the demo clip's 200 the person goes back the way they came.
        size: width and height.

    Returns:
        RGB uint8 frames (height, width, 3).
    """
    rng = np.random.default_rng([2, subject_number])
    matrix = _placing(rng, size)
    colours = np.clip(np.arange(256)[None, :, None] * rng.uniform(0.75, 1.25, 3), 0, 255).astype(np.uint8)
    wall = rng.integers(40, 216, 3).tolist()
    source = _demo()
    start = int(rng.integers(len(source)))
    there_and_back = [*range(len(source)), *range(len(source) - 2, 0, -1)]
    frames = []
    for index in range(count):
        picture = source[there_and_back[(start + index) % len(there_and_back)]]
        coloured = cv2.LUT(picture, colours)
        placed = cv2.warpAffine(coloured, matrix, size, flags=cv2.INTER_LINEAR, borderValue=wall)
        frames.append(np.asarray(placed, np.uint8))
    return frames


def write_video(path: Path, frames: Iterable[Image], fps: int) -> Path:
    """Write frames (even width and height) as a video: H.264, or MPEG-4 in an .avi, as DISFA has it."""
    codec, options = ("mpeg4", {"q": "3"}) if path.suffix == ".avi" else ("libx264", {"preset": "ultrafast"})
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options=options)
        for index, frame in enumerate(frames):
            if index == 0:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def write_picture(path: Path, frame: Image) -> Path:
    """Write a frame as a picture in the format of the path's suffix (JPEG with quality 95)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(frame).save(path, quality=95)
    return path


def noise(size: Size = SIZE, seed: int = 0) -> Image:
    """A frame (height, width, 3) without a face."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def write_noise_picture(path: Path, size: Size = SIZE, seed: int = 0) -> Path:
    """Write a picture without a face."""
    return write_picture(path, noise(size, seed))


@cache
def _demo() -> list[Image]:
    with open_video(CLIP) as video:
        return [frame.image for frame in video]


def _placing(rng: np.random.Generator, size: Size) -> npt.NDArray[np.float64]:
    """Where a person sits: (2, 3) from the demo clip's pixels to the frame's, half of them mirrored, wide or narrow, a little tilted."""
    width, height = size
    scale = min(width, height) * rng.uniform(0.5, 0.62) / _FACE_HEIGHT
    stretch = scale * np.diag([rng.choice([-1, 1]) * rng.uniform(0.92, 1.08), rng.uniform(0.95, 1.05)])
    angle = np.radians(rng.uniform(-6, 6))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ stretch
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.05, 0.05, 2))
    return np.concatenate([linear, (centre - linear @ np.array(_FACE))[:, None]], axis=1)
