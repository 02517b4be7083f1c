"""From the labelled frames of one recording to aligned crops on disk: what a worker of `openau prepare` does.

A finished recording leaves `parts/<clip>.parquet`: a row per labelled frame (frame, source, position, image, alignment, five points) and,
in its metadata, what there was to tell. Labels are not in it; they are read afresh when the manifest is put together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from openau.datasets import layout
from openau.datasets.clips import NO_PICTURE, Clip, Integers, Media, PictureFiles, Problem, VideoFile
from openau.datasets.follow import Subject
from openau.datasets.manifest import FIVE_POINTS
from openau.errors import InputError
from openau.faces.align import CROP_SIZE, TEMPLATES, Matrix, apply, five_points, warp
from openau.faces.finder import FaceFinder
from openau.media import Frame, Video, open_video, read_image
from openau.outputs import whole_file, writing
from openau.workers import step

Alignment = Literal["found", "previous", "full-frame", "none"]
"""How the crop of a frame came about; `none`: there is none."""
OnMiss = Literal["skip", "previous", "full-frame"]
"""What becomes of a frame in which no face is found: no crop, a crop at the place of the last face of the same recording, or the frame's
middle square."""

TEMPLATE = "crop320"
QUALITY = 95
"""Of the JPEG files."""

_JUMP = 1.5
"""Frame periods between two frames of a damaged video from which one is missing."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A recording without its labels: name, media, and of its N labelled frames the numbers and positions, each (N,) int64."""

    name: str
    media: Media
    frame: Integers
    position: Integers

    @classmethod
    def of(cls, clip: Clip) -> Job:
        """What a worker needs to know of a clip."""
        return cls(clip.name, clip.media, clip.frame, clip.position)

    def sources(self) -> list[str | None]:
        """The absolute path, as text, of the video or picture each frame is in; None where there is no picture."""
        if isinstance(self.media, VideoFile):
            return [_absolute(self.media.path)] * len(self.frame)
        paths = [_absolute(path) for path in self.media.paths]
        return [paths[at] if NO_PICTURE < at < len(paths) else None for at in self.position.tolist()]


@dataclass(slots=True)
class Part:
    """What became of a recording.

    Attributes:
        frame, source, position: of each labelled frame (`Job.sources`).
        image: path of its crop below the data set's folder.
        alignment: how it was aligned.
        five_points: `openau.faces.align.five_points` in the crop's pixels, 10 numbers, with "previous" those of the last face; None where
            there is none.
        problems: what there is to tell.
    """

    frame: list[int]
    source: list[str | None]
    position: list[int]
    image: list[str | None]
    alignment: list[Alignment]
    five_points: list[list[float] | None]
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def empty(cls, job: Job) -> Part:
        """A part in which nothing is cropped yet."""
        count = len(job.frame)
        return cls(
            job.frame.tolist(), job.sources(), job.position.tolist(), [None] * count, ["none"] * count, [None] * count
        )

    @property
    def sound(self) -> bool:
        """Whether there is nothing in it that another run could mend."""
        return all(problem.known for problem in self.problems)

    def fits(self, job: Job) -> bool:
        """Whether these are the job's frames, from the same places of the same files."""
        return (self.frame, self.position, self.source) == (job.frame.tolist(), job.position.tolist(), job.sources())


def _absolute(path: Path) -> str:
    """A path that Parquet can keep, whatever bytes are in it."""
    return os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")


def part_path(out: Path, name: str) -> Path:
    """Where the part of a recording is."""
    return out / "parts" / f"{name}.parquet"


def place(media: Media, name: str) -> Path:
    """Where a recording is: its video, the folder of its first picture, or, where there are no pictures, just its name."""
    if isinstance(media, VideoFile):
        return media.path
    return media.paths[0].parent if media.paths else Path(name)


def crop_recording(job: Job, out: Path, on_miss: OnMiss) -> list[Problem]:
    """Crop the labelled frames of a recording, write the crops and then its part; returns what there is to tell.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = out / "images" / job.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in layout.files(folder, r".*\.jpg"):  # recordings below this one may have folders that are called so
            left.unlink()
    part = Part.empty(job)
    cropper = _Cropper(Subject(_finder()), on_miss)
    company = 0
    for rows, image in _Pictures(job, part.problems):
        crop = cropper.crop(image, int(job.position[rows[0]]))
        company += cropper.subject.company > 0
        if crop is None or crop.alignment != "found":
            part.problems.append(_no_face(job, rows[0], "none" if crop is None else crop.alignment))
        if crop is not None:
            for row in rows:
                _keep(part, row, crop, out, f"images/{job.name}/{job.frame[row]:06d}.jpg")
        step(len(rows))
    if company:
        reason = f"about {company} of its labelled frames show several faces; the one in sight before, or the largest, was taken"
        part.problems.append(Problem("several faces", place(job.media, job.name), reason, known=True))
    _write_part(part, part_path(out, job.name))
    return part.problems


def _keep(part: Part, row: int, crop: _Crop, out: Path, name: str) -> None:
    _write(out / name, crop.pixels)
    part.image[row] = name
    part.alignment[row] = crop.alignment
    part.five_points[row] = crop.five_points


def read_part(path: Path) -> Part | None:
    """The part of an earlier run, or None if there is none that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        told = json.loads(table.schema.metadata[b"problems"])
        names = ("frame", "source", "position", "image", "alignment", FIVE_POINTS)
        columns = {name: table.column(name).to_pylist() for name in names}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return Part(**columns, problems=[Problem(**{**problem, "path": Path(problem["path"])}) for problem in told])


