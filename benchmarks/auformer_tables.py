"""AUFormer on the rendered benchmark: against other ways to teach the same frozen ViT, its losses, its parts, few labelled frames.

    openau synth --preset facs-bench-small -o bench
    python benchmarks/auformer_tables.py bench --work runs                  # everything; a stopped run goes on when called again
    python benchmarks/auformer_tables.py bench --work runs --stage main     # one table
    python benchmarks/auformer_tables.py                                    # only the tables, of the results there are

Every run leaves a small file in RESULTS (benchmarks/results/auformer), which is committed: runs from several days and machines make one
table, and a cell without a run says "not run". Stages, in this order: *main* (rivals at AUFormer's learnable-parameter count; test part 1),
*losses* (with 0, 5 and 10 % of the training labels flipped), *parts-of-it* (without MRF, CA, highway, expert loss, Dice), *frames* (few
training frames), *folds* (the main table's other test parts).

All runs are on the backbone BACKBONE at 112 px in bfloat16, the same loop, the same loss (but for *losses*), batches and steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from openau.evaluation.protocols import protocol
from openau.evaluation.runs import Cell, RunRecord, cell, difference, record
from openau.outputs import whole_file
from openau.training.picture_recipes import AUFORMER, PictureRecipe

RESULTS = Path(__file__).parent / "results" / "auformer"
TABLES = "tables.md"
MAIN = "facs-bench-3fold"
PARTS = ("part 1", "part 2", "part 3")
SEEDS = (0, 1, 2)
BACKBONE = "vit_tiny_face112.synth"
"""Comes with the package."""
VIT = "vit_tiny_patch16_112"
WIDTH = 4
AUS_JUDGED = 23

BASE = replace(
    AUFORMER, name="auformer_bench", architecture=f"auformer_{VIT}", backbone=BACKBONE, model={"width": WIDTH, "pool": "mean"}, epochs=2,
)  # fmt: skip
"""AUFormer as it is run here; everything else differs from it in what its name says."""

OURS = "AUFormer"
RIVALS = {
    "linear probe": "linear",
    "full fine-tuning": "full",
    "LoRA": "lora",
    "AdaptFormer": "adaptformer",
    "Convpass": "convpass",
    "VPT, deep": "vpt_deep",
    "bottleneck adapter": "adapter",
}
LAST = "bottleneck adapter"
"""AdaptFormer's nearest relative is run after the others."""
PROMPTS = 10
"""VPT's prompts per block: at 49 patches, more of them cost more time than any other rival takes, and still stay below the budget."""

NOISE = (0, 5, 10)
LOSSES = {
    OURS: BASE,
    "BCE": replace(BASE, loss="bce"),
    "weighted BCE": replace(BASE, loss="wbce"),
    "ASL": replace(BASE, loss="asl"),
}
ABLATED = {
    OURS: BASE,
    "without MRF": replace(BASE, model={**BASE.model, "mrf": False}),
    "without CA": replace(BASE, model={**BASE.model, "ca": False}),
    "without highway": replace(BASE, model={**BASE.model, "highway": False}),
    "without expert loss": replace(BASE, expert_weight=0.0),
    "without Dice": replace(BASE, dice_weight=0.0),
}
FRAMES = (100, 500, 1000, 4000)
SCARCE_MODELS = (OURS, "linear probe", "full fine-tuning", "LoRA")
METRICS = {"f1_chosen": "F1, chosen threshold", "f1": "F1 at 0.5", "auc": "AUC"}
STAGES = ("main", "losses", "parts-of-it", "frames", "folds")


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
        return (
            Path(*(name.replace(" ", "-").replace(":", "_").replace(",", "") for name in names)) / f"seed-{self.seed}"
        )


def main() -> None:
    """Run what is missing, then write the tables."""
    arguments = _arguments()
    if arguments.data is not None:
        waiting = [run for run in runs(arguments.stage) if not _file(arguments.results, run).exists()]
        print(f"{len(waiting)} of {len(list(runs(arguments.stage)))} runs to go", flush=True)
        _run_all(waiting[: arguments.most], arguments)
    text = tables(_known(arguments.results))
    with whole_file(arguments.results / TABLES) as scratch:
        scratch.write_text(text, encoding="utf-8")
    print(text)


