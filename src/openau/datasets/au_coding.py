"""The layout BP4D and BP4D+ share.

`AUCoding` holds an occurrence file per recording and an intensity file per recording and AU; pictures are in one folder
per recording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openau.datasets import folds, label_files, layout, recordings
from openau.datasets.clips import Clip, Problem, Report
from openau.datasets.label_files import UNKNOWN, LabelFile
from openau.datasets.recordings import Pictures
from openau.errors import InputError
from openau.facs import AUS

_SUBJECT = re.compile(r"[FM]\d{3}", re.IGNORECASE)
_RECORDING = re.compile(r"[FM]\d{3}_T\d+", re.IGNORECASE)
_TASK = re.compile(r"T\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Folders:
    """Where the three sorts of files are; intensity is optional."""

    occurrence: Path
    intensity: Path | None
    pictures: Path


class AUCodingReader:
    """Reads BP4D and BP4D+; the modules of these two say what is in them.

    Args:
        first_picture: number of the picture that belongs to label frame 1: 0 (pictures count from 0) or 1 (they count as labels do). By
            default it is 0 if any recording has a picture number 0, which no label frame can be, otherwise 1.
    """

    name: str
    title: str
    people: str
    aus: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 23, 24, 27, 28)
    usual_aus: tuple[int, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    intensity_aus: tuple[int, ...] = (6, 10, 12, 14, 17)
    licence: str
    citation: str
    subjects: tuple[str, ...]
    tasks: tuple[str, ...]
    parts: folds.Parts

    def __init__(self, first_picture: int | None = None) -> None:
        self.first_picture = first_picture

    def read(self, root: Path, report: Report) -> list[Clip]:
        """See `DataSetReader.read`."""
        layout.existing_folder(root, self.title)
        folders = self._find(root)
        names = [f"{subject}_{task}" for subject in self.subjects for task in self.tasks]
        files = layout.files(folders.occurrence, r".*\.csv")
        found = recordings.one_each(files, names, _RECORDING, "recording", report)
        if not found:
            raise InputError(f"{folders.occurrence}: holds no label file of {self.title}: expected {names[0]}.csv …")
        self._tell_missing(found, folders, report)
        pictures = self._pictures(folders.pictures, found, report)
        first = recordings.first_number(self.first_picture, folders.pictures, pictures, report)
        clips = (self._clip(name, path, pictures.get(name), first, folders, report) for name, path in found.items())
        return sorted((clip for clip in clips if clip is not None), key=lambda clip: clip.name)

    def _find(self, root: Path) -> _Folders:
        """The folders, wherever a user unpacked them."""
        near = list(layout.folders_near(root, lambda folder: not _SUBJECT.match(folder.name)))
        named = {layout.plain(folder.name): folder for folder in reversed(near)}
        occurrence = next((named[name] for name in ("auocc", "occ", "occurrence") if name in named), None)
        occurrence = occurrence or next((folder for folder in near if _holds_label_files(folder)), None)
        if occurrence is None:
            expected = f"AUCoding/AU_OCC/{self.subjects[0]}_T1.csv …"
            raise InputError(f"{root}: does not hold {self.title}: expected {expected}, found {layout.listing(root)}")
        pictures = next((folder for folder in near if _holds_tasks(folder)), None)
        if pictures is None:
            packed = next((folder for folder in near if layout.files(folder, rf"{_SUBJECT.pattern}\.zip")), None)
            hint = f"; the archives in {packed} have to be unpacked first" if packed else ""
            expected = f"Sequences/{self.subjects[0]}/T1/….jpg"
            raise InputError(f"{root}: holds labels of {self.title}, but no pictures: expected {expected}{hint}")
        intensity = next((named[name] for name in ("auint", "int", "intensity") if name in named), None)
        return _Folders(occurrence, intensity, pictures)

    def _tell_missing(self, found: Mapping[str, Path], folders: _Folders, report: Report) -> None:
        here = sorted({name.split("_")[0] for name in found})
        recordings.tell_missing_subjects(here, self.subjects, folders.occurrence, report)
        for subject in here:
            for task in self.tasks:
                if f"{subject}_{task}" not in found:
                    path = folders.occurrence / f"{subject}_{task}.csv"
                    report(Problem("missing file", path, "this label file is missing"))
        if folders.intensity is None:
            report(Problem("missing file", folders.occurrence, "has no AU_INT beside it: intensities are not known"))

    def _pictures(self, folder: Path, names: Mapping[str, Path], report: Report) -> dict[str, Pictures]:
        """Recording → its numbered pictures."""
        found = {}
        places = recordings.one_each(layout.subfolders(folder), self.subjects, _SUBJECT, "subject", report)
        for subject, place in places.items():
            inside = layout.subfolders(place)
            again = next((path for path in inside if path.name.lower() == subject.lower()), None)
            for task in layout.subfolders(again) if again else inside:
                name = f"{subject}_{task.name.upper()}"
                if name in names:
                    found[name] = recordings.numbered_pictures(task, report)
        return found

    def _clip(
        self, name: str, path: Path, pictures: Pictures | None, first: int, folders: _Folders, report: Report
    ) -> Clip | None:
        """One recording, or None if its occurrence file has nothing to read."""
        coded = self._occurrence(path, report)
        if coded is None:
            return None
        labels, numbers = coded
        subject, task = name.split("_")
        intensity = self._intensity(name, folders.intensity, report)
        frame = label_files.time_axis([labels, *intensity.values()], report)
        if pictures is None or not len(pictures.number):
            where = folders.pictures / subject / task
            report(Problem("missing file", where, "there are no pictures of this recording"))
            media, position = recordings.no_pictures(frame)
        else:
            media, position = recordings.place(frame, first - 1, pictures, labels, report)
        columns = {number: label_files.on_axis(frame, labels, column) for column, number in enumerate(numbers)}
        return Clip(
            subject=subject,
            name=f"{subject}/{task}",
            media=media,
            frame=frame,
            position=position,
            occurrence={number: column for number, column in columns.items() if not np.isnan(column).all()},
            intensity={number: label_files.on_axis(frame, file) for number, file in intensity.items()},
            fold=folds.part_of(subject, self.parts),
            extra={"task": [task] * len(frame)},
        )

    def _occurrence(self, path: Path, report: Report) -> tuple[LabelFile, list[int]] | None:
        """The columns of AUs this package knows, and the AUs; None if there is nothing to read."""
        lines = label_files.read_lines(path, report)
        if not lines:
            return None
        header = [cell.strip() for cell in lines[0].split(",")]
        numbers = [int(cell) if cell.isdigit() else -1 for cell in header[1:]]
        missing = [number for number in self.usual_aus if number not in numbers]
        if missing:
            reason = f"the first line has no column of AU {', '.join(map(str, missing))}: not known in this recording"
            report(Problem("missing column", path, reason, 1))
        labels = label_files.parse(lines[1:], len(numbers), path, report, first=2)
        if not len(labels.frame):
            report(Problem("empty file", path, "this label file has no frame that can be read"))
            return None
        kept = [column for column, number in enumerate(numbers) if number in self.aus]
        kept_numbers = [numbers[column] for column in kept]
        labels = LabelFile(path, labels.line, labels.frame, labels.values[:, kept])
        names = [AUS[number].column for number in kept_numbers]
        labels = label_files.checked(labels, 1, names, report, UNKNOWN)
        return label_files.in_order(labels, report), kept_numbers

    def _intensity(self, name: str, folder: Path | None, report: Report) -> dict[int, LabelFile]:
        if folder is None:
            return {}
        by_name = {layout.plain(path.name): path for path in layout.subfolders(folder)}
        found = {}
        for number in self.intensity_aus:
            column = AUS[number].column
            place = by_name.get(column.lower()) or by_name.get(f"au{number}") or folder / column
            path = place / f"{name}_{column}.csv"
            lines = label_files.read_lines(path, report)
            if lines:
                labels = label_files.parse(lines, 1, path, report)
                labels = label_files.checked(labels, 5, [column], report, UNKNOWN)
                found[number] = label_files.in_order(labels, report)
        return found


def _holds_label_files(folder: Path) -> bool:
    return bool(layout.files(folder, rf"{_RECORDING.pattern}\.csv"))


def _holds_tasks(folder: Path) -> bool:
    """Whether there are folders of subjects with folders of tasks with pictures (perhaps below a second folder of the subject's name)."""
    for subject in layout.subfolders(folder):
        if _SUBJECT.fullmatch(subject.name):
            inside = layout.subfolders(subject)
            inside += [task for path in inside if _SUBJECT.fullmatch(path.name) for task in layout.subfolders(path)]
            if any(_TASK.fullmatch(path.name) and recordings.holds_pictures(path) for path in inside):
                return True
    return False
