"""One task per source over a Ray cluster: fetched, judged, its table put in place, in one go."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine; before Ray is imported

import ray
import ray.exceptions

from openau.archive import ATTEMPTS, Task, Work, worker
from openau.batch import Outcome
from openau.cluster.ledger import Ledger
from openau.cluster.places import Place, is_url
from openau.errors import InputError, OutputError, UsageError
from openau.media import Source, classify
from openau.sinks import IndexRow


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the work is done.

    Attributes:
        address: of a running cluster (`auto`, `ray://head:10001`); None starts one on this machine.
        workers: tasks at a time; None: one per CPU of the cluster.
    """

    address: str | None = None
    workers: int | None = None


def run_on_ray(
    work: Work,
    sources: Sequence[Source],
    ledger: Ledger,
    cluster: Cluster,
) -> Iterator[Outcome]:
    """Judge sources; every outcome is in the ledger when it is yielded, in the order in which they are finished.

    A task whose process or machine dies is begun again elsewhere; a source that kills its process each time is failed, and the others go
    on. A table appears in one step when it is whole, under a name that depends on the source alone: what is done twice is written once.

    Args:
        work: what is done to each.
        sources: the inputs, by address or path (`openau.cluster.expand_places`).
        ledger: of the output folder.
        cluster: where.

    Raises:
        UsageError: there is no such cluster.
        OutputError: a table or the index cannot be written; what was finished stays.
    """
    waiting = [source for source in sources if not ledger.is_finished(source)]
    started = _connect(cluster)
    try:
        judge = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_judge)
        key, shared = uuid.uuid4().hex, ray.put(work)
        cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        room = cluster.workers or max(1, int(cores))
        running: dict[Any, Source] = {}
        left = iter(waiting)
        while True:
            # A few more than can run, so that no process waits for this one; not all, so that workers can be a bound.
            while len(running) < room and (source := next(left, None)) is not None:
                running[judge.remote(key, shared, source, ledger.table(source))] = source
            if not running:
                break
            done, _ = ray.wait(list(running))
            for task in done:
                outcome = _result(task, running.pop(task))
                name = "" if outcome.output is None else outcome.output.name
                ledger.record(
                    IndexRow(
                        outcome.source.name, name, outcome.frames, outcome.faces, outcome.seconds, outcome.status, outcome.message
                    )
                )  # fmt: skip
                yield outcome
        ledger.close()
    except BaseException:
        ledger.save()
        raise
    finally:
        if started:
            ray.shutdown()


def _connect(cluster: Cluster) -> bool:
    """Connect to the cluster, or start one here; whether it is ours to end."""
    if ray.is_initialized():
        return False
    own: dict[str, Any] = {"num_cpus": cluster.workers, "include_dashboard": False} if cluster.address is None else {}
    logging.getLogger("ray").setLevel(logging.ERROR)
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    try:
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"the Ray cluster {cluster.address or 'of this machine'} cannot be reached: {error}") from None
    return True


def _result(task: Any, source: Source) -> Outcome:
    """What became of a task.

    Raises:
        OutputError: its table could not be written.
    """
    try:
        outcome: Outcome = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, OutputError) else error from None
    except ray.exceptions.RayError:
        message = (
            f"{source.name}: the process that read it died, {ATTEMPTS} times (out of memory, a fault of a decoder, or its machine); "
            "the other inputs were not affected"
        )
        return Outcome(source, "failed", message=message)
    return outcome


_PREFIX = "openau-cluster-"
"""Of the folders with copies of inputs; the worker's process follows."""

_loaded: tuple[str, Callable[[Task], Outcome]] | None = None
"""What this process has loaded, and for which run, so that its next task need not."""


def _judge(key: str, work: Work, source: Source, table: Place) -> Outcome:
    """In a worker of the cluster: one source, from its place to its table's."""
    global _loaded
    if source.error is not None:
        return Outcome(source, "failed", message=str(source.error))
    if _loaded is None or _loaded[0] != key:  # every task is given a copy of the work, which equals no other
        _remove_what_the_dead_left()
        _loaded = (key, worker(work))
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as name:
        folder = Path(name)
        try:
            here = _at_hand(source, folder)
        except InputError as error:
            return Outcome(source, "failed", message=str(error))
        (folder / "out").mkdir()
        outcome = _loaded[1](Task(here, folder / "out" / table.name))
        if outcome.output is not None:
            # What lies beside the table (events, faces) first: the index, which follows, calls the source done.
            for file in sorted(outcome.output.parent.iterdir()):
                if not file.name.startswith(".") and file != outcome.output:
                    table.beside(file.name).publish(file)
            table.publish(outcome.output)
        message = outcome.message.replace(str(here.path), source.name)
        return replace(outcome, source=source, message=message, output=outcome.output and Path(table.name))


def _remove_what_the_dead_left() -> None:
    """Remove copies of inputs that killed workers of this machine left: people's faces do not stay behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdecimal() and not _lives(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether a process is there; True where that cannot be asked without harm."""
    try:
        if os.name == "posix":
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _at_hand(source: Source, folder: Path) -> Source:
    """The source as a file of this machine: what lies elsewhere is copied, and gone with the folder.

    Raises:
        InputError: it cannot be had.
    """
    if not is_url(source.name):
        return source
    local = folder / Path(source.name).name
    Place(source.name).fetch(local)
    return Source(source.name, classify(local), location=local)