def runs(stage: str) -> Iterator[Run]:
    """The runs of a stage, in the order in which they are made; "all" is every stage."""
    seen: set[Run] = set()
    for run in _all_runs(stage):
        if run not in seen:
            seen.add(run)
            yield run


def _all_runs(stage: str) -> Iterator[Run]:
    if stage in ("main", "all"):
        first = [model for model in (OURS, *RIVALS) if model != LAST]
        yield from (Run(model, MAIN, PARTS[0], seed) for seed in SEEDS for model in first)
        yield from (Run(LAST, MAIN, PARTS[0], seed) for seed in SEEDS)
    if stage in ("losses", "all"):
        yield from (
            Run(model, _noisy(percent), PARTS[0], seed) for seed in SEEDS for percent in NOISE for model in LOSSES
        )
    if stage in ("parts-of-it", "all"):
        yield from (Run(model, MAIN, PARTS[0], seed) for seed in SEEDS for model in ABLATED)
    if stage in ("frames", "all"):
        yield from (
            Run(model, _few(count), PARTS[0], seed) for seed in SEEDS for count in FRAMES for model in SCARCE_MODELS
        )
    if stage in ("folds", "all"):
        yield from (Run(model, MAIN, part, seed) for part in PARTS[1:] for seed in SEEDS for model in (OURS, *RIVALS))


def _noisy(percent: int) -> str:
    return MAIN if percent == 0 else f"facs-bench-label-noise:{percent}"


def _few(frames: int) -> str:
    return f"facs-bench-data-efficiency:{frames}"


def recipe_of(model: str) -> PictureRecipe:
    """How a row of a table is trained."""
    if model in LOSSES:
        return LOSSES[model]
    if model in ABLATED:
        return ABLATED[model]
    method = RIVALS[model]
    width = _width(method)
    options = {"pool": BASE.model["pool"], **({"width": width} if width else {})}
    # What is not fresh but pre-trained takes smaller steps.
    rate = 1e-4 if method == "full" else BASE.learning_rate
    return replace(BASE, architecture=f"{method}_{VIT}", model=options, learning_rate=rate)


@cache
def _width(method: str) -> int:
    """The rival's width that comes nearest to AUFormer's learnable parameters, heads apart."""
    from openau.models.petl import widths_for
    from openau.models.vit import ViTConfig

    if method in ("linear", "full"):
        return 0
    if method.startswith("vpt"):
        return PROMPTS
    return widths_for(method, ViTConfig.named(VIT), _learnable(OURS, heads=False)).width


@cache
def _learnable(model: str, heads: bool = True) -> int:
    """Learnable parameters of a row of the main table, for the benchmark's 23 AUs."""
    import torch

    from openau.facs import AUS
    from openau.models.create import create_model

    recipe = recipe_of(model)
    with torch.device("meta"):
        made = create_model(recipe.architecture, list(AUS)[:AUS_JUDGED], **recipe.model)
    apart = () if heads else ("head.", "experts.")
    return sum(
        weight.numel()
        for name, weight in made.named_parameters()
        if weight.requires_grad and not name.startswith(apart)
    )


