"""Your own pictures and videos, with a CSV of AUs: the data set `folder`.

Layout: a folder with `labels.csv`, or any CSV named itself as the root; the files it speaks of lie in its folder or below.

| column | holds |
|---|---|
| `file` | picture or video, relative to the CSV's folder; needed |
| `frame` | number of the frame: of a video, from 0 in the order of showing, needed; of pictures that form a clip, their order |
| `subject` | who it is; where empty, the top folder of `file`, or for a file beside the CSV the clip's or its own name |
| `clip` | puts pictures together into one recording; without it, each picture stands for itself. A video is a recording anyway |
| `fold` | whole number of a part; the same for all rows of a subject |
| `AU12` | occurrence: 0, 1 or empty (not known) |
| `AU12_i` | intensity: 0–5 or empty |
| `AU12_L`, `AU12_R` | occurrence on the subject's own left and right |

Further columns travel into the manifest as text. In a recording made of pictures, the face is followed from one picture to
the next, and the policy `previous` may take over its last place; pictures that stand for themselves are searched one by one.

Subjects matter: splits never cut through one. Where several people share a top folder, say who is who in `subject`.

Licence and citation are yours.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from openau.datasets.clips import (
    NO_PICTURE,
    Clip,
    Floats,
    Media,
    PictureFiles,
    Problem,
    Report,
    VideoFile,
)
from openau.datasets.manifest import FIVE_POINTS
from openau.errors import InputError
from openau.facs import AUS, Side, parse_column
from openau.media import classify

TABLE = "labels.csv"

_KNOWN = ("file", "frame", "subject", "clip", "fold")
_TAKEN = ("image", "dataset", "people", "alignment", FIVE_POINTS)
"""Columns of the manifest that `openau prepare` fills."""
_AU_LIKE = re.compile(r"AU_?\d+.*", re.IGNORECASE)
_UNKNOWN = frozenset({"", "nan", "na", "null"})
_SURPLUS = "*"
"""Stands for the columns of cells that have none; no column of this name is read."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table: its number in the file, its cells by column, and what identifies the frame."""

    line: int
    cells: Mapping[str, str]
    path: Path
    clip: str
    subject: str
    frame: int
    fold: int | None


