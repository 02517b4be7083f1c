"""Faces on a terminal: a table for a picture, one line for a camera; for programs, rows as JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from openau.batch import Outcome
from openau.facs import au, intensity_column, occurrence_column
from openau.media import Source
from openau.overlay import one_side
from openau.result import AUColumns, Faces
from openau.sinks.formats import make_format

BAR = 20
"""Width of a bar, characters."""


def face_tables(console: Console, name: str, faces: Faces) -> RenderableType:
    """A table per face, rows by AU number, those present in bold."""
    rows = np.flatnonzero(faces.has_face)
    if len(rows) == 0:
        return Text(f"{name}: no face found")
    return Group(*(_face_table(console, name, faces, int(row)) for row in rows))


def _face_table(console: Console, name: str, faces: Faces, row: int) -> RenderableType:
    pitch, yaw, roll = faces.pose[row]
    x, y, width, height = faces.box[row]
    title = Text(f"{name}  face {faces.face_id[row]}", style="bold")
    about = Text(
        f"at ({x:.0f}, {y:.0f}), {width:.0f} × {height:.0f} pixels, score {faces.score[row]:.2f}; "
        f"pitch {pitch:+.0f}°, yaw {yaw:+.0f}°, roll {roll:+.0f}°",
        style="dim",
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("Action Unit")
    table.add_column("probability", no_wrap=True)
    table.add_column("")
    if faces.columns.intensity:
        table.add_column("intensity", justify="right")
    if faces.columns.sided:
        table.add_column("side")
    for number in sorted(faces.columns.occurrence):
        table.add_row(*_au_cells(console, faces, row, number))
    return Group(title, about, table, Text(""))


def _au_cells(console: Console, faces: Faces, row: int, number: int) -> Sequence[RenderableType]:
    probability = float(faces.column(occurrence_column(number))[row])
    present = probability >= 0.5
    style = "bold" if present else "dim"
    fancy = console.encoding.lower().startswith("utf")
    mark = ("●" if fancy else "*") if present else ""
    cells = [
        Text(mark, style="green"),
        Text(f"AU{number} {au(number).name}", style=style),
        _bar(probability, present, fancy),
        Text(f"{probability:.2f}", style=style),
    ]
    if faces.columns.intensity:
        known = number in faces.columns.intensity
        cells.append(Text(f"{faces.column(intensity_column(number))[row]:.1f}" if known else "", style=style))
    if faces.columns.sided:
        side = {"L": "left only", "R": "right only"}.get(one_side(faces, row, number), "")
        cells.append(Text(side, style=style))
    return cells


def _bar(probability: float, present: bool, fancy: bool) -> Text:
    """A bar whose middle, 0.5, is marked."""
    full, empty, threshold = ("━", "─", "┼") if fancy else ("=", "-", "+")
    length = round(BAR * (0 if np.isnan(probability) else probability))
    line = "".join(threshold if i == BAR // 2 and i >= length else full if i < length else empty for i in range(BAR))
    bar = Text(line, style="dim")
    bar.stylize("green" if present else "default", 0, length)
    return bar


def face_line(faces: Faces) -> str:
    """A camera's frame in one line: the AUs present on each face."""
    if not faces.has_face.any():
        return f"{faces.timestamp[0]:7.1f} s  no face"
    parts = []
    for row in range(len(faces)):
        present = [
            f"AU{number} {probability:.2f}"
            for number in sorted(faces.columns.occurrence)
            if (probability := float(faces.column(occurrence_column(number))[row])) >= 0.5
        ]
        parts.append(f"face {faces.face_id[row]}: {', '.join(present) or 'neutral'}")
    return f"{faces.timestamp[0]:7.1f} s  {'  |  '.join(parts)}"


class JsonRows:
    """Where rows go with `--json`: to stdout, an object per line as in a `.jsonl` table, at once; a `batch.Destination`.

    Args:
        columns: the AUs of the rows.
    """

    def __init__(self, columns: AUColumns) -> None:
        self._format = make_format("jsonl", columns)

    def is_finished(self, source: Source) -> bool:
        """Nothing is kept, so nothing was finished before."""
        return False

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """Print the next rows of a source."""
        sys.stdout.write(self._format.encode(faces).decode("utf-8"))
        sys.stdout.flush()

    def finish(self, outcome: Outcome) -> None:
        """A source is done; its rows are printed already."""

    def __enter__(self) -> JsonRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


class Summary:
    """What a video showed: for each AU, in how much of the time it was present and when it was strongest."""

    def __init__(self, columns: AUColumns) -> None:
        self._numbers = sorted(columns.occurrence)
        self._faces = 0
        self._frames = 0
        self._seconds = 0.0
        self._present = dict.fromkeys(self._numbers, 0)
        self._peak = dict.fromkeys(self._numbers, (0.0, 0.0))

    def add(self, faces: Faces) -> None:
        """Take a frame into account."""
        self._frames += 1
        self._faces += int(faces.has_face.sum())
        self._seconds = float(faces.timestamp[0])
        for number in self._numbers:
            values = faces.column(occurrence_column(number))[faces.has_face]
            self._present[number] += int((values >= 0.5).sum())
            if len(values):
                self._peak[number] = max(self._peak[number], (float(values.max()), self._seconds))

    def render(self, console: Console) -> RenderableType:
        """The summary as a table."""
        fancy = console.encoding.lower().startswith("utf")
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, right in (("Action Unit", False), ("present", False), ("", True), ("strongest", True), ("at", True)):
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for number in self._numbers:
            share = self._present[number] / max(1, self._faces)
            peak, moment = self._peak[number]
            style = "bold" if share > 0 else "dim"
            table.add_row(
                Text(f"AU{number} {au(number).name}", style=style),
                _share_bar(share, fancy),
                Text(f"{share:.0%}", style=style),
                Text(f"{peak:.2f}", style=style),
                Text(f"{moment:.1f} s", style=style),
            )
        title = Text(f"{self._frames} frames, {self._seconds:.1f} s, {self._faces} faces", style="dim")
        return Group(title, table, Text(""))


def _share_bar(share: float, fancy: bool) -> Text:
    full, empty = ("━", "─") if fancy else ("=", "-")
    length = round(BAR * share) if share == 0 else max(1, round(BAR * share))
    bar = Text(full * length + empty * (BAR - length), style="dim")
    bar.stylize("green", 0, length)
    return bar