def _run(data: Path, run: Run, work: Path, results: Path, threads: int, backbone: str | None) -> Run:
    """Train and judge; in a process of its own."""
    from openau.bench.machine import describe
    from openau.training.candidate import PictureCandidate
    from openau.training.experiment import Settings, run_protocol
    from openau.training.face_pictures import FacePictures

    began = time.process_time()
    faces, recipe = FacePictures.open(data), recipe_of(run.model)
    # Few frames are seen as often as all frames are, in steps.
    least = (
        BASE.epochs * (len(faces) * 2 // 3) // BASE.batch
        if run.protocol.startswith("facs-bench-data-efficiency")
        else 0
    )
    candidate = PictureCandidate(run.model, "", replace(recipe, backbone=backbone or BACKBONE), least_steps=least)
    scored = run_protocol(
        [faces], protocol(run.protocol), candidate, work / run.place, Settings(run.seed, threads), only=[run.part]
    )
    found = record(scored, run.model, run.seed, candidate.settings(), time.process_time() - began, describe())
    _file(results, run).parent.mkdir(parents=True, exist_ok=True)
    found.write(_file(results, run))
    return run


def _run_all(waiting: Sequence[Run], arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        rest = (arguments.work, arguments.results, arguments.threads, arguments.backbone)
        jobs = [pool.submit(_run, arguments.data, run, *rest) for run in waiting]
        for done, job in enumerate(as_completed(jobs), start=1):
            run = job.result()
            spent = (time.monotonic() - began) / 60
            left = spent / done * (len(jobs) - done)
            print(f"{done}/{len(jobs)} {run.place}: {spent:.0f} minutes, about {left:.0f} to go", flush=True)


def _file(results: Path, run: Run) -> Path:
    return (results / run.place).with_suffix(".json")


def _known(results: Path) -> list[RunRecord]:
    return [RunRecord.read(path) for path in sorted(results.rglob("*.json"))]


# Tables ---------------------------------------------------------------------------------------------------------------


def tables(known: Sequence[RunRecord]) -> str:
    """All tables as Markdown, of the runs there are."""
    machines = sorted({run.machine for run in known})
    parts = [
        f"### AUFormer and its rivals, test {PARTS[0]}",
        _against(known, (OURS, *RIVALS), PARTS[:1], parameters=True),
        "### Losses, flipped training labels",
        *(
            _by_protocol(known, tuple(LOSSES), {f"{p} % flipped": _noisy(p) for p in NOISE}, metric)
            for metric in ("auc", "f1_chosen", "f1")
        ),
        "### Without a part",
        _against(known, tuple(ABLATED), PARTS[:1]),
        "### Few training frames",
        *(_by_protocol(known, SCARCE_MODELS, {f"{n:,} frames": _few(n) for n in FRAMES}, metric) for metric in ("auc", "f1_chosen")),
        "### AUFormer and its rivals, all test parts",
        _against(known, (OURS, *RIVALS), PARTS),
    ]  # fmt: skip
    return "\n\n".join([*parts, "Measured on: " + "; ".join(machines or ["nothing yet"]) + "."]) + "\n"


def _against(known: Sequence[RunRecord], models: Sequence[str], parts: Sequence[str], parameters: bool = False) -> str:
    shown = ("auc", "f1_chosen", "f1")
    head = ["model", *(["learnable"] if parameters else []), "runs"]
    for metric in shown:
        head += [METRICS[metric], "to AUFormer"]
    head += ["s.d. of AUC", "CPU min"]
    here = [run for run in known if run.protocol == MAIN and run.part in parts]
    ours = [run for run in here if run.model == OURS]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for model in models:
        mine = [run for run in here if run.model == model]
        cells = [
            model,
            *([f"{_learnable(model):,}"] if parameters else []),
            f"{len(mine)} of {len(parts) * len(SEEDS)}",
        ]
        for metric in shown:
            gap = None if model == OURS else difference(mine, ours, metric)
            cells += [_text(cell(mine, metric)), "" if gap is None else _signed(gap)]
        cells += [
            _spread(cell(mine, "auc")),
            f"{sum(run.seconds for run in mine) / len(mine) / 60:.1f}" if mine else "",
        ]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _by_protocol(known: Sequence[RunRecord], models: Sequence[str], columns: dict[str, str], metric: str) -> str:
    lines = [[METRICS[metric], *columns], ["---", *["---:"] * len(columns)]]
    for model in models:
        mine = {
            name: [run for run in known if (run.model, run.protocol, run.part) == (model, wanted, PARTS[0])]
            for name, wanted in columns.items()
        }
        lines.append([model, *(f"{_text(cell(found, metric))}{_seeds(found)}" for found in mine.values())])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(found: Cell | None) -> str:
    if found is None:
        return "not run"
    value = found.estimate
    return f"{100 * value.value:.1f} [{100 * value.low:.1f} {100 * value.high:.1f}]"


def _seeds(found: Sequence[RunRecord]) -> str:
    return "" if not found or len(found) == len(SEEDS) else f" ({len(found)} seed{'s' * (len(found) > 1)})"


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
    parser.add_argument("--work", type=Path, default=Path("auformer-runs"), help="folder of the training runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the runs' results")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all", help="which runs to make")
    parser.add_argument("--most", type=int, default=None, help="make at most so many runs now")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    parser.add_argument("--backbone", help=f"another backbone than {BACKBONE}; its runs belong into other --results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
