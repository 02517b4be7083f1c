"""Kill `openau detect` on a folder at random moments, go on with --resume, and compare with a run that was never disturbed.

    python tests/robustness/kill_detect.py --kills 20 --workers 2

prints how often it was killed, at which share of the work, and what was lost or there twice (nothing, or the exit code is 1).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "OPENAU_KILL_TEST"
"""Environment variable by which the processes of a run are found."""


@dataclass
class Counts:
    """What came of it.

    Attributes:
        kills: runs that were killed before their end.
        early: runs that ended before they could be killed.
        moments: seconds after their start at which runs were killed.
        resumed: runs with --resume until everything was done.
        differences: files that are missing, too many or differ from the undisturbed run.
        orphans: processes that lived on for more than `PATIENCE` seconds.
    """

    kills: int = 0
    early: int = 0
    moments: list[float] = field(default_factory=list)
    resumed: int = 0
    differences: list[str] = field(default_factory=list)
    orphans: int = 0


PATIENCE = 15.0
"""Seconds that workers may outlive a killed run."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, temporary ones that were left behind included."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def processes(mark: str) -> list[int]:
    """Processes that run with this mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_and_resume(
    study: Path, work: Path, kills: int, workers: int, seed: int, options: Sequence[str] = (), victims: str = "run"
) -> Counts:
    """Kill and go on, again and again, in one output folder; when it is whole, begin a new one.

    Args:
        study: folder of inputs.
        work: an empty folder.
        kills: how often to kill.
        workers: processes of a run.
        seed: of the moments.
        options: further ones of `openau detect`.
        victims: "run" kills the program itself, "worker" one of its workers, which it has to replace.
    """
    rng, counts = random.Random(seed), Counts()
    start = time.monotonic()
    if _detect(study, work / "whole", workers, options, "whole").wait() not in (0, 1):
        raise RuntimeError("the undisturbed run failed")
    whole, span = contents(work / "whole"), time.monotonic() - start
    number = 0
    while counts.kills < kills:
        out = work / f"killed{number}"
        number += 1
        while counts.kills < kills:
            mark = f"{os.getpid()}-{seed}-{counts.kills}-{counts.early}"
            run = _detect(study, out, workers, [*options, "--resume"], mark)
            moment = rng.uniform(0, span)
            if _wait(lambda run=run: run.poll() is not None, moment):
                counts.early += 1
                break
            target = run.pid
            if victims == "worker":
                others = [pid for pid in processes(mark) if pid != run.pid]
                target = rng.choice(others) if others else run.pid
            os.kill(target, signal.SIGKILL)
            counts.kills += 1
            counts.moments.append(moment)
            run.wait()
            if not _wait(lambda mark=mark: not processes(mark), PATIENCE):
                counts.orphans += len(processes(mark))
        _detect(study, out, workers, [*options, "--resume"], "last").wait()
        counts.resumed += 1
        counts.differences += compare(whole, contents(out))
    return counts


def compare(whole: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same."""
    return sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))


def _detect(study: Path, out: Path, workers: int, options: Sequence[str], mark: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "openau",
        "detect",
        str(study),
        "-o",
        str(out),
        "--workers",
        str(workers),
        *options,
    ]
    return subprocess.Popen(
        command, env={**os.environ, MARK: mark}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait(there: Callable[[], bool], seconds: float) -> bool:
    """Wait for something, for so long at most."""
    until = time.monotonic() + seconds
    while not there():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def main() -> int:
    """Make a folder of clips and pictures, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", choices=("run", "worker"), default="run")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from small_study import make_study

    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study")
        work = Path(folder) / "work"
        work.mkdir()
        counts = kill_and_resume(
            study, work, arguments.kills, arguments.workers, arguments.seed, victims=arguments.victims
        )
    moments = ", ".join(f"{moment:.2f}" for moment in counts.moments)
    print(
        f"{counts.kills} kills of the {arguments.victims} (seed {arguments.seed}) at {moments} s; {counts.early} runs were over before"
    )
    print(
        f"{counts.resumed} folders finished with --resume; files that differ: {', '.join(counts.differences) or 'none'}"
    )
    print(f"processes left behind for more than {PATIENCE:g} s: {counts.orphans}")
    return int(bool(counts.differences or counts.orphans))


if __name__ == "__main__":
    sys.exit(main())
