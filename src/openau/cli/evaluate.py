"""`openau evaluate`: how good a model is on labelled faces, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from openau.cli.export import VIEWS, parse_views
from openau.errors import InputError, UsageError
from openau.outputs import whole_file
from openau.runtime.network import AUNetwork
from openau.training.features import FeatureStore
from openau.training.judge import calibrate_team, calibrated, judge, load_team, unseen_rows
from openau.training.predict import Floats, Predictions, predict, predict_with
from openau.training.recipes import FANTRANS
from openau.training.splits import HoldOut, Index, held_out_rows
from openau.weights.store import resolve_model


def command(
    models: Annotated[
        list[str],
        typer.Argument(help="A model's name or FILE.onnx; or folders of runs, or checkpoints, judged as their mean."),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature store with the labels.")],
    hold_out: Annotated[
        str | None,
        typer.Option(help="Judge only these faces: subjects=0.2, fold=3, rig=anny. Default: all unseen subjects."),
    ] = None,
    views: Annotated[str | None, VIEWS] = None,
    repetitions: Annotated[int, typer.Option(min=0, help="Bootstrap resamples of people for the intervals.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the tables here, too.")] = None,
) -> None:
    """Print a table per AU: AUC, F1 at 0.5 and false alarms with 95 % intervals over people, and the same for every rig in the data.

    Checkpoints know whom they have seen: only other subjects are judged, after calibration on the validation
    subjects. A finished model does not know; give it data it was not trained on, or name the hold-out of its runs.

    For example:

      openau evaluate runs/0 --data faces/features

      openau evaluate default --data other/features
    """
    calibrated_on = parse_views(views)
    store = FeatureStore.open(data)
    if _are_checkpoints(models):
        runs = [Path(model) for model in models]
        said, rows, aus, intensity_aus = _run_checkpoints(runs, store, hold_out, calibrated_on)
    else:
        if calibrated_on is not None:
            raise UsageError("--views is for checkpoints; a finished model is calibrated already")
        if len(models) > 1:
            raise UsageError(f"{models[1]}: finished models are judged one at a time")
        said, rows, aus, intensity_aus = _run_model(models[0], store, hold_out)
    tables = [judge("held-out faces", said, store, rows, aus, intensity_aus, repetitions)]
    for rig, chosen in _by_rig(store, rows):
        part = Predictions(*(values[chosen] for values in (said.occurrence, said.intensity, said.left, said.right)))
        tables.append(judge(f"rig {rig}", part, store, rows[chosen], aus, intensity_aus, repetitions))
    console = Console(width=None if Console().is_terminal else 160)
    for table in tables:
        console.print(table.to_rich())
    if json_file is not None:
        with whole_file(json_file) as scratch:
            scratch.write_text("[\n" + ",\n".join(table.to_json() for table in tables) + "\n]\n")


def _are_checkpoints(models: list[str]) -> bool:
    return all(Path(model).is_dir() or model.endswith(".safetensors") for model in models)


def _run_checkpoints(
    runs: list[Path], store: FeatureStore, hold_out: str | None, views: list[int] | None
) -> tuple[Predictions, Index, tuple[int, ...], tuple[int, ...]]:
    team = load_team(runs)
    rows = unseen_rows(team, store)
    if hold_out is not None:
        rows = np.intersect1d(rows, _named_rows(store, hold_out))
        if not len(rows):
            raise InputError(f"{store.folder}: of {hold_out}, these models have seen every subject")
    said = calibrated(predict(team.ensemble, store, rows), calibrate_team(team, store, views)).mean()
    config = team.ensemble.config
    return said, rows, config.aus, config.intensity_aus


def _run_model(
    name: str, store: FeatureStore, hold_out: str | None
) -> tuple[Predictions, Index, tuple[int, ...], tuple[int, ...]]:
    card, file = resolve_model(name)
    network = AUNetwork(file, card)
    rows = np.flatnonzero(store.ok.any(axis=1)) if hold_out is None else _named_rows(store, hold_out)

    def head(geometry: Floats, hypercolumns: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        output = network.predict(geometry, hypercolumns)
        return output.occurrence, output.intensity, output.left, output.right

    return predict_with(head, store, rows).mean(), rows, card.aus, card.intensity_aus


def _named_rows(store: FeatureStore, hold_out: str) -> Index:
    usable = np.asarray(store.ok.any(axis=1))
    return held_out_rows(store.rows, HoldOut.parse(hold_out), FANTRANS.split_seed, usable)


def _by_rig(store: FeatureStore, rows: Index) -> list[tuple[str, Index]]:
    """Positions among `rows` of each rig, if the data has several."""
    if "rig" not in store.rows.column_names:
        return []
    rigs = np.array([str(rig) for rig in store.rows.column("rig").to_pylist()])[rows]
    names = sorted(set(rigs))
    return [(name, np.flatnonzero(rigs == name)) for name in names] if len(names) > 1 else []
