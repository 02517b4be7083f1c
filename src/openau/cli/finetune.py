"""`openau finetune`: a model and a few hundred labelled faces in, an adapted model and a verdict out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from openau.cli import voice
from openau.cli.prepare import run as run_prepare
from openau.datasets.folder import TABLE
from openau.datasets.prepare import Plan as Preparation
from openau.datasets.prepare import manifest_path
from openau.datasets.registry import reader
from openau.errors import UsageError
from openau.outputs import make_folder
from openau.weights.store import resolve_checkpoint

if TYPE_CHECKING:
    from openau.training.finetune import Standing

DEFAULT = "auformer_vit_tiny_patch16_112.synth"
_PREPARED = "data"
"""Folder in OUT for faces of the user's own pictures."""


def command(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help=f"Your labelled faces: a folder of pictures or videos with {TABLE}, or one that `openau prepare` or `openau synth` made.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write to; run again to go on where a run stopped.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The model to adapt: a name (`openau models`), a run of `openau train auformer`, or a checkpoint."
        ),
    ] = DEFAULT,
    labels: Annotated[
        Path | None, typer.Option("--labels", help=f"The table of labels, in the folder --data; default {TABLE}.")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Groups of people for cross-validation; no more than there are people.")
    ] = 5,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Only adapt; nobody will know whether it helped.")
    ] = False,
    labelled_only: Annotated[
        bool, typer.Option("--labelled-only", help="Leave AUs that your labels did not teach out of the adapted model.")
    ] = False,
    changes: Annotated[
        list[str], typer.Option("--set", help="Change a setting of the recipe: learning_rate=1e-4, batch=8 …")
    ] = [],  # noqa: B006 (Typer's form of an option that may be repeated)
    epochs: Annotated[int | None, typer.Option(min=1, help="The same as --set epochs=…")] = None,
    name: Annotated[str | None, typer.Option(help="architecture.tag of the card; default the tag `adapted`.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds, batches and variation.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default one per CPU.")] = None,
    device: Annotated[str, typer.Option(help="cpu, gpu or auto. Only cpu gives the same weights every time.")] = "cpu",
) -> None:
    """Adapt a model to your own people, and find out by cross-validation whether that helps.

    The table has a line for each labelled picture or frame (docs/finetune.md): file, frame, subject, AU01, AU12 …
    Only the model's experts and head learn. People are never on both sides: each is judged by a model adapted to the
    others, beside the model as it is. OUT/report.md says what came of it, OUT/adapted.onnx is the adapted model.

    For example:

      openau finetune --data my_study -o adapted

      openau detect clip.mp4 --model adapted/adapted.onnx
    """
    if device not in ("cpu", "gpu", "auto"):
        raise UsageError(f"{device!r} is no device; use cpu, gpu or auto")
    checkpoint = _checkpoint(model)
    # Lightning and PyTorch take seconds to load; whether there is a model to start from is told before.
    from openau.training.configuration import read_picture_recipe
    from openau.training.face_pictures import FacePictures
    from openau.training.finetune import Plan, finetune
    from openau.training.picture_recipes import FINETUNE

    recipe = read_picture_recipe(FINETUNE.name, changes if epochs is None else [*changes, f"epochs={epochs}"])
    faces = FacePictures.open(_prepared(data, labels, out))
    plan = Plan(
        model=model, checkpoint=checkpoint, out=out, recipe=recipe, data=data.absolute().name, folds=0 if no_validation else folds,
        labelled_only=labelled_only, name=name, seed=seed, threads=threads or os.cpu_count() or 1, device=device,
        command=shlex.join(["openau", *sys.argv[1:]]),
    )  # fmt: skip
    with _bar() as report:
        findings, exported = finetune(faces, plan, report)
    for note in findings.notes():
        typer.echo(note)
    typer.echo(
        f"{exported.file}: {exported.card.asset.size / 1e6:.1f} MB, {len(exported.card.aus)} AUs; {out / 'report.md'}"
    )
    typer.echo(findings.sentence)


def _checkpoint(model: str) -> Path:
    """The file to start from; a folder is that of a run."""
    folder = Path(model).expanduser()
    return resolve_checkpoint(folder / "best.safetensors" if folder.is_dir() else model)


def _prepared(data: Path, labels: Path | None, out: Path) -> Path:
    """The folder of a manifest: `data` itself, or one in `out`, made of the user's pictures and table.

    Raises:
        UsageError: the table is not in the folder.
    """
    if labels is None and manifest_path(data).is_file():
        return data
    if labels is not None and not labels.absolute().is_relative_to(data.absolute()):
        raise UsageError(f"{labels}: must lie in {data}, because the files it names are looked for beside it")
    make_folder(out, parents=True)
    run_prepare(reader("folder"), Preparation(data if labels is None else labels, out / _PREPARED))
    return out / _PREPARED


@contextmanager
def _bar() -> Iterator[Callable[[Standing], None]]:
    """A progress bar on stderr; how long all of it will take is a line of its own, as soon as that is known."""
    console = voice.console()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    told = False
    with bar:
        task = bar.add_task("reading faces", total=None, left="")

        def report(standing: Standing) -> None:
            nonlocal told
            left = "" if standing.left is None else in_words(standing.left)
            if left and not told:
                bar.console.print(f"{standing.steps} steps, {left} on this machine", highlight=False)
                told = True
            bar.update(task, description=standing.stage, completed=standing.done, total=standing.steps, left=left)

        yield report


def in_words(seconds: float) -> str:
    """About how long: "about 40 seconds", "about 6 minutes"."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds"
    return f"about {round(seconds / 60)} minutes"
