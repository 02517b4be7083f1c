"""Videos and cameras → upright RGB frames with exact times, in constant memory."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from openau.errors import InputError, UsageError
from openau.media.selection import WHOLE, Selection

Image = npt.NDArray[np.uint8]

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
_MISSING = 0.5
"""Seconds that may be missing from the announced duration before a video counts as truncated …"""
_MISSING_SHARE = 0.02
"""… and the share of the duration, where that is more: some containers only estimate it."""
_MISSING_IF_DAMAGED = 0.05
"""Seconds that may be missing if a part of the file could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        index: counts from 0 in presentation order.
        time: seconds from the first frame.
        image: (H, W, 3) RGB uint8, upright.
    """

    index: int
    time: float
    image: Image


class Stream(Protocol):
    """What `open_video` and `open_camera` return: a context manager to iterate over once.

    Attributes:
        width: of the upright frames, pixels.
        height: likewise.
        rate: nominal frames per second, None if unknown.
        duration: seconds, None if unknown or endless.
        frame_count_estimate: number of frames, as far as the file tells.
        share: how much of what is read lies before a time (seconds), 0–1; None if that is not known.
    """

    width: int
    height: int
    rate: float | None
    duration: float | None
    frame_count_estimate: int | None

    def share(self, time: float) -> float | None: ...  # noqa: D102
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...  # noqa: D102


def open_video(path: str | Path, selection: Selection = WHOLE, hardware: str | None = None) -> Video:
    """Open a video file or an animated GIF.

    Args:
        path: of the file.
        selection: which frames to read; those before a part are not decoded, as far as the file can be searched.
        hardware: decode with this device, one of `hardware_decoders()`, where it can decode the file, else as usual.

    Raises:
        InputError: the file is missing, unreadable, not a video, or has no video stream or no frame that can be decoded.
        UsageError: this installation has no such device.
    """
    return Video(Path(path), selection, hardware)


def open_camera(index: int, selection: Selection = WHOLE) -> Camera:
    """Open a camera of this machine, counted from 0.

    Args:
        index: of the camera.
        selection: which frames to look at; its `end` is when to stop.

    Raises:
        InputError: there is no such camera or it is in use.
    """
    return Camera(index, selection)


def hardware_decoders() -> tuple[str, ...]:
    """Names of the devices this installation's FFmpeg can decode with (cuda, vaapi, videotoolbox …); the machine need not have one."""
    return tuple(hwdevices_available())


