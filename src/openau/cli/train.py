"""`openau train`: features first, then a model on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openau.cli import voice
from openau.errors import InputError, UsageError
from openau.faces.extractors import DEFAULT_GRID, FACE_MESH
from openau.training import features
from openau.training.picture_recipes import PICTURE_RECIPES, picture_recipe_for
from openau.training.recipes import RECIPES, recipe_for
from openau.training.splits import HoldOut

if TYPE_CHECKING:
    import pyarrow as pa

    from openau.training.callbacks import Progress as Step
    from openau.training.candidate import Candidate
    from openau.training.checkpoint import TrainingSelection
    from openau.training.joined import Features, LabelledFaces
    from openau.training.picture_recipes import AnyRecipe

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train a model on rendered or labelled faces: `fantrans` on `features`, made once per data set, or `auformer` on pictures.",
)

_STORE = "features"
_HELD_OUT = "subjects=0.2"
EXTRACTOR = typer.Option(
    "--extractor", help="The frozen network: face_mesh, the name of a FAN, or its .onnx with the card beside it."
)
GRID = typer.Option(
    "--grid", min=1, max=64, help="A FAN's 64 × 64 map is averaged to so many cells a side; 64 keeps all of it."
)


@app.command("features")
def features_command(
    manifest: Annotated[Path, typer.Argument(help="Parquet manifest of labelled faces (`openau synth` writes one).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the feature store; a stopped run goes on.")],
    views: Annotated[
        int,
        typer.Option(
            min=1,
            help="Copies per picture to train on: one mild, the others degraded. A plain one, to judge on, comes on top.",
        ),
    ] = features.VIEWS,
    seed: Annotated[int, typer.Option(help="Of the degradations.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per CPU.")] = None,
    extractor: Annotated[str, EXTRACTOR] = FACE_MESH.extractor,
    grid: Annotated[int, GRID] = DEFAULT_GRID,
) -> None:
    """Run the frozen face network over every picture once and keep what it sees.

    For example:

      openau train features faces/manifest.parquet -o faces/features

      openau train features faces/manifest.parquet -o faces/fan --extractor fan_small.synth
    """
    _build(manifest, out, views, seed, workers, extractor, grid)


Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run, which describes itself.")]
Changes = Annotated[
    list[str], typer.Option("--set", help="Change a setting of the recipe: learning_rate=1e-3, model.dropout=0.2 …")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="The same as --set epochs=…")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the full recipe and leave.")]
HeldOut = Annotated[
    str | None,
    typer.Option(help=f"Faces kept away for a fair test: {_HELD_OUT} (the default), fold=3, rig=anny or none."),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(help="Instead of one hold-out: train and test every part of a protocol (docs/protocols.md)."),
]
SelectOnTest = Annotated[
    bool,
    typer.Option("--select-on-test", help="Choose the epoch on the test part; every table then says test-selected."),
]
Seed = Annotated[int, typer.Option(help="Of weights, batches and noise. The subjects' split does not depend on it.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads, per process.")]
DeviceName = Annotated[str, typer.Option(help="cpu, gpu or auto. Only cpu gives the same weights every time.")]
Devices = Annotated[int, typer.Option(min=1, help="GPUs, or processes on the CPU, that share each batch.")]
Start = Annotated[
    Path | None,
    typer.Option(
        "--start-from",
        help="Checkpoint to start from (RUN/best.safetensors), perhaps of other AUs: a model of BP4D for DISFA, say.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch of this run.")]
WandB = Annotated[bool, typer.Option("--wandb", help="Log for Weights & Biases, too; offline, `wandb sync` sends it.")]


@app.command("fantrans")
def fantrans_command(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Feature store, or a folder with manifest.parquet (features are then made inside it first). Again for more data sets.",
        ),
    ] = [],  # noqa: B006 (Typer's form of an option that may be repeated)
    out: Out = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(RECIPES)}, or a YAML file. Default: the one for the (first) data set and its features."
        ),
    ] = None,
    changes: Changes = [],  # noqa: B006
    epochs: Epochs = None,
    print_config: PrintConfig = False,
    hold_out: HeldOut = None,
    protocol: ProtocolName = None,
    select_on_test: SelectOnTest = False,
    seed: Seed = 0,
    threads: Threads = 1,
    device: DeviceName = "cpu",
    devices: Devices = 1,
    start: Start = None,
    resume: Resume = False,
    wandb: WandB = False,
) -> None:
    """Train FAN-Trans on a frozen network's features.

    The epoch is chosen on validation subjects taken from the training part; the held-out part is never looked at
    (`openau evaluate` does). Several runs with different seeds can be exported as one model (`openau export`).

    For example:

      openau train fantrans --data faces -o runs/0

      openau train fantrans --data faces -o runs/1 --seed 1 --set epochs=20 --set ema=0.999

      openau train fantrans --data disfa --protocol disfa-3fold -o runs/disfa
    """
    from openau.training.candidate import RecipeCandidate
    from openau.training.configuration import read_feature_recipe, to_yaml

    changes = changes if epochs is None else [*changes, f"epochs={epochs}"]
    wish = _Wish(hold_out, protocol, select_on_test, seed, threads, device, devices, start, resume, wandb)
    folder = Path() if print_config else _checked(data, out, wish)
    chosen = read_feature_recipe(recipe or _own_recipe(data), changes)
    if print_config:
        typer.echo(to_yaml(chosen), nl=False)
        return
    if protocol is not None:
        candidate = RecipeCandidate(chosen.name, "", chosen, least_steps=0)
        _protocol_run(data, lambda one: features.FeatureStore.open(_store(one)), folder, candidate, wish)
    else:
        _hold_out_run(open_stores(data), folder, chosen, wish)


@app.command("auformer")
def auformer_command(
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Folder with manifest.parquet and pictures. Again for more data sets."),
    ] = [],  # noqa: B006
    out: Out = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(PICTURE_RECIPES)}, or a YAML file. Default: the one for the (first) data set."),
    ] = None,
    changes: Changes = [],  # noqa: B006
    epochs: Epochs = None,
    print_config: PrintConfig = False,
    hold_out: HeldOut = None,
    protocol: ProtocolName = None,
    select_on_test: SelectOnTest = False,
    seed: Seed = 0,
    threads: Threads = 1,
    device: DeviceName = "cpu",
    devices: Devices = 1,
    start: Start = None,
    resume: Resume = False,
    wandb: WandB = False,
) -> None:
    """Train AUFormer, or a rival on the same ViT, on pictures.

    Only the experts and the head learn, and only they are in the checkpoint; the backbone is found again by its name and hash. Rivals are
    architectures too: lora_vit_…, adapter_vit_…, convpass_vit_…, linear_vit_…, full_vit_… (docs/auformer.md).

    For example:

      openau train auformer --data faces -o runs/0

      openau train auformer --data faces -o runs/lora --set architecture=lora_vit_tiny_patch16_224

      openau train auformer --data bp4d -o runs/bp4d --protocol bp4d-3fold --set backbone=vit_base.safetensors
    """
    from openau.training.candidate import PictureCandidate
    from openau.training.configuration import read_picture_recipe, to_yaml
    from openau.training.face_pictures import FacePictures, join_pictures

    changes = changes if epochs is None else [*changes, f"epochs={epochs}"]
    wish = _Wish(hold_out, protocol, select_on_test, seed, threads, device, devices, start, resume, wandb)
    folder = Path() if print_config else _checked(data, out, wish)
    own = picture_recipe_for(_data_set_of(data[0]) if data else None).name
    chosen = read_picture_recipe(recipe or own, changes)
    if print_config:
        typer.echo(to_yaml(chosen), nl=False)
        return
    if protocol is not None:
        candidate = PictureCandidate(chosen.name, "", chosen, least_steps=0)
        _protocol_run(data, FacePictures.open, folder, candidate, wish)
    else:
        _hold_out_run(join_pictures([FacePictures.open(one) for one in data]), folder, chosen, wish)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for beside data and recipe."""

    hold_out: str | None
    protocol: str | None
    select_on_test: bool
    seed: int
    threads: int
    device: str
    devices: int
    start: Path | None
    resume: bool
    wandb: bool

    @property
    def held(self) -> HoldOut:
        """Who is held out of a single run."""
        return HoldOut.parse(self.hold_out or _HELD_OUT)

    @property
    def selection(self) -> TrainingSelection:
        """Who chooses the epoch."""
        return "test-selected" if self.select_on_test else "validation"


