"""One table per source in a folder, with `index.csv` saying which is which and how it went."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType

from openau.errors import OutputError
from openau.outputs import make_folder, remove_scratch, require_folder, whole_file, writing
from openau.result import AUColumns
from openau.sinks.formats import FormatName, default_suffix, plain_text
from openau.sinks.names import Names
from openau.sinks.table import BESIDE, TableSink

INDEX = "index.csv"
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One source in `index.csv`.

    Attributes:
        source: the input as it was named.
        output: its table, relative to the folder; empty where there is none.
        frames: frames read.
        faces: rows that hold a face.
        seconds: time of the last frame (0 for a picture).
        status: `ok`, `incomplete` (read in part, its rows are kept) or `failed`; in the growing index also `waiting`.
        message: what was wrong, in one sentence.
    """

    source: str
    output: str
    frames: int
    faces: int
    seconds: float
    status: str
    message: str = ""

    def line(self) -> bytes:
        """The row as CSV."""
        cells = [f"{v:.6f}" if isinstance(v, float) else plain_text(str(v)) for v in astuple(self)]
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(cells)
        return buffer.getvalue().encode()


def index_bytes(rows: Iterable[IndexRow]) -> bytes:
    """A whole index."""
    header = (",".join(f.name for f in fields(IndexRow)) + "\n").encode()
    return header + b"".join(row.line() for row in rows)


class FolderSink:
    """Write one table per source into a folder; a context manager.

    Tables are named after their source; sources with the same stem get names that tell them apart (`smile.csv`, `smile_png.csv`,
    `monday_smile.csv`). `index.csv` grows as `index.csv.partial` and lists the sources in the order in which they were finished, until
    `sort` gives them another.

    Args:
        path: the folder; created if its parent exists.
        columns: AU columns of every table.
        format: format of the tables.
        resume: skip the sources that `index.csv` calls ok and whose table is there, do the others again.
        settings: what the rows depend on (model …), passed on to the tables.

    Raises:
        OutputError: the folder cannot be made or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: AUColumns,
        format: FormatName = "csv",
        *,
        resume: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._columns = columns
        self._format: FormatName = format
        self._settings = settings
        self._index = self.path / INDEX
        self._partial = self.path / f"{INDEX}.partial"
        self._rows: dict[str, IndexRow] = {}
        require_folder(self.path)
        make_folder(self.path)
        with writing(self.path):
            finished = _read(self._index)  # also without resume: a stranger's index.csv is not ours to replace
            known = {**finished, **_read(self._partial)}
            earlier = known if resume else {}
            self._rows = {
                name: row for name, row in earlier.items() if row.status == "ok" and (self.path / row.output).is_file()
            }
            # Names that an earlier run gave stay with their sources; files that no run wrote are left alone.
            ours = {row.output for row in known.values()}
            others = {file.name: "" for file in self.path.iterdir() if file.name not in ours}
            self._names = Names(
                {**others, INDEX: "", **{row.output: name for name, row in earlier.items() if row.output}}
            )
            with whole_file(self._partial) as scratch:
                scratch.write_bytes(index_bytes(self._rows.values()))
            self._file = self._partial.open("ab")

    def is_finished(self, source: str) -> bool:
        """Whether an earlier run, now resumed, finished this source."""
        return plain_text(source) in self._rows

    def open(self, source: str) -> TableSink:
        """The table of a source; its name is kept for that source.

        Raises:
            OutputError: the table cannot be written.
        """
        return TableSink(self.path / self.name_for(source), self._columns, self._format, settings=self._settings)

    def plan(self, sources: Sequence[str]) -> None:
        """Give these sources their names, and note down which: a table that a killed run left without its line is known as ours.

        What killed runs left of tables that are not finished is removed.

        Raises:
            OutputError: the index cannot be written.
        """
        waiting = [source for source in sources if not self.is_finished(source)]
        rows = [IndexRow(source, self.name_for(source), 0, 0, 0.0, WAITING) for source in waiting]
        with writing(self._index):
            for row in rows:
                for ending in (".partial", ".resume"):
                    (self.path / f"{row.output}{ending}").unlink(missing_ok=True)
            made = (INDEX, *(row.output for row in rows))
            remove_scratch(self.path / f"{name}{ending}" for name in made for ending in ("", *BESIDE))
            self._file.write(b"".join(row.line() for row in rows))
            self._file.flush()

    def name_for(self, source: str) -> str:
        """Name of a source's table; always the same one for the same source."""
        return self._names.name(source, default_suffix(self._format))

    def record(self, row: IndexRow) -> None:
        """Add a finished (or failed) source to the index.

        Raises:
            OutputError: the index cannot be written.
        """
        with writing(self._index):
            self._file.write(row.line())
            self._file.flush()
        self._rows[plain_text(row.source)] = row

    def sort(self, order: Sequence[str]) -> None:
        """List these sources in this order, after those of earlier runs that are not among them.

        Raises:
            OutputError: the index cannot be written.
        """
        place = {plain_text(source): number for number, source in enumerate(order)}
        self._rows = dict(sorted(self._rows.items(), key=lambda row: place.get(row[0], -1)))
        with writing(self._index):
            self._file.close()
            with whole_file(self._partial) as scratch:
                scratch.write_bytes(index_bytes(self._rows.values()))

    def close(self) -> None:
        """Make `index.csv`.

        Raises:
            OutputError: the index cannot be written.
        """
        with writing(self._index):
            self._file.close()
            self._partial.replace(self._index)

    def __enter__(self) -> FolderSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with suppress(OSError):
            self._file.close()


def read_index(content: bytes, name: str) -> dict[str, IndexRow]:
    """Rows of an index by source, the last one of each; a line that a kill cut in the middle is left out. Nothing has no rows.

    Args:
        content: the file's bytes.
        name: what an error calls it.

    Raises:
        OutputError: it is no index of ours.
    """
    if not content:
        return {}
    whole = content.decode("utf-8", "replace")
    lines = csv.reader(io.StringIO(whole[: whole.rfind("\n") + 1], newline=""))
    names = [f.name for f in fields(IndexRow)]
    rows = {}
    try:
        if next(lines, None) != names:
            raise ValueError("another header")
        for cells in lines:
            if len(cells) == len(names):
                source, output, frames, faces, seconds, status, message = cells
                rows[source] = IndexRow(source, output, int(frames), int(faces), float(seconds), status, message)
    except (ValueError, csv.Error):
        raise OutputError(
            f"{name}: is not an index of OpenAU, or damaged, and is left alone; choose another folder as --out"
        ) from None
    return rows


def _read(path: Path) -> dict[str, IndexRow]:
    return read_index(path.read_bytes(), str(path)) if path.is_file() else {}