def _write_part(part: Part, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = json.dumps([{**asdict(problem), "path": str(problem.path)} for problem in part.problems])
    table = pa.table(
        {
            "frame": pa.array(part.frame, pa.int64()),
            "source": pa.array(part.source, pa.string()),
            "position": pa.array(part.position, pa.int64()),
            "image": pa.array(part.image, pa.string()),
            "alignment": pa.array(part.alignment, pa.string()),
            FIVE_POINTS: pa.array(part.five_points, pa.list_(pa.float32())),
        }
    )
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as scratch:
        pq.write_table(table.replace_schema_metadata({"problems": told}), scratch)


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """A crop (CROP_SIZE, CROP_SIZE, 3), how it came about, and the five points in it."""

    pixels: Image
    alignment: Alignment
    five_points: list[float] | None


@dataclass(slots=True)
class _Cropper:
    """Crops the subject, and where there is none, does what the policy says."""

    subject: Subject
    on_miss: OnMiss
    last: Matrix | None = None
    points: list[float] | None = None

    def crop(self, image: Image, position: int) -> _Crop | None:
        face = self.subject.find(image, position)
        if face is not None:
            self.last = TEMPLATES[TEMPLATE].fit(face.landmarks)
            self.points = apply(self.last, five_points(face.landmarks)).ravel().tolist()
            return _Crop(warp(image, self.last, CROP_SIZE), "found", self.points)
        if self.on_miss == "previous" and self.last is not None:
            return _Crop(warp(image, self.last, CROP_SIZE), "previous", self.points)
        if self.on_miss == "full-frame":
            return _Crop(warp(image, _middle_square(image), CROP_SIZE), "full-frame", None)
        return None


def _middle_square(image: Image) -> Matrix:
    height, width = image.shape[:2]
    side = min(height, width)
    scale = CROP_SIZE / side
    return np.array([[scale, 0, -scale * (width - side) / 2], [0, scale, -scale * (height - side) / 2]])


class _Pictures:
    """The labelled pictures of a recording in order: which rows a picture belongs to, and its pixels.

    What cannot be read goes to `problems`; labels without a picture (`NO_PICTURE`) have been told by the reader.
    """

    def __init__(self, job: Job, problems: list[Problem]) -> None:
        self._job = job
        self._problems = problems
        order = np.argsort(job.position, kind="stable")
        self._rows: dict[int, list[int]] = {}
        for row in order[job.position[order] > NO_PICTURE].tolist():
            self._rows.setdefault(int(job.position[row]), []).append(row)

    def __iter__(self) -> Iterator[tuple[list[int], Image]]:
        if isinstance(self._job.media, VideoFile):
            yield from self._from_video(self._job.media.path)
        else:
            yield from self._from_files(self._job.media)

    def _from_files(self, media: PictureFiles) -> Iterator[tuple[list[int], Image]]:
        for position, rows in self._rows.items():
            if position >= len(media.paths):
                reason = f"the recording has only {len(media.paths)} pictures"
                self._tell("label without frame", place(media, self._job.name), rows, reason)
                continue
            path = media.paths[position]
            try:
                image = read_image(path)
            except InputError as error:
                self._tell("unreadable picture", path, rows, _reason(error, path))
                continue
            yield rows, image

    def _from_video(self, path: Path) -> Iterator[tuple[list[int], Image]]:
        waiting = dict(self._rows)
        if not waiting:
            return
        last, count = max(waiting), 0
        kind, reason = "label without frame", ""
        try:
            with open_video(path) as video:
                for position, frame in _positions(video):
                    count = position + 1
                    if position in waiting:
                        yield waiting.pop(position), frame.image
                    if position >= last:
                        break
        except InputError as error:
            kind, reason = "unreadable video", _reason(error, path)
        if waiting:
            rows = waiting[min(waiting)]
            lost = sum(map(len, waiting.values()))
            first = self._job.frame[rows[0]]
            reason = reason or (
                f"the video has {count} frames, but labels go on"
                if min(waiting) >= count
                else "frames between others are missing or damaged"
            )
            fate = f"{lost:,} labelled frames have no picture, the first is {first}"
            self._tell(kind, path, rows, f"{reason}; {fate if lost > 1 else f'frame {first} has no picture'}")

    def _tell(self, kind: str, path: Path, rows: Sequence[int], reason: str) -> None:
        self._problems.append(Problem(kind, path, reason, row=int(self._job.frame[rows[0]])))


def _positions(video: Video) -> Iterator[tuple[int, Frame]]:
    """Frames of a video with their positions; where frames are lost in a damaged part, the times of the others tell how many."""
    position, before = -1, 0.0
    for frame in video:
        periods = (frame.time - before) * (video.rate or 0)
        jump = video.damage is not None and frame.index > 0 and periods > _JUMP
        position += round(periods) if jump else 1
        before = frame.time
        yield position, frame


def _no_face(job: Job, row: int, alignment: Alignment) -> Problem:
    fate = {
        "none": "it has no crop",
        "previous": "it was cropped where the last face was",
        "full-frame": "the middle of the whole frame was taken",
    }
    return Problem("no face", _path(job, row), f"no face was found; {fate[alignment]}", int(job.frame[row]), known=True)


def _path(job: Job, row: int) -> Path:
    if isinstance(job.media, VideoFile):
        return job.media.path
    return job.media.paths[int(job.position[row])]


def _write(path: Path, crop: Any) -> None:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    with writing(path):
        path.write_bytes(encoded.tobytes())


def _reason(error: InputError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


@cache
def _finder() -> FaceFinder:
    """This process's finder, loaded once."""
    cv2.setNumThreads(1)
    return FaceFinder()
