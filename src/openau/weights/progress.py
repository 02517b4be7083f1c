"""Progress of a download on the terminal: only when someone watches, and only when it takes long enough to wonder."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 2.0
"""Seconds before anything is shown."""


_shown = True


def show(wanted: bool) -> None:
    """Whether progress is shown at all, from now on."""
    global _shown
    _shown = wanted


def watched() -> bool:
    """Whether stderr is a terminal, and progress is wanted there."""
    return _shown and sys.stderr is not None and sys.stderr.isatty()


class Bar:
    """A progress bar on stderr that appears after `PATIENCE` seconds.

    Args:
        label: what is being fetched.
        total: expected bytes, None if unknown.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._start, self._done = time.monotonic(), 0
        self._shown: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def advance(self, count: int) -> None:
        """Count `count` more bytes."""
        self._done += count
        if self._shown is None and watched() and time.monotonic() - self._start > PATIENCE:
            self._shown = _new_bar()
            self._shown.add_task(self._label, total=self._total)
            self._shown.start()
        if self._shown is not None:
            self._shown.update(self._shown.task_ids[0], completed=self._done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def run(command: Sequence[str], label: str, environment: dict[str, str], limit: float) -> tuple[int, str]:
    """Run a program quietly, with a spinner once it takes long.

    Args:
        command: program and arguments.
        label: what the spinner says.
        environment: the program's environment variables.
        limit: seconds after which it is ended.

    Returns:
        its exit status and what it wrote (stdout and stderr together).

    Raises:
        OSError: the program cannot be started.
        subprocess.TimeoutExpired: it took longer than `limit`.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
    )
    try:
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            with spinner(label):
                output, _ = process.communicate(timeout=limit)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, output


@contextlib.contextmanager
def spinner(label: str) -> Iterator[None]:
    """A spinner on stderr while the block runs, if someone watches."""
    if not watched():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield
