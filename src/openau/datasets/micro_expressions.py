"""What data sets of micro-expressions share: a spreadsheet with three frame numbers and an AU text per clip, beside folders of pictures.

Every frame from onset to offset becomes a row with the AUs of its clip. Coders name AUs per clip, not per frame, so a label is safest at
the apex; frames near onset and offset may show nothing yet or no longer. The column `phase` ("onset", "apex", "offset", "between") lets
protocols choose. Pictures outside onset–offset get no rows: nobody said that those faces are neutral. Intensity letters in the AU text
are understood, but not kept as intensities: they hold for one moment of a clip.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openau.datasets.au_text import CodedAUs, parse_aus
from openau.datasets.clips import NO_PICTURE, Clip, Floats, Integers, PictureFiles, Problem, Report
from openau.datasets.layout import (
    existing_folder,
    files,
    matching_folders,
    not_this,
    subfolders,
    tell_if_fewer_subjects,
)
from openau.datasets.recordings import Pictures, no_pictures, numbered_pictures
from openau.datasets.spreadsheet import SheetRow, read_sheet
from openau.facs import Side

MAX_FRAMES = 20_000
"""A clip that is longer has a wrong frame number."""

SIDES: tuple[Side, Side] = ("L", "R")


@dataclass(frozen=True, slots=True)
class Columns:
    """What a spreadsheet calls its columns."""

    subject: str
    clip: str
    onset: str
    apex: str
    offset: str
    aus: str
    emotion: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every column."""
        return (self.subject, self.clip, self.onset, self.apex, self.offset, self.aus, self.emotion)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one data set differs from the others.

    Attributes:
        title: in full, for messages.
        expected: its files and folders in words, for messages.
        sheet: regular expression of the spreadsheet's name.
        columns: what the spreadsheet must have.
        more_columns: further column of the spreadsheet → column of the manifest.
        subject_folder: a subject's cell → the name of the person's folder, or None if it names nobody.
        is_subject_folder: whether a folder's name is that of a subject.
        composite: emotion, lower case → class of composite (cross-database) evaluation; other emotions have none.
        subjects: how many people the published data set has codes of.
        known_apex: folder of a clip and its apex cell → whether a bad apex there is a defect of the published data set.
    """

    title: str
    expected: str
    sheet: str
    columns: Columns
    more_columns: Mapping[str, str]
    subject_folder: Callable[[str], str | None]
    is_subject_folder: Callable[[str], bool]
    composite: Mapping[str, str]
    subjects: int
    known_apex: Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class CodedClip:
    """One row of the spreadsheet: frame numbers with onset ≤ apex ≤ offset, the apex None if not known; `folder` is subject/recording."""

    name: str
    subject: str
    folder: str
    onset: int
    apex: int | None
    offset: int
    aus: CodedAUs
    row: SheetRow


def read_clips(root: Path, layout: Layout, aus: Sequence[int], report: Report) -> list[Clip]:
    """Clips of a data set, sorted by name.

    Args:
        root: the user's folder.
        layout: of the data set.
        aus: AUs that get a column even if no clip shows them; others get one if some clip does.
        report: takes problems.

    Raises:
        InputError: the spreadsheet or the pictures are not there, or the spreadsheet cannot be read.
        MissingExtraError: openpyxl is not installed.
    """
    sheet = _spreadsheet(existing_folder(root, layout.title), layout)
    frames = _frame_folders(root, layout)
    rows = read_sheet(sheet, layout.columns.all, tuple(layout.more_columns))
    clips = _without_repeats(filter(None, (_coded_clip(row, layout, sheet, report) for row in rows)), sheet, report)
    named = sorted({*aus, *(au for clip in clips for au in clip.aus.present)})
    sided = sorted({au for clip in clips for au in clip.aus.sides})
    for key in sorted(frames.keys() - {_key(clip.folder) for clip in clips}):
        report(
            Problem("frame without label", frames[key], f"{sheet.name} has no usable row for this folder of pictures")
        )
    tell_if_fewer_subjects(len({clip.subject for clip in clips}), layout.subjects, sheet, report)
    found = [_clip(clip, frames.get(_key(clip.folder)), sheet, layout, named, sided, report) for clip in clips]
    return sorted(found, key=lambda clip: clip.name)


def _spreadsheet(root: Path, layout: Layout) -> Path:
    folder = next(matching_folders(root, lambda folder: bool(files(folder, layout.sheet))), None)
    if folder is None:
        raise not_this(root, layout.title, layout.expected)
    return files(folder, layout.sheet)[0]


def _frame_folders(root: Path, layout: Layout) -> dict[str, Path]:
    """subject/recording, lower case → folder of pictures; uncropped pictures are preferred, they leave room around the face."""

    def holds_subjects(folder: Path) -> bool:
        return any(layout.is_subject_folder(child.name) for child in subfolders(folder))

    roots = list(matching_folders(root, holds_subjects))
    if not roots:
        raise not_this(root, layout.title, layout.expected)
    best = min(roots, key=lambda folder: "crop" in str(folder.relative_to(root)).lower())
    people = [child for child in subfolders(best) if layout.is_subject_folder(child.name)]
    return {_key(f"{person.name}/{clip.name}"): clip for person in people for clip in subfolders(person)}


def _key(folder: str) -> str:
    """Folders and cells are compared without regard to case and spaces."""
    return re.sub(r"\s+", "", folder).lower()


def _coded_clip(row: SheetRow, layout: Layout, sheet: Path, report: Report) -> CodedClip | None:
    """Read one row; None, and a problem, if it does not say which frames of whom are meant."""
    columns = layout.columns
    subject = layout.subject_folder(row.cells[columns.subject])
    folder = row.cells[columns.clip]
    onset, offset = row.integer(columns.onset), row.integer(columns.offset)
    reason = None
    if subject is None or not folder or re.search(r"[/\\]|^\.", folder):
        reason = f"{row.cells[columns.subject]!r} and {folder!r} do not name a subject and a folder"
    elif onset is None or offset is None:
        reason = f"{columns.onset} {row.cells[columns.onset]!r} and {columns.offset} {row.cells[columns.offset]!r} are no frame numbers"
    elif not 0 <= onset <= offset < onset + MAX_FRAMES:
        reason = (
            f"onset {onset} and offset {offset} are out of order"
            if offset < onset
            else f"frames {onset}–{offset} cannot be"
        )
    if reason or subject is None or onset is None or offset is None:
        report(Problem("unusable row", sheet, f"{reason}; the clip is left out", row.number))
        return None
    return CodedClip(
        name=f"{subject}/{folder}",
        subject=subject,
        folder=f"{subject}/{folder}",
        onset=onset,
        apex=_apex(row, (onset, offset), layout, sheet, report),
        offset=offset,
        aus=_aus(row, columns, sheet, report),
        row=row,
    )


def _apex(row: SheetRow, ends: tuple[int, int], layout: Layout, sheet: Path, report: Report) -> int | None:
    """The apex, or None and a problem if it is not a frame from onset to offset."""
    cell, folder = row.cells[layout.columns.apex], row.cells[layout.columns.clip]
    apex = row.integer(layout.columns.apex)
    if apex is not None and ends[0] <= apex <= ends[1]:
        return apex
    kind = "no apex" if apex is None else "frames out of order"
    reason = f"the apex {cell!r} of {folder} is not in {ends[0]}–{ends[1]}; it is taken as unknown"
    report(Problem(kind, sheet, reason, row.number, layout.known_apex(folder, cell)))
    return None


def _aus(row: SheetRow, columns: Columns, sheet: Path, report: Report) -> CodedAUs:
    text = row.cells[columns.aus]
    coded = parse_aus(text)
    if coded.unread:
        parts = ", ".join(map(repr, coded.unread))
        report(
            Problem(
                "unreadable AUs",
                sheet,
                f"{parts} in {text!r} is no AU; what is not named is taken as unknown",
                row.number,
            )
        )
    if not text:
        report(Problem("no AUs", sheet, f"{columns.aus} is empty; every AU is taken as unknown", row.number))
    if coded.others:
        numbers = ", ".join(map(str, sorted(coded.others)))
        report(Problem("AU without a column", sheet, f"AU {numbers} in {text!r} is left out", row.number, known=True))
    return coded


def _without_repeats(clips: Iterable[CodedClip], sheet: Path, report: Report) -> list[CodedClip]:
    """Each clip with a name of its own; a row that repeats another is left out, a second clip of a recording is named by its onset too."""
    seen: dict[str, CodedClip] = {}
    for clip in clips:
        name = clip.name if clip.name not in seen else f"{clip.name}@{clip.onset}"
        same = next((other for other in seen.values() if _frames(other) == _frames(clip)), None)
        if same is not None or name in seen:
            first = (same or seen[name]).row.number
            report(
                Problem(
                    "repeated row",
                    sheet,
                    f"{clip.name} was in row {first} already; this row is left out",
                    clip.row.number,
                )
            )
        else:
            seen[name] = replace(clip, name=name)
    return list(seen.values())


def _frames(clip: CodedClip) -> tuple[str, int, int]:
    return _key(clip.folder), clip.onset, clip.offset


def _clip(
    coded: CodedClip,
    folder: Path | None,
    sheet: Path,
    layout: Layout,
    aus: Sequence[int],
    sided: Sequence[int],
    report: Report,
) -> Clip:
    frame = np.arange(coded.onset, coded.offset + 1)
    if folder is None:
        report(Problem("missing folder", sheet, f"there is no folder of pictures {coded.folder}", coded.row.number))
        media, position = no_pictures(frame)
    else:
        media, position = _placed(frame, numbered_pictures(folder, report))
    missing = frame[position == NO_PICTURE]
    if folder is not None and missing.size:
        reason = f"{missing.size} of the {frame.size} frames {coded.onset}–{coded.offset} have no picture, the first is {missing[0]}"
        report(Problem("label without frame", folder, reason, int(missing[0])))
    return Clip(
        subject=coded.subject,
        name=coded.name,
        media=media,
        frame=frame,
        position=position,
        occurrence={au: _same(coded.aus.occurrence(au), frame.size) for au in aus},
        sides={(au, side): _same(coded.aus.side(au, side), frame.size) for au in sided for side in SIDES},
        extra=_extra(coded, layout, frame),
    )


def _placed(frame: Integers, pictures: Pictures) -> tuple[PictureFiles, Integers]:
    """The pictures of a clip's frames, and where each frame is among them."""
    wanted = np.isin(pictures.number, frame)
    there = np.isin(frame, pictures.number)
    paths = tuple(pictures.paths[index] for index in np.flatnonzero(wanted))
    return PictureFiles(paths), np.where(there, np.cumsum(there) - 1, NO_PICTURE)


def _same(value: float, count: int) -> Floats:
    return np.full(count, value, np.float32)


def _extra(coded: CodedClip, layout: Layout, frame: Integers) -> dict[str, list[object]]:
    emotion = coded.row.cells[layout.columns.emotion].lower() or None
    of_clip: dict[str, object] = {
        "emotion": emotion,
        "composite": layout.composite.get(emotion or ""),
        "action_units": coded.row.cells[layout.columns.aus] or None,
        **{column: coded.row.cells[name] or None for name, column in layout.more_columns.items()},
    }
    return {
        "phase": [_phase(coded, int(number)) for number in frame],
        **{name: [value] * frame.size for name, value in of_clip.items()},
    }


def _phase(coded: CodedClip, number: int) -> str:
    places = {coded.offset: "offset", coded.onset: "onset", coded.apex: "apex"}
    return places.get(number, "between")
