"""DISFA, the Denver Intensity of Spontaneous Facial Action database.

27 young adults (SN001–SN032 with gaps) watch a film of four minutes; every frame of it, 4,845 at 20 frames/s, is coded
for the intensity of 12 AUs: 1 2 4 5 6 9 12 15 17 20 25 26. One person has 4,844: 26 × 4,845 + 4,844 = 130,814 frames,
the number usually published.

Layout, in any case:

    ActionUnit_Labels/SN001/SN001_au1.txt       a file per AU
    Videos_LeftCamera/LeftVideoSN001_comp.avi   the left camera, in any folder that is not the right camera's (`Video_LeftCamera` …)
    frames/LeftVideoSN001_comp/00001.jpg        if there are no videos: extracted frames, in folders named after person or video

Labels: lines of frame and intensity, 0–5, frames from 1. **Frame f is the video's picture f - 1.** Extracted frames
count from 1 (as ffmpeg names them) unless any person has a picture 0; `DISFA(first_picture=…)` overrules. An AU occurs
where its intensity is at least 2, as in all the usual results; `DISFA(threshold=1)` takes any trace. The right camera
is not read: published results are about the left one.

Folds: the published parts of `openau.datasets.folds.DISFA`. Usual results are about 8 AUs: 1 2 4 6 9 12 25 26.

Known defect: the landmark files that come with DISFA are wrong in SN029's frames 4330–4536 (EvelynFan/FAU issue 3,
whose author kept them and advises to drop them). The labels and the video are there, OpenAU does not use those
landmarks, and the usual lists (ME-GraphAU) keep the frames: they stay, with `known_defect` true in the manifest, so
that they can be dropped, and are told as a known problem. Where a face cannot be found in them either, `prepare` says
so.

Licence: by agreement with the University of Denver (Mohammad Mahoor), http://mohammadmahoor.com/disfa/; not
redistributable.

Cite: Mavadati, Mahoor, Bartlett, Trinh, Cohn, "DISFA: a spontaneous facial action intensity database", IEEE
Transactions on Affective Computing 4 (2013) 151–160.

Checked in public code and pages, never on the data themselves: names of label files and videos, frame rate and number
in amogh112/deepFAU (`{L,l}eftVideoSN001_{c,C}omp.avi`); both spellings of the videos' folder in OpenFace and others;
lines, threshold and parts in ME-GraphAU (`tool/DISFA_image_label_process.py`, which reads line i as picture i - 1);
frames from 1 in scripts that extract them with ffmpeg and in OpenFace's `frame_det_000001`. That the first line's
number is 1 follows from code that joins labels with OpenFace's frames, which count from 1. Not checked: which person
has 4,844 frames.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from openau.datasets import folds, label_files, layout, recordings
from openau.datasets.clips import Clip, Floats, Integers, Media, Problem, Report, VideoFile
from openau.datasets.label_files import LabelFile
from openau.datasets.recordings import Pictures
from openau.errors import InputError
from openau.facs import AUS

_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_VIDEO = r"(?:left)?.*SN\d{3}.*\.(?:avi|mp4|mov|mkv|wmv)"
_LABEL_FILE = r"SN\d{3}_au1\.txt"
_DEFECT = ("SN029", 4330, 4536)


class DISFA:
    """Reads DISFA; see the module's text.

    Args:
        threshold: lowest intensity at which an AU counts as present, 1–5.
        first_picture: number of the extracted picture of label frame 1, 0 or 1; by default 0 if anyone has a picture 0, else 1. Videos
            need no such number.
    """

    name = "disfa"
    title = "DISFA"
    people = "disfa"
    aus = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    usual_aus = (1, 2, 4, 6, 9, 12, 25, 26)
    intensity_aus = aus
    licence = "By agreement with the University of Denver: http://mohammadmahoor.com/disfa/"
    citation = "Mavadati et al., DISFA, IEEE Transactions on Affective Computing 4 (2013) 151–160"
    subjects = tuple(sorted(subject for part in folds.DISFA.values() for subject in part))

    def __init__(self, threshold: int = 2, first_picture: int | None = None) -> None:
        self.threshold = threshold
        self.first_picture = first_picture

    def read(self, root: Path, report: Report) -> list[Clip]:
        """See `DataSetReader.read`."""
        layout.existing_folder(root, self.title)
        near = list(layout.folders_near(root, lambda folder: not _SUBJECT.search(folder.name)))
        labels = next((folder for folder in near if _holds_labels(folder)), None)
        if labels is None:
            expected = f"ActionUnit_Labels/{self.subjects[0]}/{self.subjects[0]}_au1.txt …"
            raise InputError(f"{root}: does not hold {self.title}: expected {expected}, found {layout.listing(root)}")
        found = recordings.one_each(layout.subfolders(labels), self.subjects, _SUBJECT, "subject", report)
        if not found:
            raise InputError(f"{labels}: holds nobody of {self.title}: expected {self.subjects[0]} …")
        recordings.tell_missing_subjects(list(found), self.subjects, labels, report)
        videos = self._videos(near, report)
        pictures = {} if videos else self._pictures(near, report)
        if not videos and not pictures:
            expected = f"Videos_LeftCamera/LeftVideo{self.subjects[0]}_comp.avi …"
            raise InputError(
                f"{root}: holds labels of {self.title}, but no videos of the left camera: expected {expected}"
            )
        first = recordings.first_number(self.first_picture, root, pictures, report)
        clips = (
            self._clip(subject, folder, videos.get(subject) or pictures.get(subject), first, report)
            for subject, folder in found.items()
        )
        return sorted((clip for clip in clips if clip is not None), key=lambda clip: clip.name)

    def _videos(self, near: list[Path], report: Report) -> dict[str, Path]:
        """Subject → video of the left camera."""
        files = [
            path
            for folder in near
            if "right" not in folder.name.lower()
            for path in layout.files(folder, _VIDEO)
            if "right" not in path.name.lower()
        ]
        found: dict[str, Path] = {}
        for path in sorted(files, key=lambda path: (path.stem.lower().count("copy"), len(path.name), path)):
            match = _SUBJECT.search(path.stem)
            subject = match[0].upper() if match else ""
            if subject not in self.subjects:
                report(
                    Problem("unknown subject", path, f"{subject} is not among the published subjects; it is left out")
                )
            elif subject in found:
                reason = f"is another left video of {subject} beside {found[subject].name}; it is left out"
                report(Problem("duplicate subject", path, reason))
            else:
                found[subject] = path
        return found

    def _pictures(self, near: list[Path], report: Report) -> dict[str, Pictures]:
        """Subject → extracted pictures of the left camera."""
        found: dict[str, Pictures] = {}
        for folder in near:
            if "right" in folder.name.lower():
                continue
            for place in layout.subfolders(folder):
                match = _SUBJECT.search(place.name)
                if match is None or "right" in place.name.lower() or not recordings.holds_pictures(place):
                    continue
                subject = match[0].upper()
                if subject in found:
                    reason = f"holds pictures of {subject} again, as {found[subject].folder} does; they are left out"
                    report(Problem("duplicate subject", place, reason))
                else:
                    found[subject] = recordings.numbered_pictures(place, report)
        return found

    def _clip(
        self, subject: str, folder: Path, source: Path | Pictures | None, first: int, report: Report
    ) -> Clip | None:
        """One person, or None if there is no label of them that can be read."""
        files = self._labels(subject, folder, report)
        if not files:
            return None
        frame = label_files.time_axis(list(files.values()), report)
        intensity = {number: label_files.on_axis(frame, labels) for number, labels in files.items()}
        media, position = self._placed(subject, frame, source, first, next(iter(files.values())), report)
        return Clip(
            subject=subject,
            name=subject,
            media=media,
            frame=frame,
            position=position,
            occurrence={number: occurrence(values, self.threshold) for number, values in intensity.items()},
            intensity=intensity,
            fold=folds.part_of(subject, folds.DISFA),
            extra={"known_defect": _defects(subject, frame, folder, report)},
        )

    def _labels(self, subject: str, folder: Path, report: Report) -> dict[int, LabelFile]:
        """AU → its label file; those that are missing or empty are told."""
        by_name = {path.name.lower(): path for path in layout.files(folder, r".*\.txt")}
        found = {}
        for number in self.aus:
            name = f"{subject}_au{number}.txt"
            path = by_name.get(name.lower(), folder / name)
            lines = label_files.read_lines(path, report)
            if not lines:
                continue
            labels = label_files.parse(lines, 1, path, report)
            labels = label_files.checked(labels, 5, [AUS[number].column], report)
            labels = label_files.in_order(_from_one(labels, report), report)
            if len(labels.frame):
                found[number] = labels
        return found

    def _placed(
        self,
        subject: str,
        frame: Integers,
        source: Path | Pictures | None,
        first: int,
        labels: LabelFile,
        report: Report,
    ) -> tuple[Media, Integers]:
        if isinstance(source, Path):
            return VideoFile(source), frame - 1
        if source is not None and len(source.number):
            return recordings.place(frame, first - 1, source, labels, report)
        report(Problem("missing file", labels.path.parent, f"there is no video of {subject} from the left camera"))
        return recordings.no_pictures(frame)


def occurrence(intensity: Floats, threshold: int) -> Floats:
    """1 where an intensity is at least `threshold`, else 0; NaN stays NaN."""
    return np.where(np.isnan(intensity), np.nan, intensity >= threshold).astype(np.float32)


def _holds_labels(folder: Path) -> bool:
    return any(_SUBJECT.match(path.name) and layout.files(path, _LABEL_FILE) for path in layout.subfolders(folder))


def _from_one(labels: LabelFile, report: Report) -> LabelFile:
    """Without lines of frames below 1, which no video has."""
    below = labels.frame < 1
    for line, frame in zip(labels.line[below].tolist(), labels.frame[below].tolist(), strict=True):
        reason = f"frame {frame} cannot be: DISFA counts from 1; the line is left out"
        report(Problem("garbled line", labels.path, reason, line))
    return LabelFile(labels.path, labels.line[~below], labels.frame[~below], labels.values[~below])


def _defects(subject: str, frame: Integers, folder: Path, report: Report) -> list[bool]:
    """Which frames lie in the known bad range; that there are any is told."""
    whose, start, stop = _DEFECT
    inside = (frame >= start) & (frame <= stop) & (subject == whose)
    if inside.any():
        reason = (
            f"the landmarks that come with DISFA are wrong in frames {start}–{stop}; marked in the column known_defect"
        )
        report(Problem("known defect", folder, reason, start, known=True))
    return [bool(value) for value in inside]


READER = DISFA()
