"""Label files as data sets ship them: lines of a frame number and one or more codes, read fast and checked to the line.

A good file is read in one go by NumPy; only where something is wrong with it is it read line by line, so that each
problem is told with its file and line. What cannot be read is NaN, never a guess.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openau.datasets.clips import Floats, Integers, Problem, Report
from openau.errors import InputError

_CHUNK = 200
"""Lines around a bad one that are read one by one."""

UNKNOWN = 9
"""How BP4D and its kin write that a coder could not tell."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """The N readable lines of one label file.

    Attributes:
        path: of the file.
        line: (N,) numbers of the lines, from 1.
        frame: (N,) frame numbers as they are written.
        values: (N, C) codes as they are written; NaN where a cell cannot be read.
    """

    path: Path
    line: Integers
    frame: Integers
    values: Floats


def read_lines(path: Path, report: Report) -> list[str]:
    """Lines of a text file without blank ones at its end; none, and a problem told, if the file is missing or empty.

    Raises:
        InputError: the file is there but may not be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        report(Problem("missing file", path, "this label file is missing"))
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    lines = text.rstrip().splitlines()
    if not lines:
        report(Problem("empty file", path, "this label file is empty"))
    return lines


def parse(
    lines: Sequence[str], columns: int, path: Path, report: Report, *, first: int = 1, separator: str | None = ","
) -> LabelFile:
    """Read lines of a frame number and C codes.

    Args:
        lines: of the file, without its header.
        columns: C.
        path: of the file, for problems.
        report: takes "garbled line" problems: too few or too many cells, cells that are no number.
        first: number of the first of these lines in the file.
        separator: between cells; None = blanks.

    Returns:
        Its lines in the order of the file. A line whose frame number cannot be read is left out; other unreadable cells are NaN.
    """
    whole = _parse_at_once(lines, columns, path, first, separator)
    if whole is not None:
        return whole
    parts = []
    for start in range(0, len(lines), _CHUNK):
        chunk = lines[start : start + _CHUNK]
        part = _parse_at_once(chunk, columns, path, first + start, separator)
        parts.append(part or _parse_line_by_line(chunk, columns, path, report, first + start, separator))
    return LabelFile(
        path,
        np.concatenate([part.line for part in parts]),
        np.concatenate([part.frame for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def in_order(labels: LabelFile, report: Report) -> LabelFile:
    """Sort by frame, each frame once; frames that go back and duplicates are told.

    Where two lines of the same frame disagree, the code is not known: NaN.
    """
    if len(labels.frame) < 2 or (np.diff(labels.frame) > 0).all():
        return labels
    back = np.flatnonzero(np.diff(labels.frame) < 0)
    if len(back):
        reason = f"frame {labels.frame[back[0] + 1]} comes after frame {labels.frame[back[0]]}; the lines were sorted"
        report(Problem("frames out of order", labels.path, reason, int(labels.line[back[0] + 1])))
    order = np.argsort(labels.frame, kind="stable")
    frame, line, values = labels.frame[order], labels.line[order], labels.values[order].copy()
    kept = np.concatenate([[True], np.diff(frame) > 0])
    owner = np.flatnonzero(kept)[np.cumsum(kept) - 1]
    for twin in np.flatnonzero(~kept):
        one, other = values[owner[twin]], values[twin]
        differs = one != other
        fate = "with other codes, which are taken as unknown" if differs.any() else "with the same codes"
        report(
            Problem(
                "duplicate frame",
                labels.path,
                f"frame {frame[twin]} is here again after line {line[owner[twin]]}, {fate}",
                int(line[twin]),
            )
        )
        one[differs] = np.nan
    return replace(labels, frame=frame[kept], line=line[kept], values=values[kept])


def checked(
    labels: LabelFile, highest: int, names: Sequence[str], report: Report, unknown: int | None = None
) -> LabelFile:
    """Codes 0 … `highest` as they are, everything else NaN.

    Args:
        labels: as read.
        highest: code that is allowed.
        names: of the C columns, for problems ("AU12").
        report: takes a "value out of range" problem for every other code.
        unknown: code that means "not known", which is NaN without a problem.
    """
    values = labels.values
    is_unknown = np.zeros(values.shape, bool) if unknown is None else values == unknown
    allowed = (values >= 0) & (values <= highest) & (values == np.floor(values))
    for row, column in np.argwhere(~allowed & ~is_unknown & ~np.isnan(values)):
        scale = f"0–{highest}" if unknown is None else f"0–{highest} and {unknown} (unknown)"
        reason = f"{names[column]} is {values[row, column]:g} in frame {labels.frame[row]}, allowed are {scale}"
        report(Problem("value out of range", labels.path, reason, int(labels.line[row])))
    return replace(labels, values=np.where(allowed, values, np.nan).astype(np.float32))


def time_axis(files: Sequence[LabelFile], report: Report) -> Integers:
    """(N,) all frames that any of a recording's files has, ascending; which files lack some of them is told."""
    frame = np.unique(np.concatenate([labels.frame for labels in files]))
    for labels in files:
        absent = np.setdiff1d(frame, labels.frame, assume_unique=True)
        if len(absent):
            reason = (
                f"lacks {len(absent):,} of {len(frame):,} frames that other label files of this recording have, "
                f"the first is {absent[0]}"
            )
            report(Problem("missing labels", labels.path, reason))
    return frame


def on_axis(frame: Integers, labels: LabelFile, column: int = 0) -> Floats:
    """(N,) a column of a file at the frames of the whole recording, NaN where the file lacks one."""
    values = np.full(len(frame), np.nan, np.float32)
    values[np.searchsorted(frame, labels.frame)] = labels.values[:, column]
    return values


def _parse_at_once(
    lines: Sequence[str], columns: int, path: Path, first: int, separator: str | None
) -> LabelFile | None:
    """The lines, or None if any of them needs a closer look."""
    if not lines:
        nothing = np.zeros(0, np.int64)
        return LabelFile(path, nothing, nothing, np.zeros((0, columns), np.float32))
    if separator is None:
        regular = {len(line.split()) for line in lines} == {columns + 1}
    else:
        regular = {line.count(separator) for line in lines} == {columns}
    if not regular:
        return None
    glue = " " if separator is None else separator
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            flat = np.fromstring(glue.join(lines), np.float64, sep=glue)
        except (ValueError, DeprecationWarning):
            return None
    if flat.size != len(lines) * (columns + 1) or not np.isfinite(flat).all():
        return None
    numbers = flat.reshape(len(lines), columns + 1)
    frame = numbers[:, 0]
    if (frame < 0).any() or (frame != np.floor(frame)).any():
        return None
    line = np.arange(first, first + len(lines), dtype=np.int64)
    return LabelFile(path, line, frame.astype(np.int64), numbers[:, 1:].astype(np.float32))


def _parse_line_by_line(
    lines: Sequence[str], columns: int, path: Path, report: Report, first: int, separator: str | None
) -> LabelFile:
    numbers: list[int] = []
    frames: list[int] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines, first):
        cells = [cell.strip() for cell in line.split(separator)]
        if not any(cells):
            continue
        frame = _number(cells[0])
        if not (frame >= 0 and frame.is_integer()):
            report(Problem("garbled line", path, f"{cells[0]!r} is no frame number; the line is left out", number))
            continue
        values = [_number(cell) for cell in cells[1:]]
        if len(values) != columns:
            reason = f"frame {frame:g} has {len(values)} codes instead of {columns}; they are taken as unknown"
            report(Problem("garbled line", path, reason, number))
            values = [np.nan] * columns
        for cell, value in zip(cells[1:], values, strict=False):
            if np.isnan(value) and len(cells) == columns + 1:
                reason = f"{cell!r} in frame {frame:g} is no code; it is taken as unknown"
                report(Problem("garbled line", path, reason, number))
        numbers.append(number)
        frames.append(int(frame))
        rows.append(values)
    return LabelFile(
        path,
        np.array(numbers, np.int64),
        np.array(frames, np.int64),
        np.array(rows, np.float32).reshape(len(rows), columns),
    )


def _number(cell: str) -> float:
    """The number in a cell, NaN if there is none."""
    try:
        value = float(cell)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan
