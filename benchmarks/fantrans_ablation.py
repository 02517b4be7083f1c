"""What each part of FAN-Trans brings on the rendered benchmark: the whole model, without one part at a time, and simple baselines.

    openau synth --preset facs-bench-small -o bench
    python benchmarks/fantrans_ablation.py bench --work runs                # everything; a stopped run goes on when called again
    python benchmarks/fantrans_ablation.py bench --work runs --stage first  # one test part only
    python benchmarks/fantrans_ablation.py                                  # only the tables, of the results there are

Every run leaves a small file in RESULTS (benchmarks/results/fantrans), which is committed: runs from several days and machines make one
table, and a cell without a run says "not run". Stages, in this order: *first* (test part 1), *curves* (few training people, flipped labels;
part 1), *parts* (the other test parts).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from openau.evaluation.protocols import protocol
from openau.evaluation.runs import Cell, RunRecord, cell, difference, record
from openau.outputs import whole_file
from openau.training.recipes import FANTRANS, FANTRANS_DISTILLED

if TYPE_CHECKING:
    from openau.training.candidate import Candidate

RESULTS = Path(__file__).parent / "results" / "fantrans"
TABLES = "tables.md"
MAIN = "facs-bench-3fold"
PARTS = ("part 1", "part 2", "part 3")
SEEDS = (0, 1, 2)
SCARCE = ((1, 0), (10, 0), (100, 0), (100, 10))
"""Columns of the curves: per cent of the training people, per cent of flipped labels."""
FULL = "full model"
ABLATED = {
    FULL: FANTRANS_DISTILLED,
    "without attention drop": replace(FANTRANS_DISTILLED, model={**FANTRANS_DISTILLED.model, "attention_drop": False}),
    "without cross-AU classifier": replace(FANTRANS_DISTILLED, model={**FANTRANS_DISTILLED.model, "rank": 0}),
    "without transformer": replace(FANTRANS_DISTILLED, model={**FANTRANS_DISTILLED.model, "depth": 0}),
    "without distillation": FANTRANS,
}
BASELINES = {"geometry-only MLP": "geometry-mlp", "linear probe": "linear-probe"}
MODELS = (*ABLATED, *BASELINES)
CURVE_MODELS = (FULL, "without attention drop", "without distillation", "linear probe")
METRICS = {"f1_chosen": "F1, chosen threshold", "f1": "F1 at 0.5", "auc": "AUC"}


@dataclass(frozen=True)
class Run:
    """One run that a table needs: model, protocol, test part, seed."""

    model: str
    protocol: str
    part: str
    seed: int

    @property
    def place(self) -> Path:
        """Its folder or file, without a suffix, below the results or the work."""
        names = (self.protocol, self.model, self.part)
        return Path(*(name.replace(" ", "-").replace(":", "_") for name in names)) / f"seed-{self.seed}"


def main() -> None:
    """Run what is missing, then write the tables."""
    arguments = _arguments()
    if arguments.data is not None:
        _features(arguments.data)
        waiting = [run for run in runs(arguments.stage) if not _file(arguments.results, run).exists()]
        print(f"{len(waiting)} of {len(list(runs(arguments.stage)))} runs to go", flush=True)
        _run_all(waiting, arguments)
    text = tables(_known(arguments.results))
    with whole_file(arguments.results / TABLES) as scratch:
        scratch.write_text(text, encoding="utf-8")
    if arguments.plot is not None:
        draw(_known(arguments.results), arguments.plot)
    print(text)


def runs(stage: str) -> Iterator[Run]:
    """The runs of a stage, in the order in which they are made; "all" is every stage."""
    if stage in ("first", "all"):
        yield from (Run(model, MAIN, PARTS[0], seed) for seed in SEEDS for model in MODELS)
    if stage in ("curves", "all"):
        for seed in SEEDS:
            yield from (
                Run(model, _scarce(share, noise), PARTS[0], seed)
                for share, noise in SCARCE[:2] + SCARCE[3:]
                for model in CURVE_MODELS
            )
    if stage in ("parts", "all"):
        yield from (Run(model, MAIN, part, seed) for part in PARTS[1:] for seed in SEEDS for model in MODELS)


def _scarce(share: int, noise: int) -> str:
    """The protocol with so few people and so many flipped labels; all people and no flipped label are the main one."""
    return MAIN if (share, noise) == (100, 0) else f"facs-bench-scarce:{share}:{noise}"


def _candidate(model: str) -> Candidate:
    from openau.training.candidate import RecipeCandidate
    from openau.training.experiment import MODELS as KNOWN

    if model in BASELINES:
        return KNOWN[BASELINES[model]]
    return RecipeCandidate(model, "", ABLATED[model])


def _run(data: Path, run: Run, work: Path, results: Path, threads: int) -> Run:
    """Train and judge; in a process of its own."""
    from openau.bench.machine import describe
    from openau.training.experiment import Settings, run_protocol
    from openau.training.features import FeatureStore

    began = time.process_time()
    store, candidate = FeatureStore.open(data / "features"), _candidate(run.model)
    scored = run_protocol(
        [store], protocol(run.protocol), candidate, work / run.place, Settings(run.seed, threads), only=[run.part]
    )
    found = record(scored, run.model, run.seed, candidate.settings(), time.process_time() - began, describe())
    _file(results, run).parent.mkdir(parents=True, exist_ok=True)
    found.write(_file(results, run))
    return run


def _run_all(waiting: Sequence[Run], arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        paths = (arguments.work, arguments.results)
        jobs = [pool.submit(_run, arguments.data, run, *paths, arguments.threads) for run in waiting]
        for done, job in enumerate(as_completed(jobs), start=1):
            run = job.result()
            spent = (time.monotonic() - began) / 60
            left = spent / done * (len(jobs) - done)
            print(f"{done}/{len(jobs)} {run.place}: {spent:.0f} minutes, about {left:.0f} to go", flush=True)


def _features(data: Path) -> None:
    from openau.errors import InputError
    from openau.training.features import FeatureStore, build

    try:
        FeatureStore.open(data / "features")
    except InputError:
        pass
    else:
        return  # another call of this script may be reading them
    for _ in build(data / "manifest.parquet", data / "features"):
        pass


def _file(results: Path, run: Run) -> Path:
    return (results / run.place).with_suffix(".json")


def _known(results: Path) -> list[RunRecord]:
    return [RunRecord.read(path) for path in sorted(results.rglob("*.json"))]


# Tables ---------------------------------------------------------------------------------------------------------------


def tables(known: Sequence[RunRecord]) -> str:
    """All tables as Markdown, of the runs there are."""
    parts = [
        f"### {PARTS[0]} and all parts",
        *(_ablation(known, parts) for parts in (PARTS[:1], PARTS)),
        "### Few people, flipped labels",
    ]
    parts += [_curve(known, metric) for metric in ("auc", "f1_chosen")]
    machines = sorted({run.machine for run in known})
    return "\n\n".join([*parts, "Measured on: " + "; ".join(machines or ["nothing yet"]) + "."]) + "\n"


def _ablation(known: Sequence[RunRecord], parts: Sequence[str]) -> str:
    shown = ("f1_chosen", "auc")
    head = ["model", "runs"]
    for metric in shown:
        head += [METRICS[metric], "to full", "s.d. of seeds"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    here = [run for run in known if run.protocol == MAIN and run.part in parts]
    full = [run for run in here if run.model == FULL]
    for model in MODELS:
        mine = [run for run in here if run.model == model]
        cells = [f"{len(mine)} of {len(parts) * len(SEEDS)}"]
        for metric in shown:
            found = cell(mine, metric)
            gap = None if model == FULL else difference(mine, full, metric)
            cells += [_text(found), "" if gap is None else _signed(gap), _spread(found)]
        lines.append([model, *cells])
    return f"Tested: {', '.join(parts)}.\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _curve(known: Sequence[RunRecord], metric: str) -> str:
    head = [
        METRICS[metric],
        *(f"{share} % of people" + (f", {noise} % flipped" if noise else "") for share, noise in SCARCE),
    ]
    lines = [head, ["---", *["---:"] * len(SCARCE)]]
    full = _scarce_runs(known, FULL)
    for model in CURVE_MODELS:
        mine = _scarce_runs(known, model)
        lines.append([model, *(_text(cell(found, metric)) for found in mine)])
        if model != FULL:
            gaps = [difference(*pair, metric) for pair in zip(mine, full, strict=True)]
            lines.append(["… to full model", *("not run" if gap is None else _signed(gap) for gap in gaps)])
    seeds = [[str(len(found)) for found in _scarce_runs(known, model)] for model in CURVE_MODELS]
    lines.append(["runs of each", *(" ".join(dict.fromkeys(column)) for column in zip(*seeds, strict=True))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _scarce_runs(known: Sequence[RunRecord], model: str) -> list[list[RunRecord]]:
    """A model's runs in each column of the curves."""
    return [
        [run for run in known if (run.model, run.protocol, run.part) == (model, _scarce(*column), PARTS[0])]
        for column in SCARCE
    ]


