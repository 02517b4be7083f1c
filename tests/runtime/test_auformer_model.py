"""The shipped AUFormers: weaker than the default model, but file, card and checkpoint belong together, and they see a smile."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

import openau
from openau.weights.store import resolve_model

pytestmark = pytest.mark.weights
NAMES = ("auformer_vit_tiny_patch16_112.synth", "auformer_vit_tiny_patch16_224.synth")


@pytest.mark.parametrize(
    ("name", "absent"), zip(NAMES, ((1, 2, 4, 5, 15, 17, 26, 27), (4, 9, 15, 26, 27)), strict=True)
)
def test_the_astronaut_smiles(name: str, absent: tuple[int, ...]) -> None:
    faces = openau.Detector(name).detect(skimage.data.astronaut())
    assert len(faces) == 1
    said = {number: float(faces.column(f"AU{number:02d}")[0]) for number in (12, *absent)}
    assert said.pop(12) >= 0.5
    assert max(said.values()) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_file_and_checkpoint_say_the_same(name: str) -> None:
    """The graph, calibrated and in 16 bits, against the learnable part put on the backbone that its header names."""
    import json

    import onnx
    import torch

    from openau.faces.align import planes
    from openau.runtime.network import AUNetwork
    from openau.training.checkpoint import load_vit

    card, file = resolve_model(name)
    model, _ = load_vit(file.with_suffix(".safetensors"))
    assert model.config.aus == card.aus
    entries = {entry.key: entry.value for entry in onnx.load(file, load_external_data=False).metadata_props}
    assert entries["backbone_sha256"] == model.config.backbone_sha256
    assert set(json.loads(entries["neutral_logits"])) == {"occurrence"}
    side = card.input["pixels"][-1]
    crops = np.stack([skimage.data.astronaut()[y : y + side, 140 : 140 + side] for y in (20, 40, 60)])
    with torch.no_grad():
        raw = model(torch.from_numpy(planes(crops))).numpy()
    calibrated = AUNetwork(file, card).predict(pixels=planes(crops)).occurrence
    # An affine map per AU lies between them: three faces lie on a line in each.
    for number in range(len(card.aus)):
        slope, shift = np.polyfit(raw[:, number], calibrated[:, number], 1)
        np.testing.assert_allclose(slope * raw[:, number] + shift, calibrated[:, number], atol=0.02)
        assert slope > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_what_learned(name: str) -> None:
    card, _ = resolve_model(name)
    assert card.reads_pixels
    assert card.parameters["learned"] < card.parameters["all"] / 4
    assert any(
        "facs-bench-small" in measure.command or "bench" in measure.command for measure in card.measured.values()
    )
