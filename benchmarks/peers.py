"""OpenAU beside other tools: the same clip, the same machine, one run, every tool in an environment of its own.

    python benchmarks/peers.py --work peers --landmarker face_landmarker.task       # measures, writes the JSON, prints the tables
    python benchmarks/peers.py --table                                              # only the tables, of the JSON there is
    python benchmarks/peers.py --section                                            # the section of docs/benchmarks.md, of the same

*End to end* (video file to finished table): OpenAU with its default model, with and without mirror images; MediaPipe's Face Landmarker with
blendshapes (its model file is not in its package: `--landmarker`). *Networks alone*, batch 1, with random weights, because theirs cannot be
had with the packages: OpenFace 3, LibreFace, Py-Feat. Repetitions are interleaved: every tool once, then every tool again.

The environments are made on first use, with `venv` and the pinned `pip install` lines of PINS, about 1.8 GB in all. The three torch
peers share one: their own pins contradict each other and are not followed (`--no-deps`); what their networks import is there. Where the
index's torch is a CUDA build, the graphics card is hidden. Nothing else should run while this does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openau
from openau.bench.clips import make_clip
from openau.bench.detect import run_whole
from openau.bench.machine import describe
from openau.demo import CLIP
from openau.errors import InputError, OpenAUError, UsageError
from openau.media import open_video
from openau.outputs import make_folder, whole_file

HERE = Path(__file__).parent
RUNS = HERE / "peer_runs"
WIDTH = 155
"""Of the documentation's lines."""
RESULTS = HERE / "results" / "peers" / "peers.json"

PINS: Mapping[str, Sequence[Sequence[str]]] = {
    "mediapipe": [["mediapipe==1.2.3", "opencv-contrib-python==5.1.0.95", "numpy==2.4.6"]],
    "torch": [
        ["torch==2.13.0", "numpy==2.4.6", "pillow==13.0.0", "pyyaml==6.0.4"],
        ["huggingface-hub==2.4.0", "safetensors==0.8.0", "tensorboardX==2.6.2.2"],
        ["--no-deps", "torchvision==0.28.0", "timm==1.0.31"],
        ["--no-deps", "openface-test==0.1.26", "libreface==0.2.0", "py-feat==2.1.5"],
    ],
}
"""Environments, and what each `pip install` of theirs is given."""

STAMP = "pins.json"
"""Kept in a finished environment: what it was made of."""

LIMIT = 1800
"""Seconds after which a tool that has not come back is given up."""