def _checked(data: Sequence[Path], out: Path | None, wish: _Wish) -> Path:
    """The folder of the run, if what is asked for goes together."""
    if not data or out is None:
        raise UsageError("--data and --out are needed to train")
    if wish.device not in ("cpu", "gpu", "auto"):
        raise UsageError(f"{wish.device!r} is no device; use cpu, gpu or auto")
    if wish.protocol is not None and (wish.devices > 1 or wish.wandb):
        raise UsageError("--devices and --wandb are for a single run, not for the parts of a protocol")
    if wish.protocol is not None and wish.hold_out is not None:
        raise UsageError("--protocol says who is tested, so --hold-out cannot")
    held = wish.held
    if wish.select_on_test and held.kind == "none":
        raise UsageError("--select-on-test needs a test part; name it by --hold-out")
    return out


def _protocol_run(
    data: Sequence[Path], opened: Callable[[Path], LabelledFaces], out: Path, candidate: Candidate, wish: _Wish
) -> None:
    """Train and test every part; finished parts are read."""
    from openau.evaluation.protocols import DataSetRows, protocol
    from openau.evaluation.report import REPORT, write_report
    from openau.training.experiment import Settings, Standing, run_protocol

    chosen = protocol(str(wish.protocol))
    # Features take long, so whether the protocol fits the data is asked first.
    chosen.assign([DataSetRows.of(_rows(folder), folder) for folder in data])
    stores = [opened(folder) for folder in data]
    settings = Settings(wish.seed, wish.threads, wish.device, wish.selection, wish.start)
    with training_bar() as report:

        def tell(standing: Standing) -> None:
            if standing.training is None:
                voice.note(f"test {standing.part} ({standing.number} of {standing.parts})")
            elif report is not None:
                report(standing.training)

        scored = run_protocol(stores, chosen, candidate, out, settings, tell)
    Console(width=None if Console().is_terminal else 160).print(write_report(scored, out).to_rich())
    typer.echo(f"{out / REPORT}: all metrics, tables and plots")


