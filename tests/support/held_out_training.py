"""Training with a hold-out named in words, as the command line does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from openau.training.features import FeatureStore
from openau.training.recipes import Recipe
from openau.training.run import TrainingResult, train
from openau.training.splits import HoldOut, split_rows


def train_held_out(
    store: FeatureStore, out: Path, recipe: Recipe, hold_out: str = "subjects=0.2", **options: Any
) -> TrainingResult:
    usable = np.asarray(store.ok.any(axis=1))
    split = split_rows(store.rows, HoldOut.parse(hold_out), recipe.validation, recipe.split_seed, usable)
    return train(store, out, recipe, split=split, split_name=hold_out, **options)
