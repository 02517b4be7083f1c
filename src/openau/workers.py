"""Work spread over processes: results as they come, a count of the steps in between, one sentence where a process dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from openau.errors import OutputError

Result = TypeVar("Result")

_PAUSE = 0.25
"""Seconds between two looks at the steps the workers have made."""


def _ignore(count: int) -> None:
    """Nobody counts."""


_count: Callable[[int], None] = _ignore
"""Takes the steps of the job this process works on."""


def run(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    out: Path,
    workers: int | None = None,
    on_steps: Callable[[int], None] | None = None,
) -> Iterator[Result]:
    """Call a function once per job; yields what it returns, in the order in which jobs finish.

    Worker processes are started afresh (no state is inherited), so function and arguments must be picklable. One worker is this process
    itself, which saves its start. An exception of a job is raised here; the jobs that have not begun are dropped then, as they are when
    the iteration is given up.

    Args:
        function: of a module.
        jobs: its arguments, one tuple per call.
        out: the folder that is written to; named if a process dies.
        workers: processes; default one per CPU, never more than there are jobs.
        on_steps: told now and then how many steps the workers have made since the last time (see `step`).

    Raises:
        OutputError: a worker process was killed.
    """
    count = min(workers or os.cpu_count() or 1, len(jobs))
    return _here(function, jobs, on_steps) if count <= 1 else _spread(function, jobs, out, count, on_steps)


def step(count: int = 1) -> None:
    """Count steps of a job."""
    _count(count)


def _here(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], on_steps: Callable[[int], None] | None
) -> Iterator[Result]:
    """The jobs one after the other in this process."""
    global _count
    for job in jobs:
        before, _count = _count, on_steps or _ignore
        try:
            result = function(*job)
        finally:
            _count = before
        yield result


def _spread(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    out: Path,
    count: int,
    on_steps: Callable[[int], None] | None,
) -> Iterator[Result]:
    """The jobs over several processes."""
    context = get_context("spawn")
    steps, told = context.Value("q", 0), 0
    with ProcessPoolExecutor(count, context, initializer=_share, initargs=(steps,)) as pool:
        waiting = {pool.submit(function, *job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, _PAUSE if on_steps else None, FIRST_COMPLETED)
                if on_steps and (made := steps.value) > told:
                    on_steps(made - told)
                    told = made
                for job in done:
                    yield job.result()
        except BrokenProcessPool:
            raise OutputError(
                f"{out}: a worker process was killed (out of memory?); run again to go on, perhaps with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _share(steps: Any) -> None:
    """In a worker process: count in memory it shares with the others; Ctrl-C, which reaches every process, ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def add(count: int) -> None:
        with steps.get_lock():
            steps.value += count

    global _count
    _count = add
