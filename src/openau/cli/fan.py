"""`openau fan`: face alignment networks, published ones and one's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openau.cli import voice
from openau.errors import InputError, UsageError
from openau.weights import store
from openau.weights.assets import ASSETS
from openau.weights.cards import Measure

if TYPE_CHECKING:
    from openau.evaluation.bootstrap import Estimate
    from openau.faces.fan import FAN256
    from openau.training.fan.checkpoint import FANCheckpoint
    from openau.training.fan.export import FANFacts

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Face alignment networks (FAN): 68 landmarks, and the features FAN-Trans reads. docs/fan.md tells more.",
)

_LIMITS = (
    "Finds 68 points of a face that Face Mesh has found first; says nothing about who it is or what it feels. "
    "Not for identification and not for decisions about people."
)
_HELD_OUT = "subjects=0.1"
_SUFFIXES = (".onnx", ".safetensors")


@app.command("convert")
def convert_command(
    source: Annotated[
        str,
        typer.Argument(help="`2dfan4` (fetched once, 96 MB), or a checkpoint: .pth, .pth.tar, or TorchScript's .zip."),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="ARCHITECTURE.TAG.onnx, an extractor with its card, or FILE.safetensors."),
    ],
    pooling: Annotated[
        str | None,
        typer.Option(
            help="What the network pools with, avg or max; only for files that are not known by their SHA-256."
        ),
    ] = None,
    template: Annotated[str, typer.Option(help="The crop it expects.")] = "fan256_wide",
) -> None:
    """Convert a published FAN, without running anything of it.

    Read are the layouts of the `face-alignment` package and of ibug's face_alignment (whose 2dfan2 pools with max, 2dfan4 with avg); what a
    file asks for beyond tensors is refused.

    For example:

      openau fan convert 2dfan4 -o fan_2dfan4.published.onnx

      openau fan convert weights/2dfan2.pth --pooling max -o fan_2dfan2.ibug.onnx
    """
    from openau.models.fan_published import PUBLISHED, from_published
    from openau.training.fan.checkpoint import FANCheckpoint
    from openau.weights.torch_archive import read_tensors

    _require_suffix(out)
    file = store.path(source) if source in ASSETS else Path(source)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; give a checkpoint, or 2dfan4")
    digest = _sha256(file)
    known = PUBLISHED.get(digest)
    chosen = pooling or (known.pooling if known else None)
    if chosen is None:
        raise UsageError(
            f"{file.name} is not a file OpenAU knows; say what its network pools with: --pooling avg (face-alignment, "
            "ibug's 2dfan4) or --pooling max (ibug's 2dfan2)"
        )
    if chosen not in ("avg", "max"):
        raise UsageError(f"--pooling must be avg or max, not {chosen}")
    try:
        fan = from_published(read_tensors(file), "avg" if chosen == "avg" else "max")
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    facts = {
        "origin": known.origin if known else f"as published; file {file.name}",
        "licence": known.licence if known else "LicenseRef-unknown",
        "trained_on": known.trained_on if known else "as its authors say; the file does not",
        "recipe": f"converted from {file.name}, SHA-256 {digest}, pooling {chosen}",
        "template": template,
    }
    _write(FANCheckpoint(fan, facts), out, {})


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Option("--data", help="Folder of rendered faces with landmarks (`openau synth`).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run, which describes itself.")],
    changes: Annotated[
        list[str],
        typer.Option("--set", help="Change a setting: images=100000, batch=8, model.width=128, model.stacks=2 …"),
    ] = [],  # noqa: B006 (Typer's form of an option that may be repeated)
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings and leave.")] = False,
    hold_out: Annotated[
        str, typer.Option(help="Who is kept away: subjects=0.1, fold=3, rig=anny or none.")
    ] = _HELD_OUT,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise; the people's split has seed 0.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the network.")] = 1,
    loaders: Annotated[int, typer.Option(min=1, help="Threads that crop and degrade pictures meanwhile.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda … Only cpu gives the same weights every time.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished round of this run.")] = False,
) -> None:
    """Train a FAN on rendered faces, whose landmarks are exact.

    For example:

      openau synth -o faces --people 1000 --images 34

      openau fan train --data faces -o runs/fan

      openau fan export runs/fan -o fan_small.mine.onnx
    """
    from openau.training.fan.fit import Options, train_fan
    from openau.training.splits import HoldOut

    recipe = _recipe(changes)
    if print_config:
        typer.echo(json.dumps(recipe.to_json(), indent=1))
        return
    options = Options(HoldOut.parse(hold_out), seed, threads=threads, loaders=loaders, device=device)
    with _bar("training", recipe.steps) as advance:

        def report(step: int, steps: int, numbers: Any) -> None:
            advance(step)
            if numbers:
                typer.echo(
                    f"{step * recipe.batch:,} pictures: loss {numbers['loss']:.3f}, NME of held-out people {numbers['nme']:.4f}"
                )

        train_fan(data, out, recipe, options, resume, report)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a .safetensors file of `train` or `convert`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="ARCHITECTURE.TAG.onnx; the card is written beside it.")],
    trained_on: Annotated[str | None, typer.Option(help="For the card; default what the run knows.")] = None,
    licence: Annotated[str | None, typer.Option(help="For the card (SPDX).")] = None,
    origin: Annotated[str | None, typer.Option(help="For the card: who made it.")] = None,
    limits: Annotated[str, typer.Option(help="For the card: where it fails, what it is not for.")] = _LIMITS,
    measured: Annotated[
        Path | None, typer.Option(help="FILE.json of `openau fan evaluate`, for the card's numbers.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Store weights in 32 bits; the default is 16.")] = False,
) -> None:
    """Write a FAN as an extractor: one ONNX file and its card, checked against PyTorch.

    For example:

      openau fan export runs/fan -o fan_small.mine.onnx
    """
    from openau.training.fan.checkpoint import load_fan
    from openau.training.fan.fit import LAST

    checkpoint = load_fan(run / LAST if run.is_dir() else run)
    facts = dict(checkpoint.facts)
    if run.is_dir():
        facts |= _facts_of_run(run)
    facts |= {k: v for k, v in (("trained_on", trained_on), ("licence", licence), ("origin", origin)) if v is not None}
    _write(replace(checkpoint, facts=facts | {"limits": limits}), out, _read_measures(measured), not full)


@app.command("evaluate")
def evaluate_command(
    extractor: Annotated[str, typer.Argument(help="A FAN's name, or its .onnx file.")],
    data: Annotated[Path | None, typer.Option("--data", help="Folder of rendered faces with landmarks.")] = None,
    hold_out: Annotated[
        str, typer.Option(help="Whose faces of it are judged, as in `train`; none judges all.")
    ] = _HELD_OUT,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos: agreement with Face Mesh.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many faces of each, drawn at random.")] = 2000,
    decoding: Annotated[str, typer.Option(help="From heatmaps to landmarks: local or quarter.")] = "local",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="FILE.json for `openau fan export --measured`.")
    ] = None,
) -> None:
    """Judge a FAN on renders whose landmarks are known, and beside Face Mesh on photos.

    Errors are normalised (NME): mean distance of landmarks, in distances between the outer eye corners.

    For example:

      openau fan evaluate fan_small.synth --data faces --photos my_photos
    """
    from openau.evaluation.bootstrap import Estimate
    from openau.faces.fan import FAN256
    from openau.training.fan.judge import latency, multiplications

    if decoding not in ("local", "quarter"):
        raise UsageError(f"--decoding must be local or quarter, not {decoding}")
    fan = FAN256(extractor, decoding="local" if decoding == "local" else "quarter")
    measured: dict[str, Measure] = {}
    name = fan.card.name
    if data is not None:
        measured |= _judge_renders(fan, data, hold_out, limit, f"openau fan evaluate {name} --data {data.name}")
    if photos is not None:
        measured |= _judge_photos(fan, photos, limit, f"openau fan evaluate {name} --photos {photos.name}")
    macs, size = multiplications(store.resolve_extractor(extractor)[1])
    cost = {
        "million weights": Estimate(size / 1e6, size / 1e6, size / 1e6),
        "billion multiplications a face": Estimate(macs / 1e9, macs / 1e9, macs / 1e9),
        "ms of one core a face": latency(fan),
    }
    measured |= _said({what: (found, 1) for what, found in cost.items()}, f"openau fan evaluate {name}")
    if out is not None:
        _write_measures(out, measured)


def _judge_renders(fan: FAN256, data: Path, hold_out: str, limit: int, command: str) -> dict[str, Measure]:
    import numpy as np

    from openau.training.fan.judge import judge_renders, mean_interval
    from openau.training.fan.pictures import LandmarkPictures
    from openau.training.splits import HoldOut, held_out_rows

    pictures = LandmarkPictures(data)
    chosen = HoldOut.parse(hold_out)
    rows = np.flatnonzero(pictures.usable)
    if chosen.kind != "none":
        rows = held_out_rows(pictures.rows, chosen, 0, pictures.usable)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:limit])
    with _bar("renders", len(rows)) as advance:
        found = judge_renders(fan, pictures, rows, lambda: advance(None))
    who = "all renders" if chosen.kind == "none" else "held-out renders"
    people = len(set(found.subjects.tolist()))
    typer.echo(f"{len(found.all68):,} faces of {people} people; in {found.missed} pictures no face was found")
    values = {
        f"NME of 68 landmarks, {who}": found.all68,
        f"NME of 51 landmarks (no jaw), {who}": found.comparable,
        f"NME of Face Mesh's 51 points, {who}": found.mesh,
    }
    return _said({what: (mean_interval(v, found.subjects), len(v)) for what, v in values.items()}, command)


def _judge_photos(fan: FAN256, photos: Path, limit: int, command: str) -> dict[str, Measure]:
    import numpy as np

    from openau.media import expand
    from openau.training.fan.judge import FAR, judge_photos, mean_interval, median_interval

    files = [Path(str(source.path)) for source in expand([str(photos)]) if source.kind == "image"]
    if not files:
        raise InputError(f"{photos}: holds no photos")
    chosen = np.sort(np.random.default_rng(0).permutation(len(files))[:limit])
    with _bar("photos", len(chosen)) as advance:
        found = judge_photos(fan, [files[place] for place in chosen], lambda: advance(None))
    if not len(found.nme):
        raise InputError(f"{photos}: no face was found in {found.missed} photos")
    typer.echo(f"{len(found.nme):,} faces; in {found.missed} photos no face was found")
    values = {
        "NME to Face Mesh, photos, median": (median_interval(found.nme), len(found.nme)),
        f"share of photos with NME to Face Mesh above {FAR}": (
            mean_interval((found.nme > FAR).astype(np.float64)),
            len(found.nme),
        ),
    }
    return _said(values, command)


def _said(values: dict[str, tuple[Estimate, int]], command: str) -> dict[str, Measure]:
    """Print estimates and turn them into a card's measures."""
    measured = {}
    for what, (found, count) in values.items():
        typer.echo(f"{what}: {found.value:.4f} [{found.low:.4f} {found.high:.4f}]")
        low, high = min(found.low, found.value), max(found.high, found.value)
        measured[what] = Measure(found.value, low, high, count, command)
    return measured


