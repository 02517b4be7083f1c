"""Clips to measure on: one face or several, 720p or larger, and the same clip made long without encoding it again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from types import MappingProxyType

import av
import cv2
import numpy as np
import numpy.typing as npt

from openau.media import open_video

Size = tuple[int, int]
HD: Size = (1280, 720)
SIZES: Mapping[str, Size] = MappingProxyType({"720p": HD, "4k": (3840, 2160)})
"""Width and height, pixels."""
RATE = 30
GREY = 128
STAGGER = 7
"""Frames by which one copy of a face is ahead of the one before."""

Image = npt.NDArray[np.uint8]


def make_clip(source: Path, target: Path, seconds: float, size: Size = HD, faces: int = 1) -> Path:
    """Show a clip of one face once or several times side by side, at 30 frames per second, on grey, repeated up to a length.

    Args:
        source: any video.
        target: the .mp4 to write.
        seconds: length of the new clip.
        size: width and height of the new clip, pixels.
        faces: how many times the clip is shown, in rows of equal cells; each copy is a few frames ahead of the one before.
    """
    width, height = size
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, image in enumerate(islice(_side_by_side(source, size, faces), round(seconds * RATE))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return target


def _side_by_side(source: Path, size: Size, faces: int) -> Iterator[Image]:
    """Frames without end, as `make_clip` shows them."""
    width, height = size
    columns = math.ceil(math.sqrt(faces))
    cell = (width // columns, height // math.ceil(faces / columns))
    pictures = _there_and_back(source, cell)
    for index in count():
        canvas = np.full((height, width, 3), GREY, np.uint8)
        for face in range(faces):
            row, column = divmod(face, columns)
            y, x = row * cell[1], column * cell[0]
            canvas[y : y + cell[1], x : x + cell[0]] = pictures[(index + STAGGER * face) % len(pictures)]
        yield canvas


def _there_and_back(source: Path, size: Size) -> list[Image]:
    """Frames forwards then backwards, so that a repetition has no jump."""
    with open_video(source) as video:
        frames = [_fit(frame.image, size) for frame in video]
    return frames + frames[-2:0:-1]


def _fit(image: Image, size: Size) -> Image:
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    canvas = np.full((size[1], size[0], 3), GREY, np.uint8)
    y, x = (size[1] - height) // 2, (size[0] - width) // 2
    canvas[y : y + height, x : x + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return canvas


def lengthen(source: Path, target: Path, seconds: float) -> Path:
    """Repeat a clip's coded packets until it is `seconds` long; nothing is decoded or encoded."""
    with av.open(str(source)) as original, av.open(str(target), "w") as out:
        stream = original.streams.video[0]
        packets = [packet for packet in original.demux(stream) if packet.dts is not None]
        coded = [
            (bytes(packet), packet.pts or 0, packet.dts or 0, packet.duration or 0, packet.is_keyframe)
            for packet in packets
        ]
        base = stream.time_base
        assert base is not None
        copy = out.add_stream_from_template(stream)
        period = max(pts + duration for _, pts, _, duration, _ in coded) - min(pts for _, pts, *_ in coded)
        for content, pts, dts, duration, key in _repeat(coded, period, round(seconds / base)):
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.duration, packet.time_base = pts, dts, duration, base
            packet.is_keyframe = key
            packet.stream = copy
            out.mux(packet)
    return target


def _repeat(
    coded: list[tuple[bytes, int, int, int, bool]], period: int, end: int
) -> Iterator[tuple[bytes, int, int, int, bool]]:
    start = 0
    while start < end:
        for content, pts, dts, duration, key in coded:
            if pts + start < end:
                yield content, pts + start, dts + start, duration, key
        start += period
