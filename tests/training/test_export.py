import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from held_out_training import train_held_out

import openau.training.export as export_module
from openau.errors import OutputError, UsageError
from openau.models.fantrans import Ensemble
from openau.runtime.network import AUNetwork
from openau.training.au_file import Facts
from openau.training.calibrate import AffineMap, Calibration
from openau.training.checkpoint import BEST, load_checkpoint
from openau.training.export import export
from openau.training.features import FeatureStore
from openau.training.recipes import FANTRANS
from openau.weights.assets import ASSETS
from openau.weights.store import resolve_model

FACTS = Facts("fantrans_facemesh.test", "look-alike features", "two epochs", "is a test")
CALIBRATION = Calibration(
    tuple(AffineMap(1 + 0.1 * a, -0.3 * a) for a in range(6)),
    (AffineMap(2.0, 0.5), AffineMap(0.5, -1.0)),
    (-1.5,) * 6,
    (-2.5, -3.5),
)


@pytest.fixture(scope="module")
def models(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> list:
    out = tmp_path_factory.mktemp("runs")
    quick = replace(FANTRANS, epochs=2)
    recipes = (quick, replace(quick, model={"hypercolumns": False, "depth": 1}))
    return [
        load_checkpoint(train_held_out(store, out / str(i), recipe).run / BEST).model
        for i, recipe in enumerate(recipes)
    ]


@pytest.fixture(scope="module")
def exported(models: list, store: FeatureStore, tmp_path_factory: pytest.TempPathFactory):
    return export(models, CALIBRATION, store, tmp_path_factory.mktemp("exported") / "m.onnx", FACTS)


def test_file_gives_the_calibrated_mean_of_the_heads(exported, models: list, store: FeatureStore) -> None:
    session = ort.InferenceSession(str(exported.file), providers=["CPUExecutionProvider"])
    rows = np.flatnonzero(store.ok[:, 0])
    for count in (1, 2, 5, 33):
        geometry, columns = (
            np.array(store.geometry[rows[:count], 0]),
            np.array(store.hypercolumns[rows[:count], 0], np.float32),
        )
        occurrence, intensity, left, right = session.run(
            ["occurrence", "intensity", "left", "right"], {"geometry": geometry, "hypercolumns": columns}
        )
        with torch.no_grad():
            raw = [part.numpy() for part in Ensemble(models)(torch.from_numpy(geometry), torch.from_numpy(columns))]
        scale, shift = 1 + 0.1 * np.arange(6), -0.3 * np.arange(6)
        # 16-bit weights: close, not equal
        np.testing.assert_allclose(occurrence, raw[0] * scale + shift, atol=0.05)
        np.testing.assert_allclose(intensity, raw[1], atol=0.05)
        np.testing.assert_allclose(left, raw[2] * [2, 0.5] + [0.5, -1], atol=0.05)
        np.testing.assert_allclose(right, raw[3] * [2, 0.5] + [0.5, -1], atol=0.05)
    assert exported.parity <= 1e-4
    assert 0 < exported.rounding < 0.05


def test_the_runtime_takes_it(exported, store: FeatureStore) -> None:
    card, file = resolve_model(str(exported.file))
    network = AUNetwork(file, card)
    said = network.predict(
        geometry=np.array(store.geometry[:3, 0]), hypercolumns=np.array(store.hypercolumns[:3, 0], np.float32)
    )
    assert said.occurrence.shape == (3, 6)
    assert card == exported.card
    np.testing.assert_allclose(network.neutral.occurrence, [[-1.5] * 6])
    np.testing.assert_allclose(network.neutral.left, [[-2.5, -3.5]])


def test_half_the_size_and_nothing_of_this_machine_in_it(
    exported, models: list, store: FeatureStore, tmp_path: Path
) -> None:
    full = export(models, CALIBRATION, store, tmp_path / "full.onnx", FACTS, half=False)
    assert exported.file.stat().st_size < 0.65 * full.file.stat().st_size
    assert full.rounding < 1e-4
    text = exported.file.read_bytes()
    for trace in (b".py", b"stack_trace", str(Path.home()).encode(), b"site-packages"):
        assert trace not in text
    graph = onnx.load(exported.file)
    onnx.checker.check_model(graph)
    stated = {entry.key: entry.value for entry in graph.metadata_props}
    assert set(stated) == {"aus", "intensity_aus", "sided_aus", "neutral_logits", "extractor_sha256"}
    assert json.loads(stated["aus"]) == list(models[0].config.aus)
    assert stated["extractor_sha256"] == ASSETS["face_mesh"].sha256


def test_nothing_is_written_if_the_graph_is_wrong(
    models: list, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export_module.to_onnx

    def wrong(head):
        graph = right(head)
        bias = next(t for t in graph.graph.initializer if t.name.endswith("occurrence.shift"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-3), bias.name))
        return graph

    monkeypatch.setattr(export_module, "to_onnx", wrong)
    with pytest.raises(OutputError, match="differs from PyTorch"):
        export(models[1:], CALIBRATION, store, tmp_path / "m.onnx", FACTS)
    assert not list(tmp_path.iterdir())


def test_bad_requests(models: list, store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export(models, CALIBRATION, store, tmp_path / "m.pt", FACTS)
    with pytest.raises(UsageError, match=r"architecture\.tag"):
        export(models[1:], CALIBRATION, store, tmp_path / "m.onnx", replace(FACTS, name="nodot"))
    with pytest.raises(OutputError, match="cannot be written"):
        export(models[1:], CALIBRATION, store, tmp_path / "nowhere" / "m.onnx", FACTS)
    assert not list(tmp_path.iterdir())