class Folder:
    """Reads the user's own table; see the module's text."""

    name = "folder"
    title = "your own pictures and videos, with a CSV of AUs"
    people = "folder"
    aus = tuple(AUS)
    usual_aus = tuple(AUS)
    intensity_aus = tuple(AUS)
    licence = "Yours."
    citation = "Yours."

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips of the table at `root` (a CSV, or a folder with `labels.csv`), sorted by name.

        Raises:
            InputError: there is no such table, or it lacks the column `file` or any AU column.
        """
        table = root / TABLE if root.is_dir() else root
        lines = _lines(table)
        groups: dict[str, list[_Row]] = {}
        for line, cells in lines:
            row = _row(line, cells, table, report)
            if row is not None:
                groups.setdefault(row.clip, []).append(row)
        return [_clip(rows, table, report) for _, rows in sorted(groups.items())]


def _lines(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Lines of the table with their numbers, cells by column, stripped.

    Raises:
        InputError: it is not there, not a table, or lacks columns.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            reader.restkey = _SURPLUS
            lines = [(reader.line_num, _stripped(cells)) for cells in reader]
    except FileNotFoundError:
        raise InputError(f"{table}: there is no such file; the data set `folder` needs a table of AUs") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a CSV in UTF-8 ({error})") from None
    twice = [name for name in names if names.count(name) > 1]
    odd = [name for name in names if _AU_LIKE.fullmatch(name) and parse_column(name) is None]
    if "file" not in names:
        raise InputError(f"{table}: the column `file` is missing; there are {', '.join(names) or 'no columns'}")
    taken = [name for name in names if name in _TAKEN]
    if taken:
        raise InputError(
            f"{table}: the column {taken[0]} is one that `openau prepare` fills itself; give it another name"
        )
    if twice:
        raise InputError(f"{table}: the column {twice[0]} appears twice")
    if odd:
        raise InputError(f"{table}: {odd[0]} names no AU OpenAU knows (AUs are written AU01, AU12, AU12_i, AU12_L …)")
    if not any(parse_column(name) for name in names):
        raise InputError(f"{table}: there is no AU column (AU01, AU12, AU12_i …)")
    return lines


def _stripped(cells: Mapping[str, str | list[str]]) -> dict[str, str]:
    """Cells without outer blanks; columns without a name are left out, cells without a column are joined."""
    plain = {name: ",".join(cell) if isinstance(cell, list) else cell for name, cell in cells.items() if name}
    return {name: cell.strip(" \t\r\n" + "," * (name == _SURPLUS)) for name, cell in plain.items()}


def _row(line: int, cells: Mapping[str, str], table: Path, report: Report) -> _Row | None:
    """A line understood, or None, reported, if it cannot be."""
    file = PurePosixPath(cells["file"].replace("\\", "/"))
    video = classify(table.parent / file) == "video"
    clip = cells.get("clip", "") or str(file)
    frame = _whole(cells.get("frame", ""))
    fold = _whole(cells.get("fold", ""))
    reason = None
    if cells.get(_SURPLUS):
        reason = f"has more cells than the table has columns, {cells[_SURPLUS]!r} at its end (a decimal comma?)"
    elif not cells["file"]:
        reason = "names no file"
    elif not _inside(str(file)):
        reason = f"{file} is not below the table's folder"
    elif not _inside(clip):
        reason = f"the clip {clip!r} cannot be used as a folder's name"
    elif (table.parent / file).is_dir():
        reason = f"{file} is a folder, not a picture or video"
    elif video and frame is None:
        reason = "a row of a video needs the number of its frame, from 0"
    elif cells.get("frame") and (frame is None or frame < 0):
        reason = f"frame is {cells['frame']!r}, not a whole number from 0"
    elif cells.get("fold") and fold is None:
        reason = f"fold is {cells['fold']!r}, not a whole number"
    if reason is not None:
        report(Problem("unusable row", table, f"{reason}; the row is left out", line))
        return None
    own = cells.get("clip") or file.stem
    subject = cells.get("subject", "") or (file.parts[0] if len(file.parts) > 1 else own)
    if frame is None:
        frame = line if cells.get("clip") else 0
    return _Row(line, cells, table.parent / file, clip, subject, frame, fold)


def _clip(rows: list[_Row], table: Path, report: Report) -> Clip:
    """One recording from its rows."""
    rows = sorted(rows, key=lambda row: row.frame)
    media, rows, position = _media(rows, table, report)
    for what, of in (("subject", lambda row: row.subject), ("fold", lambda row: row.fold)):
        _tell_change(rows, what, of, table, report)
    columns = [(name, parsed) for name in rows[0].cells if (parsed := parse_column(name)) is not None]
    occurrence: dict[int, Floats] = {}
    intensity: dict[int, Floats] = {}
    sides: dict[tuple[int, Side], Floats] = {}
    for name, (au, kind) in columns:
        values = np.array([_label(row, name, kind == "i", table, report) for row in rows], np.float32)
        if kind is None:
            occurrence[au] = values
        elif kind == "i":
            intensity[au] = values
        else:
            sides[au, kind] = values
    labels = {name for name, _ in columns}
    free = [name for name in rows[0].cells if name not in labels and name not in (*_KNOWN, _SURPLUS)]
    return Clip(
        subject=rows[0].subject,
        name=rows[0].clip,
        media=media,
        frame=np.array([row.frame for row in rows], np.int64),
        position=np.array(position, np.int64),
        occurrence=occurrence,
        intensity=intensity,
        sides=sides,
        fold=rows[0].fold,
        extra={name: [row.cells[name] or None for row in rows] for name in free},
    )


def _media(rows: list[_Row], table: Path, report: Report) -> tuple[Media, list[_Row], list[int]]:
    """A recording's video or pictures, the rows that are of it, and where each is; files that are not there are reported."""
    if classify(rows[0].path) == "video":
        path = rows[0].path
        for row in rows:
            if row.path != path:
                reason = f"the clip {row.clip} is the video {path.name} already; the row is left out"
                report(Problem("mixed recording", table, reason, row.line))
        rows = [row for row in rows if row.path == path]
        if not path.is_file():
            report(
                Problem("missing file", path, f"there is no such video; row {rows[0].line} of {table.name} names it")
            )
            return VideoFile(path), rows, [NO_PICTURE] * len(rows)
        return VideoFile(path), rows, [row.frame for row in rows]
    position = list(range(len(rows)))
    for index, row in enumerate(rows):
        if not row.path.is_file():
            report(
                Problem("missing file", row.path, f"there is no such picture; row {row.line} of {table.name} names it")
            )
            position[index] = NO_PICTURE
    return PictureFiles(tuple(row.path for row in rows)), rows, position


def _tell_change(rows: Sequence[_Row], what: str, of: Callable[[_Row], object], table: Path, report: Report) -> None:
    """Report the first row whose subject or fold is not that of its recording's first row."""
    other = next((row for row in rows if of(row) != of(rows[0])), None)
    if other is not None:
        reason = f"the clip {other.clip} has {what} {of(rows[0])} in row {rows[0].line} and {of(other)} here; the first counts"
        report(Problem(f"{what} changes", table, reason, other.line))


def _label(row: _Row, name: str, graded: bool, table: Path, report: Report) -> float:
    """A label, NaN where it is not known or, reported, not a label."""
    text = row.cells[name]
    if text.lower() in _UNKNOWN:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if (0 <= value <= 5) if graded else value in (0, 1):
        return value
    allowed = "a number from 0 to 5" if graded else "0, 1 or empty"
    report(Problem("value out of range", table, f"{name} is {text!r}, not {allowed}; it counts as not known", row.line))
    return float("nan")


def _whole(text: str) -> int | None:
    """A whole number, also written 12.0, or None."""
    return int(text.partition(".")[0]) if re.fullmatch(r"-?\d+(\.0*)?", text) else None


def _inside(name: str) -> bool:
    """Whether a relative path stays below its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name


READER = Folder()
