"""Baselines on the rendered benchmark: features, every protocol, every baseline, one Markdown table.

    openau synth --preset facs-bench-small -o bench
    python benchmarks/facs_bench.py bench -o results

Runs go through `openau.training.experiment.run_protocol`, the code that runs BP4D and DISFA. A stopped run goes on when it is called again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from openau.bench.machine import describe
from openau.evaluation.protocols import protocol
from openau.evaluation.scored import Scored
from openau.evaluation.tables import EvaluationTable, Options, evaluate
from openau.outputs import whole_file
from openau.training.experiment import Settings, Standing, folder_name, model, run_protocol
from openau.training.features import FeatureStore, build

PROTOCOLS = (
    "facs-bench-3fold",
    "facs-bench-cross-rig",
    "facs-bench-data-efficiency:100",
    "facs-bench-data-efficiency:1000",
    "facs-bench-label-noise:10",
    "facs-bench-label-noise:30",
)
MODELS = ("always-positive", "geometry-mlp", "linear-probe", "fantrans")
SHOWN = ("f1", "f1_chosen", "auc")


def main() -> None:
    arguments = _arguments()
    store = _features(arguments.data)
    settings = Settings(seed=arguments.seed, threads=arguments.threads)
    lines = []
    for name in PROTOCOLS:
        for contender in MODELS:
            out = arguments.out / folder_name(name) / contender
            began = time.process_time()
            scored = run_protocol([store], protocol(name), model(contender), out, settings, _say)
            table = evaluate(scored, Options(repetitions=arguments.repetitions))
            lines.append(_line(scored, table, _seconds(out, time.process_time() - began)))
            print(lines[-1], flush=True)
    head = ["protocol", "model", "faces", "people", "F1 at 0.5", "F1, chosen threshold", "AUC", "CPU time"]
    rule = ["---"] * 2 + ["---:"] * 6
    text = "\n".join([_row(head), _row(rule), *lines])
    about = f"{store.rows.column('dataset')[0]}, {len(store):,} pictures, seed {arguments.seed}; {describe()}."
    with whole_file(arguments.out / "table.md") as scratch:
        scratch.write_text(f"{about}\n\n{text}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder made by `openau synth --preset facs-bench…`")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of runs, predictions and table.md")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repetitions", type=int, default=500, help="bootstrap resamples of people")
    return parser.parse_args()


def _features(data: Path) -> FeatureStore:
    began = time.monotonic()
    made = sum(build(data / "manifest.parquet", data / "features"))
    print(f"features of {made:,} pictures: {time.monotonic() - began:.0f} s", flush=True)
    return FeatureStore.open(data / "features")


def _say(standing: Standing) -> None:
    if standing.training is None:
        print(f"{standing.part} ({standing.number} of {standing.parts})", flush=True)


def _seconds(out: Path, seconds: float) -> float:
    """CPU time of the run when it was really run: it is kept beside it, since a second call only reads results."""
    path = out / "seconds.json"
    if not path.exists():
        path.write_text(json.dumps(seconds))
    return float(json.loads(path.read_text()))


def _line(scored: Scored, table: EvaluationTable, seconds: float) -> str:
    means = [table.mean[name] for name in SHOWN]
    cells = [f"{100 * mean.value:.1f} [{100 * mean.low:.1f} {100 * mean.high:.1f}]" for mean in means]
    return _row(
        [f"`{scored.protocol}`", scored.model, f"{table.cases:,}", str(table.people), *cells, f"{seconds:.0f} s"]
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
