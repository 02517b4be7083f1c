"""`openau export`: checkpoints in, a model `openau detect` runs out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from openau.cli.progress import working
from openau.errors import UsageError
from openau.evaluation.bootstrap import Estimate
from openau.evaluation.tables import EvaluationTable, Options, evaluate
from openau.models.au_vit import count_parameters
from openau.training.au_file import Exported, Facts
from openau.training.calibrate import Calibration
from openau.training.checkpoint import VIT_FORMAT, Provenance, checkpoint_file, checkpoint_format, load_vit
from openau.training.export import export
from openau.training.export_pixels import export_pixels
from openau.training.face_pictures import FacePictures
from openau.training.features import FeatureStore
from openau.training.joined import judged
from openau.training.judge import Team, calibrate_team, calibrated, load_team, scored, unseen_rows
from openau.training.picture_judge import calibrate_on, judge_pictures, watched_rows
from openau.training.picture_judge import unseen_rows as unseen_rows_of_pictures
from openau.training.picture_recipes import PictureRecipe
from openau.training.pictures import Pictures
from openau.training.predict import predict
from openau.weights.cards import Measure

_LIMITS = (
    "Trained on the data named above and nothing else; faces that differ from it may be misread. "
    "Says what a face does, not what a person feels. Not for decisions about people."
)


PARITY_CROPS = 8
"""Real faces on which the exported model of pixels is compared with PyTorch."""

VIEWS = typer.Option(
    "--views",
    help="Calibrate on the mean of these degraded views, e.g. 0,1 (0 is the mild one); default the plain view.",
)


def command(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs, or checkpoints; several become one model, their mean.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The model, FILE.onnx; its card FILE.json is written beside it.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="The feature store the runs were trained on; of AUFormer, the folder of the pictures' manifest.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="architecture.tag of the card. Default: fantrans_facemesh.own, or AUFormer's architecture with the tag own."
        ),
    ] = None,
    trained_on: Annotated[str | None, typer.Option(help="For the card; default what the checkpoints know.")] = None,
    limits: Annotated[str, typer.Option(help="For the card: where it fails, what it is not for.")] = _LIMITS,
    licence: Annotated[str, typer.Option(help="For the card (SPDX).")] = "Apache-2.0",
    origin: Annotated[str, typer.Option(help="For the card: who made it.")] = "the OpenAU project",
    views: Annotated[str | None, VIEWS] = None,
    calibrate_on_data: Annotated[
        Path | None,
        typer.Option(
            "--calibrate-on",
            help="Of AUFormer: calibrate on this data set instead of the run's validation people, for backbones that have seen those. "
            "Held-out people, whom the backbone has seen too, are then not measured on.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Store weights in 32 bits; the default is 16.")] = False,
) -> None:
    """Calibrate on the runs' validation subjects, export, check against PyTorch, and write the card.

    Subjects that no run has seen give the card's numbers; the measures' command prints them again.

    For example:

      openau export runs/0 runs/1 --data faces/features -o mine.onnx

      openau export runs/auformer --data faces -o mine.onnx

      openau detect photo.jpg --model mine.onnx
    """
    facts = Facts(
        name=name or "", trained_on=trained_on or "", recipe="", limits=limits, licence=licence, origin=origin
    )
    with working("calibrating, converting, measuring"):
        done = (
            _export_pictures(runs, data, out, facts, views, not full, calibrate_on_data)
            if looks_at_pixels(runs)
            else _export_features(runs, data, out, facts, views, not full, calibrate_on_data)
        )
    typer.echo(f"{done.file}: {done.card.asset.size / 1e6:.1f} MB, {len(done.card.aus)} AUs")
    typer.echo(
        f"ONNX Runtime differs from PyTorch by at most {done.parity:.1e}; 16-bit weights move an output by at most {done.rounding:.1e}."
    )
    for what, measure in done.card.measured.items():
        typer.echo(f"{what}: {measure.value:.3f} [{measure.low:.3f} {measure.high:.3f}]")


def looks_at_pixels(runs: Sequence[Path]) -> bool:
    """Whether these checkpoints are of a model that looks at pixels; its runs are exported and judged one at a time.

    Raises:
        InputError: the first of them cannot be read.
        UsageError: there are several, the first of them such a model.
    """
    first = checkpoint_file(runs[0])
    # A file that is not there is told of by whoever reads it.
    if not first.is_file() or checkpoint_format(first) != VIT_FORMAT:
        return False
    if len(runs) > 1:
        raise UsageError(f"{runs[1]}: a model that looks at pixels is made of one run")
    return True


def _export_features(
    runs: Sequence[Path], data: Path, out: Path, facts: Facts, views: str | None, half: bool, other: Path | None
) -> Exported:
    """FAN-Trans, of one or several runs."""
    if other is not None:
        raise UsageError("--calibrate-on is for models that look at pixels")
    chosen = parse_views(views)
    team, store = load_team(runs), FeatureStore.open(data)
    calibration = calibrate_team(team, store, chosen)
    arguments = (*runs, "--data", data, *(("--views", views) if views is not None else ()))
    measured = _measure(team, store, calibration, " ".join(map(str, arguments)))
    told = replace(
        facts,
        name=facts.name or "fantrans_facemesh.own",
        trained_on=facts.trained_on or _trained_on(team),
        recipe=_recipe([member.provenance for member in team.checkpoints]),
        measured=measured,
    )
    return export(team.models, calibration, store, out, told, half=half)


def _export_pictures(
    runs: Sequence[Path], data: Path, out: Path, facts: Facts, views: str | None, half: bool, other: Path | None
) -> Exported:
    """A model that looks at pixels, of one run; `other`: what to calibrate it on instead of its validation people."""
    if views is not None:
        raise UsageError("--views is for models that read stored features")
    model, provenance = load_vit(checkpoint_file(runs[0]))
    faces = FacePictures.open(data)
    judges = faces if other is None else FacePictures.open(other)
    watched = watched_rows(provenance, judges) if other is None else unseen_rows_of_pictures(provenance, judges)
    calibration = calibrate_on(model, judges, watched)
    measured: dict[str, Measure] = {}
    if provenance.split != "none" and other is None:
        result = judge_pictures(
            model, calibration, faces, unseen_rows_of_pictures(provenance, faces), "exported", provenance
        )
        measured = measures(evaluate(result, Options(repetitions=200)), f"openau evaluate {runs[0]} --data {data}")
    config, recipe = model.config, provenance.recipe
    assert isinstance(recipe, PictureRecipe)
    told = replace(
        facts,
        name=facts.name or f"{recipe.architecture}.own",
        trained_on=facts.trained_on
        or f"{provenance.data}: {len(provenance.trained)} identities; {len(provenance.watched)} more chose the epoch and calibrated; "
        f"on the backbone {recipe.backbone}",
        recipe=_recipe([provenance]),
        measured=measured,
        parameters=dict(zip(("learned", "all"), count_parameters(model), strict=True)),
    )
    pictures = Pictures(judges.folder, judges.rows, config.vit.size)
    crops = np.stack([pictures.aligned(int(row)) for row in watched[:PARITY_CROPS]])
    backbone = {"backbone": recipe.backbone, "backbone_sha256": config.backbone_sha256}
    return export_pixels(model, config.vit.size, config.aus, calibration, out, told, crops, half, backbone)


def _measure(team: Team, store: FeatureStore, calibration: Calibration, arguments: str) -> dict[str, Measure]:
    """Mean AUC, F1 and false-alarm rate on subjects nobody has seen; nothing if a member has held nobody out."""
    if any(member.provenance.split == "none" for member in team.checkpoints):
        return {}
    rows = unseen_rows(team, store)
    said = calibrated(predict(team.ensemble, judged(store), rows), calibration).mean()
    config = team.ensemble.config
    result = scored(
        "exported", said, store, rows, config.aus, config.intensity_aus, data="held out", selection=team.selection
    )
    return measures(evaluate(result, Options(repetitions=200)), f"openau evaluate {arguments}")


def measures(table: EvaluationTable, command: str) -> dict[str, Measure]:
    """A card's measures from a table."""
    who = "held-out identities" + (" (test-selected)" if table.selection == "test-selected" else "")
    named: dict[str, Estimate] = {
        f"mean AUC, {who}": table.mean["auc"],
        f"mean F1 at 0.5, {who}": table.mean["f1"],
        f"mean false-alarm rate, {who}": table.mean["false_alarms"],
    }
    return {
        what: Measure(found.value, min(found.low, found.value), max(found.high, found.value), table.cases, command)
        for what, found in named.items()
        if math.isfinite(found.value) and math.isfinite(found.low)
    }


def _trained_on(team: Team) -> str:
    stores = sorted({member.provenance.data for member in team.checkpoints})
    watched = f"{len(team.watched)} more chose the epochs and calibrated"
    return f"feature store {', '.join(stores)}: {len(team.trained)} identities; {watched}"


def _recipe(members: Sequence[Provenance]) -> str:
    return "; ".join(
        f"{one.recipe.name}, epoch {one.epoch} of {one.recipe.epochs}, seed {one.seed}, split {one.split}"
        for one in members
    )


def parse_views(text: str | None) -> list[int] | None:
    """Read `0,1`; None stays None.

    Raises:
        UsageError: the text names no views.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{text!r} names no views; use numbers such as 0,1") from None
