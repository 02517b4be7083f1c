"""Pictures of the moments that matter: an event's strongest frame, the face outlined, cut out and made small.

Tables hold no landmarks, so the faces of these few frames are looked for once more; where the face networks are not at hand, a thumbnail
shows the box alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from openau.errors import InputError, WeightsError
from openau.faces.finder import FaceFinder
from openau.media import Selection, classify, open_video, read_image
from openau.overlay import outline
from openau.result import NO_FACE, Faces
from openau.temporal.events import Event

Image = npt.NDArray[np.uint8]

SIDE = 240
"""Pixels of a thumbnail's longer side."""
QUALITY = 78
APART = 0.4
"""Seconds between two thumbnails of one face."""


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One moment of one face.

    Attributes:
        row: the table's row.
        time: seconds.
        jpeg: the thumbnail, base64; "" where the picture could not be had.
        width, height: of the thumbnail, pixels.
        missing: why there is no picture, in one sentence; "" where there is one.
    """

    row: int
    time: float
    jpeg: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""


def choose(faces: Faces, events: Sequence[Event], limit: int) -> list[int]:
    """Rows worth seeing: apexes, so that AUs not seen yet come first, then the strongest; in order of time.

    Args:
        faces: rows of one face in one recording.
        events: its events.
        limit: how many at most.
    """
    chosen: list[Event] = []
    shown: set[int] = set()
    ranked = sorted(events, key=lambda event: (-_strength(event), event.apex))
    for new_only in (True, False):
        for event in ranked:
            if len(chosen) == limit:
                break
            if any(abs(event.apex - other.apex) < APART for other in chosen) or (new_only and event.au in shown):
                continue
            chosen.append(event)
            shown.update(other.au for other in events if other.onset <= event.apex < other.offset)
    frames = {int(frame): row for row, frame in enumerate(faces.frame)}
    return [frames[event.apex_frame] for event in sorted(chosen, key=lambda event: event.apex)]


def _strength(event: Event) -> float:
    """Intensity out of 5 where it is measured, else the probability."""
    return event.peak if np.isnan(event.peak_intensity) else event.peak_intensity / 5


def thumbnails(faces: Faces, rows: Sequence[int], media: Path) -> list[KeyFrame]:
    """Key frames of some rows of one source.

    Args:
        faces: the source's table.
        rows: which of its rows, all with a face.
        media: the video or picture.
    """
    plain = [KeyFrame(row, float(faces.timestamp[row])) for row in rows]
    if not rows:
        return []
    try:
        images = dict(_images(media, sorted({float(faces.timestamp[row]) for row in rows})))
    except InputError as error:
        return [replace(frame, missing=str(error)) for frame in plain]
    try:
        finder: FaceFinder | None = FaceFinder()
    except WeightsError:
        finder = None
    found = []
    for frame in plain:
        image = images.get(frame.time)
        if image is None:
            found.append(replace(frame, missing=f"{media}: has no frame at {frame.time:.3f} s"))
            continue
        small = _cut(outline(image, _with_landmarks(faces[[frame.row]], image, finder)), faces.box[frame.row])
        height, width = small.shape[:2]
        found.append(replace(frame, jpeg=_jpeg(small), width=width, height=height))
    return found


def _images(media: Path, times: Sequence[float]) -> Iterator[tuple[float, Image]]:
    """The pictures at these times, in order; a video is searched for each, so that a long one is not read as a whole."""
    if classify(media) == "image":
        yield times[0], read_image(media)
        return
    for time in times:
        with open_video(media, Selection(start=max(0.0, time - 1e-3), end=time + 1.0)) as frames:
            for frame in frames:
                yield time, frame.image
                break


def _with_landmarks(face: Faces, image: Image, finder: FaceFinder | None) -> Faces:
    """The row with its landmarks, if a face is found where the table has one."""
    if finder is None or int(face.face_id[0]) == NO_FACE:
        return face
    box = face.box[0]
    best, landmarks = 0.3, None
    for located in finder.find(image):
        overlap = _overlap(box, located.box)
        if overlap > best:
            best, landmarks = overlap, located.landmarks
    return face if landmarks is None else replace(face, landmarks=np.asarray(landmarks, np.float32)[None])


def _overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    return common / max(float(a[2] * a[3] + b[2] * b[3]) - common, 1e-9)


def _cut(image: Image, box: npt.NDArray[np.float32]) -> Image:
    """The face with some of what is around it, square where the picture allows, at most `SIDE` pixels."""
    side = 1.45 * float(max(box[2], box[3]))
    middle = box[:2] + box[2:] / 2
    x0, y0 = (int(max(0, v - side / 2)) for v in middle)
    x1, y1 = (int(min(limit, v + side / 2)) for v, limit in zip(middle, (image.shape[1], image.shape[0]), strict=True))
    part = image[y0:y1, x0:x1]
    if not part.size:
        part = image
    picture = Pictures.fromarray(part)
    picture.thumbnail((SIDE, SIDE), Pictures.Resampling.LANCZOS)
    return np.asarray(picture)


def _jpeg(image: Image) -> str:
    buffer = io.BytesIO()
    Pictures.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
