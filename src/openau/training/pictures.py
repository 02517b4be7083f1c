"""Batches of pictures, for models that look at pixels.

A picture is decoded, then turned, scaled, shifted, mirrored and cut in one resampling, so that augmentation costs no sharpness; colour is
changed by look-up on bytes. Batches stay bytes: normalise them on the device that trains. An item of a data set here is a whole batch;
what a picture goes through depends on (seed, epoch, row) alone, never on a worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from openau.datasets.manifest import FIVE_POINTS
from openau.errors import InputError
from openau.faces.align import FACE224, Image, Matrix, compose, similarity, warp
from openau.media import read_image
from openau.training.labels import Labels
from openau.training.picture_recipes import Augmentation

if TYPE_CHECKING:
    import pyarrow as pa

Index = npt.NDArray[np.intp]
Points = npt.NDArray[np.float32]

_FROM_68 = ((36, 39), (42, 45), (30, 30), (48, 48), (54, 54))
"""The same points among the 68 landmarks of rendered manifests (Multi-PIE order), each the middle of two."""

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class PictureBatch(NamedTuple):
    """B pictures; NaN where a label is not known.

    Attributes:
        pixels: (B, 3, S, S) uint8 RGB.
        occurrence: (B, A) 0 or 1.
        intensity: (B, A_i) 0–5.
        left, right: (B, S) 0 or 1 of what the picture shows as left and right (already exchanged where it is a mirror image).
        row: (B,) int64 rows of the manifest.
    """

    pixels: Tensor
    occurrence: Tensor
    intensity: Tensor
    left: Tensor
    right: Tensor
    row: Tensor


class Draw(NamedTuple):
    """A training batch: its epoch and rows (B,)."""

    epoch: int
    rows: Index


def five_points_of(rows: pa.Table) -> Points:
    """Where faces are in the pictures of a manifest: (N, 5, 2) pixels, NaN for rows that do not say.

    Prepared manifests keep the five points, rendered ones 68 landmarks.

    Raises:
        InputError: the manifest has neither.
    """
    if FIVE_POINTS in rows.column_names:
        return _lists(rows, FIVE_POINTS, 5)
    if "landmarks" in rows.column_names:
        landmarks = _lists(rows, "landmarks", 68)
        return np.stack([landmarks[:, list(pair)].mean(axis=1) for pair in _FROM_68], axis=1)
    raise InputError(
        f"the manifest has neither a column {FIVE_POINTS} (`openau prepare` writes it) nor landmarks (`openau synth` does), "
        "so its faces cannot be aligned"
    )


def usable_rows(rows: pa.Table, points: Points) -> npt.NDArray[np.bool_]:
    """(N,) rows with a picture whose face is known."""
    has_picture = np.array([name is not None for name in rows.column("image").to_pylist()], bool)
    return has_picture & ~np.isnan(points).any(axis=(1, 2))


class Pictures:
    """Aligned pictures of a manifest's rows.

    Args:
        root: folder of the manifest.
        rows: the manifest.
        size: side S of what comes out; `face224`, scaled to it.

    Raises:
        InputError: the manifest does not say where faces are.
    """

    def __init__(self, root: Path, rows: pa.Table, size: int = 224) -> None:
        self.size = size
        self.points = five_points_of(rows)
        self.usable = usable_rows(rows, self.points)
        self._paths = [None if name is None else root / name for name in rows.column("image").to_pylist()]
        self._target = FACE224 * (size / 224)

    def aligned(self, row: int) -> Image:
        """(S, S, 3) RGB uint8, unchanged but for the alignment.

        Raises:
            InputError: the picture cannot be read.
        """
        return warp(self._read(row), self._alignment(row), self.size)

    def augmented(self, row: int, how: Augmentation, rng: np.random.Generator) -> tuple[Image, bool]:
        """A varied copy (S, S, 3) RGB uint8, and whether it is a mirror image.

        Raises:
            InputError: the picture cannot be read.
        """
        matrix, mirrored = move(self.size, how, rng)
        crop = warp(self._read(row), compose(matrix, self._alignment(row)), self.size)
        return repaint(crop, how, rng), mirrored

    def _read(self, row: int) -> Image:
        path = self._paths[row]
        if path is None:
            raise InputError(f"row {row} of the manifest has no picture")
        return read_image(path)

    def _alignment(self, row: int) -> Matrix:
        return similarity(self.points[row], self._target)


def move(size: int, how: Augmentation, rng: np.random.Generator) -> tuple[Matrix, bool]:
    """Draw a map (2, 3) of a square crop about its centre, and whether it mirrors."""
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    scale = rng.uniform(*how.scale)
    shift = rng.uniform(-how.shift, how.shift, 2) * size
    mirrored = bool(rng.random() < how.mirror)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    centre = np.full(2, size / 2)
    return np.concatenate([turn, (centre + shift - turn @ centre)[:, None]], axis=1), mirrored


def repaint(image: Image, how: Augmentation, rng: np.random.Generator) -> Image:
    """Vary colour, focus, compression and cover of a picture (H, W, 3) RGB uint8; what was drawn for one effect never shifts another."""
    jitter = rng.uniform(-1, 1, 3)
    chances = rng.random(4)
    amounts = rng.random(2)
    box = rng.random(4)
    image = _exposed(image, 1 + how.brightness * float(jitter[0]), 1 + how.contrast * float(jitter[1]))
    saturation = 0.0 if chances[0] < how.grey else 1 + how.saturation * float(jitter[2])
    if saturation != 1:
        image = _saturated(image, saturation)
    if how.blur and chances[1] < 0.5:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.1, how.blur * float(amounts[0]))), np.uint8)
    if chances[2] < how.jpeg:
        image = _compressed(image, 30 + round(60 * float(amounts[1])))
    if chances[3] < how.dropout:
        image = _covered(image, box)
    return image


class TrainingPictures(Dataset[PictureBatch]):
    """Training batches by `Draw`."""

    def __init__(self, pictures: Pictures, labels: Labels, how: Augmentation, seed: int) -> None:
        self._pictures, self._labels, self._how, self._seed = pictures, labels, how, seed

    def __getitem__(self, draw: Draw) -> PictureBatch:
        size = self._pictures.size
        pixels = np.empty((len(draw.rows), size, size, 3), np.uint8)
        mirrored = np.empty(len(draw.rows), bool)
        for place, row in enumerate(draw.rows):
            rng = np.random.default_rng([self._seed, draw.epoch, int(row)])
            pixels[place], mirrored[place] = self._pictures.augmented(int(row), self._how, rng)
        return _batch(pixels, self._labels, draw.rows, mirrored)


class WatchedPictures(Dataset[PictureBatch]):
    """Pictures in order, as they are, for validation and prediction."""

    def __init__(self, pictures: Pictures, labels: Labels, rows: Index, batch_size: int = 64) -> None:
        self._pictures, self._labels, self._rows, self.batch_size = pictures, labels, rows, batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self.batch_size)

    def __getitem__(self, number: int) -> PictureBatch:
        if number >= len(self):
            raise IndexError(number)
        rows = self._rows[number * self.batch_size : (number + 1) * self.batch_size]
        pixels = np.stack([self._pictures.aligned(int(row)) for row in rows])
        return _batch(pixels, self._labels, rows, np.zeros(len(rows), bool))


class ShuffledBatches(Sampler[Draw]):
    """All rows once an epoch in a new order; the last batch may be smaller.

    Args:
        rows: (N,) rows to draw from.
        batch_size: rows of a batch.
        seed: of the order.

    Attributes:
        epoch: of the next draw; set it before iterating.
    """

    def __init__(self, rows: Index, batch_size: int, seed: int) -> None:
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._rows)
        for start in range(0, len(order), self._batch_size):
            yield Draw(self.epoch, order[start : start + self._batch_size])


def training_loader(
    pictures: Pictures,
    labels: Labels,
    rows: Index,
    batch_size: int = 64,
    how: Augmentation | None = None,
    seed: int = 0,
    workers: int = 0,
) -> DataLoader[PictureBatch]:
    """Batches of one epoch after another; set `loader.sampler.epoch` before each.

    Args:
        pictures: of the manifest.
        labels: of all its rows.
        rows: (N,) to train on.
        batch_size: pictures of a batch.
        how: they are varied; default `Augmentation()`.
        seed: of order and variation.
        workers: processes that decode ahead; 0 decodes in the training process, which only pays on a single core.
    """
    batches = TrainingPictures(pictures, labels, how or Augmentation(), seed)
    return DataLoader(
        batches,
        sampler=ShuffledBatches(rows, batch_size, seed),
        batch_size=None,
        num_workers=workers,
        # Forked workers would inherit the locks of OpenCV's and PyTorch's threads, and now and then wait for them for ever.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )


def as_floats(pixels: Tensor) -> Tensor:
    """(B, 3, S, S) bytes → RGB in [0, 1]."""
    return pixels.float() / 255


def _one_thread(_worker: int) -> None:
    """Keep a worker's OpenCV from starting threads that fight over the cores."""
    cv2.setNumThreads(1)


