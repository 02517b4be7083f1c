"""Look-alike SAMM: a spreadsheet with prose above its header, and folders of pictures in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import people

COLUMNS = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)


@dataclass(frozen=True)
class Row:
    subject: object
    clip: str
    onset: int
    apex: object
    offset: int
    aus: object
    emotion: str
    objective: str = "I"


ROWS = (
    Row(6, "006_1_2", 5562, 5564, 5566, "AU12A or AU14", "Happiness"),
    Row("006", "006_1_4", 12, 13, 15, "4+7", "Anger", "III"),
    Row(28, "028_4_1", 5, 20, 8, "L12B", "Contempt"),
    Row(37, "037_3_1", 1, 2, 4, "2", "Other", "VII"),
)


def make(
    root: Path, *, rows: Sequence[Row] = ROWS, prose: int = 13, columns: Sequence[str] = COLUMNS, folder: str = "SAMM"
) -> Path:
    """Write a tree: `prose` rows stand above the header, pictures are in `folder`."""
    book = openpyxl.Workbook()
    sheet = book.active
    for number in range(prose):
        sheet.append([f"Line {number + 1} about the data set and its Subject numbers"])
    sheet.append(list(columns))
    for row in rows:
        length = row.offset - row.onset + 1
        cells = [
            row.subject,
            row.clip,
            "",
            row.onset,
            row.apex,
            row.offset,
            length,
            "Micro - 1/2",
            row.aus,
            row.emotion,
            row.objective,
            "",
        ]
        sheet.append([cell for name, cell in zip(COLUMNS, cells, strict=True) if name in columns])
    root.mkdir(parents=True, exist_ok=True)
    book.save(root / "SAMM_Micro_FACS_Codes_v2.xlsx")
    for row in rows:
        subject = f"{int(row.subject):03d}"
        frames = range(row.onset, row.offset + 1)
        for number, frame in zip(frames, people.person_frames(int(subject), len(frames)), strict=True):
            people.write_picture(root / folder / subject / row.clip / f"{subject}_{number:05d}.jpg", frame)
    return root
