"""Live sessions: a frame comes, its Action Units go; newest first, nothing queued, and everybody's turn comes.

A session has at most one frame waiting; a newer one takes its place and the older counts as dropped. A worker looks at one frame at a
time, of each of its sessions in turn, so that a fast client gets no more turns than a slow one. An answer that the client has not
taken yet keeps its session's next frame waiting.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from openau.serve.messages import Message
from openau.serve.metrics import Metrics
from openau.serve.pool import CrashedError, OverdueError, WorkerProcess
from openau.serve.problems import ProblemError, busy

CLOCK = struct.Struct("<d")
"""First bytes of a frame's message: a number of the client's, which comes back with the answer; its clock, say."""
FRAME_SECONDS = 10.0
"""The longest a frame may take."""
MAX_PIXELS = 4_000_000
"""Of a live frame."""


@dataclass(slots=True, eq=False)
class Session:
    """One client's live session.

    Attributes:
        model: who judges.
        id: what its worker knows it by.
        received: frames that came.
        dropped: frames that a newer one replaced.
        looked_at: whether a frame of it is being looked at.
        answers: the answer that waits to be sent.
    """

    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    received: int = 0
    dropped: int = 0
    looked_at: bool = False
    answers: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(1))
    _frame: tuple[float, bytes] | None = None

    def put(self, message: bytes) -> bool:
        """A frame came; whether it took the place of one that had not been looked at.

        Raises:
            ProblemError: 400, it is too short to be one.
        """
        if len(message) <= CLOCK.size:
            raise ProblemError(400, "a live frame is 8 bytes of the client's clock, then a JPEG")
        (clock,) = CLOCK.unpack_from(message)
        late = self._frame is not None
        self.received += 1
        self.dropped += late
        self._frame = (clock, message[CLOCK.size :])
        return late

    @property
    def ready(self) -> bool:
        """Whether a frame may be looked at now."""
        return self._frame is not None and self.answers.empty()

    @property
    def idle(self) -> bool:
        """Whether nobody works for it, so that it is the client's turn."""
        return self._frame is None and not self.looked_at and self.answers.empty()

    def take(self) -> tuple[float, bytes]:
        """The newest frame: clock and JPEG."""
        assert self._frame is not None
        frame, self._frame = self._frame, None
        return frame


class _Lane:
    """One worker and the sessions it looks after; their trackers live in its process."""

    def __init__(self, threads: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.sessions: list[Session] = []
        self.process = WorkerProcess()
        self.awake = asyncio.Event()
        self.warm = ""
        self._threads = threads
        self._metrics = metrics
        self._gone: list[str] = []

    def leave(self, session: Session) -> None:
        self.sessions.remove(session)
        self._gone.append(session.id)
        self.awake.set()

    async def work(self) -> None:
        """Look at frames until cancelled."""
        while True:
            await self.awake.wait()
            self.awake.clear()
            while (session := self._next()) is not None:
                await self._look(session)
            if self.warm:
                model, self.warm = self.warm, ""
                with suppress(ProblemError, CrashedError, OverdueError):  # whoever asks first is told
                    await self._call({"task": "load", "model": model})
            while self._gone:
                with suppress(ProblemError, CrashedError, OverdueError):
                    await self._call({"task": "forget", "session": self._gone.pop()})

    def _next(self) -> Session | None:
        """The session whose turn it is; it goes to the end of the row."""
        for session in self.sessions:
            if session.ready:
                self.sessions.remove(session)
                self.sessions.append(session)
                return session
        return None

    async def _look(self, session: Session) -> None:
        clock, jpeg = session.take()
        session.looked_at = True
        task = {"task": "frame", "session": session.id, "model": session.model, "max_pixels": MAX_PIXELS}
        try:
            answer = {"type": "faces", **await self._call(task, jpeg)}
            self._metrics.live_frames.add()
        except ProblemError as problem:
            answer = {**problem.document(), "type": "problem"}
        except (CrashedError, OverdueError):
            self._metrics.crashes.add()
            lost = ProblemError(500, "this frame could not be looked at; the next ones will be")
            answer = {**lost.document(), "type": "problem"}
        session.looked_at = False
        answer |= {"clock": clock, "received": session.received, "dropped": session.dropped}
        if session in self.sessions:
            session.answers.put_nowait(answer)

    async def _call(self, task: Message, payload: bytes = b"") -> Message:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self.process.call(task, payload, FRAME_SECONDS))


class Live:
    """All live sessions.

    Args:
        workers: processes.
        most: sessions at the same time.
        metrics: counts.
    """

    def __init__(self, workers: int, most: int, metrics: Metrics) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="openau-live")
        self._lanes = [_Lane(self._threads, metrics) for _ in range(workers)]
        self._tasks: list[asyncio.Task[None]] = []
        self._most = most
        self._metrics = metrics

    @property
    def count(self) -> int:
        """Sessions now."""
        return sum(len(lane.sessions) for lane in self._lanes)

    def start(self) -> None:
        """Begin to work; in the event loop."""
        self._tasks = [asyncio.create_task(lane.work()) for lane in self._lanes]

    def warm(self, model: str) -> None:
        """Load a model before the first session asks for it."""
        self._lanes[0].warm = model
        self._lanes[0].awake.set()

    def join(self, model: str) -> Session:
        """A new session.

        Raises:
            ProblemError: 503, there are enough.
        """
        if self.count >= self._most:
            raise busy(f"there are {self._most} live sessions already (--live-sessions)")
        session = Session(model)
        min(self._lanes, key=lambda lane: len(lane.sessions)).sessions.append(session)
        return session

    def put(self, session: Session, message: bytes) -> None:
        """A frame of a session came.

        Raises:
            ProblemError: it is not one.
        """
        if session.put(message):
            self._metrics.live_dropped.add()
        self._lane(session).awake.set()

    def answered(self, session: Session) -> None:
        """A session's answer is on its way: its next frame may be looked at."""
        self._lane(session).awake.set()

    def leave(self, session: Session) -> None:
        """A session is over."""
        self._lane(session).leave(session)

    async def close(self) -> None:
        """End all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        for lane in self._lanes:
            lane.process.stop()

    def _lane(self, session: Session) -> _Lane:
        return next(lane for lane in self._lanes if session in lane.sessions)
