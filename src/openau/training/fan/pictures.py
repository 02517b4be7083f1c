"""Pictures with known landmarks, cropped the way a FAN will see faces, with jitter and everything pictures suffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import read_manifest
from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.faces.align import FAN_SIZE, WIDE_MARGIN, WIDE_RISE, apply, region_around, warp
from openau.faces.fan import MESH_IDS, POINTS, mirror_landmarks
from openau.media import read_image
from openau.training import augment
from openau.training.fan.recipe import FANRecipe
from openau.training.splits import Index

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

REGIONS = {"fan256": (1.81, 0.107), "fan256_wide": (WIDE_MARGIN, WIDE_RISE)}
"""Template → margin and rise of `align.region_around` for the 68 landmarks. The first pair is what Face Mesh's square is on renders:
1.81 ± 0.08 sides, 0.107 ± 0.022 heights (500 pictures); the jitter is larger than these differences."""

_BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Crops (B, 256, 256, 3) uint8 and their landmarks (B, 68, 2) float32 in crop pixels; some may lie outside."""

    images: Image
    landmarks: Floats


class LandmarkPictures:
    """A manifest's pictures with their 68 landmarks.

    Args:
        data: a folder with manifest.parquet, or the manifest; `openau synth` writes both.

    Attributes:
        rows: the manifest.
        subjects: (N,) whom each row shows.
        usable: (N,) rows with a picture and landmarks.

    Raises:
        InputError: there is no manifest, or it knows no landmarks.
    """

    def __init__(self, data: Path) -> None:
        self.manifest = data / "manifest.parquet" if data.is_dir() else data
        self.rows = read_manifest(self.manifest)
        if "landmarks" not in self.rows.column_names:
            raise InputError(f"{self.manifest}: has no column landmarks; `openau synth` writes one")
        self.subjects = identities(self.rows)
        self._names: list[str | None] = self.rows.column("image").to_pylist()
        self._landmarks = _landmarks(self.rows)
        self.usable = np.array([name is not None for name in self._names], bool) & ~np.isnan(self._landmarks).any(
            (1, 2)
        )
        if not self.usable.any():
            raise InputError(f"{self.manifest}: no row has a picture with landmarks")

    def picture(self, row: int) -> tuple[Image, Floats]:
        """Picture (H, W, 3) and landmarks (68, 2) in its pixels, as they are.

        Raises:
            InputError: the picture cannot be read.
        """
        return read_image(self.manifest.parent / str(self._names[row])), self._landmarks[row]

    def draw(self, row: int, recipe: FANRecipe, rng: np.random.Generator) -> tuple[Image, Floats]:
        """A picture to train on: degraded, turned, scaled, shifted, perhaps mirrored and partly hidden.

        Returns:
            crop (256, 256, 3) and landmarks (68, 2) in it.
        """
        image, landmarks = self.picture(row)
        image = _degraded(image, landmarks, recipe, rng)
        matrix = jittered_region(landmarks, recipe, rng)
        crop = warp(image, matrix, FAN_SIZE, int(rng.choice(_BORDERS)))
        found = apply(matrix, landmarks)
        if rng.random() < 0.5:
            crop, found = np.ascontiguousarray(crop[:, ::-1]), mirror_landmarks(found, FAN_SIZE)
        if rng.random() < recipe.patches:
            _hide(crop, rng)
        return crop, found


