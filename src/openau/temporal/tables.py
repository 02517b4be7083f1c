"""Tables beside a table: `clip.events.csv` and `clip.summary.csv` for `clip.csv`, written while it grows.

Rows are appended to `clip.events.csv.partial`, which becomes the table at the end. A run that is resumed keeps the rows of sources that the
table beside them calls finished, and no others; since a source's rows are written before it is called finished, none is lost or doubled.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from openau.facs import occurrence_column
from openau.outputs import writing
from openau.result import AUColumns, Faces
from openau.temporal.events import RULE, Event, EventRule, EventStream
from openau.temporal.summary import Summariser, Summary

EVENT_COLUMNS = (
    "source", "face_id", "AU", "onset", "apex", "offset", "duration", "onset_frame", "apex_frame", "last_frame", "frames",
    "peak", "mean", "peak_intensity", "starts_unseen", "ends_unseen",
)  # fmt: skip
"""Columns of a table of events. See `docs/columns.md`."""


def events_path(table: Path) -> Path:
    """Where the events of a table go: `clip.csv` → `clip.events.csv`."""
    return table.with_name(f"{table.stem}.events.csv")


def summary_path(table: Path) -> Path:
    """Where the faces of a table are summed up: `clip.csv` → `clip.summary.csv`."""
    return table.with_name(f"{table.stem}.summary.csv")


def summary_columns(columns: AUColumns) -> tuple[str, ...]:
    """Columns of a table of summaries."""
    aus = columns.names[: len(columns.names) - len(columns.extra)]
    return (
        "source", "face_id", "first", "last", "frames", "share", "width", "height",
        *(f"{name}_mean" for name in aus), *(f"{name}_peak" for name in aus),
        *(f"{occurrence_column(au)}_events" for au in columns.occurrence),
    )  # fmt: skip


class Beside:
    """Writes the tables beside others.

    Args:
        columns: AU columns of the rows that will be written.
        events: write events, by this rule; None does not.
        summary: write summaries.
        table: the one table that all sources are written to; None: every source has its own.
        finished: whether the table, resumed, holds a source already; None begins anew.
    """

    def __init__(
        self,
        columns: AUColumns,
        events: EventRule | None = RULE,
        summary: bool = False,
        table: Path | None = None,
        finished: Callable[[str], bool] | None = None,
    ) -> None:
        self._columns, self._rule, self._summary, self._table, self._finished = (
            columns,
            events,
            summary,
            table,
            finished,
        )
        self._stream = EventStream(columns, events or RULE)
        self._summariser = Summariser(columns)
        self._files: list[_RowFile] = []

    def write(self, faces: Faces, table: Path | None) -> None:
        """The rows of the next frame of a source.

        Args:
            faces: the rows.
            table: its own table, where it has one; where there is none at all, nothing is written.

        Raises:
            OutputError: a table cannot be written.
        """
        if not self._open(table):
            return
        self._tell(self._stream.add(faces))
        if self._summary:
            self._summariser.add(faces)

    def finish_source(self) -> None:
        """The source's last frame is written; call it before the table beside says so.

        Raises:
            OutputError: a table cannot be written.
        """
        self._tell(self._stream.finish())
        if self._summary:
            for row in self._summariser.finish():
                self._files[-1].append(_summary_cells(row))
        for file in self._files:
            file.flush()
        if self._table is None:
            self.close()

    def close(self) -> None:
        """Make the tables.

        Raises:
            OutputError: a table cannot be written.
        """
        if self._table is not None:
            self._open(None)
        for file in self._files:
            file.close()
        self._files = []

    def _tell(self, events: list[Event]) -> None:
        if self._summary:
            self._summariser.count(events)
        if self._rule is not None and self._files:
            for event in events:
                self._files[0].append(_event_cells(event))

    def _open(self, table: Path | None) -> bool:
        """Open the files, where they are not: events first, summaries last."""
        place = self._table or table
        if place is None or self._files:
            return bool(self._files)
        if self._rule is not None:
            self._files.append(_RowFile(events_path(place), EVENT_COLUMNS, self._finished))
        if self._summary:
            self._files.append(_RowFile(summary_path(place), summary_columns(self._columns), self._finished))
        return bool(self._files)


class _RowFile:
    """A CSV file that grows as `.partial`; its first column is the source."""

    def __init__(self, path: Path, header: Sequence[str], finished: Callable[[str], bool] | None) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        kept = b"" if finished is None else self._kept(header, finished)
        with writing(path):
            self._file: IO[bytes] = self._partial.open("wb")
            self._file.write(_line(header) + kept)

    def _kept(self, header: Sequence[str], finished: Callable[[str], bool]) -> bytes:
        """Rows of an earlier run about sources that need not be read again."""
        earlier = self._partial if self._partial.exists() else self._path
        if not earlier.exists():
            return b""
        with writing(self._path):
            text = earlier.read_bytes().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line
        rows = csv.reader(io.StringIO(whole, newline=""))
        if next(rows, []) != list(header):
            return b""
        return b"".join(_line(row) for row in rows if row and finished(row[0]))

    def append(self, cells: Sequence[str]) -> None:
        with writing(self._path):
            self._file.write(_line(cells))

    def flush(self) -> None:
        with writing(self._path):
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()
            self._partial.replace(self._path)


def _line(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")


def _text(source: str) -> str:
    """A source as tables write it: valid Unicode."""
    return source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _number(value: float, places: int) -> str:
    return "" if math.isnan(value) else f"{value:.{places}f}"


def _event_cells(e: Event) -> list[str]:
    times = [_number(value, 6) for value in (e.onset, e.apex, e.offset, e.duration)]
    frames = [str(value) for value in (e.onset_frame, e.apex_frame, e.last_frame, e.frames)]
    values = [_number(value, 4) for value in (e.peak, e.mean, e.peak_intensity)]
    ends = [str(int(value)) for value in (e.starts_unseen, e.ends_unseen)]
    return [_text(e.source), str(e.face_id), occurrence_column(e.au), *times, *frames, *values, *ends]


def _summary_cells(s: Summary) -> list[str]:
    seen = [_number(s.first, 6), _number(s.last, 6), str(s.frames), _number(s.share, 4)]
    size = [_number(s.width, 2), _number(s.height, 2)]
    values = [_number(float(value), 4) for value in (*s.mean, *s.peak)]
    return [_text(s.source), str(s.face_id), *seen, *size, *values, *(str(int(n)) for n in s.events)]
