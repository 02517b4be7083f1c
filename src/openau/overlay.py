"""Annotated pictures and videos: face, landmarks' contours, and the Action Units that are present, in words.

Everything scales with the face and stays readable on any background: lines are light on a dark halo, text stands on its own panel.
The mark in the middle of a bar is 0.5, the decision threshold; a bar's length is the probability.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from openau.errors import UsageError
from openau.facs import Region, au, occurrence_column
from openau.outputs import cannot_write, require_folder, scratch_beside, whole_file
from openau.result import Faces

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
HOLD = 0.4
"""Seconds an AU stays listed after it was last present, so that a video's list does not flicker."""
LARGE_FACE = 200
"""Pixels: contours of larger faces get a dark halo; on smaller ones it would hide the face."""
TINY_FACE = 40
"""Pixels: contours fade on faces smaller than three times this and are gone at this."""

_COLOURS: dict[Region, Colour] = {
    "brow": (126, 200, 255),
    "eye": (130, 226, 190),
    "cheek": (255, 205, 110),
    "nose": (230, 190, 255),
    "mouth": (255, 150, 140),
    "chin": (255, 180, 205),
    "jaw": (255, 180, 205),
}
_INK: Colour = (20, 24, 32)
_WHITE: Colour = (250, 250, 252)
_GREY: Colour = (172, 178, 190)
_TRACK: Colour = (74, 79, 90)

# Contours of Face Mesh's landmarks, (indices, closed).
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
_RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
_RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
_LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
_BRIDGE = (168, 6, 197, 195, 5, 4)
_NOSTRILS = (98, 97, 2, 326, 327)
CONTOURS: tuple[tuple[tuple[int, ...], bool], ...] = (
    (_OVAL, True), (_LIPS, True), (_MOUTH, True), (_RIGHT_EYE, True), (_LEFT_EYE, True),
    (_RIGHT_BROW, True), (_LEFT_BROW, True), (_BRIDGE, False), (_NOSTRILS, False),
)  # fmt: skip
"""Lines of a face: Face Mesh ids, and whether the line is closed. The first is the outline."""


@dataclass(frozen=True, slots=True)
class Label:
    """One line of a face's panel.

    Attributes:
        number: the AU.
        probability: 0–1.
        side: "L" or "R" where only one side of the face shows it, else empty.
    """

    number: int
    probability: float
    side: str = ""

    @property
    def name(self) -> str:
        """The AU in words: `lip corner puller`, `dimpler, left`."""
        return au(self.number).name + {"L": ", left", "R": ", right"}.get(self.side, "")

    @property
    def colour(self) -> Colour:
        """Colour of the part of the face where it shows."""
        return _COLOURS[au(self.number).region]


def labels(faces: Faces, row: int, listed: Sequence[int] | None = None) -> list[Label]:
    """AUs of one face, by number: those present (probability at least 0.5), or those in `listed`."""
    found = []
    for number in sorted(faces.columns.occurrence):
        probability = float(faces.column(occurrence_column(number))[row])
        if number in listed if listed is not None else probability >= 0.5:
            found.append(Label(number, 0.0 if np.isnan(probability) else probability, one_side(faces, row, number)))
    return found


def one_side(faces: Faces, row: int, number: int) -> str:
    """The side that alone shows an AU, "L" or "R"; empty if both do, neither does, or the model does not tell sides."""
    if number not in faces.columns.sided:
        return ""
    left, right = (bool(faces.column(occurrence_column(number, side))[row] >= 0.5) for side in ("L", "R"))
    return "" if left == right else "L" if left else "R"


