"""From manifest rows to arrays: what is known, how strongly, and what the losses aim at. NaN = not known, everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import sided_intensity_column
from openau.facs import Side, intensity_column, occurrence_column

if TYPE_CHECKING:
    import pyarrow as pa

    from openau.training.recipes import Recipe

Floats = npt.NDArray[np.float32]
Ramp = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of N rows; NaN where unknown.

    Attributes:
        occurrence: (N, A) 0 or 1.
        intensity: (N, A_i) 0–5.
        level: (N, A) activation 0–1: intensity / 5 where that is known, else occurrence.
        graded: (N, A) whether `level` is an intensity.
        left, right: (N, S) 0 or 1.
        left_level, right_level: (N, S) activation 0–1.
    """

    occurrence: Floats
    intensity: Floats
    level: Floats
    graded: npt.NDArray[np.bool_]
    left: Floats
    right: Floats
    left_level: Floats
    right_level: Floats


def read_labels(
    rows: pa.Table, aus: tuple[int, ...], intensity_aus: tuple[int, ...], sided_aus: tuple[int, ...]
) -> Labels:
    """Labels of these AUs; a column that is absent is unknown throughout.

    An intensity stands for its AU even where the occurrence is left open (renders leave the faint band between absent and present open).
    """
    occurrence = _columns(rows, [occurrence_column(n) for n in aus])
    intensity = _columns(rows, [intensity_column(n) for n in aus])
    left, right = (_columns(rows, [occurrence_column(n, side) for n in sided_aus]) for side in _SIDES)
    sides = [_columns(rows, [sided_intensity_column(n, side) for n in sided_aus]) for side in _SIDES]
    return Labels(
        occurrence=occurrence,
        intensity=_columns(rows, [intensity_column(n) for n in intensity_aus]),
        level=_level(intensity, occurrence),
        graded=~np.isnan(intensity),
        left=left,
        right=right,
        left_level=_level(sides[0], left),
        right_level=_level(sides[1], right),
    )


def occurrence_targets(occurrence: Floats, level: Floats, aus: tuple[int, ...], recipe: Recipe) -> Floats:
    """What occurrence logits aim at, by the recipe's `targets`.

    Args:
        occurrence: (N, A) 0, 1 or NaN; the target itself for "occurrence", but for label smoothing.
        level: (N, A) activation 0–1 or NaN, for "activation": see `soft_targets`.
        aus: of the columns.
        recipe: says which.
    """
    if recipe.targets == "occurrence":
        return np.asarray(occurrence * (1 - 2 * recipe.smoothing) + recipe.smoothing, np.float32)
    return soft_targets(level, aus, recipe.ramp, recipe.ramps, recipe.smoothing)


def comparable_level(labels: Labels, subject: npt.NDArray[np.int64]) -> Floats:
    """(N, A) activations that may be ordered within a subject; NaN where they may not.

    A face coded "present" without an intensity can be anything from a trace to the maximum. So where some faces of a subject have an
    intensity of an AU, those without count only as absent or not at all; where none has, present stands above absent.

    Args:
        labels: of N faces.
        subject: (N,) numbers from 0.
    """
    someone = np.zeros((int(subject.max(initial=-1)) + 1, labels.level.shape[1]), bool)
    np.logical_or.at(someone, subject, labels.graded)
    vague = someone[subject] & ~labels.graded & (labels.level > 0)
    return np.where(vague, np.nan, labels.level).astype(np.float32)


def soft_targets(
    level: Floats, aus: tuple[int, ...], ramp: Ramp, ramps: Mapping[int, Ramp], smoothing: float
) -> Floats:
    """What occurrence logits aim at: a ramp over the activation, not a step, since the border between absent and present is a convention.

        target = clip((level − low) / (high − low), 0, 1) · (1 − 2 smoothing) + smoothing

    Args:
        level: (N, A) activation 0–1 or NaN.
        aus: of the columns.
        ramp: (low, high) of AUs not named in `ramps`.
        ramps: AU → its own (low, high).
        smoothing: label smoothing.
    """
    edges = np.array([ramps.get(number, ramp) for number in aus], np.float32).reshape(-1, 2)
    risen = np.clip((level - edges[:, 0]) / (edges[:, 1] - edges[:, 0]), 0, 1)
    return np.asarray(risen * (1 - 2 * smoothing) + smoothing, np.float32)


_SIDES: tuple[Side, Side] = ("L", "R")


def _level(intensity: Floats, occurrence: Floats) -> Floats:
    return np.where(np.isnan(intensity), occurrence, intensity / 5).astype(np.float32)


def _columns(rows: pa.Table, names: list[str]) -> Floats:
    """(N, len(names)) with NaN for nulls."""
    table = np.full((rows.num_rows, len(names)), np.nan, np.float32)
    for position, name in enumerate(names):
        if name in rows.column_names:
            table[:, position] = rows.column(name).to_numpy(zero_copy_only=False).astype(np.float32)
    return table
