"""Baselines: what any model has to beat, from knowing nothing to one linear map of the same features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openau.evaluation.metrics import roc_auc
from openau.faces.extractors import Grid, Positions
from openau.losses import masked_bce
from openau.models.regions import BANDS, regions_of
from openau.training.candidate import JUDGED_VIEW, Job, Judge, Reads, Said
from openau.training.joined import Features, judged, layout_of
from openau.training.labels import read_labels
from openau.training.splits import Index

Floats = npt.NDArray[np.float32]
Reader = Callable[[Features, Index, Index], Floats]
"""Store, rows (B,), views (B,) → inputs (B, D)."""

VALIDATION = 0.1
_CHUNK = 2048
_BLOCKS = 4
"""A grid is pooled into so many blocks a side."""
_POOLED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class AlwaysPositive:
    """Says of every frame, with or without a face, that every AU shows: the floor of F1."""

    name: str = "always-positive"
    summary: str = "every AU on every frame"
    validation: float = VALIDATION
    split_seed: int = 0
    reads: Reads = "features"

    def settings(self) -> dict[str, Any]:
        """Nothing to set."""
        return {}

    def fit(self, job: Job) -> Judge:
        """There is nothing to learn."""
        return lambda rows: _without_intensity(np.ones((len(rows), len(job.aus)), np.float32))


@dataclass(frozen=True, slots=True)
class TrainingRate:
    """Says of every frame how common each AU is among the training faces."""

    name: str = "training-rate"
    summary: str = "each AU's rate in the training part"
    validation: float = VALIDATION
    split_seed: int = 0
    reads: Reads = "features"

    def settings(self) -> dict[str, Any]:
        """Nothing to set."""
        return {}

    def fit(self, job: Job) -> Judge:
        """Count; an AU without a known label is not judged."""
        labels = read_labels(job.store.rows, job.aus, (), ()).occurrence[job.split.train]
        known = ~np.isnan(labels)
        shown = np.where(known, labels, 0).sum(axis=0)
        rate = np.where(known.any(axis=0), shown / np.maximum(known.sum(axis=0), 1), np.nan).astype(np.float32)
        return lambda rows: _without_intensity(np.repeat(rate[None], len(rows), axis=0))


def read_geometry(store: Features, rows: Index, views: Index) -> Floats:
    """(B, G) frontalised landmarks and distances."""
    return np.asarray(store.geometry[rows, views], np.float32)


def read_pooled(store: Features, rows: Index, views: Index) -> Floats:
    """(B, G + parts · C) geometry, and the mean column of each part of the face."""
    parts = parts_of_face(layout_of(store).positions)
    pooled = np.empty((len(rows), len(parts), store.hypercolumns.shape[-1]), np.float32)
    for start in range(0, len(rows), _POOLED_AT_ONCE):
        some = slice(start, start + _POOLED_AT_ONCE)
        columns = np.asarray(store.hypercolumns[rows[some], views[some]], np.float32)
        pooled[some] = np.stack([columns[:, part].mean(axis=1) for part in parts], axis=1)
    return np.concatenate([read_geometry(store, rows, views), pooled.reshape(len(rows), -1)], axis=1)


def parts_of_face(positions: Positions) -> list[Index]:
    """Positions of each part of the face that is pooled: the bands of `openau.models.regions`, or blocks of a grid, 4 × 4 of them."""
    if isinstance(positions, Grid):
        cells = np.arange(len(positions)).reshape(positions.side, positions.side)
        rows = np.array_split(cells, min(_BLOCKS, positions.side))
        return [block.ravel() for row in rows for block in np.array_split(row, min(_BLOCKS, positions.side), axis=1)]
    bands = regions_of([number for band in BANDS for number in band.aus], positions.ids)
    return [np.array(band.points) for band in bands]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear map or small MLP of fixed inputs, trained with binary cross-entropy; the best of `checks` looks at validation is kept.

    Attributes:
        read: which inputs; they are standardised with the training faces' mean and standard deviation.
        hidden: units of the hidden layers; none makes it a logistic regression.
        steps: optimisation steps. batch: faces of each, an eighth of the training faces if that is fewer.
        learning_rate, weight_decay: of AdamW; the rate falls to 0 along a cosine.
        dropout: in the hidden layers.
        checks: how often validation is looked at.
    """

    name: str
    summary: str
    read: Reader
    hidden: tuple[int, ...] = ()
    steps: int = 1500
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    checks: int = 30
    validation: float = VALIDATION
    split_seed: int = 0
    reads: Reads = "features"

    def settings(self) -> dict[str, Any]:
        """Everything that is set."""
        names = ("hidden", "steps", "batch", "learning_rate", "weight_decay", "dropout", "checks", "validation")
        return {name: getattr(self, name) for name in names} | {"inputs": self.read.__name__}

    def fit(self, job: Job) -> Judge:
        """Train on all usable views of the training faces."""
        torch.set_num_threads(job.threads)
        torch.manual_seed(job.seed)
        row, view = np.nonzero(job.store.ok[job.split.train])
        rows = job.split.train[row]
        inputs = torch.from_numpy(_read_all(self.read, job.store, rows, view))
        mean, std = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
        inputs = (inputs - mean) / std
        targets = torch.from_numpy(read_labels(job.store.rows, job.aus, (), ()).occurrence[rows])
        network = self._network(inputs.shape[1], len(job.aus))

        shown = judged(job.store)

        def judge(asked: Index) -> Said:
            probability = np.full((len(asked), len(job.aus)), np.nan, np.float32)
            seen = np.flatnonzero(shown.ok[asked, JUDGED_VIEW])
            for start in range(0, len(seen), _CHUNK):
                some = seen[start : start + _CHUNK]
                read = self.read(shown, asked[some], np.full(len(some), JUDGED_VIEW))
                with torch.no_grad():
                    said = torch.sigmoid(network.eval()((torch.from_numpy(read) - mean) / std))
                probability[some] = said.numpy()
            return _without_intensity(probability)

        self._train(network, inputs, targets, job, judge)
        return judge

    def _network(self, inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in self.hidden:
            layers += [nn.Linear(inputs, width), nn.GELU(), nn.Dropout(self.dropout)]
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))

    def _train(self, network: nn.Sequential, inputs: Tensor, targets: Tensor, job: Job, judge: Judge) -> None:
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        rng = np.random.default_rng([job.seed, 104])
        size = int(np.clip(len(inputs) // 8, 1, self.batch))
        truth = read_labels(job.store.rows, job.aus, (), ()).occurrence[job.watched]
        best, kept = -np.inf, network.state_dict()
        for step in range(1, self.steps + 1):
            chosen = torch.from_numpy(rng.integers(0, len(inputs), size))
            optimizer.zero_grad()
            masked_bce(network.train()(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if step % max(1, self.steps // self.checks) == 0:
                score = _mean_auc(judge(job.watched).probability, truth)
                if score >= best:
                    best, kept = score, {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(kept)


GEOMETRY_MLP = Dense(
    "geometry-mlp", "an MLP (256, 128) of pose-free landmarks and distances", read_geometry, (256, 128)
)
LINEAR_PROBE = Dense(
    "linear-probe", "logistic regression of geometry and the frozen features pooled by part of the face", read_pooled
)


def _read_all(read: Reader, store: Features, rows: Index, views: Index) -> Floats:
    parts = [
        read(store, rows[start : start + _CHUNK], views[start : start + _CHUNK])
        for start in range(0, len(rows), _CHUNK)
    ]
    return np.concatenate(parts)


def _mean_auc(probability: Floats, truth: Floats) -> float:
    """Mean over the AUs for which it is defined; 0 if for none, so that the last look is kept."""
    found = np.array([roc_auc(said, label) for said, label in zip(probability.T, truth.T, strict=True)])
    return float(np.nanmean(found)) if not np.isnan(found).all() else 0.0


def _without_intensity(probability: Floats) -> Said:
    return Said(probability, (), np.zeros((len(probability), 0), np.float32))
