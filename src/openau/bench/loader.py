"""Does data loading keep up with training? Items per second of the loader alone, of the training step alone, and of both together."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from openau.datasets.manifest import FIVE_POINTS, read_manifest, write_manifest
from openau.errors import InputError
from openau.faces import features
from openau.faces.align import CROP_SIZE, align, apply, five_points
from openau.facs import intensity_column, occurrence_column
from openau.media import open_video
from openau.models.fantrans import build
from openau.training.data import FeatureBatches, SubjectBatches, subject_numbers
from openau.training.feature_task import configure
from openau.training.features import FeatureStore
from openau.training.labels import read_labels
from openau.training.module import AUModule
from openau.training.pictures import Pictures, training_loader
from openau.training.recipes import FANTRANS

AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""AUs of made-up labels: BP4D's twelve."""

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's normalisation."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Items per second.

    Attributes:
        name: of the setting.
        loader: batches drawn and thrown away.
        step: forward, backward and update on a batch that is there.
        together: a training loop.
    """

    name: str
    loader: float
    step: float
    together: float


def measure(
    name: str,
    batches: Callable[[], Iterator[Any]],
    step: Callable[[Any], object],
    size: int,
    seconds: float,
    rounds: int,
) -> Rates:
    """Time loader, step and both in turn, several rounds; medians over the rounds, so that a disturbed one does not count.

    Args:
        name: of the setting.
        batches: makes an endless iterator.
        step: trains on one batch.
        size: items of a batch.
        seconds: of each measurement in a round.
        rounds: how many.
    """
    stream = batches()
    resident = next(stream)
    step(resident)
    rates: dict[str, list[float]] = {"loader": [], "step": [], "together": []}
    for _ in range(rounds):
        rates["loader"].append(_rate(lambda: next(stream), size, seconds))
        rates["step"].append(_rate(lambda: step(resident), size, seconds))
        rates["together"].append(_rate(lambda: step(next(stream)), size, seconds))
    return Rates(name, **{key: statistics.median(values) for key, values in rates.items()})


def _rate(action: Callable[[], object], size: int, seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds or done < 2:
        action()
        done += 1
    return size * done / elapsed if elapsed else float("nan")


class SmallViT(nn.Module):
    """A plain ViT of DeiT-Tiny's size (5.7 M parameters, 2.5 GFLOP at 224 px) with random weights; only to be timed.

    Shape:
        (B, 3, 224, 224) uint8 → (B, A) logits.
    """

    def __init__(self, aus: int) -> None:
        super().__init__()
        width, depth, heads, patch = 192, 12, 3, 16
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(torch.zeros(1, (224 // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, aus)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of a batch of pictures."""
        normalised = (pixels - self.get_buffer("mean")) / self.get_buffer("spread")
        tokens = self.embed(normalised).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.blocks(tokens).mean(dim=1))
        return logits


def time_features(store: FeatureStore, seconds: float, rounds: int) -> list[Rates]:
    """The default model's recipe on a feature store."""
    config = configure(store, FANTRANS)
    labels = read_labels(store.rows, config.aus, config.intensity_aus, config.sided_aus)
    module = AUModule(build(config), FANTRANS, torch.ones(len(config.aus)), 1000, 0)
    batches = FeatureBatches(store, labels, FANTRANS, config)
    usable = np.flatnonzero(store.ok.any(axis=1))
    sampler = SubjectBatches(usable, subject_numbers(store), store.ok, FANTRANS, 0)
    optimizer = torch.optim.AdamW(module.model.parameters(), 1e-4)

    def draws() -> Iterator[Any]:
        while True:
            for draw in sampler:
                yield batches[draw]
            sampler.epoch += 1

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(module.training_step(batch, 0))
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), FANTRANS.clip)
        optimizer.step()

    return [measure("features, no workers", draws, step, FANTRANS.batch_size, seconds, rounds)]


