"""`openau reproduce`: from a data set's own folder to a table beside the published rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from openau.cli import complain, voice
from openau.cli.train import EXTRACTOR, GRID
from openau.datasets import registry
from openau.datasets.manifest import read_manifest
from openau.datasets.prepare import Plan, manifest_path, prepare
from openau.errors import InputError, UsageError
from openau.evaluation.protocols import BENCH, FORMS, Assignment, DataSetRows, Protocol, protocol
from openau.evaluation.publish import Grid, markdown
from openau.evaluation.report import REPORT, beside_published, write_report
from openau.faces.extractors import DEFAULT_GRID, FACE_MESH, Layout, layout
from openau.faces.extractors import Grid as CellGrid
from openau.training import features
from openau.training.candidate import Candidate, PictureCandidate, RecipeCandidate
from openau.training.configuration import read_feature_recipe, read_picture_recipe
from openau.training.experiment import MODELS, Settings, Standing, model, run_protocol
from openau.training.face_pictures import FacePictures
from openau.training.joined import LabelledFaces
from openau.training.picture_recipes import AUFORMER, picture_recipe_for
from openau.training.recipes import FANTRANS, recipe_for

PROTOCOL_OF = {
    "bp4d": "bp4d-3fold", "disfa": "disfa-3fold", "casme2": "micro:casme2-loso", "samm": "micro:samm-loso",
    **dict.fromkeys(BENCH, "facs-bench-3fold"),
}  # fmt: skip
"""What is meant where no protocol is named."""

PICTURES_PER_CORE, STEPS_PER_SECOND = 28.0, 9.9
"""What the estimate at the start reckons with: pictures whose features one core makes per second, and training steps of 128 faces per
second; both measured on one core of an AMD EPYC (docs/reproduce.md)."""

FACE_MESH_DIFFERS = "The frozen alignment network is Face Mesh (468 landmarks, 192 × 192), not the paper's 2D-FAN."
DIFFERS = (
    "There is no online knowledge distillation between peers.",
    "Widths, depth and the form of the attention drop are ours: the paper's were not at hand.",
    "The epoch is chosen on validation people of the training parts; much public code of the field chooses it on the test part.",
    "Each frame is judged once, on the plain crop that detection takes, without its mirror image (detection adds it).",
    "Frames without a face are counted and left out of the metrics; published pipelines usually drop them before.",
)
"""What differs from FAN-Trans as published, whichever the frozen network."""

AUFORMER_DIFFERS = (
    "The paper's backbone weights, expert width, rates, epochs and augmentation were not at hand; these are ours (docs/papers.md).",
    "The epoch is chosen on validation people of the training parts; much public code of the field chooses it on the test part.",
    "Frames without a face are counted and left out of the metrics; published pipelines usually drop them before.",
)
"""What differs from AUFormer as published."""


def command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=f"{', '.join(MODELS)}.")],
    dataset: Annotated[
        list[str], typer.Option("--dataset", help="bp4d, disfa …, or facs-bench; again for protocols over several.")
    ],
    root: Annotated[
        list[Path],
        typer.Option("--root", help="Its folder, as its makers deliver it, or one that `openau prepare` made."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for everything; a stopped run goes on.")] = Path(
        "reproduction"
    ),
    protocol_name: Annotated[
        str | None, typer.Option("--protocol", help=f"Default: the data set's own. {', '.join(FORMS)}.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name or YAML file instead of the model's own.")] = None,
    changes: Annotated[
        list[str], typer.Option("--set", help="Change a setting of the recipe: learning_rate=1e-3 …")
    ] = [],  # noqa: B006 (Typer's form of an option that may be repeated)
    views: Annotated[
        int, typer.Option(min=1, help="Degraded copies per picture; 0.07 MB of disk each, and one plain.")
    ] = features.VIEWS,
    extractor: Annotated[str, EXTRACTOR] = FACE_MESH.extractor,
    grid: Annotated[int, GRID] = DEFAULT_GRID,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of training.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of preparation; default one per CPU.")] = None,
    device: Annotated[str, typer.Option(help="cpu, gpu or auto.")] = "cpu",
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Checkpoint every part starts from, such as one of BP4D for DISFA."),
    ] = None,
    select_on_test: Annotated[
        bool,
        typer.Option("--select-on-test", help="Choose the epoch on the test part; every table then says so."),
    ] = False,
) -> None:
    """Train and judge a model by a published protocol, and print its table beside the published rows.

    Prepares the faces, looks at each once with the frozen network, trains and
    tests every part. Everything lands in OUT, report.md among it. The same
    command goes on with what was stopped. For example:

      openau reproduce fantrans --dataset disfa --root DISFA -o disfa

      openau reproduce fantrans --dataset bp4d --root BP4D --dataset disfa --root DISFA --protocol "cross:bp4d->disfa" -o cross
    """
    if len(dataset) != len(root):
        raise UsageError("give one --root for every --dataset")
    chosen = _protocol(protocol_name, dataset)
    made_by = layout(extractor, grid)
    candidate = candidate_for(name, dataset[0], recipe, changes, made_by)
    if device not in ("cpu", "gpu", "auto"):
        raise UsageError(f"{device!r} is no device; use cpu, gpu or auto")
    with _bar() as bar:
        prepared = [_prepared(one, folder, out, workers, bar) for one, folder in zip(dataset, root, strict=True)]
        parts = chosen.assign([DataSetRows.of(read_manifest(manifest_path(one)), one) for one in prepared])
        bar.console.print(_outlook(chosen, parts, prepared, candidate), soft_wrap=True)
        if made_by != FACE_MESH and candidate.reads == "features":
            bar.console.print(f"these are Face Mesh's rates; {made_by.extractor} is another network", soft_wrap=True)
        stores: list[LabelledFaces] = [
            FacePictures.open(one)
            if candidate.reads == "pictures"
            else _features(one, views, workers, bar, extractor, made_by)
            for one in prepared
        ]
        settings = Settings(seed, threads, device, "test-selected" if select_on_test else "validation", start)
        scored = run_protocol(stores, chosen, candidate, out, settings, _reporter(bar))
    table = write_report(scored, out, _differences(candidate, made_by))
    _print(beside_published(table))
    typer.echo(f"\n{out / REPORT}: all metrics with 95 % intervals over people, tables for papers, plots")


def _protocol(name: str | None, dataset: Sequence[str]) -> Protocol:
    if name is not None:
        return protocol(name)
    if len(dataset) != 1 or dataset[0] not in PROTOCOL_OF:
        raise UsageError(f"name the --protocol for {' and '.join(dataset)}: {', '.join(FORMS)}")
    return protocol(PROTOCOL_OF[dataset[0]])


def _differences(candidate: Candidate, made_by: Layout) -> tuple[str, ...]:
    """What differs from the published method, if the candidate is one."""
    if isinstance(candidate, PictureCandidate) and candidate.recipe.architecture.startswith("auformer_"):
        return (f"The backbone is {candidate.recipe.backbone}, in {candidate.recipe.architecture}.", *AUFORMER_DIFFERS)
    return differences(made_by) if candidate.name == FANTRANS.name else ()


def differences(made_by: Layout) -> tuple[str, ...]:
    """What differs from FAN-Trans as published, with these features."""
    if not isinstance(made_by.positions, CellGrid):
        return (FACE_MESH_DIFFERS, *DIFFERS)
    side = made_by.positions.side
    return (f"The frozen alignment network is {made_by.extractor}, its map read on {side} × {side} cells.", *DIFFERS)


def candidate_for(name: str, dataset: str, recipe: str | None, changes: Sequence[str], made_by: Layout) -> Candidate:
    """The model, by the recipe made for its first data set and features, if there is one."""
    found = model(name)
    # Who sets the epochs means them.
    set_by_hand = any(change.startswith("epochs=") for change in changes)
    if isinstance(found, PictureCandidate):
        chosen = picture_recipe_for(dataset).name if name == AUFORMER.name else found.recipe.name
        return replace(
            found,
            recipe=read_picture_recipe(recipe or chosen, changes),
            least_steps=0 if set_by_hand else found.least_steps,
        )
    if not isinstance(found, RecipeCandidate):
        if recipe or changes:
            raise UsageError(f"{name} has no recipe, so --recipe and --set mean nothing")
        return found
    own = (
        recipe_for(dataset, isinstance(made_by.positions, CellGrid)).name
        if name == FANTRANS.name
        else found.recipe.name
    )
    return replace(
        found,
        recipe=read_feature_recipe(recipe or own, changes),
        least_steps=0 if set_by_hand else found.least_steps,
    )


def _prepared(name: str, root: Path, out: Path, workers: int | None, bar: Progress) -> Path:
    """Folder of a data set's manifest: the root itself if it is one, else OUT/data/NAME, made or brought up to date now."""
    if manifest_path(root).is_file():
        return root
    if name in BENCH:
        raise InputError(f"{root}: holds no manifest.parquet; render it first: openau synth --preset {name} -o {root}")
    folder = out / "data" / name.replace("+", "_plus")
    out.mkdir(parents=True, exist_ok=True)
    task = bar.add_task("faces", total=None)
    summary = prepare(
        registry.reader(name),
        Plan(root, folder),
        workers,
        lambda done, total: bar.update(task, completed=done, total=total),
        lambda frames: bar.advance(task, frames),
    )
    if summary.problems:
        complain(f"{root}: {len(summary.problems)} problems, in {folder / 'problems.csv'}")
    return folder


