"""Work spread over processes: results as they come, news in between; a worker that dies is replaced, and none outlives its parent."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from openau.errors import OutputError

Job = TypeVar("Job")
Result = TypeVar("Result")

_PAUSE = 0.25
"""Seconds between two pieces of news of a worker."""
_STOPPING = 5.0
"""Seconds that workers have to clean up when the work is given up."""
_ORPHANED = 1.0
"""Seconds that a worker has to clean up when its parent is gone: less than a new run takes to begin."""
_STILLBORN = 5
"""Workers in a row that may die before they are ready."""


def _ignore(news: Any) -> None:
    """Nobody listens."""


_tell: Callable[[Any], None] = _ignore
"""Takes the news of the job this process works on."""
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
    itself, which saves its start. An exception of a job is raised here; the other jobs are dropped then, as they are when the iteration
    is given up.

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
    return _here(function, jobs, on_steps) if count <= 1 else _elsewhere(function, jobs, out, count, on_steps)


def step(count: int = 1) -> None:
    """Count steps of a job of `run`."""
    _count(count)


def tell(news: Any) -> None:
    """Tell the process that started this job of `spread` how it goes; of news in quick succession only the last is heard.

    Args:
        news: something small that can be pickled.
    """
    _tell(news)


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of a job whose workers died each time it was tried.

    Attributes:
        attempts: how often that was.
    """

    attempts: int


def spread(
    make: Callable[[], Callable[[Job], Result]],
    jobs: Sequence[Job],
    out: Path,
    workers: int,
    attempts: int = 1,
    on_news: Callable[[int, Any], None] | None = None,
) -> Iterator[tuple[int, Result | Lost]]:
    """Do jobs in worker processes; yields the number of each job and what it returned, in the order in which jobs finish.

    A worker that dies (killed, out of memory, a fault in a library) is replaced, and its job tried again in another one. An exception of
    a job is raised here; the others are dropped then, as they are when the iteration is given up. Workers end within a moment of this
    process, even if it is killed; what they have open is closed as by an exception.

    Args:
        make: called once in every worker; returns what does the jobs. Must be picklable, like the jobs and what they return.
        jobs: the jobs; each is begun in their order.
        out: the folder that is written to; named if no worker can be started.
        workers: processes, never more than there are jobs.
        attempts: how often a job is begun before it counts as lost.
        on_news: told the number of a job and what it said with `tell`.

    Raises:
        OutputError: several workers in a row died before they were ready.
    """
    waiting = deque(range(len(jobs)))
    tried: Counter[int] = Counter()
    crew: list[_Worker] = []
    stillborn = 0
    finished = False
    try:
        while waiting or any(worker.job is not None for worker in crew):
            idle = sum(worker.job is None for worker in crew)
            crew += [_Worker(make) for _ in range(min(workers - len(crew), len(waiting) - idle))]
            for worker in crew:
                if worker.ready and worker.job is None and waiting and worker.give(waiting[0], jobs[waiting[0]]):
                    tried[waiting.popleft()] += 1
            for connection in wait([worker.connection for worker in crew]):
                worker = next(worker for worker in crew if worker.connection is connection)
                kind, value = worker.hear()
                job = worker.job
                if kind == "error":
                    raise value
                if kind == "ready":
                    worker.ready, stillborn = True, 0
                elif kind == "news" and job is not None and on_news is not None:
                    on_news(job, value)
                elif kind == "done" and job is not None:
                    worker.job = None
                    yield job, value
                elif kind == "died":
                    crew.remove(worker)
                    worker.end()
                    stillborn += not worker.ready
                    if stillborn == _STILLBORN:
                        raise OutputError(
                            f"{out}: worker processes are killed as they start (out of memory?); "
                            "run again to go on, perhaps with fewer --workers"
                        )
                    if job is not None and tried[job] < attempts:
                        waiting.appendleft(job)
                    elif job is not None:
                        yield job, Lost(attempts)
        finished = True
    finally:
        for worker in crew:
            worker.dismiss() if finished else worker.stop()
        deadline = time.monotonic() + _STOPPING
        for worker in crew:
            worker.end(max(0.0, deadline - time.monotonic()))


def _here(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], on_steps: Callable[[int], None] | None
) -> Iterator[Result]:
    """The jobs one after the other in this process."""
    for job in jobs:
        with _counted_by(on_steps or _ignore):
            result = function(*job)
        yield result


