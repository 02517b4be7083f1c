"""Videos: accepted, worked on in the background, their results kept for a while."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openau.serve.messages import Message
from openau.serve.metrics import Metrics
from openau.serve.pool import CrashedError, OverdueError, Pool
from openau.serve.problems import ProblemError, busy
from openau.serve.uploads import Store, Upload

KEPT_JOBS = 200
"""Finished jobs whose results are kept at most; older ones make room."""

State = Literal["queued", "running", "done", "failed"]


@dataclass(slots=True, eq=False)
class Job:
    """A video and what became of it.

    Attributes:
        upload: the video; gone when the job is over.
        facts: width, height, duration (seconds) and rate, from its header.
        model: who judges.
        report: whether a report is wanted.
        id: nobody can guess it.
        progress: share of the video that is done, 0–1; None where its length is not known.
        frames: frames judged.
        faces: rows that hold a face.
        problem: why it failed, or what is missing of a damaged video.
        ended: `time.monotonic()` at its end.
    """

    upload: Upload
    facts: dict[str, Any]
    model: str
    report: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "queued"
    progress: float | None = 0.0
    frames: int = 0
    faces: int = 0
    problem: str = ""
    ended: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path:
        """Where its tables lie."""
        return self.upload.path.parent

    def heard(self, said: Message) -> None:
        """Take a report of the worker into account."""
        self.progress, self.frames, self.faces = said["progress"], said["frames"], said["faces"]


class Jobs:
    """All jobs.

    Args:
        pool: their processes.
        most: jobs that are worked on or wait.
        store: where files lie.
        stall: seconds a video may take from one frame to the next.
        max_seconds: of a video.
        keep: seconds for which results are kept.
        metrics: counts.
    """

    def __init__(
        self, pool: Pool, most: int, store: Store, stall: float, max_seconds: float, keep: float, metrics: Metrics
    ) -> None:
        self._pool = pool
        self._most = most
        self._store = store
        self._stall = stall
        self._max_seconds = max_seconds
        self._keep = keep
        self._metrics = metrics
        self._jobs: dict[str, Job] = {}

    def add(self, upload: Upload, facts: dict[str, Any], model: str, report: bool) -> Job:
        """Accept a video, which is this room's to remove from now on.

        Raises:
            ProblemError: 503, too many wait already.
        """
        self.require_room()
        while len(self._jobs) >= self._most + KEPT_JOBS:
            oldest = next(job for job in self._jobs.values() if job.ended is not None)
            self._store.remove(self._jobs.pop(oldest.id).folder)
        job = Job(upload, facts, model, report)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._work(job))
        return job

    def require_room(self) -> None:
        """Refuse at once what could not wait anyway.

        Raises:
            ProblemError: 503.
        """
        counts = self.counts()
        if counts["queued"] + counts["running"] >= self._most:
            raise busy("too many videos are waiting; try again later", 30)

    def get(self, id: str) -> Job:
        """A job.

        Raises:
            ProblemError: 404.
        """
        try:
            return self._jobs[id]
        except KeyError:
            raise ProblemError(
                404, "there is no such job: it never was, was deleted, or its results were kept long enough"
            ) from None

    async def remove(self, job: Job) -> None:
        """End a job and delete all there is of it."""
        self._jobs.pop(job.id, None)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait({job.task})
        self._store.remove(job.folder)

    def counts(self) -> dict[State, int]:
        """Jobs by state."""
        found: dict[State, int] = {"queued": 0, "running": 0, "done": 0, "failed": 0}
        for job in self._jobs.values():
            found[job.state] += 1
        return found

    def ahead_of(self, job: Job) -> int:
        """Jobs that come before this one, which waits."""
        waiting = [one for one in self._jobs.values() if one.state == "queued"]
        return waiting.index(job) if job in waiting else 0

    def left(self, job: Job) -> float | None:
        """Seconds for which the results of a job are still kept; None while it is not over."""
        return None if job.ended is None else max(0.0, job.ended + self._keep - time.monotonic())

    async def sweep(self, every: float) -> None:
        """Delete what was kept long enough, again and again until cancelled."""
        while True:
            await asyncio.sleep(every)
            for job in list(self._jobs.values()):
                if self.left(job) == 0.0:
                    await self.remove(job)

    async def close(self) -> None:
        """End all jobs."""
        await asyncio.gather(*(self.remove(job) for job in list(self._jobs.values())))

    async def _work(self, job: Job) -> None:
        def started() -> None:
            job.state = "running"

        task = {
            "task": "video", "path": str(job.upload.path), "name": job.upload.name, "model": job.model, "out": str(job.folder),
            "max_seconds": self._max_seconds, "report": job.report,
        }  # fmt: skip
        try:
            answer = await self._pool.run(task, self._stall, job.heard, started, grace=0.0)
            job.frames, job.faces, job.problem = answer["frames"], answer["faces"], answer["problem"]
            job.progress, job.state = 1.0, "done"
        except ProblemError as problem:
            self._fail(job, problem.detail)
        except CrashedError:
            self._metrics.crashes.add()
            self._fail(job, f"{job.upload.name}: a decoder crashed on this video")
        except OverdueError:
            self._metrics.crashes.add()
            self._fail(
                job, f"{job.upload.name}: nothing came of this video for {self._stall:g} seconds, so it was given up"
            )
        except asyncio.CancelledError:
            self._metrics.jobs.add(outcome="deleted")
            raise
        self._store.forget(job.upload)
        self._metrics.jobs.add(outcome=job.state)
        job.ended = time.monotonic()

    def _fail(self, job: Job, why: str) -> None:
        job.state, job.problem = "failed", why