class Video:
    """A video file as a `Stream`; iterating raises InputError where the file ends before its announced end.

    Attributes:
        damage: what kept packets from being decoded, so far; None as long as all could be. Their frames are missing.
    """

    def __init__(self, path: Path, selection: Selection = WHOLE, hardware: str | None = None) -> None:
        self._path = path
        self._selection = selection
        self._hardware = hardware
        self._container = _open_container(path, hardware)
        try:
            self._video = self._choose_stream()
            self._video.thread_type = "AUTO"
            self._reformatter = VideoReformatter()
            self._video_end = self._any_end = 0.0
            self.damage: str | None = None
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise InputError(f"{path}: no frame of this video can be decoded ({self.damage or 'it is empty'})")
            self.height, self.width = self._image(first).shape[:2]
        except BaseException:
            self._container.close()
            raise
        self._first = first
        rate = self._video.average_rate or self._video.guessed_rate
        self.rate: float | None = float(rate) if rate else None
        self._own_duration = _video_duration(self._container, self._video)
        self._container_duration = self._container.duration / av.time_base if self._container.duration else None
        self.duration: float | None = self._own_duration or self._container_duration
        self.frame_count_estimate: int | None = self._video.frames or (
            round(self.duration * self.rate) if self.duration and self.rate else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; iterating afterwards is an error."""
        self._decoded.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once.

        Raises:
            InputError: after the last frame that exists, if the file is truncated.
        """
        start, moment = _seconds(self._first), 0.0
        wanted = self._selection.picker()
        for index, frame in self._numbered():
            at = _seconds(frame)
            if at is not None and start is not None:
                moment = float(at - start)
            elif self.rate:  # Raw streams carry no times.
                moment = index / self.rate
            if self._selection.is_over(moment):
                return
            if wanted(moment):
                yield Frame(index, moment, self._image(frame))
        self._check_end(moment)

    def share(self, time: float) -> float | None:
        """See `Stream`."""
        return self._selection.share(time, self.duration)

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Decoded frames and their places in the video, from the last key frame before the selected part on."""
        place = None
        if self._selection.start:
            place = self._key_before(self._selection.start)
            if place is None:
                self._rewind()
        if place is None:
            yield from enumerate(itertools.chain([self._first], self._decoded))
            return
        first, pts = place
        self._decoded.close()
        self._container.seek(pts, stream=self._video)
        self._decoded = self._decode()
        # A search may end at an earlier key frame, and frames shown before a key frame may follow it in the file.
        yield from enumerate((frame for frame in self._decoded if frame.pts is None or frame.pts >= pts), first)

    def _key_before(self, moment: float) -> tuple[int, int] | None:
        """Place and time stamp of the last key frame at or before a moment.

        Places are counted by reading the file up to there without decoding it. None if the file cannot be searched, or it is the
        first one.
        """
        first = self._first.pts
        if first is None:
            return None
        limit = first + round(moment / self._video.time_base)
        stamps, keys = [], []
        try:
            self._container.seek(first, stream=self._video)
            for packet in self._container.demux(self._video):
                if packet.dts is None:
                    continue
                if packet.pts is None or packet.is_corrupt:
                    return None
                if packet.pts >= first and not packet.is_discard:
                    stamps.append(packet.pts)
                if packet.is_keyframe and first < packet.pts <= limit:
                    keys.append(packet.pts)
                if packet.dts > limit:
                    break
        except (av.error.FFmpegError, OSError):
            return None
        if not keys:
            return None
        return sum(stamp < keys[-1] for stamp in stamps), keys[-1]

    def _rewind(self) -> None:
        """Back to the beginning, as if nothing had been read."""
        self._decoded.close()
        self._container.close()
        self._container = _open_container(self._path, self._hardware)
        self._video = self._choose_stream()
        self._video.thread_type = "AUTO"
        self._decoded = self._decode()
        self._first = next(self._decoded)

    def _choose_stream(self) -> Any:
        for stream in self._container.streams.video:
            # The cover of a music file is a picture, not a video.
            if Disposition.attached_pic not in stream.disposition:
                return stream
        raise InputError(f"{self._path}: the file has no video stream")

    def _decode(self) -> Generator[Any, None, None]:
        """Decoded frames in presentation order; packets that cannot be decoded are skipped."""
        try:
            for packet in self._container.demux():
                self._note_end(packet)
                if packet.stream.index != self._video.index:
                    continue
                if packet.is_corrupt:
                    self.damage = "incomplete data"
                    continue
                try:
                    yield from packet.decode()
                except (av.error.FFmpegError, OSError) as error:
                    self.damage = _reason(error)
        except (av.error.FFmpegError, OSError) as error:
            self.damage = _reason(error)
            # The decoder still holds the last frames: those that wait for their turn, one per thread.
            with contextlib.suppress(av.error.FFmpegError, OSError):
                yield from self._video.decode(None)

    def _note_end(self, packet: Any) -> None:
        """Remember how far the video, and any stream of the file, reaches."""
        moment = packet.pts if packet.pts is not None else packet.dts
        if moment is None or packet.is_corrupt:
            return
        end = float((moment + (packet.duration or 0)) * packet.time_base)
        self._any_end = max(self._any_end, end)
        if packet.stream.index == self._video.index:
            self._video_end = max(self._video_end, end)

    def _check_end(self, last: float) -> None:
        """Complain if the video, or where its own duration is not known any stream of the file, ends too early."""
        if self._own_duration is not None:
            start = float((self._video.start_time or 0) * self._video.time_base)
            whole, reached = self._own_duration, self._video_end - start
        elif self._container_duration is not None:
            start = (self._container.start_time or 0) / av.time_base
            whole, reached = self._container_duration, self._any_end - start
        else:
            whole = reached = 0.0
        allowed = _MISSING_IF_DAMAGED if self.damage else max(_MISSING, _MISSING_SHARE * whole)
        if whole - reached > allowed:
            raise InputError(
                f"{self._path}: the video ends at {_clock(last, whole)} of {_clock(whole, whole)} (truncated file)"
            )
        if self._container.format.name == "gif" and not _gif_is_complete(self._path):
            raise InputError(
                f"{self._path}: the animation ends at {_clock(last, last)}, before its end (truncated file)"
            )

    def _image(self, frame: Any) -> Image:
        try:
            rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.FAST_BILINEAR)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self._path}: a frame cannot be turned into RGB ({_reason(error)})") from None
        image = rgb.to_ndarray()
        turn = round(frame.rotation / 90) % 4 * 90
        return np.asarray(cv2.rotate(image, _TURNS[turn]) if turn else image, np.uint8)


class Camera:
    """A camera as a `Stream`; endless unless its selection ends, times are those at which a frame arrived."""

    duration: float | None = None
    frame_count_estimate: int | None = None

    def __init__(self, index: int, selection: Selection = WHOLE) -> None:
        self._index = index
        self._selection = selection
        self._capture = _quiet_capture(index)
        if not self._capture.isOpened():
            raise InputError(f"camera {index}: there is no such camera, or another program uses it")
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.rate: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come.

        Raises:
            InputError: the camera stops delivering.
        """
        start: float | None = None
        wanted = self._selection.picker()
        for index in itertools.count():
            delivered, bgr = self._capture.read()
            now = time.monotonic()
            if not delivered:
                raise InputError(f"camera {self._index}: the camera stopped delivering after {index} frames")
            start = now if start is None else start
            if self._selection.is_over(now - start):
                return
            if wanted(now - start):
                yield Frame(index, now - start, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))

    def share(self, time: float) -> float | None:
        """See `Stream`."""
        return self._selection.share(time, None)


