"""`openau train`: features first, then a model on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openau.errors import InputError, UsageError
from openau.training import features
from openau.training.recipes import RECIPES
from openau.training.run import Progress as Step
from openau.training.run import train
from openau.training.splits import HoldOut, split_rows

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train a model on rendered or labelled faces: `features` first, once per data set, then `fantrans`, once per model.",
)

_STORE = "features"


@app.command("features")
def features_command(
    manifest: Annotated[Path, typer.Argument(help="Parquet manifest of labelled faces (`openau synth` writes one).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the feature store; a stopped run goes on.")],
    views: Annotated[
        int, typer.Option(min=1, help="Copies per picture: one mild, the others degraded.")
    ] = features.VIEWS,
    seed: Annotated[int, typer.Option(help="Of the degradations.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per CPU.")] = None,
) -> None:
    """Run the frozen face network over every picture once and keep what it sees.

    For example:

      openau train features faces/manifest.parquet -o faces/features
    """
    _build(manifest, out, views, seed, workers)


@app.command("fantrans")
def fantrans_command(
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Feature store, or a folder with manifest.parquet (features are then made inside it first)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of the run: best.safetensors, last.safetensors, metrics.csv.")
    ],
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "fantrans",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data; default the recipe's.")] = None,
    hold_out: Annotated[
        str, typer.Option(help="Faces kept away for a fair test: subjects=0.2, fold=3, rig=anny or none.")
    ] = "subjects=0.2",
    seed: Annotated[
        int, typer.Option(help="Of weights, batches and noise. The subjects' split does not depend on it.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, gpu or auto. Only cpu gives the same weights every time.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch of this run.")] = False,
) -> None:
    """Train FAN-Trans on frozen Face Mesh features.

    The epoch is chosen on validation subjects taken from the training part; the held-out part is never looked at
    (`openau evaluate` does). Several runs with different seeds can be exported as one model (`openau export`).

    For example:

      openau train fantrans --data faces -o runs/0
    """
    if recipe not in RECIPES:
        raise UsageError(f"there is no recipe {recipe!r}; there are {', '.join(RECIPES)}")
    if device not in ("cpu", "gpu", "auto"):
        raise UsageError(f"{device!r} is no device; use cpu, gpu or auto")
    chosen = RECIPES[recipe] if epochs is None else replace(RECIPES[recipe], epochs=epochs)
    held = HoldOut.parse(hold_out)
    store = features.FeatureStore.open(_store(data))
    usable = np.asarray(store.ok.any(axis=1))
    split = split_rows(store.rows, held, chosen.validation, chosen.split_seed, usable)
    with _bar("training") as bar:
        task = bar.add_task("epoch 1", total=None)

        def report(step: Step) -> None:
            bar.update(task, description=f"epoch {step.epoch}/{step.epochs}", completed=step.step, total=step.steps)
            if step.numbers:
                bar.console.print(_epoch_line(step))

        result = train(
            store, out, chosen, split=split, split_name=str(held), seed=seed, threads=threads, device=device, resume=resume,
            report=report,
        )  # fmt: skip
    parts = result.split
    typer.echo(
        f"{len(parts.train)} faces trained, {len(parts.validation)} chose the epoch, {len(parts.test)} were never looked at."
    )
    typer.echo(f"{result.checkpoint}: mean AUC {result.score:.3f} on the validation subjects")


def _store(data: Path) -> Path:
    """The feature store that `data` is or, for a data set, holds; made if needed."""
    if (data / "meta.json").is_file():
        return data
    manifest = data / "manifest.parquet"
    if not manifest.is_file():
        raise InputError(f"{data}: holds neither a feature store (meta.json) nor a data set (manifest.parquet)")
    _build(manifest, data / _STORE, features.VIEWS, 0, None)
    return data / _STORE


def _build(manifest: Path, out: Path, views: int, seed: int, workers: int | None) -> None:
    from openau.datasets.manifest import read_manifest

    rows = read_manifest(manifest).num_rows
    with _bar("features") as bar:
        task = bar.add_task("features", total=rows)
        for done in features.build(manifest, out, views=views, seed=seed, workers=workers):
            bar.advance(task, done)


def _bar(what: str) -> Progress:
    """A progress bar on stderr; on anything but a terminal only lines that are printed appear."""
    console = Console(stderr=True)
    return Progress(
        TextColumn(f"{what}: {{task.description}}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip


def _epoch_line(step: Step) -> str:
    numbers = " ".join(f"{name} {value:.3g}" for name, value in step.numbers.items())
    return f"epoch {step.epoch}/{step.epochs}: {numbers}"