def _write(checkpoint: FANCheckpoint, out: Path, measured: dict[str, Measure], half: bool = True) -> None:
    """Write a FAN as safetensors or as an extractor, and say what was written."""
    from openau.training.fan.checkpoint import save_fan
    from openau.training.fan.export import export_fan

    _require_suffix(out)
    fan, facts = checkpoint.fan, checkpoint.facts
    config = fan.config
    said = f"{config.stacks} stacks of width {config.width}, {config.pooling} pooling"
    if out.suffix == ".safetensors":
        save_fan(out, replace(checkpoint, optimizer={}))
        typer.echo(f"{out}: {said}; `openau fan export` makes an extractor of it")
        return
    done = export_fan(fan, out, _card_facts(out, facts, measured), half)
    typer.echo(f"{done.file}: {done.card.asset.size / 1e6:.1f} MB, {said}, {config.channels} channels")
    typer.echo(
        f"ONNX Runtime differs from PyTorch by at most {done.parity:.1e}; 16-bit weights change {done.rounding:.1e}."
    )


def _card_facts(out: Path, facts: Any, measured: dict[str, Measure]) -> FANFacts:
    from openau.training.fan.export import FANFacts

    return FANFacts(
        name=out.name.removesuffix(".onnx"),
        template=facts.get("template", "fan256"),
        trained_on=facts.get("trained_on", "not stated"),
        recipe=facts.get("recipe", ""),
        limits=facts.get("limits", _LIMITS),
        licence=facts.get("licence", "Apache-2.0"),
        origin=facts.get("origin", "the OpenAU project"),
        measured=measured,
    )


def _facts_of_run(run: Path) -> dict[str, str]:
    """What a run's folder says for the card."""
    from openau.training.fan.fit import CONFIG, ENVIRONMENT

    try:
        recipe = json.loads((run / CONFIG).read_text())
        told = json.loads((run / ENVIRONMENT).read_text())
        people = {part: (entry["faces"], len(entry["subjects"])) for part, entry in told["parts"].items()}
        options = told["options"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run}: is no complete run of `openau fan train`: {error}") from None
    faces, count = people["train"]
    lengths = list(dict.fromkeys(str(start["images"]) for start in told["starts"] if "images" in start))
    resumed = f"; stopped and gone on with another number of images: {', then '.join(lengths)}" if lengths[1:] else ""
    model = recipe["model"]
    network = f"{model['stacks']} stacks, width {model['width']}, stem {model['stem']}, {model['pooling']} pooling"
    changed = "; ".join(f"{key} {value}" for key, value in recipe.items() if key not in ("model", "template"))
    return {
        "trained_on": f"{faces:,} rendered faces of {count} people; {people['held out'][1]} more were held out",
        "recipe": f"openau fan train, seed {options['seed']}, held out {options['hold_out']}; {network}; {changed}{resumed}",
        "template": recipe["template"],
    }


def _recipe(changes: list[str]) -> Any:
    """The default recipe with `key=value` changes.

    Raises:
        UsageError: there is no such setting, or it cannot have this value.
    """
    from openau.training.fan.recipe import FANRecipe

    document = FANRecipe().to_json()
    for change in changes:
        key, equals, text = change.partition("=")
        part, _, inner = key.rpartition(".")
        target = document.get(part) if part else document
        if not equals or not isinstance(target, dict) or inner not in target or isinstance(target[inner], dict):
            raise UsageError(f"--set {change}: there is no such setting; `--print-config` shows all")
        try:
            target[inner] = type(target[inner])(text)
        except ValueError:
            raise UsageError(f"--set {change}: {text!r} is not a {type(target[inner]).__name__}") from None
    try:
        return FANRecipe.from_json(document)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _write_measures(out: Path, measured: dict[str, Measure]) -> None:
    from openau.outputs import whole_file
    from openau.weights.cards import encode_measures

    with whole_file(out) as scratch:
        scratch.write_text(json.dumps(encode_measures(measured), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_measures(file: Path | None) -> dict[str, Measure]:
    from openau.weights import strict
    from openau.weights.cards import decode_measures

    if file is None:
        return {}
    return strict.document(strict.read(file, "table of measures"), file, "table of measures", decode_measures)


def _require_suffix(out: Path) -> None:
    if out.suffix not in _SUFFIXES:
        raise UsageError(f"{out}: the file's name must end in {' or '.join(_SUFFIXES)}")


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from None


@contextmanager
def _bar(what: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr; its function takes how many are done, or None for one more."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=voice.console()) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: int | None) -> None:
            if done is None:
                progress.advance(task)
            else:
                progress.update(task, completed=done)

        yield advance
