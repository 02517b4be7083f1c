"""Pictures of the rows that train and of those that choose the epoch, for one or several processes."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from openau.training.face_pictures import FacePictures
from openau.training.labels import Labels
from openau.training.picture_recipes import PictureRecipe
from openau.training.pictures import (
    Draw,
    Index,
    PictureBatch,
    Pictures,
    TrainingPictures,
    WatchedPictures,
)


class PictureDraws(Sampler[Draw]):
    """Whole batches of all rows in a new order every epoch; of each, this process's share. What is left over is left out.

    Attributes:
        epoch: which is drawn.
        share: (number of this process from 0, number of processes).
    """

    def __init__(self, rows: Index, batch: int, seed: int) -> None:
        self._rows, self._batch, self._seed = rows, min(batch, len(rows)), seed
        self.epoch = 0
        self.share = (0, 1)

    def __len__(self) -> int:
        return max(1, len(self._rows) // self._batch)

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._rows)
        first, step = self.share
        for number in range(len(self)):
            whole = order[number * self._batch : (number + 1) * self._batch]
            yield Draw(self.epoch, whole[first::step])


class _Numbered(WatchedPictures):
    """Watched pictures whose `row` is their number among those watched, not their row of the manifest."""

    def __getitem__(self, number: int) -> PictureBatch:
        batch = super().__getitem__(number)
        return batch._replace(row=torch.arange(len(batch.row)) + number * self.batch_size)


class PictureData(L.LightningDataModule):
    """Batches of the rows that train and of those that choose the epoch.

    Args:
        faces: rows and pictures.
        train: rows to train on. judging: rows that choose the epoch.
        labels: of all rows.
        recipe: batch, augmentation.
        size: side of the pictures, pixels.
        seed: of order and variation.
    """

    def __init__(
        self, faces: FacePictures, train: Index, judging: Index, labels: Labels, recipe: PictureRecipe, size: int, seed: int
    ) -> None:  # fmt: skip
        super().__init__()
        pictures = Pictures(faces.folder, faces.rows, size)
        self._train = TrainingPictures(pictures, labels, recipe.augmentation, seed)
        self._judging = _Numbered(pictures, labels, judging)
        self.sampler = PictureDraws(train, recipe.batch, seed)

    def train_dataloader(self) -> DataLoader[PictureBatch]:
        """Whole batches; this process's share of each."""
        self.sampler.share = self._share()
        return DataLoader(self._train, sampler=self.sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[PictureBatch]:
        """Those who choose the epoch, every process its batches; as many for each, so some come twice."""
        rank, processes = self._share()
        count = len(self._judging)
        numbers = [number % count for number in range(rank, -(-count // processes) * processes, processes)]
        return DataLoader(self._judging, sampler=numbers, batch_size=None)

    def _share(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