def draw(known: Sequence[RunRecord], file: Path) -> None:
    """Mean AUC over the share of training people, a line per model; beside it, all people with flipped labels."""
    from openau.evaluation.plots import new_figure

    figure = new_figure(7.2, 3.6)
    exact, flipped = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1.4))
    for number, model in enumerate(CURVE_MODELS):
        cells = [cell(found, "auc") for found in _scarce_runs(known, model)]
        for axis, noisy in ((exact, False), (flipped, True)):
            shown = [
                (number if noisy else share, 100 * found.estimate.value, found.estimate)
                for (share, noise), found in zip(SCARCE, cells, strict=True)
                if found is not None and (noise > 0) == noisy
            ]
            x, value = ([row[place] for row in shown] for place in (0, 1))
            below = [v - 100 * row[2].low for v, row in zip(value, shown, strict=True)]
            above = [100 * row[2].high - v for v, row in zip(value, shown, strict=True)]
            axis.errorbar(x, value, [below, above], marker="o", markersize=4, capsize=2, linewidth=1.2, label=model)
    shares = [share for share, noise in SCARCE if not noise]
    exact.set(
        xscale="log", xlabel="share of the training people", ylabel="mean AUC over 23 AUs, %", title="exact labels"
    )
    exact.set_xticks(shares, [f"{share} %" for share in shares])
    exact.minorticks_off()
    exact.legend(frameon=False, fontsize="small", loc="lower right")
    flipped.set(
        title="10 % of the labels flipped", xticks=[], xlabel="all people", xlim=(-0.7, len(CURVE_MODELS) - 0.3)
    )
    with whole_file(file) as scratch:
        figure.savefig(scratch, format=file.suffix.lstrip("."), dpi=120)


def _text(found: Cell | None) -> str:
    if found is None:
        return "not run"
    value = found.estimate
    return f"{100 * value.value:.1f} [{100 * value.low:.1f} {100 * value.high:.1f}]"


def _signed(gap: object) -> str:
    value, low, high = (100 * getattr(gap, name) for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f} {high:+.1f}]"


def _spread(found: Cell | None) -> str:
    return "" if found is None or found.spread != found.spread else f"{100 * found.spread:.1f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="folder made by `openau synth --preset facs-bench…`; without it nothing is run",
    )
    parser.add_argument("--plot", type=Path, help="also draw the curves into this file (.png, .svg)")
    parser.add_argument("--work", type=Path, default=Path("fantrans-runs"), help="folder of the training runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the runs' results")
    parser.add_argument(
        "--stage", choices=("first", "curves", "parts", "all"), default="all", help="which runs to make"
    )
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
