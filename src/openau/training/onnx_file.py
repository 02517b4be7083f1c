"""What exporters share: a clean ONNX file, half the size where 16 bits do, checked in ONNX Runtime, written with its card or not at all."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from openau.outputs import whole_file

Floats = npt.NDArray[np.float32]

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between PyTorch's and ONNX Runtime's outputs that is accepted."""
_HALF_FROM = 256


def describe(graph: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Replace the exporter's traces of source files by metadata a reader of the file needs."""
    for part in (
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.input,
        *graph.graph.output,
        *graph.graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    graph.graph.name = "openau"
    graph.producer_name, graph.producer_version = "openau", ""
    helper.set_model_props(graph, dict(entries))


def store_in_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Keep large weights that 16 bits hold exactly in 16 bits, each followed by a cast that ONNX Runtime performs once, on loading."""
    small = onnx.ModelProto()
    small.CopyFrom(graph)
    casts = []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if not np.array_equal(rounded.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(rounded, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small)
    return small


def session_of(payload: bytes) -> Any:
    """The graph in ONNX Runtime, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(payload, options, providers=["CPUExecutionProvider"])


def largest_gap(a: Floats, b: Floats) -> float:
    """Largest difference of two arrays; infinite if their shapes differ or a value is not finite."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0))


def write_pair(*files: tuple[Path, bytes]) -> None:
    """Write several files, all or none.

    Raises:
        OutputError: one cannot be written.
    """
    with ExitStack() as stack:
        for path, content in files:
            stack.enter_context(whole_file(path)).write_bytes(content)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the exporter's progress report and its advice to itself; errors still come through."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
