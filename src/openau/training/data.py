"""Batches from a feature store: whole batches are drawn by index, nothing is done per face in Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from openau.datasets.people import identities
from openau.models.fantrans import FANTransConfig
from openau.training.joined import Features, judged
from openau.training.labels import Labels, comparable_level, occurrence_targets
from openau.training.recipes import Recipe

Index = npt.NDArray[np.intp]

STATISTICS_ROWS = 1500
"""Rows from which means and standard deviations are estimated."""

_VALUES = 2**25
"""Feature values read at once where a batch's size is not the recipe's: 64 MB in the store, 128 MB as floats."""


class Batch(NamedTuple):
    """B faces.

    Attributes:
        geometry: (B, G) float32.
        hypercolumns: (B, P, C) float16; (B, 0, 0) where the model does not read them.
        occurrence: (B, A) soft targets 0–1; here and below NaN where unknown.
        intensity: (B, A_i) 0–5.
        left: (B, S) soft targets of what the view shows as left (already exchanged where it is a mirror image).
        right: (B, S) likewise.
        level: (B, A) activation 0–1 as far as faces of a subject may be ordered by it (`labels.comparable_level`).
        subject: (B,) int64.
    """

    geometry: Tensor
    hypercolumns: Tensor
    occurrence: Tensor
    intensity: Tensor
    left: Tensor
    right: Tensor
    level: Tensor
    subject: Tensor


class Views(NamedTuple):
    """All usable views of some rows: `row` and `view` (B,) say which."""

    geometry: Tensor
    hypercolumns: Tensor
    row: Tensor
    view: Tensor


class Draw(NamedTuple):
    """What a training batch is made of: rows (B,) and the view of each (B,)."""

    rows: Index
    views: Index


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations of geometry (G,) and of hypercolumns' channels (C,)."""

    geometry_mean: Tensor
    geometry_std: Tensor
    channel_mean: Tensor
    channel_std: Tensor


