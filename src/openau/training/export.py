"""From checkpoints to a file `openau detect` runs: one ONNX graph of one or several heads, calibrated, with its card.

The file is written only if ONNX Runtime gives what PyTorch gives, on random and on real features.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from openau.errors import OutputError, UsageError
from openau.models.attention_drop import AttentionDrop
from openau.models.fantrans import AUOutput, Ensemble, FANTrans
from openau.outputs import require_folder
from openau.training.calibrate import Calibration
from openau.training.joined import Features, layout_of
from openau.training.onnx_file import (
    OPSET,
    TOLERANCE,
    describe,
    largest_gap,
    session_of,
    silent,
    store_in_half,
    write_pair,
)
from openau.weights.cards import Asset, Measure, ModelCard, Packaged

Floats = npt.NDArray[np.float32]

PARITY_BATCHES = (1, 2, 7)
OUTPUTS = AUOutput._fields
_INPUTS = ("geometry", "hypercolumns")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card says beyond what the checkpoints know.

    Attributes:
        name: architecture.tag.
        trained_on: data, images, identities.
        recipe: enough to train again.
        limits: where the model fails and what it must not be used for.
        licence: SPDX. origin: who made it.
        measured: what → measure.
    """

    name: str
    trained_on: str
    recipe: str
    limits: str
    licence: str = "Apache-2.0"
    origin: str = "the OpenAU project"
    measured: Mapping[str, Measure] | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        file: the ONNX file; its card lies beside it.
        card: the card.
        parity: largest difference between PyTorch and ONNX Runtime over all checks.
        rounding: largest difference that storing weights in 16 bits makes to a calibrated logit or an intensity, on real features.
    """

    file: Path
    card: ModelCard
    parity: float
    rounding: float


class CalibratedHead(nn.Module):
    """An ensemble and its calibration as one module; outputs without AUs are left out.

    Shape:
        geometry (B, G), hypercolumns (B, P, C) → occurrence (B, A), intensity (B, A_i), left (B, S), right (B, S), where they have columns
    """

    def __init__(self, ensemble: Ensemble, calibration: Calibration) -> None:
        super().__init__()
        self.ensemble = ensemble
        config = ensemble.config
        widths = (len(config.aus), len(config.intensity_aus), len(config.sided_aus), len(config.sided_aus))
        self.names = tuple(name for name, width in zip(OUTPUTS, widths, strict=True) if width)
        for output, maps in (("occurrence", calibration.occurrence), ("sides", calibration.sides)):
            self.register_buffer(f"{output}_scale", torch.tensor([f.scale for f in maps]))
            self.register_buffer(f"{output}_shift", torch.tensor([f.shift for f in maps]))

    def forward(self, geometry: Tensor, hypercolumns: Tensor) -> tuple[Tensor, ...]:
        """Calibrated logits and intensities."""
        raw: AUOutput = self.ensemble(geometry, hypercolumns)
        calibrated = AUOutput(
            self._calibrate(raw.occurrence, "occurrence"),
            raw.intensity,
            self._calibrate(raw.left, "sides"),
            self._calibrate(raw.right, "sides"),
        )
        return tuple(getattr(calibrated, name) for name in self.names)

    def _calibrate(self, logits: Tensor, output: str) -> Tensor:
        return logits * self.get_buffer(f"{output}_scale") + self.get_buffer(f"{output}_shift")


def export(
    models: Sequence[FANTrans],
    calibration: Calibration,
    store: Features,
    out: Path,
    facts: Facts,
    half: bool = True,
) -> Exported:
    """Write `out` (.onnx) and the card beside it (.json), both or neither.

    Args:
        models: heads to average.
        calibration: of their mean.
        store: real features for the parity check.
        out: the ONNX file.
        facts: for the card.
        half: store the large weights in 16 bits; they are widened when the file is loaded.

    Raises:
        UsageError: the heads do not fit together, the file's suffix is not .onnx, or a fact cannot be (the name's form …).
        OutputError: the folder cannot be written, or ONNX Runtime does not give what PyTorch gives.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"{out}: the exported model's name must end in .onnx")
    require_folder(out)
    try:
        exact = CalibratedHead(Ensemble(copy.deepcopy(list(models))), calibration).eval()
    except ValueError as error:
        raise UsageError(str(error)) from None
    head = copy.deepcopy(exact)
    for model in head.ensemble.heads:
        _settle(model, half)
    graph = to_onnx(head)
    _describe(graph, head, calibration)
    payload = (store_in_half(graph) if half else graph).SerializeToString()
    parity, rounding = check_parity(payload, head, exact, store)
    if not parity <= TOLERANCE:
        raise OutputError(
            f"{out}: not written, because ONNX Runtime differs from PyTorch by {parity:.2g} (at most {TOLERANCE:g} is accepted)"
        )
    card = _card(head, payload, out, facts, layout_of(store).template)
    write_pair((out, payload), (out.with_suffix(".json"), card.to_json().encode()))
    return Exported(out, card, parity, rounding)


