"""A progress bar on stderr, for what takes longer than two seconds and only on a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from openau.media import Source

PATIENCE = 2.0
"""Seconds before a bar appears."""


class ProgressBar:
    """Shows how many of the inputs are done and how far the current one is; a context manager.

    Args:
        total: number of inputs.
    """

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True)
        self._total = total
        self._done = 0
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
        """A frame is done."""
        if self._bar is None:
            self._open()
        if self._bar is not None and self._task is not None:
            name = source.name if len(source.name) <= 40 else f"…{source.name[-39:]}"
            rate = f"{name}, frame {frames:,}" if source.kind != "image" else name
            self._bar.update(self._task, description=rate, completed=self._done + min(share or 0.0, 0.99))

    def next(self) -> None:
        """An input is done."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def _open(self) -> None:
        if not self._console.is_terminal or time.monotonic() - self._start < PATIENCE:
            return
        count = [MofNCompleteColumn()] if self._total > 1 else []
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), *count, TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self._total, completed=self._done)
        self._bar.start()
