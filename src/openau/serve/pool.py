"""Worker processes: started when they are needed, replaced when they die, ended when they take too long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from openau.serve import worker
from openau.serve.messages import Message, receive, send
from openau.serve.problems import ProblemError, busy

START_SECONDS = 60.0
"""Time a new process may take for its first answer, besides what the task may take."""
_POLL = 0.1
"""Seconds after which a waiting thread looks whether it should give up."""

Heard = Callable[[Message], None]


class CrashedError(Exception):
    """The worker died of its task."""


class OverdueError(Exception):
    """The worker took too long."""


class GivenUpError(Exception):
    """Nobody waits for the answer any more."""


class WorkerProcess:
    """One worker process and the pipe to it. Used by one thread at a time.

    Attributes:
        starts: how often a process was started.
    """

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._fresh = True
        self.starts = 0

    def call(
        self,
        message: Message,
        payload: bytes = b"",
        seconds: float = 30.0,
        heard: Heard | None = None,
        cancelled: threading.Event | None = None,
    ) -> Message:
        """Give the worker a task and wait for the answer.

        Args:
            message: `task` and its arguments.
            payload: bytes that belong to it.
            seconds: the longest silence.
            heard: hears what the worker says on the way.
            cancelled: ends the worker and the wait.

        Raises:
            ProblemError: the worker refused the task.
            CrashedError, OverdueError, GivenUpError: it was ended, and the next task starts another one.
        """
        pipe = self._start()
        try:
            send(pipe, message, payload)
            while True:
                self._wait(pipe, seconds + (START_SECONDS if self._fresh else 0.0), cancelled)
                answer, _ = receive(pipe)
                self._fresh = False
                if "done" in answer:
                    return dict(answer["done"])
                if "refused" in answer:
                    raise ProblemError(answer["refused"]["status"], answer["refused"]["detail"])
                if heard is not None:
                    heard(answer)
        except (EOFError, OSError, ValueError):
            self.stop()
            raise CrashedError from None
        except (OverdueError, GivenUpError):
            self.stop()
            raise

    def stop(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def _start(self) -> Connection:
        if (
            self._pipe is not None and not self._pipe.poll()
        ):  # an idle worker says nothing; a dead one's end can be read
            return self._pipe
        self.stop()
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=worker.main, args=(theirs,), name="openau-serve-worker", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        self._fresh = True
        self.starts += 1
        return ours

    def _wait(self, pipe: Connection, seconds: float, cancelled: threading.Event | None) -> None:
        until = time.monotonic() + seconds
        while not pipe.poll(_POLL):
            if cancelled is not None and cancelled.is_set():
                raise GivenUpError
            if time.monotonic() > until:
                raise OverdueError


class Pool:
    """Some worker processes for one kind of task, first come, first served.

    Args:
        size: processes.
        queue: tasks that may wait.
        what: what they do, for the sentence that there is no room.
    """

    def __init__(self, size: int, queue: int, what: str) -> None:
        self._workers = [WorkerProcess() for _ in range(size)]
        self._free = list(self._workers)
        self._room = asyncio.Semaphore(size)
        self._most = size + queue
        self._what = what
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"openau-{what}")
        self.inside = 0

    @property
    def waiting(self) -> int:
        """Tasks that wait for a process."""
        return max(0, self.inside - len(self._workers))

    @property
    def restarts(self) -> int:
        """How often a process was replaced."""
        return sum(max(0, one.starts - 1) for one in self._workers)

    def require_room(self) -> None:
        """Refuse at once what could not wait anyway.

        Raises:
            ProblemError: 503.
        """
        if self.inside >= self._most:
            raise busy(f"too many {self._what} are waiting; try again in a few seconds")

    async def run(
        self,
        message: Message,
        seconds: float,
        heard: Heard | None = None,
        started: Callable[[], None] | None = None,
        grace: float = 2.0,
    ) -> Message:
        """Run a task in a process.

        Args:
            message: `task` and its arguments.
            seconds: the longest silence.
            heard: hears, in the event loop, what the worker says on the way.
            started: hears that the task's turn has come.
            grace: seconds a task whose caller was cancelled has to finish; to start another process costs more than a photo.

        Raises:
            ProblemError: 503 there is no room; or the worker refused the task.
            CrashedError, OverdueError: the process was ended.
            asyncio.CancelledError: the caller was cancelled; the task is over.
        """
        self.require_room()
        loop = asyncio.get_running_loop()

        def relay(said: Message) -> None:
            if heard is not None:
                loop.call_soon_threadsafe(heard, said)

        self.inside += 1
        try:
            async with self._room:
                if started is not None:
                    started()
                one = self._free.pop()
                cancelled = threading.Event()
                call = loop.run_in_executor(self._threads, lambda: one.call(message, b"", seconds, relay, cancelled))
                try:
                    return await asyncio.shield(call)
                except asyncio.CancelledError:
                    await asyncio.wait({call}, timeout=grace)
                    cancelled.set()
                    await asyncio.wait({call})
                    call.exception()  # nobody else asks how it ended
                    raise
                finally:
                    self._free.append(one)
        finally:
            self.inside -= 1

    def close(self) -> None:
        """End the processes; no task is running any more."""
        self._threads.shutdown(wait=True)
        for one in self._workers:
            one.stop()