class SubjectBatches(Sampler[Draw]):
    """Batches made of chunks of one subject's faces, a new draw every epoch, the same for the same seed and epoch.

    What a subject has left after its last full chunk goes into mixed chunks, so rare subjects are seen too. Several processes draw the same
    batches and share out the chunks of each, so that a step sees the same faces however many they are.

    Attributes:
        epoch: which is drawn.
        share: (number of this process from 0, number of processes).
    """

    def __init__(
        self, rows: Index, subject: npt.NDArray[np.int64], ok: npt.NDArray[np.bool_], recipe: Recipe, seed: int
    ) -> None:
        self._rows, self._subject, self._ok = rows, subject, ok
        self._recipe, self._seed = recipe, seed
        self.epoch = 0
        self.share = (0, 1)

    def __len__(self) -> int:
        return max(1, len(self._rows) // self._recipe.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = self._order(rng)
        size = self._recipe.batch_size
        for number in range(len(self)):
            rows = order[number * size : (number + 1) * size]
            views = draw_views(self._ok[rows], self._recipe.heavy_share, rng)
            yield Draw(self._mine(rows), self._mine(views))

    def _mine(self, whole: Index) -> Index:
        """This process's chunks of a batch."""
        first, step = self.share
        return whole.reshape(-1, self._recipe.chunk_size)[first::step].reshape(-1)

    def _order(self, rng: np.random.Generator) -> Index:
        size = self._recipe.chunk_size
        shuffled = rng.permutation(self._rows)
        by_subject = shuffled[np.argsort(self._subject[shuffled], kind="stable")]
        _, counts = np.unique(self._subject[by_subject], return_counts=True)
        rank = np.arange(len(by_subject)) - np.repeat(np.cumsum(counts) - counts, counts)
        in_full_chunk = rank < np.repeat(counts // size * size, counts)
        rest = rng.permutation(by_subject[~in_full_chunk])
        whole = len(rest) // size * size
        if not in_full_chunk.any() and not whole:
            raise ValueError(f"{len(self._rows)} faces are fewer than one chunk of {size}")
        chunks = np.concatenate([by_subject[in_full_chunk], rest[:whole]]).reshape(-1, size)
        return rng.permutation(chunks).reshape(-1)


def draw_views(ok: npt.NDArray[np.bool_], heavy_share: float, rng: np.random.Generator) -> Index:
    """For each row a view in which a face was found: a degraded one (1, 2 …) with probability `heavy_share`, else view 0.

    Args:
        ok: (B, V), at least one true per row.
        heavy_share: probability of a degraded view.
        rng: generator.
    """
    count, views = ok.shape
    chosen = np.zeros(count, np.intp)
    if views > 1:
        heavy = rng.random(count) < heavy_share
        chosen = np.where(heavy, rng.integers(1, views, count), 0)
    return np.where(ok[np.arange(count), chosen], chosen, ok.argmax(axis=1))


class FeatureBatches(Dataset[Batch]):
    """Training batches of a store; an item is a whole batch."""

    def __init__(self, store: Features, labels: Labels, recipe: Recipe, config: FANTransConfig) -> None:
        self._store = store
        self._labels = labels
        self._reads_hypercolumns = config.hypercolumns
        self._subject = subject_numbers(store)
        self._level = comparable_level(labels, self._subject)
        self._occurrence = occurrence_targets(labels.occurrence, labels.level, config.aus, recipe)
        self._left = occurrence_targets(labels.left, labels.left_level, config.sided_aus, recipe)
        self._right = occurrence_targets(labels.right, labels.right_level, config.sided_aus, recipe)

    def __getitem__(self, draw: Draw) -> Batch:
        rows, views = draw
        flipped = self._store.flipped[rows, views][:, None]
        left, right = self._left[rows], self._right[rows]
        return Batch(
            geometry=torch.from_numpy(self._store.geometry[rows, views]),
            hypercolumns=_hypercolumns(self._store, rows, views, self._reads_hypercolumns),
            occurrence=torch.from_numpy(self._occurrence[rows]),
            intensity=torch.from_numpy(self._labels.intensity[rows]),
            left=torch.from_numpy(np.where(flipped, right, left)),
            right=torch.from_numpy(np.where(flipped, left, right)),
            level=torch.from_numpy(self._level[rows]),
            subject=torch.from_numpy(self._subject[rows]),
        )


class ViewBatches(Dataset[Views]):
    """All usable views of some rows, in order, for prediction.

    Args:
        store: of the rows.
        rows: (n,).
        reads_hypercolumns: whether the model does; reading them is most of the work.
        batch_size: most views per batch; fewer where their features are large.
    """

    def __init__(self, store: Features, rows: Index, reads_hypercolumns: bool = True, batch_size: int = 256) -> None:
        self._store = store
        self._reads_hypercolumns = reads_hypercolumns
        row, self._view = np.nonzero(store.ok[rows])
        self._position, self._row = row, rows[row]
        self._batch_size = faces_at_once(store, batch_size)

    def __len__(self) -> int:
        return -(-len(self._row) // self._batch_size)

    def __getitem__(self, number: int) -> Views:
        if number >= len(self):
            raise IndexError(number)
        part = slice(number * self._batch_size, (number + 1) * self._batch_size)
        rows, views = self._row[part], self._view[part]
        return Views(
            torch.from_numpy(self._store.geometry[rows, views]),
            _hypercolumns(self._store, rows, views, self._reads_hypercolumns),
            torch.from_numpy(self._position[part]),
            torch.from_numpy(views),
        )


def _hypercolumns(store: Features, rows: Index, views: Index, read: bool) -> Tensor:
    if not read:
        return torch.empty((len(rows), 0, 0), dtype=torch.float16)
    return torch.from_numpy(store.hypercolumns[rows, views])


def subject_numbers(store: Features) -> npt.NDArray[np.int64]:
    """(N,) a number for each row's subject."""
    return np.unique(identities(store.rows), return_inverse=True)[1].astype(np.int64)


def statistics(store: Features, rows: Index, seed: int) -> Statistics:
    """Estimate what inputs are standardised with, on a sample of rows; floors keep constant inputs from exploding."""
    chosen = np.sort(np.random.default_rng([seed, 11]).permutation(rows)[:STATISTICS_ROWS])
    row, view = np.nonzero(store.ok[chosen])
    rng = np.random.default_rng([seed, 12])
    keep = np.sort(rng.permutation(len(row))[:STATISTICS_ROWS])
    geometry = store.geometry[chosen[row[keep]], view[keep]].astype(np.float64)
    channel_mean, channel_std = _channel_moments(store, chosen[row[keep]], view[keep])
    return Statistics(
        *(
            torch.from_numpy(np.asarray(value, np.float32))
            for value in (geometry.mean(0), geometry.std(0) + 1e-4, channel_mean, channel_std + 0.05)
        )
    )


def _channel_moments(
    store: Features, rows: Index, views: Index
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation (C,) over faces and positions, a few faces at a time, since maps are large."""
    channels = store.hypercolumns.shape[-1]
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    step = faces_at_once(store, len(rows))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        columns = store.hypercolumns[rows[part], views[part]].reshape(-1, channels).astype(np.float64)
        count += len(columns)
        total += columns.sum(axis=0)
        squares += (columns**2).sum(axis=0)
    mean = total / max(count, 1)
    return mean, np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))


def faces_at_once(store: Features, most: int) -> int:
    """As many faces as have about `_VALUES` feature values, but not more than `most`."""
    return int(np.clip(_VALUES // max(1, int(np.prod(store.hypercolumns.shape[2:]))), 1, max(1, most)))


class FeatureData(L.LightningDataModule):
    """Batches of the rows that train and of those that choose the epoch."""

    def __init__(
        self,
        store: Features,
        train: Index,
        judging: Index,
        labels: Labels,
        recipe: Recipe,
        config: FANTransConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self._train = FeatureBatches(store, labels, recipe, config)
        self._judging = ViewBatches(judged(store), judging, config.hypercolumns)
        self.sampler = SubjectBatches(train, subject_numbers(store), store.ok, recipe, seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Whole batches, drawn by `SubjectBatches`; this process's share of each."""
        self.sampler.share = self._share()
        return DataLoader(self._train, sampler=self.sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Views]:
        """The judged views of the rows that choose the epoch, every process its batches; as many for each, so some come twice."""
        rank, processes = self._share()
        count = len(self._judging)
        numbers = [number % count for number in range(rank, -(-count // processes) * processes, processes)]
        return DataLoader(self._judging, sampler=numbers, batch_size=None)

    def _share(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