def time_pictures(manifest: Path, workers: Iterable[int], batch_size: int, seconds: float, rounds: int) -> list[Rates]:
    """A ViT-sized step on pictures.

    Raises:
        InputError: the manifest cannot be read, or fewer pictures than a batch can be aligned.
    """
    rows = read_manifest(manifest)
    pictures = Pictures(manifest.parent, rows)
    usable = np.flatnonzero(pictures.usable)
    if len(usable) < batch_size:
        raise InputError(f"{manifest}: {len(usable)} pictures can be aligned, at least {batch_size} are needed")
    labels = read_labels(rows, AUS, (), ())
    model = SmallViT(len(AUS))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = model(batch.pixels)
        target = torch.nan_to_num(batch.occurrence)
        torch.autograd.backward(nn.functional.binary_cross_entropy_with_logits(logits, target))
        optimizer.step()

    def endless(count: int) -> Iterator[Any]:
        whole = usable[: len(usable) // batch_size * batch_size]
        loader = training_loader(pictures, labels, whole, batch_size, workers=count)
        while True:
            yield from loader

    return [
        measure(_workers(count), lambda count=count: endless(count), step, batch_size, seconds, rounds)  # type: ignore[misc]
        for count in workers
    ]


def _workers(count: int) -> str:
    return f"pictures, {count or 'no'} worker{'s' * (count != 1)}"


def make_store(folder: Path, faces: int, views: int = 3, seed: int = 0) -> FeatureStore:
    """A feature store of the true shapes with random content, which costs a loader exactly what a real one does."""
    rng = np.random.default_rng(seed)
    points, channels = len(features.POINTS), features.CHANNELS
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "geometry": ((faces, views, features.GEOMETRY_SIZE), np.float32),
        "hypercolumns": ((faces, views, points, channels), np.float16),
    }
    folder.mkdir(parents=True)
    for name, (shape, dtype) in shapes.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for start in range(0, faces, 64):
            part = array[start : start + 64]
            part[...] = rng.standard_normal(part.shape, np.float32)
        array.flush()
    np.save(folder / "flipped.npy", rng.random((faces, views)) < 0.5)
    np.save(folder / "ok.npy", np.ones((faces, views), bool))
    np.save(folder / "done.npy", np.ones(faces, bool))
    columns: dict[str, Any] = {
        "image": [f"{i}.jpg" for i in range(faces)],
        "subject": [f"s{i // 30}" for i in range(faces)],
    }
    for number in AUS:
        columns[occurrence_column(number)] = rng.integers(0, 2, faces).astype(np.int8)
        columns[intensity_column(number)] = (5 * rng.random(faces)).astype(np.float32)
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    meta = {
        "rows": faces, "views": views, "seed": seed, "G": features.GEOMETRY_SIZE, "P": points, "C": channels,
        "points": features.POINTS.tolist(),
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    return FeatureStore.open(folder)


def make_pictures(clip: Path, folder: Path, count: int, seed: int = 0) -> Path:
    """Prepared crops out of a video, as `openau prepare` writes them; returns their manifest.

    Raises:
        InputError: no face is found in the clip.
    """
    from openau.faces.finder import FaceFinder

    finder, rng = FaceFinder(max_faces=1), np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names: list[str] = []
    points: list[list[float]] = []
    with open_video(clip) as frames:
        crops = [
            (crop, apply(matrix, five_points(face.landmarks)))
            for frame in frames
            for face in finder.find(frame.image)
            for crop, matrix in [align(frame.image, face.landmarks, "crop320")]
        ]
    if not crops:
        raise InputError(f"{clip}: no face was found in it")
    for number in range(count):
        crop, five = crops[number % len(crops)]
        names.append(f"{number:05d}.jpg")
        points.append(five.ravel().tolist())
        # A little noise of its own keeps every file different.
        noisy = np.clip(crop + rng.normal(0, 2, (CROP_SIZE, CROP_SIZE, 1)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / names[-1]), noisy[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    labels = {occurrence_column(number): rng.integers(0, 2, count).astype(np.int8) for number in AUS}
    table = pa.table(
        {"image": names, "subject": ["s"] * count, **labels, FIVE_POINTS: pa.array(points, pa.list_(pa.float32()))}
    )
    manifest = folder / "manifest.parquet"
    write_manifest(table, manifest)
    return manifest


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