def batches(
    pictures: LandmarkPictures, rows: Index, recipe: FANRecipe, seed: int, steps: range, threads: int = 1
) -> Iterator[Batch]:
    """Batches of the given steps, made in threads a little ahead; a step's batch depends on seed and step alone.

    Rows come in a new random order each time all have been seen.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending = []
        for step in steps:
            pending.append(pool.submit(_batch, pictures, rows, recipe, seed, step))
            if len(pending) > threads:
                yield pending.pop(0).result()
        for waiting in pending:
            yield waiting.result()


def region(landmarks: Floats, template: str, size: int = FAN_SIZE, margin: float = 1.0) -> npt.NDArray[np.float64]:
    """The template's crop (2, 3) for 68 landmarks (68, 2); `margin` widens it.

    Raises:
        UsageError: no crop of this name is known for 68 landmarks.
    """
    if template not in REGIONS:
        raise UsageError(f"a FAN is trained on one of the crops {', '.join(REGIONS)}, not {template!r}")
    side, rise = REGIONS[template]
    across = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    return region_around(landmarks, math.atan2(across[1], across[0]), side * margin, rise, size)


def jittered_region(landmarks: Floats, recipe: FANRecipe, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The template's crop, turned, scaled and shifted at random."""
    margin = math.exp(float(np.clip(rng.normal(0, recipe.scale), -0.35, 0.35)))
    angle = math.radians(float(np.clip(rng.normal(0, recipe.rotation), -30, 30)))
    matrix = region(landmarks, recipe.template, margin=margin)
    c, s, middle = math.cos(angle), math.sin(angle), FAN_SIZE / 2
    turn = np.array([[c, -s], [s, c]])
    linear = turn @ matrix
    linear[:, 2] += middle - turn @ (middle, middle) + rng.uniform(-recipe.shift, recipe.shift, 2) * FAN_SIZE
    return np.asarray(linear)


def _batch(pictures: LandmarkPictures, rows: Index, recipe: FANRecipe, seed: int, step: int) -> Batch:
    drawn = [_drawn(pictures, rows, recipe, seed, step * recipe.batch + place) for place in range(recipe.batch)]
    return Batch(np.stack([crop for crop, _ in drawn]), np.stack([landmarks for _, landmarks in drawn]))


def _drawn(pictures: LandmarkPictures, rows: Index, recipe: FANRecipe, seed: int, item: int) -> tuple[Image, Floats]:
    turn, place = divmod(item, len(rows))
    row = rows[_order(seed, turn, len(rows))[place]]
    return pictures.draw(int(row), recipe, np.random.default_rng([seed, 2, item]))


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> Index:
    """In which order the rows come the n-th time."""
    return np.random.default_rng([seed, 1, turn]).permutation(count)


def _degraded(image: Image, landmarks: Floats, recipe: FANRecipe, rng: np.random.Generator) -> Image:
    chance = rng.random()
    if chance < recipe.plain:
        return image
    if chance < recipe.plain + recipe.mild:
        return augment.mild(image, rng)
    # `heavy` looks at a few of Face Mesh's points: the eyes, the temples, the nose's tip, and the width of all.
    mesh = np.repeat(landmarks[30:31], 468, axis=0)
    mesh[MESH_IDS] = landmarks
    mesh[1] = landmarks[30]
    mesh[127], mesh[356] = landmarks[0], landmarks[16]
    return augment.heavy(image, mesh, rng)


def _hide(crop: Image, rng: np.random.Generator) -> None:
    """Put a patch of one colour, of noise or of another place of the crop over part of it."""
    height, width = (int(rng.integers(16, 96)) for _ in range(2))
    top, left = int(rng.integers(0, FAN_SIZE - height)), int(rng.integers(0, FAN_SIZE - width))
    kind = rng.random()
    if kind < 0.4:
        patch: Any = rng.integers(0, 256, 3)
    elif kind < 0.6:
        patch = rng.integers(0, 256, (height, width, 3))
    else:
        y, x = int(rng.integers(0, FAN_SIZE - height)), int(rng.integers(0, FAN_SIZE - width))
        patch = crop[y : y + height, x : x + width].copy()
    crop[top : top + height, left : left + width] = patch


def _landmarks(rows: Any) -> Floats:
    values: Sequence[Any] = rows.column("landmarks").to_pylist()
    nothing = [math.nan] * (2 * POINTS)
    wrong = next((value for value in values if value is not None and len(value) != 2 * POINTS), None)
    if wrong is not None:
        raise InputError(f"the manifest's landmarks are {len(wrong)} numbers a row; a FAN needs {POINTS} points x, y")
    return np.array([nothing if value is None else value for value in values], np.float32).reshape(-1, POINTS, 2)
