"""One table on disk, written row by row so that a killed or failing run loses nothing that was finished.

While it grows, `faces.csv` is two files beside it, both only ever appended to: `faces.csv.partial` (the rows) and `faces.csv.resume`
(JSON Lines: what the table is, then which bytes of the partial file belong to which finished source). `resume=True` cuts the partial
file behind the last finished source and goes on. At the end the partial file becomes the table in one step. Where a source could
only be read in part, `faces.csv.incomplete` stays behind and names it, so that a later `resume=True` reads that source again.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from openau.errors import InputError, OutputError, UsageError
from openau.outputs import require_folder, whole_file, writing
from openau.result import AUColumns, Faces
from openau.sinks.formats import Format, FormatName, format_of, make_format, plain_text

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 1024
BESIDE = (".partial", ".resume", ".incomplete")
"""Endings of the files that may lie beside a table."""

_DAMAGED = (ValueError, LookupError, TypeError, csv.Error)
"""What readers raise on bytes that are not what was written (PyArrow's errors are ValueErrors)."""


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes of the partial file that hold the rows of finished sources."""

    sources: tuple[str, ...]
    start: int
    end: int
    complete: bool = True

    def line(self) -> bytes:
        return _json_line({"sources": self.sources, "start": self.start, "end": self.end, "complete": self.complete})


class TableSink:
    """Write faces to one table; a context manager.

    Leaving the block without an exception makes the table; leaving it with one keeps the rows so far in `<path>.partial`, from where
    `resume=True` goes on. An existing table is only replaced when the new one is whole.

    Args:
        path: the table to write.
        columns: AU columns of every table that will be written.
        format: `csv`, `parquet`, `jsonl` or `openface`; by default what the suffix says.
        resume: go on where an earlier run with the same settings stopped; a finished table is continued.
        settings: what the rows depend on (model …); a run with other settings is not continued.

    Raises:
        OutputError: the folder does not exist, or the file cannot be written (no permission, disk full …).
        UsageError: suffix and format disagree, or the table to resume has other columns or was begun with other settings.
        InputError: what an earlier run left is damaged, so that it cannot be resumed.
        MissingExtraError: Parquet without PyArrow.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: AUColumns,
        format: FormatName | None = None,
        *,
        resume: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.rows = 0
        self._format: Format = make_format(format_of(self.path, format), columns)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._log_path = self.path.with_name(self.path.name + ".resume")
        self._incomplete_path = self.path.with_name(self.path.name + ".incomplete")
        self._about = {"format": self._format.name, "columns": list(columns.names), "settings": dict(settings or {})}
        self._ranges: dict[tuple[str, ...], _Range] = {}
        self._pending: list[Faces] = []
        self._pending_rows = 0
        self._flushed = time.monotonic()
        require_folder(self.path)
        if self.path.is_dir():
            raise OutputError(f"{self.path}: cannot be written, it is a folder")
        with writing(self.path):
            if resume and self._partial.exists() and self._log_path.exists():
                self._continue_partial()
            elif resume and self.path.exists() and self._format.has_source:
                self._start(continued=True)
            else:
                self._start()
        self._source_start = self._data.tell()

    @property
    def has_source(self) -> bool:
        """Whether rows tell their source; a table of OpenFace's format cannot hold more than one."""
        return self._format.has_source

    @property
    def resumed(self) -> bool:
        """Whether rows of an earlier run are kept."""
        return any(kept.complete for kept in self._ranges.values())

    def is_finished(self, source: str) -> bool:
        """Whether this run, or the one it resumes, has read this source to its end."""
        name = plain_text(source)
        return any(kept.complete and name in kept.sources for kept in self._ranges.values())

    def write(self, faces: Faces) -> None:
        """Append rows.

        Raises:
            OutputError: the disk is full or the file cannot be written.
        """
        self._pending.append(replace(faces, landmarks=None))
        self._pending_rows += len(faces)
        self.rows += len(faces)
        if self._pending_rows >= FLUSH_ROWS or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def finish_source(self, source: str, complete: bool = True) -> None:
        """Say that all rows of a source are written; `resume` reads it again only if it was incomplete.

        Raises:
            OutputError: the disk is full or the file cannot be written.
        """
        self._flush()
        kept = _Range((plain_text(source),), self._source_start, self._data.tell(), complete)
        with writing(self.path):
            self._log.write(kept.line())
            self._log.flush()
        self._ranges[kept.sources] = kept
        self._source_start = kept.end

    def close(self) -> None:
        """Make the table out of the rows so far.

        Raises:
            OutputError: the disk is full or the file cannot be written.
        """
        if self._data.closed:
            return
        self._flush()
        incomplete = [name for kept in self._ranges.values() if not kept.complete for name in kept.sources]
        with writing(self.path):
            end = self._data.tell()
            os.fsync(self._data.fileno())
            self._data.close()
            self._log.close()
            self._format.finish(self._assembled(end), self.path)
            if incomplete:
                _write_whole(self._incomplete_path, _json_line({"incomplete": incomplete}))
            else:
                self._incomplete_path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            self._log_path.unlink()

    def keep_partial(self) -> None:
        """Stop without making the table; the rows so far stay in the partial file for `resume`."""
        if self._data.closed:
            return
        try:
            self._flush()
        finally:
            for file in (self._data, self._log):
                with suppress(OSError):  # a full disk refuses the same bytes again; they belong to an unfinished source
                    file.close()

    def discard(self) -> None:
        """Stop and remove what this run wrote; an existing table stays as it was."""
        for file in (self._data, self._log):
            with suppress(OSError):
                file.close()
        self._partial.unlink(missing_ok=True)
        self._log_path.unlink(missing_ok=True)

    def __enter__(self) -> TableSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with suppress(OutputError):  # the error on its way out is the one to tell
            self.keep_partial()

    def _start(self, continued: bool = False) -> None:
        """Begin a partial file: empty, or with the rows of the finished table."""
        # First of all, so that the log never describes bytes of another partial file.
        self._log_path.unlink(missing_ok=True)
        self._data: IO[bytes] = self._partial.open("wb")
        try:
            self._data.write(self._format.header())
            self._header_end = self._data.tell()
            if continued:
                self._take_over_table()
            self._data.flush()
            self._start_log()
        except BaseException:
            with suppress(OSError):
                self._data.close()
            self._partial.unlink(missing_ok=True)
            raise

    def _start_log(self) -> None:
        lines = [_json_line({**self._about, "header": self._header_end}), *(r.line() for r in self._ranges.values())]
        _write_whole(self._log_path, b"".join(lines))
        self._log: IO[bytes] = self._log_path.open("ab")

    def _continue_partial(self) -> None:
        size = self._partial.stat().st_size
        try:
            about, kept = _read_log(self._log_path)
        except _DAMAGED:
            raise InputError(
                f"{self._log_path}: is damaged, so the earlier run cannot be resumed; run without --resume to begin again"
            ) from None
        if not about or about.get("header", size + 1) > size:
            self._start()
            return
        if {key: about.get(key) for key in self._about} != self._about:
            raise UsageError(
                f"{self._partial}: was begun with another model, format or option, so it cannot be resumed; "
                "run with the same ones, or without --resume to begin again"
            )
        self._header_end = int(about["header"])
        end = self._header_end
        for part in kept:
            if part.end > size:  # the machine went down before these rows reached the disk
                break
            self._ranges[part.sources] = part
            end = part.end
        self._data = self._partial.open("r+b")
        self._data.truncate(end)
        self._data.seek(end)
        self._start_log()

    def _take_over_table(self) -> None:
        """Copy the rows of the finished table, less those of sources that were only read in part."""
        unfinished: set[str] = set()
        try:
            if self._incomplete_path.exists():
                unfinished = {name for line in _read_json_lines(self._incomplete_path) for name in line["incomplete"]}
            found = tuple(sorted(self._format.keep(self.path, self._data, unfinished)))
        except _DAMAGED:
            raise InputError(
                f"{self.path}: is damaged, or not a table of OpenAU, so it cannot be continued; "
                "run without --resume to replace it, or choose another --out"
            ) from None
        if found:
            self._ranges[found] = _Range(found, self._header_end, self._data.tell())

    def _assembled(self, end: int) -> Path:
        """The rows to make the table of: the partial file, or a copy without the rows of attempts that were read again.

        Sources keep the order of their first appearance, which is the one of a run that was never interrupted.
        """
        trailing = _Range((), self._source_start, end)  # rows of a caller who does not name sources
        wanted = [(0, self._header_end), *((r.start, r.end) for r in (*self._ranges.values(), trailing))]
        if all(before[1] == after[0] for before, after in pairwise(wanted)):
            return self._partial
        copy = self._partial.with_name(f".{self._partial.name}.tmp")
        try:
            with self._partial.open("rb") as old, copy.open("wb") as new:
                for start, stop in wanted:
                    old.seek(start)
                    _copy(old, new, stop - start)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return copy

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        with writing(self.path):
            if self._pending:
                rows = Faces.concatenate(self._pending)
                self._pending, self._pending_rows = [], 0
                self._data.write(self._format.encode(rows))
            self._data.flush()


def _json_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _read_log(path: Path) -> tuple[dict[str, Any], list[_Range]]:
    """What the table is (empty if a kill left nothing) and the ranges of the finished sources."""
    lines = _read_json_lines(path)
    about = dict(lines[0]) if lines else {}
    return about, [_Range(tuple(r["sources"]), int(r["start"]), int(r["end"]), r["complete"]) for r in lines[1:]]


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of an append-only log; one that a kill cut in the middle is left out."""
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        lines.append(json.loads(line))
    return lines


def _write_whole(path: Path, content: bytes) -> None:
    with whole_file(path) as scratch:
        scratch.write_bytes(content)


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count > 0:
        block = source.read(min(count, 1 << 20))
        if not block:
            return
        target.write(block)
        count -= len(block)
