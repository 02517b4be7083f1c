"""A worker process: it alone opens what comes from outside, finds the faces and judges them.

Whatever a file does to a decoder, it does it here; the server starts another worker and goes on.
"""

from __future__ import annotations

import importlib.util
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np

from openau import __version__
from openau.errors import InputError, OpenAUError
from openau.faces.track import Tracker
from openau.media import classify, open_video, read_image
from openau.media.images import open_image
from openau.result import Faces
from openau.runtime import Detector
from openau.serve.messages import Message, receive, send
from openau.sinks import FormatName, TableSink
from openau.sinks.formats import make_format, rounded

IMAGE_FORMATS = frozenset(
    {"JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA"}
)
"""Pillow's readers that are let near an upload; others start programs (PostScript) or are seldom asked for and seldom tested."""
VIDEO_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,mjpeg,yuv4mpegpipe,h264,hevc"
"""FFmpeg's readers that are let near an upload; playlists, which name other files and addresses, are not among them."""
KEPT_MODELS = 2
"""Models a worker holds in memory."""
REPORT_SECONDS = 0.2
"""Time between two reports of how far a video is."""
MOST_PER_SECOND = 240
"""Frames per second of the fastest videos: so many frames without an end of their time are no video."""
RESULTS: tuple[FormatName, ...] = ("csv", "jsonl", "parquet")


