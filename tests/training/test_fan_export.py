"""A FAN's ONNX file gives what PyTorch gives, lies beside its card, and is found by name or path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from openau.errors import OutputError, UsageError, WeightsError
from openau.faces.fan import FAN256, decode
from openau.models.fan import FAN, FANConfig, tapped
from openau.training.fan import export as exporting
from openau.training.fan.export import CONFIG_KEY, FANFacts, export_fan
from openau.weights import store
from openau.weights.extractors import ExtractorCard, card_beside

FACTS = FANFacts("fan_tiny.test", "fan256", "nothing", "random", "not for use")
CONFIG = FANConfig(stacks=2, width=8, depth=1, stem=2)


@pytest.fixture(scope="module")
def network() -> FAN:
    """A FAN whose norms have seen pictures, so that nothing is at its initial value."""
    torch.manual_seed(0)
    fan = FAN(CONFIG)
    for _ in range(3):
        fan(torch.rand(2, 3, 64, 64))
    return fan.eval()


@pytest.fixture(scope="module")
def exported(network: FAN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fan") / "fan_tiny.test.onnx"
    assert export_fan(network, out, FACTS).parity < 1e-4
    return out


def test_the_file_gives_what_the_network_gives(network: FAN, exported: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 256, 256, 3), np.uint8)
    heatmaps, features = FAN256(exported).maps(crops)
    with torch.no_grad():
        wanted = network(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
    # Weights are stored in 16 bits: 11 binary digits.
    for found, exact in ((heatmaps, wanted.heatmaps[-1]), (features, tapped(wanted))):
        assert found.shape == exact.shape
        assert np.abs(found - exact.numpy()).max() < 0.01 * exact.abs().max()
    alone, _ = FAN256(exported).maps(crops[3:4])
    np.testing.assert_allclose(alone[0], heatmaps[3], atol=1e-5)


def test_running_decodes(exported: Path) -> None:
    extractor = FAN256(exported)
    crops = np.random.default_rng(1).integers(0, 256, (2, 256, 256, 3), np.uint8)
    faces = extractor.run_batch(crops)
    heatmaps, features = extractor.maps(crops)
    landmarks, peaks = decode(heatmaps, 256)
    for number, face in enumerate(faces):
        np.testing.assert_array_equal(face.landmarks, landmarks[number])
        np.testing.assert_array_equal(face.features, features[number])
        assert face.score == pytest.approx(np.clip(peaks[number], 0, 1).mean())
    assert faces[0].features.shape == (CONFIG.channels, 64, 64)
    assert extractor.run_batch([]) == []
    with pytest.raises(ValueError, match="256×256"):
        extractor.run(crops[0][:200])


def test_large_weights_take_16_bits_and_the_file_describes_itself(network: FAN, exported: Path) -> None:
    graph = onnx.load(exported)
    kinds = {t.data_type for t in graph.graph.initializer if len(t.dims) == 4 and np.prod(t.dims) >= 256}
    assert kinds == {onnx.TensorProto.FLOAT16}
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    assert FANConfig.from_json(entries[CONFIG_KEY]) == network.config
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_the_card_round_trip_and_the_store(exported: Path, empty_cache: Path) -> None:
    folder = empty_cache / "models"
    folder.mkdir(parents=True)
    card, file = store.resolve_extractor(exported)
    assert file == exported
    assert ExtractorCard.from_json(card.to_json()) == card
    assert (card.points, card.size, card.channels, card.side) == (68, 256, CONFIG.channels, 64)
    for source in (exported, card_beside(exported)):
        (folder / source.name).write_bytes(source.read_bytes())
    assert store.resolve_extractor("fan_tiny.test")[1] == folder / exported.name
    assert store.path("fan_tiny.test") == folder / exported.name
    assert "fan_tiny.test" in store.names()
    assert "fan_tiny.test" not in store.model_names()
    assert [name for name in store.card_files() if "fan_tiny" in name] == []
    store.cards()  # the extractor's card is not read as a model's


def test_what_does_not_belong_together_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no extractor is called 'fan_none'"):
        store.resolve_extractor("fan_none")
    copy = tmp_path / exported.name
    with pytest.raises(WeightsError, match="no such extractor file"):
        store.resolve_extractor(copy)
    copy.write_bytes(exported.read_bytes())
    with pytest.raises(WeightsError, match=r"fan_tiny\.test\.extractor\.json is not beside it"):
        store.resolve_extractor(copy)
    card = ExtractorCard.read(card_beside(exported))
    card_beside(copy).write_text(dataclasses.replace(card, channels=7).to_json())
    with pytest.raises(WeightsError, match="promises"):
        FAN256(copy)
    copy.write_bytes(exported.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="not the extractor its card"):
        store.resolve_extractor(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('"points": 68', "points must be a whole number"),
        ('"size": 256', "unknown key 'sizes'"),
        ('"architecture": "fan_tiny"', "does not begin with 'fan'"),
    ],
)
def test_cards_are_read_strictly(exported: Path, change: str, said: str) -> None:
    wrong = {
        '"points": 68': '"points": "68"',
        '"size": 256': '"size": 256, "sizes": 1',
        '"architecture": "fan_tiny"': '"architecture": "fan"',
    }
    text = card_beside(exported).read_text().replace(change, wrong[change])
    with pytest.raises(WeightsError, match=said):
        ExtractorCard.from_json(text, "here")


def test_nothing_is_written_that_differs(network: FAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "check_parity", lambda *_: (0.1, 0.0))
    with pytest.raises(OutputError, match=r"differs from PyTorch by 0\.1"):
        export_fan(network, tmp_path / "a.onnx", FACTS)
    with pytest.raises(UsageError, match="no alignment template"):
        export_fan(network, tmp_path / "a.onnx", dataclasses.replace(FACTS, template="fan9"))
    with pytest.raises(UsageError, match=r"form architecture\.tag"):
        export_fan(network, tmp_path / "a.onnx", dataclasses.replace(FACTS, name="a"))
    with pytest.raises(UsageError, match=r"end in \.onnx"):
        export_fan(network, tmp_path / "a.pt", FACTS)
    assert list(tmp_path.iterdir()) == []
