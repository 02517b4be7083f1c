"""Short clips of a real face (scikit-image's astronaut, NASA, public domain) that moves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

WIDTH, HEIGHT = 640, 480


def frame(index: int, faces: int = 1, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture (height, width, 3) with up to two faces that drift slowly; with 0 faces, a plain wall."""
    picture = np.full((height, width, 3), (96, 120, 140), np.uint8)
    portrait = data.astronaut()[:260, 90:380]
    for i in range(faces):
        size = height * (0.75 - 0.2 * i)
        scale = size / portrait.shape[0]
        x = width * (0.04 + 0.5 * i) + 6 * np.sin(index / 9 + i)
        y = height * 0.1 + 4 * np.cos(index / 7 + i)
        matrix = np.array([[scale, 0, x], [0, scale, y]], np.float32)
        if i % 2:  # the second person is the mirror image
            matrix = np.array([[-scale, 0, x + scale * portrait.shape[1]], [0, scale, y]], np.float32)
        cv2.warpAffine(portrait, matrix, (width, height), picture, cv2.INTER_AREA, cv2.BORDER_TRANSPARENT)
    return picture


def write_clip(
    path: Path,
    frames: int = 20,
    faces: int = 1,
    rate: int = 25,
    times: list[float] | None = None,
    empty: range = range(0),
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Path:
    """Write an H.264 clip; `times` gives frames their own times, `empty` names frames without a face."""
    base = Fraction(1, 12_800)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "23", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = base
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(
                frame(index, 0 if index in empty else faces, width, height), format="rgb24"
            )
            moment = times[index] if times else index / rate
            picture.pts, picture.time_base = round(moment / base), base
            for packet in stream.encode(picture):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path
