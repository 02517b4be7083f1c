"""Networks that look at pixels, from PyTorch to `openau detect`; also with 8-bit products."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from openau.errors import OutputError, UsageError
from openau.faces.align import TEMPLATES, align, planes
from openau.models.vit import ViT, ViTConfig
from openau.runtime import Detector
from openau.training.au_file import Exported, Facts
from openau.training.calibrate import AffineMap, Calibration
from openau.training.export_pixels import export_pixels, settled
from openau.training.onnx_file import session_of, spell_out_softmax, store_in_half, widen
from openau.training.quantise import quantise

AUS = (1, 2, 4, 12, 25)
SIZE = 48
FACTS = Facts("tiny_vit.test", "nothing: the weights are random", "none", "is a test", licence="CC0-1.0")
CALIBRATION = Calibration(
    tuple(AffineMap(1 + 0.2 * a, 0.3 - 0.2 * a) for a in range(5)), (), (-1.5, -1.6, -1.7, -1.8, -1.9), ()
)


class Settled(nn.Module):
    """Two linear maps as one."""

    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", whole.weight.detach().clone())
        self.register_buffer("bias", whole.bias.detach().clone())

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.linear(tokens, self.weight, self.bias)


class Parts(nn.Module):
    """Two linear maps, whose form for inference is one; `wrong` is an error in it."""

    def __init__(self, width: int, wrong: float = 0) -> None:
        super().__init__()
        self.down, self.up, self.wrong = nn.Linear(width, 8), nn.Linear(8, width), wrong

    def settle(self) -> nn.Module:
        whole = nn.Linear(self.down.in_features, self.up.out_features)
        whole.weight.data = self.up.weight @ self.down.weight
        whole.bias.data = self.up(self.down.bias) + self.wrong
        return Settled(whole)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.up(self.down(tokens))


class InPlace(nn.Module):
    """A scale computed anew each time, until it is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.logit, self.scale = nn.Parameter(torch.tensor(0.3)), None

    def settle(self) -> None:
        self.scale = float(torch.sigmoid(self.logit))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * (torch.sigmoid(self.logit) if self.scale is None else self.scale)


class TinyViT(nn.Module):
    """A ViT made for pictures of another size, parts that settle, a head."""

    def __init__(self, wrong: float = 0) -> None:
        super().__init__()
        self.vit = ViT(ViTConfig(32, 1, 2, patch=16, size=64))
        self.parts = nn.Sequential(InPlace(), Parts(32, wrong))
        self.head = nn.Linear(32, len(AUS))
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.4)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.vit(pixels)
        return self.head((tokens + self.parts(tokens))[:, 0])


def tiny_vit(wrong: float = 0) -> TinyViT:
    torch.manual_seed(0)
    return TinyViT(wrong)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """(12, 48, 48, 3): squares of photographs."""
    photo = data.astronaut()
    return np.stack([photo[y : y + SIZE, x : x + SIZE] for y in (0, 90, 180) for x in (60, 150, 240, 330)])


@pytest.fixture(scope="module")
def model() -> TinyViT:
    return tiny_vit().train()


@pytest.fixture(scope="module")
def exported(model: TinyViT, crops: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    stated = {"backbone": "vit_tiny_face.synth", "backbone_sha256": "0" * 64}
    out = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return export_pixels(model, SIZE, AUS, CALIBRATION, out, FACTS, crops, metadata=stated)


def calibrated(model: nn.Module, crops: np.ndarray) -> np.ndarray:
    """By hand, in PyTorch."""
    was, _ = model.training, model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255).numpy()
    model.train(was)
    return logits * [f.scale for f in CALIBRATION.occurrence] + [f.shift for f in CALIBRATION.occurrence]