def to_onnx(head: CalibratedHead) -> onnx.ModelProto:
    """The module as an ONNX graph with a free batch axis."""
    config = head.ensemble.config
    example = (torch.zeros(2, config.geometry_size), torch.zeros(2, config.points, config.channels))
    batch: Any = torch.export.Dim.DYNAMIC
    with silent():
        program = torch.onnx.export(
            head, example, input_names=list(_INPUTS), output_names=list(head.names), opset_version=OPSET, dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}), external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def check_parity(payload: bytes, head: CalibratedHead, exact: CalibratedHead, store: Features) -> tuple[float, float]:
    """Largest difference of ONNX Runtime to PyTorch, and of the rounded to the exact weights (on real features)."""
    session = session_of(payload)
    rng = np.random.default_rng(0)
    parity = rounding = 0.0
    for count in PARITY_BATCHES:
        for real, (geometry, hypercolumns) in ((True, _real(store, count, rng)), (False, _random(store, count, rng))):
            given = session.run(list(head.names), dict(zip(_INPUTS, (geometry, hypercolumns), strict=True)))
            with torch.no_grad():
                inputs = torch.from_numpy(geometry), torch.from_numpy(hypercolumns)
                wanted, unrounded = head(*inputs), exact(*inputs)
            for a, b, c in zip(given, wanted, unrounded, strict=True):
                parity = max(parity, largest_gap(a, b.numpy()))
                rounding = max(rounding, largest_gap(b.numpy(), c.numpy())) if real else rounding
    return parity, rounding


def _real(store: Features, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    row, view = np.nonzero(store.ok)
    chosen = rng.integers(0, len(row), count)
    row, view = row[chosen], view[chosen]
    return np.asarray(store.geometry[row, view]), np.asarray(store.hypercolumns[row, view], np.float32)


def _random(store: Features, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Noise with the location and spread of the real features."""
    geometry, hypercolumns = _real(store, 64, rng)
    shapes = [(count, *part.shape[1:]) for part in (geometry, hypercolumns)]
    first, second = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return (
        geometry.mean(0) + geometry.std(0) * first,
        hypercolumns.mean((0, 1)) + hypercolumns.std((0, 1)) * second,
    )


def _settle(model: nn.Module, half: bool) -> None:
    """Fold what can be folded and, for 16-bit storage, round the matrices, so that the graph and PyTorch hold the same numbers."""
    assert isinstance(model, FANTrans)
    model.fold_standardisation(half)
    for module in model.modules():
        if isinstance(module, AttentionDrop):
            module.settle()
    if half:
        gates = {id(module.keep_logit) for module in model.modules() if isinstance(module, AttentionDrop)}
        for parameter in model.parameters():
            if parameter.ndim >= 2 and id(parameter) not in gates:
                parameter.data = parameter.data.half().float()


def _describe(graph: onnx.ModelProto, head: CalibratedHead, calibration: Calibration) -> None:
    """Say in the file what its reader needs."""
    config = head.ensemble.config
    sides = list(calibration.neutral_sides)
    entries = {
        "aus": list(config.aus),
        "intensity_aus": list(config.intensity_aus),
        "sided_aus": list(config.sided_aus),
        "neutral_logits": {"occurrence": list(calibration.neutral_occurrence)}
        | ({"left": sides, "right": sides} if sides else {}),
    }
    texts = {key: json.dumps(value) for key, value in entries.items()}
    describe(graph, texts | {"extractor_sha256": config.extractor_sha256})


def _card(head: CalibratedHead, payload: bytes, out: Path, facts: Facts, template: str) -> ModelCard:
    config = head.ensemble.config
    try:
        asset = Asset(
            name=facts.name, sha256=hashlib.sha256(payload).hexdigest(), size=len(payload), licence=facts.licence, origin=facts.origin,
            sources=(Packaged(out.name),),
        )  # fmt: skip
        return ModelCard(
            name=facts.name,
            architecture=facts.name.partition(".")[0],
            aus=config.aus,
            intensity_aus=config.intensity_aus,
            sided_aus=config.sided_aus,
            extractor=config.extractor,
            input={"geometry": (config.geometry_size,), "hypercolumns": (config.points, config.channels)},
            template=template,
            normalisation="as the extractor gives them; standardised inside the network",
            asset=asset,
            licence=facts.licence,
            origin=facts.origin,
            trained_on=facts.trained_on,
            recipe=facts.recipe,
            measured=facts.measured or {},
            limits=facts.limits,
        )
    except ValueError as error:
        raise UsageError(f"{out}: no card can be written: {error}") from None