@dataclass(slots=True)
class Annotator:
    """Draws faces onto pictures; remembers, through a video, which AUs were present a moment ago."""

    _present: dict[tuple[int, int], float] = field(default_factory=dict)
    _corner: dict[int, int] = field(default_factory=dict)

    def draw(self, image: Image, faces: Faces) -> Image:
        """An annotated copy of an image (H, W, 3) RGB uint8."""
        canvas = outline(image, faces)
        rows = [int(i) for i in np.flatnonzero(faces.has_face)]
        boxes = [_corners(faces.box[row]) for row in rows]
        taken: list[Box] = []
        for row, box in zip(rows, boxes, strict=True):
            taken.append(self._draw_panel(canvas, faces, row, box, [*(b for b in boxes if b != box), *taken]))
        return canvas

    def _draw_panel(self, canvas: Image, faces: Faces, row: int, box: Box, obstacles: Sequence[Box]) -> Box:
        person = int(faces.face_id[row])
        now = float(faces.timestamp[row])
        listed = []
        for label in labels(faces, row):
            self._present[person, label.number] = now
        for number in faces.columns.occurrence:
            if 0 <= now - self._present.get((person, number), -np.inf) <= HOLD:
                listed.append(number)
        panel = _panel(f"face {person}", tuple(labels(faces, row, listed)), _text_size(canvas, box))
        size = (panel.shape[1], panel.shape[0])
        places = _places(size, box, (canvas.shape[1], canvas.shape[0]))
        costs = [_hidden(place, size, box, obstacles) for place in places]
        best = int(np.argmin(costs))
        before = self._corner.get(person, best)
        # A panel stays on its side of the face until another side is clearly better, lest it jump about.
        chosen = best if costs[before] > 1.5 * costs[best] + size[0] * size[1] / 20 else before
        self._corner[person] = chosen
        place = places[chosen]
        _blend(canvas, panel, place)
        return place[0], place[1], place[0] + panel.shape[1], place[1] + panel.shape[0]


def outline(image: Image, faces: Faces) -> Image:
    """A copy of a picture with every face's frame and, if there are landmarks, its contours; without words.

    Args:
        image: (H, W, 3) RGB uint8.
        faces: its faces.
    """
    canvas = np.ascontiguousarray(image).copy()
    for row in np.flatnonzero(faces.has_face):
        if faces.landmarks is not None:
            _draw_contours(canvas, faces.landmarks[row])
        _draw_frame(canvas, faces.box[row])
    return canvas


def annotate(image: Image, faces: Faces) -> Image:
    """An annotated copy of a picture.

    Args:
        image: (H, W, 3) RGB uint8.
        faces: its faces; contours are drawn if they have landmarks.
    """
    return Annotator().draw(image, faces)


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write a picture by the suffix of its path.

    Args:
        path: .png, .jpg, .webp, .tif or .bmp.
        image: (H, W, 3) RGB uint8.

    Raises:
        UsageError: the suffix is not a picture's.
        OutputError: the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"{target}: an annotated picture is written as {', '.join(IMAGE_SUFFIXES)}")
    with whole_file(target) as scratch:
        try:
            Pictures.fromarray(image).save(scratch, quality=92)
        except ValueError as error:  # larger than the format allows
            raise cannot_write(target, error) from None


