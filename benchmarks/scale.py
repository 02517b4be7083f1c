"""What a second worker brings, and what handing out the work costs: processes and Ray, one and two single-threaded workers.

    python benchmarks/scale.py --files 12 --seconds 4

Every file is the demo's clip in 720p. A worker has one CPU to itself, so that two of them have twice the machine; the cost of handing out
is the time workers were not working, as a share of the time they were.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2

from openau.archive import Archive, Work
from openau.batch import InFolder, Outcome
from openau.bench.clips import make_clip
from openau.bench.machine import describe
from openau.cluster import Cluster, Ledger, Place, run_on_ray
from openau.demo import CLIP
from openau.media import Source, expand
from openau.outputs import whole_file
from openau.runtime import Detector

RESULTS = Path(__file__).parent / "results" / "scale.json"


class _Timed(Detector):
    """A detector that notes how long it works on each video, on a CPU of its own."""

    def __init__(self, notes: str) -> None:
        cv2.setNumThreads(1)
        cpus = sorted(os.sched_getaffinity(0))
        taken = len(list(Path(notes).glob("cpu-*")))
        (Path(notes) / f"cpu-{taken}-{os.getpid()}").touch()
        os.sched_setaffinity(0, {cpus[taken % len(cpus)]})
        self._notes = Path(notes)
        super().__init__("default")

    def watch_frames(self, frames, source, live=False):  # type: ignore[no-untyped-def]
        """See `Detector`."""
        begun = time.monotonic()
        yield from super().watch_frames(frames, source, live)
        (self._notes / f"work-{os.getpid()}-{begun}").write_text(str(time.monotonic() - begun))


def _with_processes(
    make: Callable[[], Detector], sources: Sequence[Source], out: Path, workers: int
) -> Iterator[Outcome]:
    from openau.sinks import FolderSink

    destination = InFolder(FolderSink(out, Detector().columns), sources)
    with destination:
        yield from Archive(Work(make), destination, workers).run(sources)


def _with_ray(make: Callable[[], Detector], sources: Sequence[Source], out: Path, workers: int) -> Iterator[Outcome]:
    ledger = Ledger(Place(str(out)), sources, ".csv", resume=False)
    yield from run_on_ray(Work(make), sources, ledger, Cluster(workers=workers))


def measure(engine: str, workers: int, study: Path, folder: Path) -> dict[str, float]:
    """Seconds from the first to the last outcome per file, and the share of the workers' time in which they did not work."""
    notes = folder / f"notes-{engine}-{workers}"
    notes.mkdir()
    run = _with_ray if engine == "ray" else _with_processes
    sources = expand([str(study)])
    ends = []
    for outcome in run(partial(_Timed, str(notes)), sources, folder / f"out-{engine}-{workers}", workers):
        assert outcome.status == "ok", outcome.message
        ends.append(time.monotonic())
    # The first file of every worker waits for programs and networks to load; what counts is the pace after that.
    steady = ends[workers - 1 :]
    spans = [float(path.read_text()) for path in notes.glob("work-*")]
    span = steady[-1] - steady[0]
    files = len(steady) - 1
    return {
        "files per second": files / span,
        "not working, %": 100 * (workers * span / (files * sum(spans) / len(spans)) - 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each file")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "study"
        study.mkdir()
        clip = make_clip(CLIP, study / "clip000.mp4", arguments.seconds)
        for number in range(1, arguments.files):
            os.link(clip, study / f"clip{number:03d}.mp4")
        for repetition in range(arguments.repetitions):
            for engine in ("processes", "ray"):
                for workers in (1, 2):
                    folder = Path(name) / f"run{repetition}"
                    folder.mkdir(exist_ok=True)
                    found.setdefault(f"{engine}, {workers}", []).append(measure(engine, workers, study, folder))
    lines = ["| engine, workers | files/s | two against one | not working |", "|---|---:|---:|---:|"]
    for key, runs in found.items():
        best = max(run["files per second"] for run in runs)
        one = max(run["files per second"] for run in found[f"{key.split(', ')[0]}, 1"])
        idle = sorted(run["not working, %"] for run in runs)[len(runs) // 2]
        lines.append(f"| {key} | {best:.3f} | {best / one:.2f} | {idle:.1f} % |")
    print("\n".join(lines))
    print(
        f"{arguments.files} files of {arguments.seconds:g} s, {arguments.repetitions} repetitions in turn: best rate, median idle"
    )
    print(describe())
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(arguments.results) as scratch:
        scratch.write_text(json.dumps({"machine": describe(), "runs": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