THREADS = (1, 2)
OURS = "OpenAU"
OURS_PLAIN = "OpenAU, no mirror images"
OUR_PACKAGES = ("ai-edge-litert", "onnxruntime", "av", "opencv-python-headless", "numpy")
LANDMARKER = "MediaPipe Face Landmarker"

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Each tool takes the threads it takes when nobody says anything."""

Record = dict[str, Any]
"""What is kept of a run, as JSON: see `measure`."""


@dataclass(frozen=True, slots=True)
class Networks:
    """A peer of which the networks alone are timed.

    Attributes:
        name: of the tool.
        run: file in RUNS that times them.
        remark: what its whole program does besides, a sentence.
    """

    name: str
    run: str
    remark: str


NETWORKS = (
    Networks(
        "OpenFace 3",
        "openface_networks.py",
        "OpenFace 3 finds faces in the frame at its own size, and runs its landmark network for each.",
    ),
    Networks(
        "LibreFace",
        "libreface_networks.py",
        "LibreFace finds and aligns faces with an older MediaPipe (Face Mesh, anew in each frame), which is not installed here: its sum "
        "is without any face finding.",
    ),
    Networks(
        "Py-Feat",
        "pyfeat_networks.py",
        "Py-Feat (`Detectorv2`) finds faces in the frame at its own size unless told otherwise. The settings of its shipped model lie "
        "in the file of weights; the network timed here has the heads its documentation names.",
    ),
)


@dataclass(slots=True)
class Row:
    """What is known of a tool.

    Attributes:
        name: of the tool.
        versions: packages and their versions, its own first.
        runs: of a tool measured end to end: frames, covered (those with a face), seconds, megabytes, by repetition.
        parts: of networks alone: what `peer_runs/networks.py` says of each; `milliseconds` has lists, by repetition.
        not_run: the reason, if it did not run.
    """

    name: str
    versions: dict[str, str] = field(default_factory=dict)
    runs: list[Record] = field(default_factory=list)
    parts: list[Record] = field(default_factory=list)
    not_run: str | None = None

    def add(self, run: Callable[[], Record]) -> None:
        """Run once more and keep the answer, or the reason why there is none."""
        try:
            answer = run()
        except PeerError as error:
            self.not_run = str(error)
            return
        self.versions = answer["versions"]
        if "run" in answer:
            self.runs.append(answer["run"])
        for index, part in enumerate(answer.get("parts", ())):
            times = part["milliseconds"]
            if index == len(self.parts):
                self.parts.append({**part, "milliseconds": {threads: [] for threads in times}})
            self.parts[index]["not_run"] = self.parts[index]["not_run"] or part["not_run"]
            for threads, spent in times.items():
                self.parts[index]["milliseconds"][threads].append(spent)


class PeerError(Exception):
    """A peer cannot be installed or does not run; the message is the reason the table gives."""


def main() -> None:
    """Measure, or show what was measured."""
    arguments = _arguments()
    try:
        if not (arguments.table or arguments.section):
            record = _measure_as_asked(arguments)
            make_folder(arguments.out.parent, parents=True)
            with whole_file(arguments.out) as scratch:
                scratch.write_text(json.dumps(record, indent=1) + "\n")
        record = load(arguments.out)
        print(section(record) if arguments.section else tables(record))
    except OpenAUError as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("peers"), help="folder of the environments and the clip")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task; without it MediaPipe is not run")
    parser.add_argument("--clip", type=Path, help="video to run on, one face; else the demo's, made 720p and longer")
    parser.add_argument("--seconds", type=float, default=20, help="length of the clip made of the demo's")
    parser.add_argument("--repetitions", type=int, default=5, help="how often each tool is run, in turn")
    parser.add_argument("--calls", type=int, default=10, help="calls of a network in one repetition")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON to write or show")
    parser.add_argument("--table", action="store_true", help="print the tables of --out, run nothing")
    parser.add_argument("--section", action="store_true", help="print the section of docs/benchmarks.md, run nothing")
    return parser.parse_args()


def _measure_as_asked(arguments: argparse.Namespace) -> Record:
    for name in ("repetitions", "calls"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    if arguments.landmarker is not None and not arguments.landmarker.is_file():
        raise InputError(f"{arguments.landmarker}: there is no such file (the Face Landmarker's model)")
    make_folder(arguments.work, parents=True)
    if arguments.clip is None:
        clip = make_clip(CLIP, arguments.work / "clip.mp4", arguments.seconds)
        shown = f"the demo's clip, there and back, {arguments.seconds:g} s"
    else:
        clip, shown = arguments.clip, arguments.clip.name
    return measure(clip, shown, arguments.work, arguments.landmarker, arguments.repetitions, arguments.calls)


def measure(clip: Path, shown: str, work: Path, landmarker: Path | None, repetitions: int, calls: int) -> Record:
    """Run every tool in turn, several times.

    Args:
        clip: the video, one face.
        shown: what the tables call it.
        work: folder of the environments.
        landmarker: MediaPipe's model file; None leaves MediaPipe out.
        repetitions: rounds.
        calls: of each network, in each round and with each number of threads.

    Returns:
        machine, date, clip (name, width, height), repetitions, calls, threads; `whole`: the tools measured end to end, and `networks`:
        those of which only networks are timed, both as in `Row`.
    """
    for variable in THREAD_VARIABLES:
        os.environ.pop(variable, None)
    with open_video(clip) as video:
        height, width = next(iter(video)).image.shape[:2]
    places = {environment: _environment(work / environment, pins) for environment, pins in PINS.items()}
    given = {"threads": THREADS, "calls": calls, "frame": (width, height)}
    whole = {
        OURS: partial(_run_ours, clip, mirror=True),
        OURS_PLAIN: partial(_run_ours, clip, mirror=False),
        LANDMARKER: partial(_run_landmarker, places["mediapipe"], clip, landmarker),
    }
    networks = {peer.name: partial(_run, places["torch"], peer.run, given) for peer in NETWORKS}
    rows = {name: Row(name) for name in (*whole, *networks)}
    for number in range(1, repetitions + 1):
        for name, run in (*whole.items(), *networks.items()):
            if rows[name].not_run is None:
                print(f"repetition {number} of {repetitions}: {name}", file=sys.stderr, flush=True)
                rows[name].add(run)
    return {
        "machine": describe(),
        "date": datetime.date.today().isoformat(),
        "clip": {"name": shown, "width": width, "height": height},
        "repetitions": repetitions,
        "calls": calls,
        "threads": list(THREADS),
        "whole": [asdict(rows[name]) for name in whole],
        "networks": [asdict(rows[name]) for name in networks],
    }


def _run_ours(clip: Path, mirror: bool) -> Record:
    return {
        "versions": {"openau": openau.__version__} | {name: version(name) for name in OUR_PACKAGES},
        "run": asdict(run_whole(clip, "default", mirror)),
    }


def _run_landmarker(python: Path | str, clip: Path, landmarker: Path | None) -> Record:
    if landmarker is None:
        raise PeerError("no model file was given (--landmarker)")
    return _run(python, "mediapipe_video.py", {"clip": str(clip), "landmarker": str(landmarker)})


def _environment(place: Path, pins: Sequence[Sequence[str]]) -> Path | str:
    """The Python of an environment, made if it is not there or was made of something else; the reason where it cannot be made."""
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = place / STAMP, json.dumps(pins)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if place.exists() and not (place / "pyvenv.cfg").exists():
        raise InputError(f"{place}: is in the way: it is not an environment of Python's; choose another --work")
    print(f"making the environment {place}", file=sys.stderr, flush=True)
    commands = [[sys.executable, "-m", "venv", "--clear", str(place)]]
    commands += [
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *given] for given in pins
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain_variables())
        if done.returncode:
            return f"cannot be installed: {_last_line(done.stderr)}"
    stamp.write_text(wanted)
    return python


def _run(python: Path | str, run: str, given: Record) -> Record:
    """What a peer's run prints last, in its own environment.

    Raises:
        PeerError: it cannot be installed, fails or takes too long.
    """
    if isinstance(python, str):
        raise PeerError(python)
    command = [str(python), str(RUNS / run), json.dumps(given)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_plain_variables(), timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"not finished after {LIMIT} s") from None
    if done.returncode:
        raise PeerError(_last_line(done.stderr))
    answer: Record = json.loads(done.stdout.splitlines()[-1])
    return answer


def _plain_variables() -> dict[str, str]:
    """The environment's variables without this program's own modules; no graphics card, no downloads."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def load(path: Path) -> Record:
    """Read what was measured.

    Raises:
        InputError: there is no such file, or it is no JSON.
    """
    try:
        record: Record = json.loads(path.read_text())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: cannot be read: {reason}; measure first (without --table, --section)") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    return record