def test_the_file_gives_the_calibrated_logits_for_any_number_of_faces(
    exported: Exported, model: TinyViT, crops: np.ndarray
) -> None:
    session = ort.InferenceSession(str(exported.file), providers=["CPUExecutionProvider"])
    wanted = calibrated(model, crops)
    assert np.ptp(wanted, axis=0).min() > 0.3
    for count in (1, 4, 12):
        (given,) = session.run(["occurrence"], {"pixels": planes(crops[:count])})
        np.testing.assert_allclose(given, wanted[:count], atol=0.01)  # 16-bit weights: close, not equal
    assert exported.parity <= 1e-4
    assert 1e-5 < exported.rounding < 0.01
    assert model.training
    assert isinstance(model.parts[1], Parts)


def test_the_file_describes_itself_and_is_half_the_size(exported: Exported) -> None:
    graph = onnx.load(exported.file)
    onnx.checker.check_model(graph)
    stated = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(stated["aus"]) == list(AUS)
    assert json.loads(stated["neutral_logits"]) == {"occurrence": list(CALIBRATION.neutral_occurrence)}
    assert stated["backbone"] == "vit_tiny_face.synth"
    assert set(stated) == {"aus", "intensity_aus", "sided_aus", "neutral_logits", "backbone", "backbone_sha256"}
    large = [t for t in graph.graph.initializer if np.prod(t.dims) >= 1024]
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
    card = exported.card
    assert (card.extractor, dict(card.input), card.template) == ("pixels", {"pixels": (3, SIZE, SIZE)}, "face224")
    content = exported.file.read_bytes()
    for trace in (b".py", b"stack_trace", b"site-packages", str(Path.home()).encode()):
        assert trace not in content


@pytest.mark.weights
def test_detection_says_what_pytorch_says(exported: Exported, model: TinyViT) -> None:
    image = data.astronaut()
    faces = Detector(exported.file).detect(image)
    crop, _ = align(image, faces.landmarks[0], TEMPLATES["face224"].at(SIZE))
    logits = calibrated(model, np.stack([crop, crop[:, ::-1]])).mean(axis=0)
    np.testing.assert_allclose(faces.values[0], 1 / (1 + np.exp(-logits)), atol=0.01)
    assert faces.columns.occurrence == AUS


def test_settling_replaces_parts_of_the_copy_only(model: TinyViT, crops: np.ndarray) -> None:
    made = settled(model)
    assert isinstance(made.parts[1], Settled)
    assert isinstance(made.parts[0].scale, float)
    assert model.parts[0].scale is None
    np.testing.assert_allclose(calibrated(made, crops), calibrated(model, crops), atol=1e-5)
    assert not any(weight.requires_grad for weight in made.parameters())


def test_8_bit_products_are_told_apart_by_how_far_they_move(exported: Exported, crops: np.ndarray) -> None:
    out = exported.file.with_name("tiny_int8.onnx")
    done = quantise(exported.file, out, {"pixels": planes(crops)})
    graph = onnx.load(out)
    products = [node.op_type for node in graph.graph.node if "MatMul" in node.op_type]
    assert products.count("MatMulInteger") >= 4  # attention's two, the MLP's two
    assert done.card.name == "tiny_vit.test_int8"
    assert out.stat().st_size < exported.file.stat().st_size
    assert done.card.recipe == "none; then its matrix products in 8 bits"
    runs = [
        ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"pixels": planes(crops)})[0]
        for file in (exported.file, out)
    ]
    moves = np.abs(runs[1] - runs[0])
    assert 0 < done.mean < 0.05
    assert (done.largest, done.mean) == pytest.approx((moves.max(), moves.mean()), rel=1e-3)
    assert done.flips == pytest.approx(((runs[0] > 0) != (runs[1] > 0)).mean())
    stated = [{e.key: e.value for e in onnx.load(file).metadata_props} for file in (exported.file, out)]
    assert stated[0] == stated[1]
    with pytest.raises(UsageError, match="must be given as"):
        quantise(exported.file, out, {"pixels": planes(crops[:, :32, :32])})


