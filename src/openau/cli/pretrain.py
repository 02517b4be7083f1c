"""`openau pretrain`: backbones made offline, from pictures of faces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openau.cli import voice
from openau.errors import UsageError

if TYPE_CHECKING:
    from openau.training.pretrain.fit import Progress as Step


def command(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Renders or a prepared data set (manifest.parquet), or a folder of face crops."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run, which describes itself.")] = None,
    model: Annotated[
        str | None, typer.Option(help="vit_{tiny,small,base,large}_patch{8,14,16}_SIDE; default vit_tiny_patch16_112.")
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="mae: hidden patches are drawn, no label is read. landmarks: landmarks, pose and AUs of renders are predicted."
        ),
    ] = "mae",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the pictures.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures per step, of all processes together.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16-mixed (the default) or 32.")] = None,
    changes: Annotated[
        list[str],
        typer.Option("--set", help="Change a setting: learning_rate=1e-3, au_weight=0, augmentation.blur=1.5 …"),
    ] = [],  # noqa: B006 (Typer's form of an option that may be repeated)
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings and leave.")] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            help="Backbone to start from: a name, or a file such as RUN/backbone.safetensors, made for any size.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the network, per process.")] = 1,
    loaders: Annotated[int, typer.Option(min=1, help="Threads that vary pictures meanwhile, per process.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that crop the pictures first; default one per CPU.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the crops, to be shared by several runs; default RUN/crops.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, gpu or auto. Only cpu gives the same weights every time.")] = "cpu",
    devices: Annotated[int, typer.Option(min=1, help="GPUs, or processes on the CPU, that share each batch.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch of this run.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Instead: write the backbone of this run as -o NAME.TAG.safetensors, with a card."
        ),
    ] = None,
    said: Annotated[
        list[str],
        typer.Option("--card", help="For --export, what the card says: licence=…, origin=…, trained_on=…, limits=…"),
    ] = [],  # noqa: B006
    measured: Annotated[Path | None, typer.Option(help="For --export: FILE.json with measures for the card.")] = None,
    full: Annotated[bool, typer.Option("--full", help="For --export: 32 bits a weight; the default is 16.")] = False,
) -> None:
    """Pre-train a Vision Transformer on pictures of faces; RUN/backbone.safetensors is what comes out.

    Faces are cropped once, then the run starts. With `mae` any faces will do, such as a folder of your own crops;
    `landmarks` needs renders.

    For example:

      openau synth -o faces --people 1000 --images 34

      openau pretrain --data faces --objective landmarks -o runs/tiny

      openau pretrain --data my_crops --objective mae --model vit_small_patch16_224 -o runs/small

      openau pretrain --export runs/tiny -o vit_tiny_face.mine.safetensors --card licence=CC-BY-4.0

      openau pretrain --data faces --objective landmarks --model vit_tiny_patch16_224 --start-from runs/tiny/backbone.safetensors -o runs/l
    """
    if export is not None:
        _export(export, out, said, measured, not full)
        return
    from openau.training.pretrain.fit import BACKBONE, Options, pretrain
    from openau.training.pretrain.recipe import PretrainRecipe
    from openau.training.run import is_first_process

    named = {"model": model, "epochs": epochs, "batch": batch, "precision": precision}
    recipe = PretrainRecipe.of(objective).changed(
        [*(f"{key}={value}" for key, value in named.items() if value is not None), *changes]
    )
    if print_config:
        typer.echo(json.dumps(recipe.to_json(), indent=1))
        return
    if data is None or out is None:
        raise UsageError("--data and --out are needed to train")
    if device not in ("cpu", "gpu", "auto"):
        raise UsageError(f"{device!r} is no device; use cpu, gpu or auto")
    options = Options(seed, threads, loaders, device, devices, cache, workers)
    with _bar() as report:
        pretrain(data, out, recipe, options, resume=resume, start=start, report=report)
    if is_first_process():
        typer.echo(out / BACKBONE)


def _export(run: Path, out: Path | None, said: list[str], measures: Path | None, half: bool) -> None:
    """Write a run's backbone with its card, and say so."""
    from openau.training.pretrain.export import export_backbone
    from openau.weights import strict
    from openau.weights.cards import decode_measures

    if out is None:
        raise UsageError("--export needs -o NAME.TAG.safetensors")
    wrong = [pair for pair in said if "=" not in pair]
    if wrong:
        raise UsageError(f"--card {wrong[0]}: must be like licence=CC-BY-4.0")
    what = "table of measures"
    found = {} if measures is None else strict.document(strict.read(measures, what), measures, what, decode_measures)
    card = export_backbone(run, out, dict(pair.split("=", 1) for pair in said), found, half)
    typer.echo(f"{out}: {card.network}, {card.asset.size / 1e6:.1f} MB")
    typer.echo(f"trained on {card.trained_on}; {card.recipe}")


@contextmanager
def _bar() -> Iterator[Callable[[Step], None]]:
    """A progress bar on stderr; on anything but a terminal only the epochs' lines appear."""
    from openau.training.run import is_first_process

    console = voice.console()
    console.quiet = console.quiet or not is_first_process()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("crops", total=None)
        shown = 0

        def report(step: Step) -> None:
            nonlocal task, shown
            what = f"epoch {step.epoch}/{step.epochs}" if step.epoch else "crops"
            if step.epoch != shown:
                bar.remove_task(task)
                task, shown = bar.add_task(what, total=step.steps), step.epoch
            bar.update(task, description=what, completed=step.step, total=step.steps)
            if step.numbers:
                said = " ".join(f"{name} {value:.4g}" for name, value in step.numbers.items())
                console.print(f"{what}: {said}", soft_wrap=True)

        yield report
