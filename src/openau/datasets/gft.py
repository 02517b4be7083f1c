"""GFT: Sayette Group Formation Task.

96 people in 32 groups of three, strangers who talk and drink; one camera per person. One minute of each is published: 172,800 frames.

Layout: **could not be verified**; neither the wiki of its page nor any public loader was at hand. This reader takes what it finds:
    any CSV file whose name begins with a participant ("001A.csv", "001A_AU.csv": the group's number and a letter), with a header that
    names a frame column and AU columns ("AU12", "12", "AU12_int"), one line per frame
    any video (.mp4, .avi, .mov, .mkv, .m4v) whose name begins with the same participant
    train.txt and test.txt, if they are there: one participant per line (write them from the published partition)
    all of them up to three levels deep in the user's folder
    If your copy looks different, tell us what it looks like; `openau prepare folder` reads any table of AUs.

Labels: occurrence 0 or 1; 9, an empty cell and NaN = not known, as in other data sets of these coders [taken over, not verified]; columns
    of intensities (a name that ends in i, int or intensity) 0–5. Frames count from 1, or from 0 if any file has a frame 0 [not verified].
AUs: whatever the files name; `usual_aus` are the ten of published AU detection on this data set [from memory of the literature].
Folds: 1 = train, 2 = test, from train.txt and test.txt; publications use the partition of the data set's page (78 and 18 participants
    [from memory]), which could not be looked up.
Further columns: `group`, the participant's number without the letter: people of a group were filmed together.
Known defects: none that we know of.
Verified: counts of participants, groups and frames, FACS occurrence and intensity as the kinds of codes, and both licences on the data
    set's page (osf.io/7wcyz) and in the abstract of its paper.
Licence: annotations CC BY 4.0 (osf.io/7wcyz); videos by agreement with the University of Pittsburgh; research only.
Cite: Girard et al., Sayette Group Formation Task (GFT) spontaneous facial expression database, FG 2017.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openau.datasets.clips import NO_PICTURE, Clip, Floats, PictureFiles, Problem, Report, VideoFile
from openau.datasets.label_files import UNKNOWN, LabelFile, checked, in_order, parse, read_lines
from openau.datasets.layout import existing_folder, files, folders_near, not_this, tell_if_fewer_subjects
from openau.facs import AUS

PARTS: Mapping[str, int] = {"train": 1, "test": 2}
"""File of a partition, without .txt → fold."""

_SUBJECTS = 96
_PARTICIPANT = re.compile(r"(\d{1,4})([A-Z])(?![A-Z0-9])", re.IGNORECASE)
_AU_COLUMN = re.compile(
    r"(?:AU)?[ _]?0*(\d{1,2})(?:[ _]?(?P<strength>i|int|intensity)|[ _]?(?:o|occ|occurrence))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Header:
    """Where a label file's columns are."""

    frame: int
    occurrence: Mapping[int, int]
    intensity: Mapping[int, int]


class GFT:
    """Reads GFT; the module's docstring says how, and what about it is not verified."""

    name = "gft"
    title = "Sayette Group Formation Task (GFT)"
    people = "gft"
    aus = tuple(AUS)
    usual_aus = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)
    intensity_aus = tuple(AUS)
    licence = (
        "Annotations CC BY 4.0 (osf.io/7wcyz), videos by agreement with the University of Pittsburgh, for research"
    )
    citation = "Girard et al., Sayette Group Formation Task (GFT) spontaneous facial expression database, FG 2017"

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips sorted by name (`openau.datasets.clips.DataSetReader`)."""
        folders = list(folders_near(existing_folder(root, self.title)))
        tables = _by_participant(
            (path for folder in folders for path in files(folder, r".*\.csv")), "label file", report
        )
        videos = _by_participant(
            (path for folder in folders for path in files(folder, r".*\.(mp4|m4v|avi|mov|mkv)")), "video", report
        )
        read = {name: found for name, path in tables.items() if (found := _read_table(path, report)) is not None}
        if not read:
            expected = "CSV files like 001A.csv with a frame column and AU columns, beside videos like 001A.mp4"
            raise not_this(root, self.title, expected)
        fold = _partition(folders, report)
        first = 0 if any(labels.frame.size and labels.frame[0] == 0 for labels, _ in read.values()) else 1
        clips = [
            _clip(name, labels, header, videos.get(name), first, fold, report)
            for name, (labels, header) in read.items()
        ]
        for name in sorted(videos.keys() - read.keys()):
            report(Problem("frame without label", videos[name], f"there is no label file for participant {name}"))
        tell_if_fewer_subjects(len(clips), _SUBJECTS, root, report)
        return clips


def _by_participant(paths: Iterable[Path], what: str, report: Report) -> dict[str, Path]:
    """Participant → file, ascending; a second file of a participant is told and left out."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        match = _PARTICIPANT.match(path.stem)
        if match is None:
            continue
        name = f"{int(match[1]):03d}{match[2].upper()}"
        if name in found:
            report(
                Problem(
                    f"duplicate {what}", path, f"{found[name].name} is of participant {name} too; this one is left out"
                )
            )
        else:
            found[name] = path
    return dict(sorted(found.items()))


