"""Trained models against a feature store: who may be used for what, calibration, and predictions beside labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.evaluation.scored import Scored, Selection
from openau.models.fantrans import Ensemble, FANTrans
from openau.training.calibrate import PRIORS, AffineMap, Calibration, calibrate
from openau.training.checkpoint import Checkpoint, TrainingSelection, checkpoint_file, load_fantrans
from openau.training.joined import Features, LabelledFaces, judged, layout_of
from openau.training.labels import read_labels
from openau.training.predict import Predictions, predict
from openau.training.splits import Index

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Team:
    """One or several checkpoints that speak as one.

    Attributes:
        checkpoints: the members.
        ensemble: mean of their outputs.
    """

    checkpoints: tuple[Checkpoint, ...]
    ensemble: Ensemble

    @property
    def models(self) -> tuple[FANTrans, ...]:
        """The members' networks."""
        return tuple(cast(FANTrans, member.model) for member in self.checkpoints)

    @property
    def trained(self) -> set[str]:
        """Subjects any member was trained on."""
        return {name for member in self.checkpoints for name in member.provenance.trained}

    @property
    def watched(self) -> set[str]:
        """Validation subjects of a member, who trained none."""
        return {name for member in self.checkpoints for name in member.provenance.watched} - self.trained

    @property
    def selection(self) -> TrainingSelection:
        """Who chose the epochs: "test-selected" if that is true of any member."""
        chosen = {member.provenance.selection for member in self.checkpoints}
        return "test-selected" if "test-selected" in chosen else "validation"


def load_team(runs: Sequence[Path]) -> Team:
    """Read checkpoints: files, or folders of runs (their best epoch).

    Raises:
        InputError: a checkpoint cannot be read.
        UsageError: their AUs differ.
    """
    members = [load_fantrans(checkpoint_file(run)) for run in runs]
    checkpoints = tuple(Checkpoint(model, provenance) for model, provenance in members)
    try:
        return Team(checkpoints, Ensemble([model for model, _ in members]))
    except ValueError as error:
        raise UsageError(f"{', '.join(map(str, runs))}: {error}") from None


def calibration_rows(team: Team, store: Features) -> Index:
    """Rows of the subjects who chose the epochs: not trained on, and not part of any result.

    Raises:
        InputError: the store holds none of them, or other features than the models read.
    """
    require_fit(team, store)
    rows = rows_of(store, team.watched)
    if not len(rows):
        raise InputError(
            f"{store.folder}: holds none of the validation subjects of these runs, so there is nothing to calibrate on"
        )
    return rows


def unseen_rows(team: Team, store: Features) -> Index:
    """Rows of subjects no member has seen in training or in the choice of an epoch.

    Raises:
        InputError: there are none, or the store holds other features than the models read.
    """
    require_fit(team, store)
    strangers = set(identities(store.rows).tolist()) - team.trained - team.watched
    rows = rows_of(store, strangers)
    if not len(rows):
        raise InputError(f"{store.folder}: these models have seen every subject in it, so it can give no honest result")
    return rows


def require_fit(team: Team, store: Features) -> None:
    """Check that a store holds the features that the models read.

    Raises:
        InputError: it does not.
    """
    held = layout_of(store)
    sizes = (store.geometry.shape[-1], *store.hypercolumns.shape[-2:])
    for config in (model.config for model in team.models):
        read = (config.geometry_size, config.points, config.channels)
        if read != sizes:
            raise InputError(f"{store.folder}: holds features of sizes {sizes}, but these models read {read}")
        if (config.extractor, config.extractor_sha256) != (held.extractor, held.sha256):
            raise InputError(
                f"{store.folder}: holds features of {held.extractor} ({held.sha256[:12]}…), "
                f"but these models read those of {config.extractor} ({config.extractor_sha256[:12]}…)"
            )


def rows_of(store: Features, subjects: set[str]) -> Index:
    """Usable rows of these subjects."""
    chosen = np.isin(identities(store.rows), sorted(subjects)) if subjects else np.zeros(len(store), bool)
    return np.flatnonzero(chosen & judged(store).ok.any(axis=1))


def calibrate_team(
    team: Team, store: Features, views: Sequence[int] | None = None, priors: Mapping[int, float] = PRIORS
) -> Calibration:
    """Calibrate on the runs' validation subjects.

    Args:
        team: the models.
        store: their data.
        views: training views whose mean is a face's score; default what is judged, `openau.training.joined.judged`.
        priors: AU → base rate in use.

    Raises:
        InputError: there is nothing to calibrate on.
        UsageError: the store has no such view.
    """
    count = store.flipped.shape[1]
    absent = sorted(set(views or ()) - set(range(count)))
    if absent:
        raise UsageError(f"{store.folder}: has no view {absent[0]}, only 0 to {count - 1}")
    rows = calibration_rows(team, store)
    config = team.ensemble.config
    said = predict(team.ensemble, judged(store) if views is None else store, rows).mean(views)
    labels = read_labels(store.rows, config.aus, config.intensity_aus, config.sided_aus)
    return calibrate(
        said.occurrence[:, 0],
        labels.occurrence[rows],
        np.concatenate([said.left[:, 0], said.right[:, 0]]),
        np.concatenate([labels.left[rows], labels.right[rows]]),
        config.aus,
        config.sided_aus,
        priors,
    )


def calibrated(said: Predictions, calibration: Calibration) -> Predictions:
    """Predictions with calibrated logits."""

    def apply(logits: Floats, maps: Sequence[AffineMap]) -> Floats:
        scale = np.array([f.scale for f in maps], np.float32)
        shift = np.array([f.shift for f in maps], np.float32)
        return logits * scale + shift

    return Predictions(
        occurrence=apply(said.occurrence, calibration.occurrence),
        intensity=said.intensity,
        left=apply(said.left, calibration.sides),
        right=apply(said.right, calibration.sides),
    )


def scored(
    model: str,
    said: Predictions,
    store: LabelledFaces,
    rows: Index,
    aus: tuple[int, ...],
    intensity_aus: tuple[int, ...],
    *,
    data: str,
    protocol: str = "",
    selection: Selection = "none",
) -> Scored:
    """Predictions beside what coders say, for tables and plots.

    Args:
        model: who said it.
        said: calibrated predictions for `rows`, averaged over views.
        store: with the labels.
        rows: (n,) rows of the store.
        aus: of the predictions.
        intensity_aus: of the predictions.
        data: what on.
        protocol: name of the split, if it has one.
        selection: who chose the models' epochs.
    """
    labels = read_labels(store.rows, aus, intensity_aus, ())
    clip, frame = (store.rows.column(name).to_pylist() for name in ("clip", "frame"))
    return Scored(
        model=model,
        data=data,
        protocol=protocol,
        aus=aus,
        probability=0.5 * (1 + np.tanh(0.5 * said.occurrence[:, 0])),
        occurrence=labels.occurrence[rows],
        subject=identities(store.rows)[rows],
        clip=np.array([clip[row] or "" for row in rows], np.str_).reshape(-1),
        frame=np.array([-1 if frame[row] is None else frame[row] for row in rows], np.int64),
        part=np.full(len(rows), ""),
        intensity_aus=intensity_aus,
        intensity=said.intensity[:, 0],
        intensity_labels=labels.intensity[rows],
        selection=selection,
    )
