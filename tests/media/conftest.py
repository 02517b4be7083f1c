"""Pictures and videos made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 160, 96


def frame_image(index: int) -> np.ndarray:
    """A noisy picture (so that its coded size is not negligible) whose brightness tells its index."""
    noise = np.random.default_rng(index).integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    noise[:16] = index * 2 % 256
    noise[:32, : WIDTH // 2, 0] = 255  # red in the upper left corner: tells how a picture is turned
    return noise


def write_video(
    path: Path,
    codec: str,
    frames: int = 60,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    sound: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode `frames` pictures at 30 per second, or at `times` in milliseconds; `sound` seconds of silence."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        base = Fraction(1, 1000) if times else Fraction(1, 30)
        if times:
            stream.codec_context.time_base = base
        audio = container.add_stream("aac", rate=16000) if sound else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(frame_image(index), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (times[index] if times else index), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            for block in range(int(sound * 16000 / 1024)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts = 16000, block * 1024
                container.mux(audio.encode(silence))
            container.mux(audio.encode())
    return path


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """`video("clip.mp4", "libx264", …)` writes a clip into the test's folder."""
    return lambda name, codec, **settings: write_video(tmp_path / name, codec, **settings)


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file's bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path