def _hold_out_run(faces: LabelledFaces, out: Path, recipe: AnyRecipe, wish: _Wish) -> None:
    """Train once, with some faces held out."""
    from openau.training.run import is_first_process, train
    from openau.training.splits import split_rows

    held, usable = wish.held, np.asarray(faces.ok.any(axis=1))
    split = split_rows(faces.rows, held, recipe.validation, recipe.split_seed, usable)
    with training_bar() as report:
        result = train(
            faces, out, recipe, split=split, split_name=str(held), report=report, seed=wish.seed, threads=wish.threads,
            device=wish.device, devices=wish.devices, resume=wish.resume, wandb=wish.wandb, selection=wish.selection, start=wish.start,
        )  # fmt: skip
    if is_first_process():
        chose = "the test part" if wish.selection == "test-selected" else f"{len(split.validation)} validation faces"
        typer.echo(f"{len(split.train)} faces trained, {chose} chose the epoch, {len(split.test)} were held out.")
        typer.echo(f"{result.checkpoint}: mean AUC {result.score:.3f} of those who chose it")


def open_stores(folders: Sequence[Path]) -> Features:
    """The feature stores that these folders are or hold, as one; features are made first where they are missing."""
    from openau.training.joined import join

    return join([features.FeatureStore.open(_store(folder)) for folder in folders])


@contextmanager
def training_bar() -> Iterator[Callable[[Step], None] | None]:
    """A progress bar of a run: what `train` reports to; None in processes that keep quiet."""
    from openau.training.run import is_first_process

    if not is_first_process():
        yield None
        return
    with _bar("training") as bar:
        task = bar.add_task("epoch 1", total=None)

        def report(step: Step) -> None:
            bar.update(task, description=f"epoch {step.epoch}/{step.epochs}", completed=step.step, total=step.steps)
            if step.numbers:
                bar.console.print(_epoch_line(step))

        yield report


def _rows(data: Path) -> pa.Table:
    """Labelled faces of a feature store or of a data set."""
    from openau.datasets.manifest import read_manifest

    return read_manifest(data / ("rows.parquet" if (data / "meta.json").is_file() else _manifest(data).name))


def _own_recipe(data: Sequence[Path]) -> str:
    """Name of the recipe for the first data set and its features; renders' where its manifest names none, or there is none."""
    if not data:
        return recipe_for(None).name
    return recipe_for(_data_set_of(data[0]), features.is_on_grid(data[0])).name


def _data_set_of(data: Path) -> str | None:
    """Name of the data set, if its manifest says."""
    rows = _rows(data)
    named = rows.num_rows > 0 and "dataset" in rows.column_names
    return rows.column("dataset")[0].as_py() if named else None


def _manifest(data: Path) -> Path:
    manifest = data / "manifest.parquet"
    if not manifest.is_file():
        raise InputError(f"{data}: holds neither a feature store (meta.json) nor a data set (manifest.parquet)")
    return manifest


def _store(data: Path) -> Path:
    """The feature store that `data` is or, for a data set, holds; made if needed."""
    if (data / "meta.json").is_file():
        return data
    _build(_manifest(data), data / _STORE, features.VIEWS, 0, None)
    return data / _STORE


def _build(
    manifest: Path, out: Path, views: int, seed: int, workers: int | None, extractor: str = FACE_MESH.extractor, grid: int = DEFAULT_GRID,
) -> None:  # fmt: skip
    from openau.datasets.manifest import read_manifest

    rows = read_manifest(manifest).num_rows
    with _bar("features") as bar:
        task = bar.add_task("features", total=rows)
        made = features.build(manifest, out, views=views, seed=seed, workers=workers, extractor=extractor, grid=grid)
        for done in made:
            bar.advance(task, done)


def _bar(what: str) -> Progress:
    """A progress bar on stderr; on anything but a terminal only lines that are printed appear."""
    console = voice.console()
    return Progress(
        TextColumn(f"{what}: {{task.description}}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip


def _epoch_line(step: Step) -> str:
    numbers = " ".join(f"{name} {value:.3g}" for name, value in step.numbers.items())
    return f"epoch {step.epoch}/{step.epochs}: {numbers}"
