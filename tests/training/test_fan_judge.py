"""Judging a FAN: its points go back to the picture, intervals are those of their statistics, operations are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from openau.faces.align import TEMPLATES, apply
from openau.faces.fan import COMPARABLE, FAN256, MESH_IDS
from openau.faces.finder import FaceFinder
from openau.models.fan import FAN, FANConfig
from openau.training.fan.export import FANFacts, export_fan
from openau.training.fan.judge import (
    judge_photos,
    landmarks_of,
    latency,
    mean_interval,
    median_interval,
    multiplications,
)

CONFIG = FANConfig(stacks=1, width=8, depth=1, stem=2)


@pytest.fixture(scope="module")
def centred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extractor whose heatmaps are 0 everywhere, so that every landmark is found in the first cell."""
    fan = FAN(CONFIG).eval()
    for parameter in fan.parameters():
        parameter.data.zero_()
    out = tmp_path_factory.mktemp("fan") / "fan_zero.test.onnx"
    export_fan(fan, out, FANFacts("fan_zero.test", "fan256", "nothing", "", "none"))
    return out


def test_multiplications_are_those_pytorch_counts(centred: Path) -> None:
    fan = FAN(CONFIG).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        fan(torch.zeros(1, 3, 256, 256))
    count, weights = multiplications(centred)
    assert count == counter.get_total_flops() // 2
    convolutions = [m for m in fan.modules() if isinstance(m, torch.nn.Conv2d)]
    kernels = sum(m.weight.numel() for m in convolutions)
    # Biases of zero may be dropped.
    assert kernels <= weights <= kernels + sum(m.out_channels for m in convolutions)
    took = latency(FAN256(centred), repetitions=3)
    assert 0 < took.low <= took.value <= took.high


def test_intervals_hold_their_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(1, 400)
    mean, median = mean_interval(values), median_interval(values)
    assert mean.value == pytest.approx(values.mean())
    assert median.value == pytest.approx(np.median(values), abs=0.02)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.2)
    # The median of n exponential values spreads by 1 / √n around log 2.
    assert median.high - median.low == pytest.approx(2 * 1.96 / 20, rel=0.4)
    assert median.low < median.value < median.high
    people = np.repeat(np.arange(20), 20)
    shifted = values + np.repeat(rng.normal(0, 3, 20), 20)
    wide, narrow = mean_interval(shifted, people), mean_interval(shifted)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.weights
def test_points_go_back_to_the_picture(centred: Path, tmp_path: Path) -> None:
    image = skimage.data.astronaut()
    extractor, face = FAN256(centred), FaceFinder(max_faces=1).find(image)[0]
    matrix = TEMPLATES["fan256"].fit(face.landmarks)
    # The centre of the first cell is 2 pixels from the crop's corner.
    corner = landmarks_of(extractor, image, face)
    np.testing.assert_allclose(apply(matrix, corner), np.full((68, 2), 2.0), atol=1e-3)

    Image.fromarray(image).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "c.png")
    found = judge_photos(extractor, sorted(tmp_path.iterdir()))
    mesh = apply(matrix, face.landmarks[MESH_IDS, :2])
    far = np.linalg.norm(mesh[COMPARABLE] - 2.0, axis=1).mean() / np.linalg.norm(mesh[36] - mesh[45])
    assert found.names == ("a.png",)
    assert found.missed == 2
    assert found.nme[0] == pytest.approx(far, rel=1e-4)