def _batch(pixels: npt.NDArray[np.uint8], labels: Labels, rows: Index, mirrored: npt.NDArray[np.bool_]) -> PictureBatch:
    swap = mirrored[:, None]
    left, right = labels.left[rows], labels.right[rows]
    return PictureBatch(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        occurrence=torch.from_numpy(labels.occurrence[rows]),
        intensity=torch.from_numpy(labels.intensity[rows]),
        left=torch.from_numpy(np.where(swap, right, left)),
        right=torch.from_numpy(np.where(swap, left, right)),
        row=torch.from_numpy(np.asarray(rows, np.int64)),
    )


def _exposed(image: Image, brightness: float, contrast: float) -> Image:
    """Brightness about black, contrast about the picture's mean grey, in one look-up."""
    mean = float(image.reshape(-1, 3).mean(axis=0) @ _GREY) * brightness
    table = (np.arange(256, dtype=np.float32) * brightness - mean) * contrast + mean
    return np.asarray(cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8)), np.uint8)


def _saturated(image: Image, saturation: float) -> Image:
    """Each pixel's colour drawn towards (or away from) its grey."""
    grey = saturation * np.eye(3) + (1 - saturation) * np.tile(_GREY, (3, 1))
    return np.asarray(cv2.transform(image, grey), np.uint8)


def _compressed(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _covered(image: Image, box: npt.NDArray[np.float64]) -> Image:
    """A grey box, each side up to a third of the picture's, anywhere."""
    height, width = image.shape[:2]
    rows, columns = round(height * float(box[0]) / 3), round(width * float(box[1]) / 3)
    top, left = round((height - rows) * float(box[2])), round((width - columns) * float(box[3]))
    covered = image.copy()
    covered[top : top + rows, left : left + columns] = 128
    return covered


def _lists(rows: pa.Table, name: str, points: int) -> Points:
    """(N, points, 2) of a column of lists; NaN for nulls.

    Raises:
        InputError: a list has another length.
    """
    column = rows.column(name).combine_chunks()
    known = np.asarray(column.is_valid())
    lengths = set(column.drop_null().value_lengths().to_pylist())
    if lengths - {2 * points}:
        raise InputError(
            f"the manifest's column {name} must hold {2 * points} numbers in every row, not {max(lengths)}"
        )
    values = np.full((rows.num_rows, points, 2), np.nan, np.float32)
    values[known] = np.asarray(column.drop_null().flatten(), np.float32).reshape(-1, points, 2)
    return values
