"""A film for the camera that Chromium pretends to have."""

from __future__ import annotations

from pathlib import Path

import av
from av.video.frame import PictureType


def write_mjpeg(clip: Path, path: Path) -> Path:
    """A clip as Chromium's fake camera plays it, again and again."""
    with av.open(str(clip)) as source, av.open(str(path), "w", format="mjpeg") as out:
        video = source.streams.video[0]
        stream = out.add_stream("mjpeg", rate=25, options={"q:v": "3"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuvj420p"
        for frame in source.decode(video):
            frame.pict_type = PictureType.NONE
            out.mux(stream.encode(frame.reformat(format="yuvj420p")))
        out.mux(stream.encode())
    return path


def flags(film: Path) -> tuple[str, ...]:
    """Chromium's: a camera that plays a film, which every page may use."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
