"""The shipped AUFormer: weak, but its file, its card and its checkpoint belong together, and it sees a smile."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

import openau
from openau.weights.store import resolve_model

pytestmark = pytest.mark.weights
NAME = "auformer_vit_tiny_patch16_224.synth"


def test_the_astronaut_smiles() -> None:
    faces = openau.Detector(NAME).detect(skimage.data.astronaut())
    assert len(faces) == 1
    said = {number: float(faces.column(f"AU{number:02d}")[0]) for number in (4, 9, 12, 15, 26, 27)}
    assert said[12] >= 0.5
    assert max(value for number, value in said.items() if number != 12) < 0.5


def test_file_and_checkpoint_say_the_same() -> None:
    """The graph, calibrated and in 16 bits, against the learnable part put on the backbone that its header names."""
    import json

    import onnx
    import torch

    from openau.faces.align import planes
    from openau.runtime.network import AUNetwork
    from openau.training.checkpoint import load_vit

    card, file = resolve_model(NAME)
    model, _ = load_vit(file.with_suffix(".safetensors"))
    assert model.config.aus == card.aus
    entries = {entry.key: entry.value for entry in onnx.load(file, load_external_data=False).metadata_props}
    assert entries["backbone_sha256"] == model.config.backbone_sha256
    assert set(json.loads(entries["neutral_logits"])) == {"occurrence"}
    crops = np.stack([skimage.data.astronaut()[y : y + 224, 120:344] for y in (0, 40, 80)])
    with torch.no_grad():
        raw = model(torch.from_numpy(planes(crops))).numpy()
    calibrated = AUNetwork(file, card).predict(pixels=planes(crops)).occurrence
    # An affine map per AU lies between them: three faces lie on a line in each.
    for number in range(len(card.aus)):
        slope, shift = np.polyfit(raw[:, number], calibrated[:, number], 1)
        np.testing.assert_allclose(slope * raw[:, number] + shift, calibrated[:, number], atol=0.02)
        assert slope > 0


def test_the_card_tells_what_learned() -> None:
    card, _ = resolve_model(NAME)
    assert card.reads_pixels
    assert card.parameters["learned"] < card.parameters["all"] / 4
    assert any(
        "facs-bench-small" in measure.command or "bench" in measure.command for measure in card.measured.values()
    )
