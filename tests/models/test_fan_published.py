"""Published FANs in our network: the layout as face-alignment 1.5.0 has it (recorded), and its own module's outputs where it is installed.

The comparison runs where OPENAU_FACE_ALIGNMENT_PYTHON names the Python of an environment with that package;
tests/support/face_alignment_env.sh makes one.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from openau.models.fan import FAN, FANConfig
from openau.models.fan_published import from_published
from openau.weights.torch_archive import read_tensors

SUPPORT = Path(__file__).parents[1] / "support"
LAYOUT = Path(__file__).parents[1] / "data" / "face_alignment_layout.txt"
"""Names and shapes of the package's FAN(2), in its order, written by tests/support/face_alignment_reference.py."""
PYTHON = os.environ.get("OPENAU_FACE_ALIGNMENT_PYTHON")
SMALL = FANConfig(stacks=3, width=12, points=7, depth=2, pooling="max", stem=2)


def recorded() -> dict[str, tuple[int, ...]]:
    lines = (line.split() for line in LAYOUT.read_text().splitlines())
    return {name: () if shape == "-" else tuple(map(int, shape.split("x"))) for name, shape in lines}


def arrays(fan: FAN) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in fan.state_dict().items()}


def test_our_layers_have_the_names_and_shapes_of_face_alignment() -> None:
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in FAN(FANConfig(stacks=2)).state_dict().items()}
    assert ours == recorded()


@pytest.mark.parametrize("config", [SMALL, FANConfig(stacks=1, width=8, points=3, depth=4, stem=4)])
def test_the_configuration_is_read_off_the_shapes(config: FANConfig) -> None:
    torch.manual_seed(0)
    fan = FAN(config)
    again = from_published(arrays(fan), config.pooling)
    assert again.config == config
    assert all(torch.equal(a, b) for a, b in zip(fan.state_dict().values(), again.state_dict().values(), strict=True))


def test_files_from_before_the_norms_counters_load() -> None:
    old = {name: array for name, array in arrays(FAN(SMALL)).items() if not name.endswith("num_batches_tracked")}
    assert from_published(old, "max").config == SMALL


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conv1.weight": None}, "lacks 'conv1.weight'"),
        ({"m0.b1_1.bn1.weight": None}, "lack m0.b1_1.bn1.weight"),
        ({"fc.weight": np.zeros(3)}, "hold fc.weight"),
        ({"al0.weight": np.zeros((12, 8, 1, 1))}, r"al0.weight has the shape \(12, 8, 1, 1\), not \(12, 7, 1, 1\)"),
        ({"conv1.bias": np.full(2, np.nan)}, "not finite"),
    ],
)
def test_other_weights_are_refused(change: dict[str, np.ndarray | None], said: str) -> None:
    weights = {name: array for name, array in (arrays(FAN(SMALL)) | change).items() if array is not None}
    with pytest.raises(ValueError, match=said):
        from_published(weights, "max")


@pytest.mark.skipif(PYTHON is None, reason="OPENAU_FACE_ALIGNMENT_PYTHON names no environment with face-alignment")
def test_outputs_are_those_of_face_alignment_s_own_module(tmp_path: Path) -> None:
    command = [str(PYTHON), str(SUPPORT / "face_alignment_reference.py"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=280, env={**os.environ, "PYTHONPATH": ""})
    largest = 0.0
    files = [
        ("fan1_old.pth.tar", 1),
        ("fan1_script.zip", 1),
        *((f"fan{stacks}.pth", stacks) for stacks in (1, 2, 3, 4)),
    ]
    for name, stacks in files:
        with np.load(tmp_path / f"fan{stacks}.npz") as told:
            fan = from_published(read_tensors(tmp_path / name), "avg")
            assert fan.config == FANConfig(stacks=stacks, pooling="avg")
            with torch.no_grad():
                heatmaps = fan(torch.from_numpy(told["picture"])).heatmaps[-1].numpy()
            largest = max(largest, float(np.abs(heatmaps - told["heatmaps"]).max()))
            assert np.abs(told["heatmaps"]).max() > 0.1
    print(f"largest difference: {largest:.2e}")
    assert largest <= 1e-5
