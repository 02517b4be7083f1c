"""The AU network at run time: the graph's numbers, mirror averaging, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from random_model import AUS, INTENSITY, SIDED, WIDTHS, weights, write_model

from openau.errors import WeightsError
from openau.faces.features import CHANNELS, GEOMETRY_SIZE, POINTS
from openau.runtime.detector import Detector
from openau.runtime.network import EXTRACTOR_KEY, USUAL_NEUTRAL, AUNetwork, Prediction, mirror_mean, sigmoid
from openau.weights.store import resolve_model


def load(file: Path) -> AUNetwork:
    card, path = resolve_model(file)
    return AUNetwork(path, card)


def random_prediction(n: int, seed: int) -> Prediction:
    rng = np.random.default_rng(seed)
    return Prediction(**{name: rng.normal(0, 3, (n, width)).astype(np.float32) for name, width in WIDTHS.items()})


def test_logits_are_those_of_the_graph(model: Path) -> None:
    rng = np.random.default_rng(0)
    geometry = rng.normal(size=(3, GEOMETRY_SIZE)).astype(np.float32)
    columns = rng.normal(size=(3, len(POINTS), CHANNELS)).astype(np.float32)
    prediction = load(model).predict(geometry=geometry, hypercolumns=columns)
    matrices = weights()
    for name in WIDTHS:
        expected = geometry @ matrices[f"{name}_g"] + columns.mean(axis=1) @ matrices[f"{name}_h"]
        np.testing.assert_allclose(getattr(prediction, name), expected, atol=1e-4)


def test_no_face_is_no_row(model: Path) -> None:
    empty = load(model).predict(
        geometry=np.zeros((0, GEOMETRY_SIZE), np.float32),
        hypercolumns=np.zeros((0, len(POINTS), CHANNELS), np.float32),
    )
    assert len(empty) == 0


def test_values_follow_the_columns_of_the_table(model: Path) -> None:
    network, prediction = load(model), random_prediction(4, 1)
    table = dict(zip(network.columns.names, prediction.values().T, strict=True))
    assert list(table)[: len(AUS)] == [f"AU{n:02d}" for n in AUS]
    np.testing.assert_allclose(table["AU43"], 1 / (1 + np.exp(-prediction.occurrence[:, AUS.index(43)])), rtol=1e-5)
    np.testing.assert_allclose(table["AU12_i"], np.clip(prediction.intensity[:, INTENSITY.index(12)], 0, 5))
    np.testing.assert_allclose(table["AU12_L"], 1 / (1 + np.exp(-prediction.left[:, SIDED.index(12)])), rtol=1e-5)
    np.testing.assert_allclose(table["AU02_R"], 1 / (1 + np.exp(-prediction.right[:, SIDED.index(2)])), rtol=1e-5)
    assert len(table) == prediction.values().shape[1]


def test_sigmoid_neither_overflows_nor_loses_the_threshold() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(sigmoid(np.array([-1e4, 0, 1e4], np.float32)), [0, 0.5, 1])


def test_mirror_mean_does_not_depend_on_which_of_the_two_is_the_mirror_image() -> None:
    face, image = random_prediction(2, 1), random_prediction(2, 2)
    one, other = mirror_mean(face, image), mirror_mean(image, face)
    np.testing.assert_array_equal(one.occurrence, other.occurrence)
    np.testing.assert_array_equal(one.left, other.right)
    np.testing.assert_array_equal(one.left, (face.left + image.right) / 2)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, model: Path) -> None:
    card, _ = resolve_model(model)
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"x\.onnx: is not a model"):
        AUNetwork(tmp_path / "x.onnx", card)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"aus": AUS[:-1]}, "output 'occurrence' has 12 AUs, but the card of linear.random names 11"),
        ({"sided_aus": (2, 12, 14)}, "output 'left' has 2 AUs, but .* names 3"),
        ({"input": {"geometry": (5,), "hypercolumns": (len(POINTS), CHANNELS)}}, "the card of .* promises geometry 5"),
        (
            {"input": {"image": (3, 224, 224)}},
            "has the inputs geometry .*, but the card of .* promises image 3×224×224",
        ),
    ],
)
def test_a_card_that_promises_something_else_is_refused(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(WeightsError, match=sentence):
        load(write_model(tmp_path, **changes))


def test_the_usual_neutral_comes_from_the_file(tmp_path: Path, model: Path) -> None:
    assert set(load(model).neutral.occurrence.ravel()) == {np.float32(USUAL_NEUTRAL)}
    stated = load(write_model(tmp_path, neutral={"occurrence": [-1.5] * len(AUS), "left": [-3.0, -2.5]}))
    assert set(stated.neutral.occurrence.ravel()) == {np.float32(-1.5)}
    assert stated.neutral.left.tolist() == [[-3.0, -2.5]]
    with pytest.raises(WeightsError, match="does not fit"):
        load(write_model(tmp_path, neutral={"occurrence": [-1.5]}))


def test_a_model_for_one_face_at_a_time_is_refused_at_once(tmp_path: Path) -> None:
    file = write_model(tmp_path)
    card, _ = resolve_model(file)
    network = onnx.load(file)
    for tensor in (*network.graph.input, *network.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(network, file)
    with pytest.raises(WeightsError, match=r"linear\.random\.onnx: cannot judge two faces at once"):
        AUNetwork(file, card)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"template": "face224"}, "asks for face_mesh on face224, but face_mesh looks at mesh192"),
        (
            {"extractor": "fan_elsewhere.own"},
            "asks for the extractor fan_elsewhere.own, which does not lie beside it as fan_elsewhere.own.onnx: no extractor is",
        ),
        ({"sha256": "0" * 64}, "was trained on another file called face_mesh than face_mesh"),
    ],
)
def test_the_extractor_must_be_the_one_the_model_was_trained_on(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    digest = changes.pop("sha256", None)
    with pytest.raises(WeightsError, match=sentence):
        Detector(write_model(tmp_path, metadata={} if digest is None else {EXTRACTOR_KEY: digest}, **changes))