def _features(
    prepared: Path, views: int, workers: int | None, bar: Progress, extractor: str, made_by: Layout
) -> features.FeatureStore:
    manifest, folder = manifest_path(prepared), prepared / "features"
    grid = DEFAULT_GRID
    if isinstance(made_by.positions, CellGrid):
        grid = made_by.positions.side
        folder = prepared / f"features-{made_by.extractor}-{grid}"
    task = bar.add_task("features", total=read_manifest(manifest).num_rows)
    for done in features.build(manifest, folder, views=views, workers=workers, extractor=extractor, grid=grid):
        bar.advance(task, done)
    return features.FeatureStore.open(folder)


def _outlook(chosen: Protocol, parts: Sequence[Assignment], prepared: Sequence[Path], candidate: Candidate) -> str:
    """What is ahead, and about how long it takes on one core."""
    pictures = sum(read_manifest(manifest_path(one)).num_rows for one in prepared)
    faces = [len(part.train_rows) for part in parts]
    words = f"{chosen.name}: {len(parts)} part{'s' * (len(parts) > 1)}, {pictures:,} frames, {max(faces):,} of them to train on at most"
    if not isinstance(candidate, RecipeCandidate):
        return words
    recipe = candidate.recipe
    steps = sum(recipe.epochs * max(1, count // recipe.batch_size) for count in faces)
    seconds = steps * recipe.batch_size / 128 / STEPS_PER_SECOND
    return (
        f"{words}. On one core, very roughly {_time(pictures / PICTURES_PER_CORE)} for features (done once, shared by all cores) and "
        f"{_time(seconds)} for training; stop at will, the same command goes on"
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _reporter(bar: Progress) -> Callable[[Standing], None]:
    tasks: dict[str, TaskID] = {}

    def report(standing: Standing) -> None:
        if standing.part not in tasks:
            bar.console.print(f"test {standing.part} ({standing.number} of {standing.parts})")
            tasks[standing.part] = bar.add_task(f"test {standing.part}", total=None)
        progress = standing.training
        if progress is not None:
            done = (progress.epoch - 1) * progress.steps + progress.step
            bar.update(tasks[standing.part], completed=done, total=progress.epochs * progress.steps)

    return report


@contextmanager
def _bar() -> Iterator[Progress]:
    """Bars on stderr; on anything but a terminal only lines that are printed appear."""
    console = voice.console()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    ) as bar:  # fmt: skip
        yield bar


def _print(grid: Grid) -> None:
    typer.echo(markdown(grid))