def _elsewhere(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    out: Path,
    count: int,
    on_steps: Callable[[int], None] | None,
) -> Iterator[Result]:
    """The jobs over several processes."""
    made: Counter[int] = Counter()

    def hear(job: int, steps: int) -> None:
        if on_steps is not None:
            on_steps(steps - made[job])
        made[job] = steps

    with closing(spread(partial(_counting, function), jobs, out, count, on_news=hear)) as results:  # type: ignore[type-var]
        for _, result in results:
            if isinstance(result, Lost):
                raise OutputError(
                    f"{out}: a worker process was killed (out of memory?); run again to go on, "
                    "perhaps with fewer --workers"
                )
            yield result


def _counting(function: Callable[..., Result]) -> Callable[[tuple[Any, ...]], Result]:
    """In a worker: calls the function with a job's arguments, and tells how many steps it has made."""

    def do(job: tuple[Any, ...]) -> Result:
        made = 0

        def add(count: int) -> None:
            nonlocal made
            made += count
            tell(made)

        with _counted_by(add):
            return function(*job)

    return do


@contextmanager
def _counted_by(count: Callable[[int], None]) -> Iterator[None]:
    global _count
    before, _count = _count, count
    try:
        yield
    finally:
        _count = before


class _Worker:
    """A worker process, as its parent sees it.

    Attributes:
        connection: to talk with it; at its end when the process is gone, since no other process holds the other side.
        job: number of the job it works on.
        ready: whether it has said that it can take jobs.
    """

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        context = get_context("spawn")
        self.job: int | None = None
        self.ready = False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        with _ctrl_c_waits(), suppress(BrokenPipeError):  # it was killed at once; the connection's end tells
            self.process.start()
        theirs.close()

    def give(self, number: int, job: Any) -> bool:
        """Hand over a job; False if the process is gone."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        self.job = number
        return True

    def hear(self) -> tuple[str, Any]:
        """What it has to say; "died" if it is gone."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            return "died", None
        return kind, value

    def dismiss(self) -> None:
        """Say that there are no more jobs."""
        with suppress(OSError):
            self.connection.send(None)

    def stop(self) -> None:
        """Ask it to clean up and go."""
        if self.process.pid is not None:
            self.process.terminate()

    def end(self, patience: float = _ORPHANED) -> None:
        """See to it that the process is gone: from itself, or after so many seconds by force."""
        self.connection.close()
        if self.process.pid is not None:
            self.process.join(patience)
            self.process.kill()
            self.process.join()
        self.process.close()


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold back Ctrl-C, also from a process started here until it unblocks it, so that it dies without a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Stopped(BaseException):
    """The work is given up. No Exception, so that no job takes it for a failure of its own."""


def _serve(connection: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """In a worker: job after job, until there are no more or the parent is gone."""
    global _tell
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides
    signal.signal(signal.SIGTERM, _stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow_parent, name="openau-parent", daemon=True).start()
    with suppress(_Stopped, EOFError, OSError):
        try:
            do = make()
            connection.send(("ready", None))
            while (job := connection.recv()) is not None:
                news = _tell = _News(connection)
                result = do(job)
                news.flush()
                connection.send(("done", result))
        except Exception as error:
            connection.send(("error", _portable(error)))
            connection.recv()  # until the parent has heard it


def _stop(*_: object) -> None:
    raise _Stopped


def _follow_parent() -> None:
    """Stop when the parent is gone: in an orderly way, or if this takes too long, at once."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(_ORPHANED)
    os._exit(1)


class _News:
    """Sends news of one job, so much as is of use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sent = 0.0
        self._waiting: tuple[Any] | None = None

    def __call__(self, news: Any) -> None:
        self._waiting = (news,)
        if time.monotonic() - self._sent >= _PAUSE:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        if self._waiting is None:
            return
        try:
            self._connection.send(("news", *self._waiting))
        except OSError:
            raise _Stopped from None
        self._sent, self._waiting = time.monotonic(), None


def _portable(error: Exception) -> Exception:
    """An exception that can be sent, with a note where it was raised."""
    where = traceback.format_exc()
    try:
        ForkingPickler.dumps(error)
    except Exception:  # whatever a class's own pickling raises
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In a worker process:\n{where}")
    return error
