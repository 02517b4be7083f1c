"""An AU model with random weights that looks at pixels: a real ONNX graph, run by the real ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from random_model import WIDTHS, write_graph

SIZE = 112
CELL = 8
NAME = "linear_pixels.random"


def matrices(size: int = SIZE, seed: int = 3) -> dict[str, np.ndarray]:
    """The linear map of each output, (3 · (size / CELL)², width); nothing about it is symmetric."""
    rng = np.random.default_rng(seed)
    values = 3 * (size // CELL) ** 2
    return {name: rng.normal(0, 0.1, (values, width)).astype(np.float32) for name, width in WIDTHS.items()}


def by_hand(crops: np.ndarray, size: int = SIZE) -> dict[str, np.ndarray]:
    """What the model says about crops (n, size, size, 3) uint8: means of cells, in [0, 1], less a half, times the matrix."""
    cells = size // CELL
    means = crops.reshape(len(crops), cells, CELL, cells, CELL, 3).mean((2, 4)) / 255 - 0.5
    flat = means.transpose(0, 3, 1, 2).reshape(len(crops), -1)
    return {name: flat @ matrix for name, matrix in matrices(size).items()}


def graph(size: int = SIZE, entrance: str = "pixels") -> onnx.GraphProto:
    """The same as a graph."""
    pool = helper.make_node("AveragePool", [entrance], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    nodes = [
        pool,
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Sub", ["flat", "half"], ["from_half"]),
    ]
    nodes += [helper.make_node("MatMul", ["from_half", f"{name}_w"], [name]) for name in WIDTHS]
    constants = [numpy_helper.from_array(np.array(0.5, np.float32), "half")]
    constants += [numpy_helper.from_array(matrix, f"{name}_w") for name, matrix in matrices(size).items()]
    return helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(entrance, TensorProto.FLOAT, ["b", 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", width]) for name, width in WIDTHS.items()],
        constants,
    )


def write_pixel_model(folder: Path, size: int = SIZE, entrance: str = "pixels", **changes: object) -> Path:
    """Write the model and its card, see `random_model.write_graph`. Returns the ONNX file."""
    fields = {"extractor": "pixels", "input": {"pixels": (3, size, size)}, "template": "face224"}
    return write_graph(graph(size, entrance), folder, **{"name": NAME, **fields, **changes})  # type: ignore[arg-type]