class RefusedError(Exception):
    """A file that is not taken: HTTP status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(slots=True)
class _Live:
    """A live session: its tracker, and when it began."""

    detector: Detector
    tracker: Tracker
    began: float


@dataclass(slots=True)
class Worker:
    """Does what it is told, one thing at a time.

    Args:
        say: sends a message on the way.
    """

    say: Callable[[Message], None]
    detectors: dict[str, Detector] = field(default_factory=dict)
    sessions: dict[str, _Live] = field(default_factory=dict)

    def load(self, model: str) -> Message:
        """Load a model; answers with its columns."""
        return {"columns": self.detector(model).columns.names}

    def detector(self, model: str) -> Detector:
        """The detector of a model; the one not used for longest makes room."""
        found = self.detectors.pop(model, None) or Detector(model)
        self.detectors[model] = found
        while len(self.detectors) > KEPT_MODELS:
            del self.detectors[next(iter(self.detectors))]
        return found

    def look(
        self, path: str, name: str, model: str, max_pixels: int, max_seconds: float, csv: bool, landmarks: bool
    ) -> Message:
        """Judge a photo, or say what kind of video this is.

        Raises:
            RefusedError: the file is neither, is broken or too large.
        """
        file = Path(path)
        if _kind(file) == "video":
            return {"kind": "video", **_check_video(file, max_pixels, max_seconds)}
        image = read_image(file, max_pixels)
        detector = self.detector(model)
        started = time.perf_counter()
        faces = detector.look(image, name).faces
        seconds = time.perf_counter() - started
        answer = {
            "kind": "image", "model": detector.card.name, "width": image.shape[1], "height": image.shape[0],
            "faces": int(faces.has_face.sum()), "seconds": round(seconds, 4), "rows": rows(faces),
        }  # fmt: skip
        if csv:
            form = make_format("csv", faces.columns)
            answer["csv"] = (form.header() + form.encode(faces)).decode()
        if landmarks:
            answer["landmarks"] = points(faces)
        return answer

    def video(self, path: str, name: str, model: str, out: str, max_seconds: float, report: bool) -> Message:
        """Judge a video; tables `result.csv` … and, if asked for, `report.html` go to the folder `out`, progress is told on the way.

        Raises:
            RefusedError: it is longer than its header said and than is allowed.
            InputError: it cannot be read at all, or not to its end; what was read is in the tables then.
        """
        detector = self.detector(model)
        sinks = [
            TableSink(Path(out) / f"result.{kind}", detector.columns, kind)
            for kind in RESULTS
            if kind != "parquet" or has_parquet()
        ]
        seen_faces: list[Faces] = []
        frames = found = 0
        reported = 0.0
        problem = ""
        try:
            with open_video(path) as stream:
                for seen in detector.watch_frames(stream, name):
                    if seen.frame.time > max_seconds or frames >= max_seconds * MOST_PER_SECOND:
                        raise RefusedError(
                            413,
                            f"{name}: the video is longer than this server takes ({max_seconds:g} s; --max-seconds)",
                        )
                    for sink in sinks:
                        sink.write(seen.faces)
                    if report:
                        seen_faces.append(replace(seen.faces, landmarks=None))
                    frames += 1
                    found += int(seen.faces.has_face.sum())
                    now = time.monotonic()
                    if now - reported >= REPORT_SECONDS:
                        reported = now
                        share = min(1.0, seen.frame.time / stream.duration) if stream.duration else None
                        self.say({"progress": share, "frames": frames, "faces": found, "time": seen.frame.time})
        except InputError as error:
            if not frames:
                raise
            problem = str(error).replace(path, name)
        finally:
            for sink in sinks:
                sink.close() if frames else sink.discard()
        if report:
            self.say({"progress": None, "frames": frames, "faces": found})
            problem = problem or _report(Faces.concatenate(seen_faces), Path(path), name, detector, Path(out))
        return {"frames": frames, "faces": found, "problem": problem}

    def frame(self, session: str, model: str, max_pixels: int, payload: bytes) -> Message:
        """Judge the next frame of a live session, a JPEG.

        Raises:
            RefusedError: it is not a JPEG, or too large.
        """
        started = time.perf_counter()
        image = _jpeg(payload, max_pixels)
        live = self.sessions.get(session)
        if live is None:
            detector = self.detector(model)
            live = self.sessions[session] = _Live(detector, Tracker(detector.finder), started)
        tracked = live.tracker.update(image, started - live.began)
        faces = live.detector.look(image, "live", [t.face for t in tracked]).faces
        names = faces.columns.names
        return {
            "width": image.shape[1],
            "height": image.shape[0],
            "faces": [
                {
                    "id": t.id,
                    "score": round(float(faces.score[i]), 3),
                    "box": _round(faces.box[i], 1),
                    "pose": _round(faces.pose[i], 1),
                    "values": dict(zip(names, _round(faces.values[i], 3), strict=True)),
                    "landmarks": _round(t.face.landmarks[:, :2].ravel(), 1),
                }
                for i, t in enumerate(tracked)
            ],
            "ms": round(1000 * (time.perf_counter() - started), 2),
        }

    def forget(self, session: str) -> Message:
        """A live session is over."""
        self.sessions.pop(session, None)
        return {}


def _report(faces: Faces, video: Path, name: str, detector: Detector, out: Path) -> str:
    """Write `report.html`; what keeps it from being written, or nothing."""
    from openau.report import Provenance, render

    settings = {"model": detector.card.name, "sha256": detector.card.asset.sha256, "mirror": str(detector.mirror)}
    try:
        # Without a folder it has no link to the video, which will be gone.
        page = render(faces, {name: video}, Provenance(__version__, settings, detector.card))
    except OpenAUError as error:
        return f"there is no report: {str(error).replace(str(video), name)}"
    (out / "report.html").write_text(page, encoding="utf-8", newline="\n")
    return ""


def rows(faces: Faces) -> list[dict[str, Any]]:
    """The rows of a table as JSON values, rounded as tables are."""
    table = rounded(faces)
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def points(faces: Faces) -> list[list[float]]:
    """Landmarks of each face: x and y of one point after the other."""
    return [] if faces.landmarks is None else [_round(face[:, :2].ravel(), 1) for face in faces.landmarks]


def has_parquet() -> bool:
    """Whether Parquet can be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def has_report() -> bool:
    """Whether reports can be written."""
    return importlib.util.find_spec("jinja2") is not None


def _round(values: Any, places: int) -> list[float]:
    return [round(float(v), places) for v in values]


