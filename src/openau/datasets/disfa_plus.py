"""DISFA+, the extended DISFA: nine people of DISFA (SN001 SN003 SN004 SN007 SN009 SN010 SN013 SN025 SN027) pose AUs and emotions on demand.

Some 65 trials per person, each from neutral to the display and back; every frame is coded for the intensity of the same
12 AUs as DISFA.

Layout, in any case, also with folders doubled by unpacking (`Labels/SN001/SN001/…`):

    Labels/SN001/A1_AU1_TrailNo_1/AU1.txt     a file per AU; "Trail" is how the data set spells it
    Images/SN001/A1_AU1_TrailNo_1/000.jpg     pictures

Labels: header lines (two, as public code has it), then lines of picture and intensity 0–5, with blanks between:
`000.jpg 0`. The frame number is the picture's. An AU occurs where its intensity is at least 2, as in DISFA;
`DISFAPlus(threshold=…)` changes that. The column `trial` of the manifest holds the trial's name; trials whose name
begins with an AU are posed AUs, others (`Y_…`, `Z_…`) posed emotions.

Folds: none are published for DISFA+. Because its people are DISFA's, it shares DISFA's namespace of people, so that no
protocol can train on a person in one and test on the same person in the other, and each has the part they have in DISFA
(`openau.datasets.folds.DISFA`); that is OpenAU's choice.

Licence: by agreement with the University of Denver (Mohammad Mahoor), http://mohammadmahoor.com/disfa/; not
redistributable.

Cite: Mavadati, Sanger, Mahoor, "Extended DISFA dataset: investigating posed and spontaneous facial expressions", CVPR
Workshops 2016, 1452–1459.

Checked in public code, never on the data themselves: tree, names, two header lines, blanks and the nine people in
py-feat (`imageLoader_DISFAPlus`; its evaluation takes intensity >= 2 as present) and, independently, in the public code
of FERGI; doubled folders in a public loader. Not checked: what the header lines say, how many trials there are, whether
every trial codes all 12 AUs. Known defects: none found in public code or its issues.
"""

from __future__ import annotations

import re
from pathlib import Path

from openau.datasets import folds, label_files, layout, recordings
from openau.datasets.clips import Clip, Problem, Report
from openau.datasets.disfa import occurrence
from openau.datasets.label_files import LabelFile
from openau.errors import InputError
from openau.facs import AUS

_SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)
_CODED_PICTURE = re.compile(r"(\d+)\.(?:jpe?g|png|bmp)(?=\s)", re.IGNORECASE)
_LABEL_FILE = r"AU\d+\.txt"
_HEADER = 2


class DISFAPlus:
    """Reads DISFA+; see the module's text.

    Args:
        threshold: lowest intensity at which an AU counts as present, 1–5.
    """

    name = "disfa+"
    title = "DISFA+"
    people = "disfa"
    aus = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    usual_aus = aus
    intensity_aus = aus
    licence = "By agreement with the University of Denver: http://mohammadmahoor.com/disfa/"
    citation = "Mavadati, Sanger and Mahoor, Extended DISFA dataset, CVPR Workshops 2016, 1452–1459"
    subjects = ("SN001", "SN003", "SN004", "SN007", "SN009", "SN010", "SN013", "SN025", "SN027")

    def __init__(self, threshold: int = 2) -> None:
        self.threshold = threshold

    def read(self, root: Path, report: Report) -> list[Clip]:
        """See `DataSetReader.read`."""
        layout.existing_folder(root, self.title)
        near = list(layout.folders_near(root, lambda folder: not _SUBJECT.match(folder.name)))
        labels = next((folder for folder in near if _holds_labels(folder)), None)
        if labels is None:
            expected = f"Labels/{self.subjects[0]}/A1_AU1_TrailNo_1/AU1.txt …"
            raise InputError(f"{root}: does not hold {self.title}: expected {expected}, found {layout.listing(root)}")
        images = next((folder for folder in near if layout.plain(folder.name) == "images"), None)
        images = images or next((folder for folder in near if folder != labels and _holds_trials(folder)), None)
        if images is None:
            expected = f"Images/{self.subjects[0]}/A1_AU1_TrailNo_1/000.jpg …"
            raise InputError(f"{root}: holds labels of {self.title}, but no pictures: expected {expected}")
        found = recordings.one_each(layout.subfolders(labels), self.subjects, _SUBJECT, "subject", report)
        recordings.tell_missing_subjects(list(found), self.subjects, labels, report)
        shown = recordings.one_each(layout.subfolders(images), self.subjects, _SUBJECT, "subject", report)
        clips = [
            self._clip(subject, trial, _inside(shown.get(subject, images / subject)), report)
            for subject, folder in found.items()
            for trial in layout.subfolders(_inside(folder))
        ]
        return sorted((clip for clip in clips if clip is not None), key=lambda clip: clip.name)

    def _clip(self, subject: str, trial: Path, images: Path, report: Report) -> Clip | None:
        """One trial, or None if there is no label of it that can be read."""
        files = self._labels(trial, report)
        if not files:
            return None
        frame = label_files.time_axis(list(files.values()), report)
        folder = images / trial.name
        if folder.is_dir():
            pictures = recordings.numbered_pictures(folder, report)
            media, position = recordings.place(frame, 0, pictures, next(iter(files.values())), report)
        else:
            report(Problem("missing file", folder, "there are no pictures of this trial"))
            media, position = recordings.no_pictures(frame)
        intensity = {number: label_files.on_axis(frame, labels) for number, labels in files.items()}
        return Clip(
            subject=subject,
            name=f"{subject}/{trial.name}",
            media=media,
            frame=frame,
            position=position,
            occurrence={number: occurrence(values, self.threshold) for number, values in intensity.items()},
            intensity=intensity,
            fold=folds.part_of(subject, folds.DISFA),
            extra={"trial": [trial.name] * len(frame)},
        )

    def _labels(self, trial: Path, report: Report) -> dict[int, LabelFile]:
        """AU → its label file; those that are missing or empty are told."""
        by_name = {path.name.lower(): path for path in layout.files(trial, _LABEL_FILE)}
        found = {}
        for number in self.aus:
            path = by_name.get(f"au{number}.txt", by_name.get(f"au{number:02d}.txt", trial / f"AU{number}.txt"))
            lines = label_files.read_lines(path, report)
            if not lines:
                continue
            header = next((at for at, line in enumerate(lines[:_HEADER]) if _CODED_PICTURE.match(line)), _HEADER)
            numbered = [_CODED_PICTURE.sub(r"\1", line, count=1) for line in lines[header:]]
            labels = label_files.parse(numbered, 1, path, report, first=header + 1, separator=None)
            labels = label_files.checked(labels, 5, [AUS[number].column], report)
            labels = label_files.in_order(labels, report)
            if len(labels.frame):
                found[number] = labels
            else:
                report(Problem("empty file", path, "this label file has no frame that can be read"))
        return found


def _inside(subject: Path) -> Path:
    """The folder of a person's trials, which unpacking may have put into another one of the same name."""
    again = subject / subject.name
    return again if again.is_dir() else subject


def _trials(folder: Path) -> list[Path]:
    return [
        trial
        for subject in layout.subfolders(folder)
        if _SUBJECT.match(subject.name)
        for trial in layout.subfolders(_inside(subject))
    ]


def _holds_labels(folder: Path) -> bool:
    return any(layout.files(trial, _LABEL_FILE) for trial in _trials(folder))


def _holds_trials(folder: Path) -> bool:
    return any(recordings.holds_pictures(trial) for trial in _trials(folder))


READER = DISFAPlus()