@pytest.mark.parametrize(("axis", "nodes"), [(0, 5), (1, 5), (2, 1), (-1, 1)])
def test_softmax_along_any_axis_is_the_same_spelt_out(axis: int, nodes: int) -> None:
    shape = ["b", 4, 5]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Mul", ["x", "x"], ["y"]),
                onnx.helper.make_node("Softmax", ["y"], ["z"], axis=axis),
                onnx.helper.make_node("Neg", ["z"], ["out"]),
            ],
            "softmax",
            [value("x", onnx.TensorProto.FLOAT, shape)],
            [value("out", onnx.TensorProto.FLOAT, shape)],
            value_info=[value("y", onnx.TensorProto.FLOAT, shape)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )
    spell_out_softmax(graph)
    assert len(graph.graph.node) == nodes + 2
    x = 5 * np.random.default_rng(0).standard_normal((3, 4, 5), np.float32)
    (given,) = session_of(graph.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(given, -torch.from_numpy(x * x).softmax(axis).numpy(), atol=1e-6)


def test_a_vits_batch_axis_is_free_without_the_exporters_slow_way(model: TinyViT) -> None:
    """`len(tensor)` in a forward pass, for one, would send the exporter through Dynamo, which takes minutes for a whole ViT."""
    free = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.export(settled(model), (torch.zeros(2, 3, SIZE, SIZE),), dynamic_shapes=free, strict=False)


def test_widening_undoes_storage_in_16_bits(exported: Exported) -> None:
    stored = onnx.load(exported.file)
    wide = widen(stored)
    assert not any(node.op_type == "Cast" and "half" in node.input[0] for node in wide.graph.node)
    assert {t.data_type for t in wide.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert store_in_half(wide).SerializeToString() == stored.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"aus": AUS[:4]}, "calibration is of 5 AUs, not of 4"),
        (
            {"aus": AUS[:4], "calibration": Calibration.identity(4, 0)},
            r"gives \(5,\) logits of a face, not one for each of 4",
        ),
        ({"size": 40}, r"needs crops of 40×40 RGB bytes, not an array \(12, 48, 48, 3\) of uint8"),
        (
            {"size": 40, "crops": np.zeros((1, 40, 40, 3), np.uint8)},
            "cannot judge such crops: patches of 16 pixels do not divide",
        ),
        ({"crops": np.zeros((0, SIZE, SIZE, 3), np.uint8)}, "needs crops"),
        ({"crops": np.zeros((2, SIZE, SIZE, 3), np.float32)}, "of float32"),
        ({"template": "face9"}, "no alignment template is called 'face9'"),
        ({"out": "m.pt"}, r"m\.pt: the name of what is exported must end in \.onnx"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_one_sentence(
    model: TinyViT, crops: np.ndarray, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    given = {
        "size": SIZE,
        "aus": AUS,
        "calibration": CALIBRATION,
        "crops": crops,
        "facts": FACTS,
        "out": "m.onnx",
        **changes,
    }
    given["out"] = tmp_path / str(given["out"])
    with pytest.raises(UsageError, match=sentence) as caught:
        export_pixels(model, **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_form_for_inference_that_says_something_else_is_refused(crops: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="form for inference differs from it by"):
        export_pixels(tiny_vit(wrong=0.01), SIZE, AUS, CALIBRATION, tmp_path / "m.onnx", FACTS, crops)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_full_precision_and_bad_names(model: TinyViT, crops: np.ndarray, exported: Exported, tmp_path: Path) -> None:
    full = export_pixels(model, SIZE, AUS, CALIBRATION, tmp_path / "full.onnx", FACTS, crops, half=False)
    assert full.rounding < 1e-4
    assert exported.file.stat().st_size < 0.8 * full.file.stat().st_size
    with pytest.raises(UsageError, match=r"no card can be written: 'nodot' is not of the form architecture\.tag"):
        export_pixels(model, SIZE, AUS, CALIBRATION, tmp_path / "m.onnx", replace(FACTS, name="nodot"), crops)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.json", "full.onnx"]
