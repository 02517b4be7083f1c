"""Progress on stderr, only on a terminal: a bar for what can be counted and takes over two seconds, a word for what cannot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from openau.cli import voice

if TYPE_CHECKING:
    from openau.media import Source

PATIENCE = 2.0
"""Seconds before a bar appears."""


class ProgressBar:
    """Shows how many of the inputs are done and how far those in work are; a context manager.

    Args:
        total: number of inputs.
    """

    def __init__(self, total: int) -> None:
        self._console = voice.console()
        self._total = total
        self._done = 0
        self._frames = 0
        self._running: dict[str, tuple[float, int]] = {}
        self._start = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def tick(self, source: Source, share: float | None, frames: int) -> None:
        """A frame is done: so much of the source, so many of its frames."""
        self._running[source.name] = (min(share or 0.0, 0.99), frames)
        if self._bar is None:
            self._open()
        if self._bar is not None and self._task is not None:
            completed = self._done + sum(share for share, _ in self._running.values())
            self._bar.update(self._task, description=self._what(source, frames), completed=completed)

    def next(self, source: Source) -> None:
        """An input is done."""
        self._done += 1
        self._frames += self._running.pop(source.name, (0.0, 0))[1]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def _what(self, source: Source, frames: int) -> str:
        if len(self._running) > 1:
            all_frames = self._frames + sum(frames for _, frames in self._running.values())
            return f"{len(self._running)} at a time, {all_frames / (time.monotonic() - self._start):,.0f} frames/s"
        name = source.name if len(source.name) <= 40 else f"…{source.name[-39:]}"
        return f"{name}, frame {frames:,}" if source.kind != "image" else name

    def _open(self) -> None:
        if self._console.quiet or not self._console.is_terminal or time.monotonic() - self._start < PATIENCE:
            return
        count = [MofNCompleteColumn()] if self._total > 1 else []
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), *count, TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self._total, completed=self._done)
        self._bar.start()


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is being done while the block runs; drawn so seldom that it does not disturb what is timed."""
    console = voice.console()
    if console.quiet or not console.is_terminal:
        yield
        return
    with console.status(f"{what} …", refresh_per_second=2):
        yield