def _quiet_capture(index: int) -> cv2.VideoCapture:
    """Open a camera without OpenCV's own warnings about cameras that are not there."""
    logging: Any = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(index)
    finally:
        logging.setLogLevel(level)


def _open_container(path: Path, hardware: str | None = None) -> Any:
    if hardware is not None and hardware not in hardware_decoders():
        known = ", ".join(hardware_decoders()) or "none"
        raise UsageError(f"videos cannot be decoded with {hardware!r} here; this installation knows {known}")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not a video")
    try:
        with path.open("rb") as file:
            head = file.read(12)
        if not head:
            raise InputError(f"{path}: the file is empty")
        # Absolute, because FFmpeg takes what stands before a colon in a relative name (a time of day) for a protocol.
        where = str(path.absolute())
        if hardware is not None:
            # A device that is missing, or cannot decode this file, leaves the work to the processor.
            with contextlib.suppress(av.error.FFmpegError, OSError, RuntimeError):
                return av.open(
                    where, metadata_errors="replace", hwaccel=HWAccel(hardware, allow_software_fallback=True)
                )
        return av.open(where, metadata_errors="replace")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except PermissionError:
        raise InputError(f"{path}: the file may not be read (permission denied)") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if head[4:8] == b"ftyp":
            raise InputError(
                f"{path}: the video is truncated: its index, which this file keeps at its end, is missing"
            ) from None
        raise InputError(f"{path}: this is not a video OpenAU can read ({_reason(error)})") from None


def _video_duration(container: Any, video: Any) -> float | None:
    """Duration of the video stream itself, as its container announces it."""
    if container.format.name == "avi" and video.frames and video.average_rate:
        return float(video.frames / video.average_rate)  # From the header; FFmpeg's own figure follows the file's size.
    if video.duration:
        return float(video.duration * video.time_base)
    clock = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", video.metadata.get("DURATION", ""))  # Matroska
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def _gif_is_complete(path: Path) -> bool:
    """Whether the file ends with GIF's end mark (zero bytes may follow)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0").endswith(b";")


def _seconds(frame: Any) -> Fraction | None:
    return None if frame.pts is None else frame.pts * Fraction(frame.time_base)


def _clock(seconds: float, whole: float) -> str:
    """`00:01:12`, with tenths in videos shorter than a minute: `00:00:01.4`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}:{minutes:02d}:" + (f"{int(rest * 10) / 10:04.1f}" if whole < 60 else f"{int(rest):02d}")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
