"""What exporters share: a clean ONNX file, half the size where 16 bits do, checked in ONNX Runtime, written with its card or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from onnxscript import optimizer
from torch import Tensor, nn

from openau.errors import OutputError, UsageError
from openau.outputs import require_folder, whole_file
from openau.weights.cards import Asset, Packaged

Floats = npt.NDArray[np.float32]

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between PyTorch's and ONNX Runtime's outputs that is accepted."""
_HALF_FROM = 256


def require_target(out: Path) -> None:
    """Check that an ONNX file may be written here, before any work is done.

    Raises:
        UsageError: its name does not end in .onnx.
        OutputError: there is no such folder.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"{out}: the name of what is exported must end in .onnx")
    require_folder(out)


def to_onnx(module: nn.Module, examples: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """A module as an ONNX graph with a free batch axis.

    Args:
        module: in evaluation mode.
        examples: name of each input → an example, two or more rows.
        outputs: names of what it gives.
    """
    batch: Any = torch.export.Dim.DYNAMIC
    with silent():
        program = torch.onnx.export(
            module, tuple(examples.values()), input_names=list(examples), output_names=list(outputs), opset_version=OPSET,
            dynamo=True, dynamic_shapes=tuple({0: batch} for _ in examples), external_data=False, verbose=False, optimize=False,
        )  # fmt: skip
        assert program is not None
        # The optimiser tries its rules on every node: without those that folding leaves over, most of them, it takes a tenth of the time.
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        program.optimize()
    return program.model_proto


def gaps(
    payload: bytes,
    rounded: nn.Module,
    exact: nn.Module,
    batches: Iterable[tuple[Mapping[str, Floats], bool]],
    outputs: Sequence[str],
    relative: bool = False,
) -> tuple[float, float]:
    """Largest difference of ONNX Runtime to PyTorch, and of the rounded weights to the exact ones.

    Args:
        payload: the ONNX file.
        rounded: the module it was made of; gives a tuple.
        exact: the same before its weights were rounded.
        batches: name of each input → values, and whether they are real ones, on which rounding is measured.
        outputs: names of what the modules give.
        relative: in parts of an output's largest value, where that is above 1.
    """
    session = session_of(payload)
    parity = rounding = 0.0
    for inputs, real in batches:
        given = session.run(list(outputs), dict(inputs))
        tensors = [torch.from_numpy(values) for values in inputs.values()]
        with torch.no_grad():
            wanted = [part.numpy() for part in rounded(*tensors)]
            unrounded = [part.numpy() for part in exact(*tensors)] if real else wanted
        for a, b, c in zip(given, wanted, unrounded, strict=True):
            scale = max(1.0, float(np.abs(c).max(initial=0))) if relative else 1.0
            parity = max(parity, largest_gap(a, b) / scale)
            rounding = max(rounding, largest_gap(b, c) / scale)
    return parity, rounding


def require_parity(out: Path, parity: float) -> None:
    """Refuse a file that does not give what the module gives.

    Raises:
        OutputError: the difference is above `TOLERANCE`, or not a number.
    """
    if not parity <= TOLERANCE:
        raise OutputError(
            f"{out}: not written, because ONNX Runtime differs from PyTorch by {parity:.2g} (at most {TOLERANCE:g} is accepted)"
        )


def asset_beside(out: Path, payload: bytes, name: str, licence: str, origin: str) -> Asset:
    """The file as the card beside it names it.

    Raises:
        ValueError: one of these cannot be.
    """
    sha256 = hashlib.sha256(payload).hexdigest()
    return Asset(name, sha256, len(payload), licence, origin, (Packaged(out.name),))


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


def spell_out_softmax(graph: onnx.ModelProto) -> None:
    """Write softmax along another axis than the last as max, exp and sum: ONNX Runtime's own transposes there and back, and is slow."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.graph.value_info}
    nodes: list[onnx.NodeProto] = []
    for node in graph.graph.node:
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1) if node.op_type == "Softmax" else -1
        if axis == -1 or axis == ranks.get(node.input[0], axis + 1) - 1:
            nodes.append(node)
            continue
        given, wanted = node.input[0], node.output[0]
        largest, below, raised, total, along = (f"{wanted}_{part}" for part in ("max", "below", "exp", "sum", "axis"))
        graph.graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), along))
        nodes += [
            helper.make_node("ReduceMax", [given, along], [largest], keepdims=1),
            helper.make_node("Sub", [given, largest], [below]),
            helper.make_node("Exp", [below], [raised]),
            helper.make_node("ReduceSum", [raised, along], [total], keepdims=1),
            helper.make_node("Div", [raised, total], [wanted]),
        ]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph)


def widen(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Inverse of `store_in_half`: weights in 32 bits, no casts."""
    wide = onnx.ModelProto()
    wide.CopyFrom(graph)
    halves = {t.name: t for t in wide.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    for node in [node for node in wide.graph.node if node.op_type == "Cast" and node.input[0] in halves]:
        tensor = halves[node.input[0]]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        wide.graph.node.remove(node)
    return wide


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