def tables(record: Record) -> str:
    """What was measured, on what, as Markdown."""
    clip, runs = record["clip"], record["repetitions"]
    frames = record["whole"][0]["runs"][0]["frames"]
    about = (
        f"{record['machine']}; {record['date']}. Clip: {clip['name']}, {clip['width']}x{clip['height']}, {frames:,} frames. "
        f"{_counted(runs, 'interleaved repetition')}; milliseconds: the least, in brackets the median; "
        "ratios: the median of those within each repetition, in brackets the least and the greatest."
    )
    parts = [_wrapped(about), _whole_table(record), _networks_table(record)]
    missing = _not_run(record)
    return "\n\n".join([*parts, missing] if missing else parts)


def _whole_table(record: Record) -> str:
    head = [
        "file to table",
        "ms per frame",
        "frames per second",
        "time / OpenAU's",
        "frames with a face",
        "peak memory, MB",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in record["whole"]:
        name = _named(row)
        if row["not_run"]:
            lines.append([name, "not run", *[""] * (len(head) - 2)])
            continue
        times = _per_frame(row)
        lines.append(
            [
                name,
                _least_and_median(times),
                f"{1000 / statistics.median(times):.0f}",
                _ratio(times, _per_frame(record["whole"][0])),
                f"{100 * min(run['covered'] / run['frames'] for run in row['runs']):.1f} %",
                f"{max(run['megabytes'] for run in row['runs']):.0f}",
            ]
        )
    return _markdown(lines)


def _networks_table(record: Record) -> str:
    ours = _per_frame(record["whole"][0])
    threads = [str(number) for number in record["threads"]]
    head = ["networks alone, random weights", "input", "per frame"]
    head += [f"ms, {_counted(number, 'thread')}" for number in record["threads"]]
    lines = [[*head, "best sum / OpenAU's whole"], ["---", "---", "---:", *["---:"] * len(threads), "---:"]]
    for row in record["networks"]:
        if row["not_run"]:
            lines.append([_named(row), "", "", *["not run"] * len(threads), ""])
            continue
        for part in row["parts"]:
            size = "x".join(str(side) for side in (part["shape"][3], part["shape"][2]))
            often = f"{part['calls']} x" if part["needed"] else f"({part['calls']} x)"
            spent = ["not run" if part["not_run"] else _least_and_median(part["milliseconds"][n]) for n in threads]
            note = part["note"] and f" ({part['note']})"
            lines.append([f"{row['name']}: {part['name']}{note}", size, often, *spent, ""])
        sums = [_sum(row, number) for number in threads]
        lines.append(
            [
                f"**{_named(row)}, sum for AUs**",
                "",
                "",
                *(f"**{_least_and_median(spent)}**" if spent else "not run" for spent in sums),
                _ratio(min(sums, key=statistics.median), ours) if all(sums) else "",
            ]
        )
    return _markdown(lines)


def _not_run(record: Record) -> str:
    """A line per tool or part that did not run, with the reason."""
    lines = []
    for row in (*record["whole"], *record["networks"]):
        if row["not_run"]:
            lines.append(f"- Not run: {row['name']}: {row['not_run']}.")
        for part in row["parts"]:
            if part["not_run"]:
                what = "; the sum is without it" if part["needed"] else ""
                lines.append(f"- Not run: {row['name']}, {part['name']}: {part['not_run']}{what}.")
    return "\n".join(lines)


def _per_frame(row: Record) -> list[float]:
    """Milliseconds of a frame, by repetition."""
    return [1000 * run["seconds"] / run["frames"] for run in row["runs"]]


def _sum(row: Record, threads: str) -> list[float]:
    """Milliseconds of all calls that a frame's AUs need, by repetition; empty where no such network ran."""
    parts = [part for part in row["parts"] if part["needed"] and not part["not_run"]]
    rounds = zip(*(part["milliseconds"][threads] for part in parts), strict=True)
    return [sum(part["calls"] * time for part, time in zip(parts, times, strict=True)) for times in rounds]


def _least_and_median(times: Sequence[float]) -> str:
    return f"{_short(min(times))} ({_short(statistics.median(times))})"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _ratio(times: Sequence[float], ours: Sequence[float]) -> str:
    """How many times ours: median, least and greatest of the repetitions."""
    ratios = [time / our for time, our in zip(times, ours, strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f} {max(ratios):.2f}]"


def _named(row: Record) -> str:
    """The tool, and the version of its own package."""
    own = next(iter(row["versions"].items()), None)
    return f"{row['name']} (`{own[0]}` {own[1]})" if own else row["name"]


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(record: Record) -> str:
    """The section of docs/benchmarks.md, whole."""
    known = {
        row["name"]: row["versions"] for row in (*record["whole"], *record["networks"]) if row["name"] != OURS_PLAIN
    }
    software = "; ".join(
        f"{name}: {', '.join(f'{package} {number}' for package, number in versions.items())}"
        for name, versions in known.items()
        if versions
    )
    remarks = "\n".join(_wrapped(f"- {remark}") for remark in _remarks(record))
    return f"""\
## Beside other tools

```bash
python benchmarks/peers.py --work peers --landmarker face_landmarker.task     # makes each tool's environment, measures, writes the JSON
python benchmarks/peers.py --section                                          # this section, of benchmarks/results/peers/peers.json
```

{tables(record)}

How to read it:

{remarks}

{_wrapped(f"Software: {software}.")}
"""


def _remarks(record: Record) -> list[str]:
    """How the figures came about, and what follows from them."""
    ran = {row["name"] for row in (*record["whole"], *record["networks"]) if not row["not_run"]}
    ours, plain, landmarker = record["whole"]
    remarks = [
        "**OpenAU**: default model, from decoding to the finished CSV; with mirror images, the default, every face is judged twice. The "
        "start of the program and the loading of networks are not timed.",
    ]
    if LANDMARKER in ran:
        times = _per_frame(landmarker)
        remarks.insert(
            0,
            f"For the same frames MediaPipe takes **{_ratio(times, _per_frame(ours))} times** as long as OpenAU, and "
            f"{_ratio(times, _per_frame(plain))} times as long as OpenAU without mirror images.",
        )
        remarks.append(
            "**MediaPipe** as its users run it: OpenCV's `VideoCapture`, RGB, video mode, one face, CPU (XNNPACK) with the threads it "
            "takes itself, the 52 blendshapes of each frame into a CSV; start and loading are not timed either. Blendshapes are not Action "
            "Units."
        )
    remarks.append(
        "**Networks alone** are a lower bound of what those tools take: batch 1, no decoding, no cropping, no choice among boxes, no "
        f"table; in each repetition the median of {_counted(record['calls'], 'call')} after a warm-up. Their weights do not come with the "
        "packages, so these are random, which the time hardly depends on. All three are in one environment, on the same torch, on the "
        "CPU. Calls in brackets: made by the tool's program, not needed for AUs, not in the sum. The ratio takes the number of threads "
        "that suits the tool best."
    )
    return remarks + [peer.remark for peer in NETWORKS if peer.name in ran]


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent="  " * text.startswith("- "), break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    main()
