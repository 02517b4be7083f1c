"""Many inputs, several processes: every source is read and judged by one worker and has a table of its own.

A worker writes the very bytes that one process would write; what only the whole run knows, names and the index, is its parent's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from openau.batch import Batch, InFolder, Outcome, Overlays, OwnTables, Tick
from openau.media import WHOLE, Selection, Source
from openau.outputs import remove_scratch
from openau.runtime.detector import Detector
from openau.sinks import FormatName, TableSink
from openau.sinks.table import BESIDE
from openau.temporal import Beside, EventRule
from openau.weights.cards import ModelCard
from openau.workers import Lost, spread, tell

ATTEMPTS = 2
"""How often a source is begun: a worker that dies of memory may have been unlucky, one that dies twice was not."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is the same for every source; can be pickled.

    Attributes:
        make_detector: a function of a module, or a `partial` of one.
        format: of the tables.
        settings: what their rows depend on.
        calibrate, selection, smooth: see `openau.batch.Batch`.
        events: write a table of events beside each table, by this rule.
        summary: write a table of faces beside each table.
    """

    make_detector: Callable[[], Detector]
    format: FormatName = "csv"
    settings: Mapping[str, str] = field(default_factory=dict)
    calibrate: bool = False
    selection: Selection = WHOLE
    smooth: bool = False
    events: EventRule | None = None
    summary: bool = False

    def by(self, card: ModelCard) -> Work:
        """The same, with the model among the settings."""
        return replace(self, settings={"model": card.name, "sha256": card.asset.sha256, **self.settings})


@dataclass(frozen=True, slots=True)
class Task:
    """One source, and where its table and its annotated copy go."""

    source: Source
    table: Path
    overlay: Path | None = None


@dataclass(slots=True)
class Archive:
    """Work through sources in several processes; the same tables, index and outcomes as `openau.batch.Batch` has, in another order.

    A process that dies (out of memory, a fault in a decoder) is replaced and its source tried once more; then it counts as failed, and
    the others go on. When this process is killed, the workers end within a second.

    Args:
        work: what is done to each.
        destination: names the tables and keeps the index.
        workers: processes.
        overlays: names of annotated copies.
        tick: hears about progress.
    """

    work: Work
    destination: InFolder
    workers: int
    overlays: Overlays | None = None
    tick: Tick | None = None

    def run(self, sources: Sequence[Source]) -> Iterator[Outcome]:
        """Process the sources; what cannot be read becomes an outcome that says why. They come as they are finished.

        Raises:
            OutputError: something cannot be written; what was finished stays on disk.
        """
        tasks = [self._task(source) for source in sources if not self.destination.is_finished(source)]
        done = spread(
            partial(worker, self.work), tasks, self.destination.path, self.workers, ATTEMPTS, partial(self._hear, tasks)
        )
        with closing(done) as results:  # type: ignore[type-var]
            for number, result in results:
                outcome = _lost(tasks[number]) if isinstance(result, Lost) else result
                self.destination.finish(outcome)
                yield outcome
        _remove_what_the_dead_left(tasks)

    def _task(self, source: Source) -> Task:
        overlay = None if self.overlays is None else self.overlays.path(source)
        return Task(source, self.destination.table(source), overlay)

    def _hear(self, tasks: Sequence[Task], number: int, news: tuple[float | None, int]) -> None:
        if self.tick is not None:
            self.tick(tasks[number].source, *news)


class _OneFile:
    """The table of the one source of a task; a `Destination`."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    def is_finished(self, source: Source) -> bool:
        return False

    def write(self, outcome: Outcome, faces: Any) -> None:
        self._tables.write(outcome, faces)

    def finish(self, outcome: Outcome) -> None:
        self._tables.finish(outcome)

    def __enter__(self) -> _OneFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.stop()


def worker(work: Work) -> Callable[[Task], Outcome]:
    """In a worker process: loads the networks once, then does task after task."""
    cv2.setNumThreads(1)
    detector = work.make_detector()

    def do(task: Task) -> Outcome:
        tables = OwnTables(lambda source: TableSink(task.table, detector.columns, work.format, settings=work.settings))
        overlays = None if task.overlay is None else Overlays(task.overlay, folder=False)
        with _OneFile(tables) as destination:
            batch = Batch(detector, destination, overlays, work.calibrate, _tell, work.selection, work.smooth)
            if work.events is not None or work.summary:
                batch.beside = Beside(detector.columns, work.events, work.summary)
            (outcome,) = batch.run([task.source])
        return outcome

    return do


def _tell(source: Source, share: float | None, frames: int) -> None:
    tell((share, frames))


def _remove_what_the_dead_left(tasks: Sequence[Task]) -> None:
    """Remove temporary files of workers that died."""
    tables = [task.table.with_name(f"{task.table.name}{ending}") for task in tasks for ending in ("", *BESIDE)]
    remove_scratch([*tables, *(task.overlay for task in tasks if task.overlay is not None)])


def _lost(task: Task) -> Outcome:
    """The outcome of a source whose workers died; what they left is removed."""
    for ending in (".partial", ".resume"):
        task.table.with_name(task.table.name + ending).unlink(missing_ok=True)
    message = (
        f"{task.source.name}: the process that read it died, {ATTEMPTS} times (out of memory, or a fault of a decoder); "
        "the other inputs were not affected"
    )
    return Outcome(task.source, "failed", message=message)