def _kind(file: Path) -> str:
    """Whether an upload is an image or a video.

    Raises:
        RefusedError: 415 it is neither.
        InputError: it is one, but broken.
    """
    try:
        with open_image(file) as image:
            if image.format in IMAGE_FORMATS:
                animated = image.format == "GIF" and getattr(image, "is_animated", False)
                return "video" if animated else "image"
    except InputError:
        pass
    if _is_video(file):
        return "video"
    with file.open("rb") as opened:
        head = opened.read(12)
    if head[4:8] == b"ftyp":
        return classify(file)  # a truncated MP4 or HEIF, of which its reader knows what is missing
    raise RefusedError(415, f"{file}: this is neither a photo nor a video OpenAU can read")


def _is_video(file: Path) -> bool:
    try:
        with _open(file) as container:
            return bool(container.streams.video)
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _open(file: Path) -> Any:
    """A video's header, with readers that open no other file than this one."""
    options = {"format_whitelist": VIDEO_FORMATS, "protocol_whitelist": "file"}
    return av.open(str(file), options=options, metadata_errors="replace")


def _check_video(file: Path, max_pixels: int, max_seconds: float) -> Message:
    """Facts of a video's header.

    Raises:
        RefusedError: its frames are too large, or it is too long.
        InputError: it cannot be read.
    """
    try:
        with _open(file) as container:
            size = container.streams.video[0]
            pixels = size.width * size.height
    except (av.error.FFmpegError, OSError, ValueError, IndexError):
        pixels = 0  # the reader says what is wrong
    if pixels > max_pixels:
        raise RefusedError(
            413,
            f"{file}: a frame has {pixels / 1e6:,.0f} megapixels; the limit is {max_pixels / 1e6:,.0f} (--max-megapixels)",
        )
    with open_video(file) as stream:
        if stream.duration and stream.duration > max_seconds:
            raise RefusedError(
                413,
                f"{file}: the video is {stream.duration:,.0f} s long; the limit is {max_seconds:,.0f} s (--max-seconds)",
            )
        return {"width": stream.width, "height": stream.height, "duration": stream.duration, "rate": stream.rate}


def _jpeg(data: bytes, max_pixels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode a live frame."""
    width, height = _jpeg_size(data)
    if not width:
        raise RefusedError(415, "a live frame must be a JPEG")
    if width * height > max_pixels:
        raise RefusedError(413, f"a live frame has {width} × {height} pixels; the limit is {max_pixels:,}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise RefusedError(422, "a live frame is a JPEG that cannot be decoded")
    return np.asarray(image, np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from a JPEG's frame header; zeros if there is none."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0, 0


def main(pipe: Connection) -> None:
    """A worker's life: tasks in, answers out, until the server closes the pipe."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process of a terminal; the server ends its workers
    cv2.setNumThreads(1)
    worker = Worker(lambda message: send(pipe, message))
    tasks: Mapping[str, Callable[..., Message]] = {
        task.__name__: task for task in (worker.load, worker.look, worker.video, worker.frame, worker.forget)
    }
    while True:
        try:
            message, payload = receive(pipe)
        except (EOFError, OSError):
            return
        task = message.pop("task")
        try:
            answer = {"done": tasks[task](**message, **({"payload": payload} if payload else {}))}
        except (RefusedError, OpenAUError, MemoryError) as error:
            answer = {"refused": _refusal(error, message.get("path"), message.get("name", ""))}
        try:
            send(pipe, answer)
        except OSError:
            return


def _refusal(error: Exception, path: str | None, name: str) -> Message:
    """An error as status and sentence, in which the upload has its own name."""
    if isinstance(error, MemoryError):
        return {"status": 413, "detail": f"{name or 'this file'}: there is not enough memory to process it"}
    detail = str(error).replace(path, name) if path else str(error)
    if isinstance(error, RefusedError):
        return {"status": error.status, "detail": detail}
    if isinstance(error, InputError):
        too_large = "the limit is" in detail
        return {"status": 413 if too_large else 422, "detail": detail}
    return {"status": 500, "detail": detail}
