"""A finished AU model with its matrix products in 8 bits: faster on many CPUs, a little different; how much is told, not judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from openau.errors import UsageError
from openau.outputs import scratch_beside, writing
from openau.training.onnx_file import (
    asset_beside,
    describe,
    require_target,
    session_of,
    silent,
    store_in_half,
    widen,
    write_pair,
)
from openau.weights.cards import ModelCard
from openau.weights.store import resolve_model

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantised:
    """What was written, and how far calibrated logits of the occurrence moved on the faces given.

    Attributes:
        file: the ONNX file; its card lies beside it.
        card: its card, without measures: those of the exact model are not its own.
        largest: largest move.
        mean: mean size of a move.
        flips: share of the verdicts (faces × AUs) that changed sides of 0, the threshold.
    """

    file: Path
    card: ModelCard
    largest: float
    mean: float
    flips: float


def quantise(model: Path, out: Path, inputs: Mapping[str, Floats], name: str | None = None) -> Quantised:
    """Write a copy of an exported model whose products with weights are made of 8-bit integers, and its card.

    Weights get a scale per column, once; activations a scale per batch, each time (dynamic quantisation, ONNX Runtime's). Because of
    the latter, what is said about a face depends a little on which faces are judged with it.

    Args:
        model: an exported model, FILE.onnx with its card FILE.json beside it.
        out: the ONNX file to write.
        inputs: name of each input → (n, …), real faces, on which the difference is measured; for pixels `openau.faces.align.planes`.
        name: architecture.tag of the new card; default the old one with `_int8` after it.

    Raises:
        UsageError: `out` does not end in .onnx, the inputs are not the model's, or the name cannot be.
        OutputError: `out` cannot be written.
        WeightsError: the model or its card cannot be had.
    """
    require_target(out)
    card, file = resolve_model(model)
    if {key: values.shape[1:] for key, values in inputs.items()} != dict(card.input):
        raise UsageError(f"{model}: the faces to compare on must be given as {dict(card.input)} says, one row each")
    before = session_of(file.read_bytes()).run(["occurrence"], dict(inputs))[0]
    payload = _quantised(onnx.load(file), out)
    after = session_of(payload).run(["occurrence"], dict(inputs))[0]
    try:
        called = name or f"{card.name}_int8"
        made = replace(
            card, name=called, architecture=called.partition(".")[0], measured={},
            recipe=f"{card.recipe}; then its matrix products in 8 bits".removeprefix("; "),
            asset=asset_beside(out, payload, called, card.asset.licence, card.asset.origin),
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"{out}: no card can be written: {error}") from None
    write_pair((out, payload), (out.with_suffix(".json"), made.to_json().encode()))
    moves = np.abs(after - before)
    return Quantised(out, made, float(moves.max()), float(moves.mean()), float(((after > 0) != (before > 0)).mean()))


def _quantised(graph: onnx.ModelProto, out: Path) -> bytes:
    """The graph's file with 8-bit products; ONNX Runtime's own tool writes to a path, one beside `out` that does not stay."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    scratch = scratch_beside(out)
    try:
        with writing(out), silent():
            quantize_dynamic(
                widen(graph), scratch, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )  # fmt: skip
            made = onnx.load(scratch)
        describe(made, {entry.key: entry.value for entry in graph.metadata_props})
        return bytes(store_in_half(made).SerializeToString())
    finally:
        scratch.unlink(missing_ok=True)
