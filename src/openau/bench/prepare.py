"""What preparing a data set costs: frames per second beside those of decoding alone."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from openau.datasets.folder import READER
from openau.datasets.prepare import Plan, prepare
from openau.media import open_video, read_image

VIDEO = (1024, 768)
"""Size of DISFA's videos …"""
PICTURE = (1040, 1392)
"""… and of BP4D's pictures."""
_QUALITY = 95

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames per second of one kind of recording with so many workers; `decode` is reading alone, in one process."""

    kind: str
    workers: int
    frames: int
    decode: float
    prepare: float


def time_prepare(clip: Path, frames: int, counts: Sequence[int]) -> Iterator[Rate]:
    """Prepare look-alike recordings of a clip's face, one per worker of the largest count; starting the workers is not included.

    Args:
        clip: any video with one face.
        frames: of each recording.
        counts: numbers of workers to time.
    """
    kinds: tuple[tuple[str, tuple[int, int], Callable[[Path, Iterator[Image]], None]], ...] = (
        ("video 1024×768", VIDEO, _write_video),
        ("JPEG 1040×1392", PICTURE, _write_pictures),
    )
    for kind, size, write in kinds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            for number in range(max(counts)):
                (root / str(number)).mkdir(parents=True)
                write(root / str(number), islice(_frames(clip, size), frames))
            _write_table(root)
            decode = _time_decoding(root)
            for workers in counts:
                out = Path(folder) / f"out{workers}"
                yield Rate(kind, workers, frames * max(counts), decode, _time_run(root, out, workers))
                shutil.rmtree(out)


def _time_run(root: Path, out: Path, workers: int) -> float:
    """Frames per second between the first and the last report of progress."""
    times: list[tuple[float, int]] = []
    prepare(READER, Plan(root, out), workers, on_frames=lambda done: times.append((time.perf_counter(), done)))
    return sum(done for _, done in times[1:]) / (times[-1][0] - times[0][0])


def _time_decoding(root: Path) -> float:
    start, count = time.perf_counter(), 0
    for path in sorted((root / "0").iterdir()):
        if path.suffix == ".jpg":
            read_image(path)
            count += 1
        else:
            with open_video(path) as video:
                count += sum(1 for _ in video)
    return count / (time.perf_counter() - start)


def _frames(clip: Path, size: tuple[int, int]) -> Iterator[Image]:
    """The clip, there and back again, enlarged to fill the size."""
    with open_video(clip) as video:
        source = [frame.image for frame in video]
    scale = max(size) / min(source[0].shape[:2])
    for image in cycle(source + source[-2:0:-1]):
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        yield np.ascontiguousarray(large[: size[1], : size[0]], np.uint8)


def _write_video(folder: Path, frames: Iterator[Image]) -> None:
    with av.open(str(folder / "video.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=20, options={"q": "4"})
        stream.width, stream.height, stream.pix_fmt = *VIDEO, "yuv420p"
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def _write_pictures(folder: Path, frames: Iterator[Image]) -> None:
    for index, image in enumerate(frames):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{index:04d}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def _write_table(root: Path) -> None:
    lines = ["file,frame,clip,AU12"]
    for path in sorted(root.rglob("*.*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".jpg":
            lines.append(f"{name},{int(path.stem)},{path.parent.name},{int(path.stem) % 2}")
        else:
            with open_video(path) as video:
                lines += [f"{name},{frame.index},,{frame.index % 2}" for frame in video]
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