def _read_table(path: Path, report: Report) -> tuple[LabelFile, _Header] | None:
    """The frames and codes of a label file; None, and a problem, if it does not have the columns."""
    lines = read_lines(path, report)
    if not lines:
        return None
    header = _header(next(csv.reader(lines[:1])))
    if header is None:
        report(
            Problem(
                "missing column", path, "the first line names no frame column or no AU column (frame, AU01, AU02 …)", 1
            )
        )
        return None
    wanted = [header.frame, *header.occurrence.values(), *header.intensity.values()]
    picked = (",".join(_filled(cells[at]) for at in wanted if at < len(cells)) for cells in csv.reader(lines[1:]))
    labels = in_order(parse(list(picked), len(wanted) - 1, path, report, first=2), report)
    return (labels, header) if labels.frame.size else None


def _filled(cell: str) -> str:
    return str(UNKNOWN) if cell.strip().lower() in ("", "na", "nan") else cell


def _header(cells: Iterable[str]) -> _Header | None:
    frame: int | None = None
    occurrence: dict[int, int] = {}
    intensity: dict[int, int] = {}
    for at, cell in enumerate(cells):
        name = cell.strip()
        match = _AU_COLUMN.fullmatch(name)
        if frame is None and re.fullmatch(r"frames?([ _]?(number|no|nr|index|id))?", name, re.IGNORECASE):
            frame = at
        elif match is not None and int(match[1]) in AUS:
            (intensity if match["strength"] else occurrence).setdefault(int(match[1]), at)
    return _Header(frame, occurrence, intensity) if frame is not None and (occurrence or intensity) else None


def _partition(folders: Iterable[Path], report: Report) -> dict[str, int]:
    """Participant → fold, from train.txt and test.txt; who is in both has none, and that is told."""
    found: dict[str, int] = {}
    both: set[str] = set()
    for path in (path for folder in folders for path in files(folder, r"(train|test)\.txt")):
        for row, line in enumerate(read_lines(path, report), 1):
            match = _PARTICIPANT.match(line.strip())
            if match is None:
                report(Problem("garbled line", path, f"{line.strip()!r} is no participant like 001A", row))
                continue
            name = f"{int(match[1]):03d}{match[2].upper()}"
            part = PARTS[path.stem.lower()]
            if found.setdefault(name, part) != part:
                report(
                    Problem(
                        "subject in two folds", path, f"{name} is in train.txt and in test.txt; it gets no fold", row
                    )
                )
                both.add(name)
    return {name: part for name, part in found.items() if name not in both}


def _clip(
    name: str,
    labels: LabelFile,
    header: _Header,
    video: Path | None,
    first: int,
    fold: Mapping[str, int],
    report: Report,
) -> Clip:
    if video is None:
        report(Problem("missing file", labels.path, f"there are labels, but no video of participant {name}"))
    position = labels.frame - first if video is not None else np.full(labels.frame.shape, NO_PICTURE, np.int64)
    count = len(header.occurrence)
    occurrence = _codes(labels, list(header.occurrence), slice(0, count), 1, report)
    intensity = _codes(labels, list(header.intensity), slice(count, None), 5, report)
    return Clip(
        subject=name,
        name=name,
        media=VideoFile(video) if video is not None else PictureFiles(()),
        frame=labels.frame,
        position=position,
        occurrence=occurrence,
        intensity=intensity,
        fold=fold.get(name),
        extra={"group": [name[:-1]] * labels.frame.size},
    )


def _codes(labels: LabelFile, aus: list[int], columns: slice, highest: int, report: Report) -> dict[int, Floats]:
    some = LabelFile(labels.path, labels.line, labels.frame, labels.values[:, columns])
    good = checked(some, highest, [f"AU{au:02d}" for au in aus], report, UNKNOWN)
    return {au: good.values[:, index] for index, au in enumerate(aus)}


READER = GFT()
