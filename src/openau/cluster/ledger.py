"""What is done: the index of an output folder, kept by the one process that hands out the work."""

from __future__ import annotations

import time
from collections.abc import Sequence

from openau.cluster.places import Place, remove_scratch
from openau.media import Source
from openau.sinks import IndexRow
from openau.sinks.folder import INDEX, WAITING, index_bytes, read_index
from openau.sinks.formats import plain_text
from openau.sinks.names import Names

SAVE_SECONDS = 10.0
"""Time between two copies of the growing index; what is finished in between is done again if everything is killed."""


class Ledger:
    """Names the tables and keeps `index.csv` in a folder anywhere, as `openau.sinks.FolderSink` does on a disk.

    Args:
        out: the folder.
        sources: all inputs; the index lists them in this order.
        ending: of the tables' names.
        resume: leave out what the index calls ok and whose table is there.

    Raises:
        OutputError: the folder cannot be read, or its index is not one of ours.
    """

    def __init__(self, out: Place, sources: Sequence[Source], ending: str, resume: bool) -> None:
        self.out = out
        self._ending = ending
        self._index, self._partial = out.child(INDEX), out.child(f"{INDEX}.partial")
        remove_scratch(out)
        there = out.names()
        known: dict[str, IndexRow] = {}
        for place in (self._index, self._partial):
            known |= read_index(place.read() or b"", place.url)
        earlier = known if resume else {}
        self._rows = {name: row for name, row in earlier.items() if row.status == "ok" and row.output in there}
        ours = {row.output for row in known.values()}
        others = {name: "" for name in there if name not in ours}
        self._names = Names({**others, INDEX: "", **{row.output: name for name, row in earlier.items() if row.output}})
        self._order = {plain_text(source.name): number for number, source in enumerate(sources)}
        self._saved = time.monotonic()
        # Noted down at once: a table that a killed run left without its line is known as ours.
        self._waiting = {
            plain_text(source.name): IndexRow(source.name, self.table(source).name, 0, 0, 0.0, WAITING)
            for source in sources
            if not self.is_finished(source)
        }
        self.save()

    def is_finished(self, source: Source) -> bool:
        """Whether an earlier run finished this source."""
        return plain_text(source.name) in self._rows

    def table(self, source: Source) -> Place:
        """Where a source's table is."""
        return self.out.child(self._names.name(source.name, self._ending))

    def record(self, row: IndexRow) -> None:
        """A source is done.

        Raises:
            OutputError: the index cannot be written.
        """
        self._rows[plain_text(row.source)] = row
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the index so far."""
        self._partial.write(index_bytes((self._waiting | self._rows).values()))
        self._saved = time.monotonic()

    def close(self) -> None:
        """Make `index.csv`.

        Raises:
            OutputError: it cannot be written.
        """
        ordered = sorted(self._rows.items(), key=lambda row: self._order.get(row[0], -1))
        self._index.write(index_bytes(row for _, row in ordered))
        self._partial.remove()
        remove_scratch(self.out)