class VideoOverlay:
    """Writes an annotated video frame by frame; a context manager.

    H.264 (yuv420p) with the frames' own times, so that a variable frame rate stays one; without sound. Sides of odd length lose
    their last row or column, which H.264 cannot hold. The file appears when the block ends without an exception, or ends early with
    an error of the *input*: what was written is a whole video then.

    Args:
        path: .mp4, .mov or .mkv.

    Raises:
        UsageError: the suffix is not one of these.
        OutputError: the folder does not exist.
    """

    _TIME_BASE = Fraction(1, 90_000)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(f"{self.path}: an annotated video is written as {', '.join(VIDEO_SUFFIXES)}")
        require_folder(self.path)
        self._scratch = scratch_beside(self.path)
        self._annotator = Annotator()
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def write(self, image: Image, faces: Faces) -> None:
        """Annotate and append a frame.

        Args:
            image: (H, W, 3) RGB uint8; every frame of the same size.
            faces: its faces; their timestamp is the frame's time.

        Raises:
            OutputError: the file cannot be written.
        """
        annotated = self._annotator.draw(image, faces)
        height, width = (max(2, side // 2 * 2) for side in annotated.shape[:2])
        if annotated.shape[0] < 2 or annotated.shape[1] < 2:
            annotated = np.resize(annotated, (height, width, 3))
        try:
            if self._container is None:
                self._open(width, height)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(annotated[:height, :width]), format="rgb24")
            # Two frames of one moment would be refused by the container.
            self._last = max(self._last + 1, round(float(faces.timestamp[0]) / self._TIME_BASE))
            frame.pts, frame.time_base = self._last, self._TIME_BASE
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Finish the file.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._container is None:
            return
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._scratch.replace(self.path)
        except (OSError, av.error.FFmpegError) as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._container = None
            self._scratch.unlink(missing_ok=True)

    def discard(self) -> None:
        """Stop without a file; an existing one stays as it was."""
        if self._container is not None:
            with suppress(OSError, av.error.FFmpegError):  # a full disk refuses the file's end, too
                self._container.close()
            self._container = None
        self._scratch.unlink(missing_ok=True)

    def __enter__(self) -> VideoOverlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self, width: int, height: int) -> None:
        kind = {".mkv": "matroska", ".mov": "mov"}.get(self.path.suffix.lower(), "mp4")
        # Absolute, because FFmpeg takes what stands before a colon in a relative name for a protocol.
        self._container = av.open(str(self._scratch.absolute()), "w", format=kind)
        self._stream = self._container.add_stream("libx264", rate=30, options={"crf": "20", "preset": "veryfast"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = self._TIME_BASE


def _corners(box: npt.NDArray[np.float32]) -> Box:
    x, y, width, height = (float(v) for v in box)
    return round(x), round(y), round(x + width), round(y + height)


def _stroke(size: float) -> int:
    """Width of a line on a face of this size."""
    return max(1, round(size / 220))


def _draw_contours(canvas: Image, landmarks: npt.NDArray[np.float32]) -> None:
    """Thin light contours on a soft dark halo, half transparent, so that the face itself stays visible."""
    points = landmarks[:, :2]
    low = np.floor(points.min(axis=0)).astype(int) - 4
    high = np.ceil(points.max(axis=0)).astype(int) + 5
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, (canvas.shape[1], canvas.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    part = canvas[y0:y1, x0:x1]
    drawn = part.copy()
    shift = 4  # OpenCV draws at sixteenths of a pixel
    moved = np.round((points - (x0, y0) - 0.5) * (1 << shift)).astype(np.int32)
    lines = [(moved[list(indices)].reshape(-1, 1, 2), closed) for indices, closed in CONTOURS]
    size = float(high[1] - low[1])
    stroke = _stroke(size)
    halo = stroke + 2 if size > LARGE_FACE else 0
    for colour, width in ((_INK, halo), ((255, 255, 255), stroke)):
        for line, closed in lines if width else ():
            cv2.polylines(drawn, [line], closed, colour, width, cv2.LINE_AA, shift)
    strength = 0.5 * float(np.clip((size - TINY_FACE) / (2 * TINY_FACE), 0, 1))
    cv2.addWeighted(drawn, strength, part, 1 - strength, 0, dst=part)


def _draw_frame(canvas: Image, box: npt.NDArray[np.float32]) -> None:
    """The box as four corners, which hide less than a closed frame."""
    x0, y0, x1, y1 = _corners(box)
    margin = max(2, (y1 - y0) // 16)
    x0, y0, x1, y1 = x0 - margin, y0 - margin, x1 + margin, y1 + margin
    arm = max(4, min(x1 - x0, y1 - y0) // 6)
    stroke = _stroke(y1 - y0) + 1
    for colour, width in ((_INK, stroke + 2), (_WHITE, stroke)):
        for x, y, dx, dy in ((x0, y0, 1, 1), (x1, y0, -1, 1), (x0, y1, 1, -1), (x1, y1, -1, -1)):
            corner = np.array([[x + dx * arm, y], [x, y], [x, y + dy * arm]], np.int32)
            cv2.polylines(canvas, [corner], False, colour, width, cv2.LINE_AA)


def _text_size(canvas: Image, box: Box) -> int:
    """Pixels: in proportion to the face, but never too small to read nor larger than the picture bears."""
    height, width = canvas.shape[:2]
    largest = max(8, min(width, height) // 22)
    return int(np.clip((box[3] - box[1]) / 13, min(11, largest), largest))


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _panel(title: str, lines: tuple[Label, ...], size: int) -> npt.NDArray[np.uint8]:
    """The panel of a face, RGBA: its number, then a row per AU with a bar."""
    rows = [(f"AU{line.number}", line.name, round(line.probability, 2), line.colour) for line in lines]
    return _render_panel(title, tuple(rows), size)


@lru_cache(maxsize=64)
def _render_panel(title: str, lines: tuple[tuple[str, str, float, Colour], ...], size: int) -> npt.NDArray[np.uint8]:
    font, small = _font(size), _font(max(8, round(size * 0.82)))
    pad, row, bar, gap = round(size * 0.7), round(size * 1.5), round(size * 4.2), round(size * 0.6)
    empty = "no Action Unit present"
    codes = max([font.getlength(code) for code, *_ in lines] or [0])
    names = max([font.getlength(name) for _, name, *_ in lines] or [0])
    inner = codes + gap + names + 2 * gap + bar if lines else small.getlength(empty)
    width = round(2 * pad + max(small.getlength(title), inner))
    height = round(1.4 * pad + row * (1 + max(1, len(lines))))
    scale = 2  # Pillow's rectangles have no smooth edges of their own
    backdrop = Pictures.new("RGBA", (width * scale, height * scale), (0, 0, 0, 0))
    brush = ImageDraw.Draw(backdrop)
    corners = (0, 0, width * scale - 1, height * scale - 1)
    brush.rounded_rectangle(corners, radius=round(size * 0.6 * scale), fill=(*_INK, 214))
    middles = [pad * 0.7 + row * (i + 1.5) for i in range(max(1, len(lines)))]
    for (_, _, probability, colour), middle in zip(lines, middles, strict=False):
        _draw_bar(brush, width - pad - bar, middle, bar, size, probability, colour, scale)
    panel = backdrop.resize((width, height), Pictures.Resampling.BOX)
    brush = ImageDraw.Draw(panel)
    brush.text((pad, pad * 0.7 + row / 2), title, font=small, fill=(*_GREY, 255), anchor="lm")
    if not lines:
        brush.text((pad, middles[0]), empty, font=small, fill=(*_GREY, 255), anchor="lm")
    for (code, name, _, colour), middle in zip(lines, middles, strict=False):
        brush.text((pad, middle), code, font=font, fill=(*colour, 255), anchor="lm")
        brush.text((pad + codes + gap, middle), name, font=font, fill=(*_WHITE, 255), anchor="lm")
    return np.asarray(panel)


def _draw_bar(
    brush: ImageDraw.ImageDraw, x: float, y: float, length: float, size: int, value: float, colour: Colour, scale: int
) -> None:
    half = max(2.0, size * 0.22)

    def rectangle(x0: float, x1: float, reach: float, fill: tuple[int, int, int, int]) -> None:
        corners = (x0 * scale, (y - reach) * scale, x1 * scale, (y + reach) * scale)
        brush.rounded_rectangle(corners, radius=min(reach, (x1 - x0) / 2) * scale, fill=fill)

    rectangle(x, x + length, half, (*_TRACK, 230))
    if value > 0:
        rectangle(x, x + max(2 * half, length * min(value, 1)), half, (*colour, 255))
    middle = x + length / 2
    rectangle(middle - size * 0.04, middle + size * 0.04, half * 1.7, (*_WHITE, 200))


def _places(size: tuple[int, int], box: Box, picture: tuple[int, int]) -> list[tuple[int, int]]:
    """Where a face's panel may stand: right of it, left, below or above, moved into the picture."""
    (width, height), (columns, rows) = size, picture
    x0, y0, x1, y1 = box
    gap = max(4, (y1 - y0) // 8)
    middle = (x0 + x1 - width) // 2
    places = (
        (x1 + gap, y0), (x0 - gap - width, y0), (x1 + gap, y1 - height), (x0 - gap - width, y1 - height),
        (middle, y1 + gap), (middle, y0 - gap - height),
    )  # fmt: skip
    return [(max(0, min(x, columns - width)), max(0, min(y, rows - height))) for x, y in places]


def _hidden(place: tuple[int, int], size: tuple[int, int], box: Box, obstacles: Sequence[Box]) -> int:
    """How much a panel there would hide: its own face counts twice."""
    panel = (*place, place[0] + size[0], place[1] + size[1])
    return 2 * _common(panel, box) + sum(_common(panel, other) for other in obstacles)


def _common(a: Box, b: Box) -> int:
    """Area two boxes share, pixels."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _blend(canvas: Image, panel: npt.NDArray[np.uint8], place: tuple[int, int]) -> None:
    x, y = place
    part = canvas[y : y + panel.shape[0], x : x + panel.shape[1]]
    cut = panel[: part.shape[0], : part.shape[1]].astype(np.uint16)
    alpha = cut[:, :, 3:]
    part[:] = ((cut[:, :, :3] * alpha + part * (255 - alpha) + 127) // 255).astype(np.uint8)
