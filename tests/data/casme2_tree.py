"""Look-alike CASME II: a spreadsheet of coded clips and folders of pictures in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import openpyxl
import people

COLUMNS = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)
"""As published, with its two unnamed columns."""


@dataclass(frozen=True)
class Row:
    subject: object
    clip: str
    onset: object
    apex: object
    offset: object
    aus: object
    emotion: str


ROWS = (
    Row(1, "EP02_01f", 46, 48, 50, "12", "happiness"),
    Row(1, "EP19_05f", 3, 4, 6, "4+L12+?", "disgust"),
    Row(2, "EP01_11f", 10, "/", 13, "R4", "repression"),
    Row(26, "EP18_51", 1, 3, 4, "1+2", "surprise"),
)


def make(
    root: Path,
    *,
    rows: Sequence[Row] = ROWS,
    columns: Sequence[str | None] = COLUMNS,
    raw: str = "CASME2-RAW",
    cropped: bool = False,
    missing: Sequence[tuple[str, int]] = (),
    without_folder: Sequence[str] = (),
    extra_folders: Sequence[str] = (),
    margin: int = 1,
) -> Path:
    """Write a tree.

    Args:
        root: where.
        rows: of the spreadsheet.
        columns: header of the spreadsheet.
        raw: folder of the uncropped pictures (may have a slash).
        cropped: whether there are pictures in `Cropped` too, onset to offset.
        missing: (clip, frame) without a picture.
        without_folder: clips that are coded, but have no pictures.
        extra_folders: subject/clip with pictures that are not coded.
        margin: pictures before the onset and after the offset.
    """
    write_sheet(root / "CASME2-coding-20140508.xlsx", rows, columns)
    for row in {(row.subject, row.clip): row for row in rows}.values():
        if row.clip.strip() in without_folder:
            continue
        subject = f"sub{int(str(row.subject).strip().removeprefix('sub')):02d}"
        same = [other for other in rows if (other.subject, other.clip) == (row.subject, row.clip)]
        numbers = [number for other in same for number in (other.onset, other.offset) if isinstance(number, int)]
        frames = range(max(min(numbers) - margin, 1), max(numbers) + margin + 1)
        people_frames = people.person_frames(int(subject[3:]), len(frames))
        for number, frame in zip(frames, people_frames, strict=True):
            if (row.clip.strip(), number) not in missing:
                people.write_picture(root / raw / subject / row.clip.strip() / f"img{number}.jpg", frame)
                if cropped and min(numbers) <= number <= max(numbers):
                    people.write_picture(
                        root / "Cropped" / subject / row.clip.strip() / f"reg_img{number}.jpg", frame[40:200, 80:240]
                    )
    for name in extra_folders:
        people.write_picture(root / raw / name / "img1.jpg", people.person_frames(1, 1)[0])
    return root


def write_sheet(path: Path, rows: Sequence[Row], columns: Sequence[str | None] = COLUMNS) -> None:
    fields = {
        "Subject": "subject",
        "Filename": "clip",
        "OnsetFrame": "onset",
        "ApexFrame": "apex",
        "OffsetFrame": "offset",
        "Action Units": "aus",
        "Estimated Emotion": "emotion",
    }
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(list(columns))
    for row in rows:
        sheet.append([getattr(row, fields[name]) if name in fields else None for name in columns])
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def changed(index: int, **values: object) -> tuple[Row, ...]:
    """The usual rows with one of them changed."""
    return tuple(replace(row, **values) if number == index else row for number, row in enumerate(ROWS))
