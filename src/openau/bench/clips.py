"""Clips to measure on: 720p with one face, and the same clip made long without encoding it again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from openau.media import open_video

WIDTH, HEIGHT, RATE = 1280, 720, 30

Image = npt.NDArray[np.uint8]


def make_720p(source: Path, target: Path, seconds: float) -> Path:
    """Fit a clip into 1280×720 at 30 frames per second, on grey, repeated up to a length.

    Args:
        source: any video.
        target: the .mp4 to write.
        seconds: length of the new clip.
    """
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frames = cycle(_there_and_back(source))
        for index in range(round(seconds * RATE)):
            frame = av.VideoFrame.from_ndarray(next(frames), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return target


def _there_and_back(source: Path) -> list[Image]:
    """Frames forwards then backwards, so that a repetition has no jump."""
    with open_video(source) as video:
        frames = [_fit(frame.image) for frame in video]
    return frames + frames[-2:0:-1]


def _fit(image: Image) -> Image:
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    canvas = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    y, x = (HEIGHT - height) // 2, (WIDTH - width) // 2
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
