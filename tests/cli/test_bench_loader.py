"""`openau bench loader`, small."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from openau.bench.loader import SmallViT, make_store, measure
from openau.faces import features


def test_rates_are_those_of_a_known_loader_and_step() -> None:
    """A loader of 2 ms and a step of 6 ms: 2000, 667 and 500 items per second in batches of 4."""

    def batches() -> Iterator[int]:
        while True:
            time.sleep(0.002)
            yield 0

    rates = measure("known", batches, lambda _batch: time.sleep(0.006), 4, 0.3, 3)
    assert 0.5 * 2000 < rates.loader <= 2000
    assert 0.5 * 667 < rates.step <= 667
    assert rates.together < rates.step < rates.loader


def test_the_made_up_store_has_the_true_shapes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 8)
    assert store.hypercolumns.shape == (8, 3, len(features.POINTS), features.CHANNELS)
    assert store.hypercolumns.dtype == np.float16
    assert store.geometry.shape == (8, 3, features.GEOMETRY_SIZE)


def test_the_small_vit_has_the_size_it_states() -> None:
    parameters = sum(parameter.numel() for parameter in SmallViT(12).parameters())
    assert 5.3e6 < parameters < 5.9e6  # DeiT-Tiny without its 1000 classes


@pytest.mark.slow
@pytest.mark.weights
def test_both_models_are_timed(openau: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    done = openau(
        "bench", "loader", "--size", "136", "--batch", "2", "--seconds", "0.1", "--rounds", "1", "--workers", "0", "--save", numbers,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads(numbers.read_text())
    assert saved["features, no workers: loader / step"] > 0
    assert saved["pictures, no workers: loader alone, per s"] > saved["pictures, no workers: step alone, per s"]


def test_too_few_pictures_are_told(openau: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    done = openau("bench", "loader", tmp_path, "--store", tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
