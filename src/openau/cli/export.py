"""`openau export`: checkpoints in, a model `openau detect` runs out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from openau.errors import UsageError
from openau.evaluation.bootstrap import Estimate
from openau.evaluation.tables import EvaluationTable, Options, evaluate
from openau.training.calibrate import Calibration
from openau.training.export import Facts, export
from openau.training.features import FeatureStore
from openau.training.joined import judged
from openau.training.judge import Team, calibrate_team, calibrated, load_team, scored, unseen_rows
from openau.training.predict import predict
from openau.weights.cards import Measure

_LIMITS = (
    "Trained on the data named above and nothing else; faces that differ from it may be misread. "
    "Says what a face does, not what a person feels. Not for decisions about people."
)


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
    data: Annotated[Path, typer.Option("--data", help="The feature store the runs were trained on.")],
    name: Annotated[str, typer.Option(help="architecture.tag of the card.")] = "fantrans_facemesh.own",
    trained_on: Annotated[str | None, typer.Option(help="For the card; default what the checkpoints know.")] = None,
    limits: Annotated[str, typer.Option(help="For the card: where it fails, what it is not for.")] = _LIMITS,
    licence: Annotated[str, typer.Option(help="For the card (SPDX).")] = "Apache-2.0",
    origin: Annotated[str, typer.Option(help="For the card: who made it.")] = "the OpenAU project",
    views: Annotated[str | None, VIEWS] = None,
    full: Annotated[bool, typer.Option("--full", help="Store weights in 32 bits; the default is 16.")] = False,
) -> None:
    """Calibrate on the runs' validation subjects, export, check against PyTorch, and write the card.

    Subjects that no run has seen give the card's numbers; the measures' command prints them again.

    For example:

      openau export runs/0 runs/1 --data faces/features -o mine.onnx

      openau detect photo.jpg --model mine.onnx
    """
    chosen = parse_views(views)
    team, store = load_team(runs), FeatureStore.open(data)
    calibration = calibrate_team(team, store, chosen)
    arguments = (*runs, "--data", data, *(("--views", views) if views is not None else ()))
    measured = _measure(team, store, calibration, " ".join(map(str, arguments)))
    facts = Facts(
        name=name, trained_on=trained_on or _trained_on(team), recipe=_recipe(team), limits=limits, licence=licence, origin=origin,
        measured=measured,
    )  # fmt: skip
    done = export(team.models, calibration, store, out, facts, half=not full)
    typer.echo(f"{done.file}: {done.card.asset.size / 1e6:.1f} MB, {len(done.card.aus)} AUs")
    typer.echo(
        f"ONNX Runtime differs from PyTorch by at most {done.parity:.1e}; 16-bit weights move an output by at most {done.rounding:.1e}."
    )
    for what, measure in measured.items():
        typer.echo(f"{what}: {measure.value:.3f} [{measure.low:.3f} {measure.high:.3f}]")


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


def _recipe(team: Team) -> str:
    return "; ".join(
        f"{m.provenance.recipe.name}, epoch {m.provenance.epoch} of {m.provenance.recipe.epochs}, seed {m.provenance.seed}, "
        f"split {m.provenance.split}"
        for m in team.checkpoints
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
