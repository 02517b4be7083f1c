"""An AU model with random weights: a real ONNX graph of the exported models' shape, run by the real ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from openau.faces.features import CHANNELS, GEOMETRY_SIZE, POINTS
from openau.weights.cards import Asset, ModelCard, Packaged

AUS = (1, 2, 4, 6, 7, 12, 14, 15, 17, 25, 26, 43)
INTENSITY = (6, 12, 25)
SIDED = (2, 12)
WIDTHS = {"occurrence": len(AUS), "intensity": len(INTENSITY), "left": len(SIDED), "right": len(SIDED)}


def weights(seed: int = 7) -> dict[str, np.ndarray]:
    """Matrices of the two linear maps of each output."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, width in WIDTHS.items():
        made[f"{name}_g"] = rng.normal(0, 0.05, (GEOMETRY_SIZE, width)).astype(np.float32)
        made[f"{name}_h"] = rng.normal(0, 0.2, (CHANNELS, width)).astype(np.float32)
    return made


def graph(widths: dict[str, int], matrices: dict[str, np.ndarray]) -> onnx.GraphProto:
    """output = geometry @ G + mean over points of hypercolumns @ H."""
    nodes = [helper.make_node("ReduceMean", ["hypercolumns", "axis"], ["pooled"], keepdims=0)]
    constants = [numpy_helper.from_array(np.array([1], np.int64), "axis")]
    constants += [numpy_helper.from_array(matrix, name) for name, matrix in matrices.items()]
    for name in widths:
        nodes.append(helper.make_node("MatMul", ["geometry", f"{name}_g"], [f"{name}_a"]))
        nodes.append(helper.make_node("MatMul", ["pooled", f"{name}_h"], [f"{name}_b"]))
        nodes.append(helper.make_node("Add", [f"{name}_a", f"{name}_b"], [name]))
    inputs = {"geometry": ["b", GEOMETRY_SIZE], "hypercolumns": ["b", len(POINTS), CHANNELS]}
    return helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", width]) for name, width in widths.items()],
        constants,
    )


def write_model(
    folder: Path,
    name: str = "linear.random",
    neutral: dict[str, list[float]] | None = None,
    metadata: dict[str, str] | None = None,
    **changes: object,
) -> Path:
    """Write `<name>.onnx` and its card; `metadata` goes into the file, `changes` replace fields of the card. Returns the ONNX file."""
    fields = {
        "extractor": "face_mesh",
        "input": {"geometry": (GEOMETRY_SIZE,), "hypercolumns": (len(POINTS), CHANNELS)},
        "template": "mesh192",
    }
    return write_graph(graph(WIDTHS, weights()), folder, name, neutral, metadata, **{**fields, **changes})


def write_graph(
    made: onnx.GraphProto,
    folder: Path,
    name: str,
    neutral: dict[str, list[float]] | None = None,
    metadata: dict[str, str] | None = None,
    **changes: object,
) -> Path:
    """Write a graph with the outputs `WIDTHS` and its card; `changes` say how it is to be fed and replace other fields."""
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    stated = {} if neutral is None else {"neutral_logits": json.dumps(neutral)}
    helper.set_model_props(model, stated | (metadata or {}))
    content = model.SerializeToString()
    file = folder / f"{name}.onnx"
    file.write_bytes(content)
    fields: dict[str, object] = {
        "name": name,
        "architecture": name.split(".")[0],
        "aus": AUS,
        "intensity_aus": INTENSITY,
        "sided_aus": SIDED,
        "normalisation": "inside the graph",
        "asset": Asset(
            name, hashlib.sha256(content).hexdigest(), len(content), "CC0-1.0", "a test", (Packaged(file.name),)
        ),
        "licence": "CC0-1.0",
        "origin": "a test",
        "trained_on": "nothing: the weights are random",
        "recipe": "",
        "measured": {},
        "limits": "a test; it knows nothing about faces",
        **changes,
    }
    file.with_suffix(".json").write_text(ModelCard(**fields).to_json(), encoding="utf-8")  # type: ignore[arg-type]
    return file
