"""The file of a finished AU model: calibration as a layer, metadata, card; checked, then written with its card or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from openau.errors import InputError, UsageError
from openau.training.calibrate import AffineMap, Calibration
from openau.training.onnx_file import asset_beside, describe, require_parity, store_in_half, write_pair
from openau.weights.cards import Measure, ModelCard


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
        parameters: of a model on a frozen backbone, "learned" and "all".
    """

    name: str
    trained_on: str
    recipe: str
    limits: str
    licence: str = "Apache-2.0"
    origin: str = "the OpenAU project"
    measured: Mapping[str, Measure] | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        file: the ONNX file; its card lies beside it.
        card: the card.
        parity: largest difference between PyTorch and ONNX Runtime over all checks.
        rounding: largest difference that storing weights in 16 bits makes to a calibrated logit or an intensity, on real features or crops.
    """

    file: Path
    card: ModelCard
    parity: float
    rounding: float


@dataclass(frozen=True, slots=True)
class Reads:
    """What the model is given; as in `ModelCard`."""

    extractor: str
    inputs: Mapping[str, tuple[int, ...]]
    template: str
    normalisation: str


@dataclass(frozen=True, slots=True)
class Says:
    """AUs of its outputs; as in `ModelCard`."""

    aus: tuple[int, ...]
    intensity_aus: tuple[int, ...] = ()
    sided_aus: tuple[int, ...] = ()


class Affine(nn.Module):
    """Calibration of an output: a map per AU; logits (B, A) → calibrated logits (B, A)."""

    def __init__(self, maps: Sequence[AffineMap]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([f.scale for f in maps]))
        self.register_buffer("shift", torch.tensor([f.shift for f in maps]))

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrate."""
        return logits * self.get_buffer("scale") + self.get_buffer("shift")


def write(
    graph: onnx.ModelProto,
    out: Path,
    facts: Facts,
    reads: Reads,
    says: Says,
    calibration: Calibration,
    metadata: Mapping[str, str],
    half: bool,
    check: Callable[[bytes], tuple[float, float]],
) -> Exported:
    """Write `out` (.onnx) and the card beside it (.json), both or neither.

    Args:
        graph: the model.
        out: the ONNX file.
        facts: for the card.
        reads: likewise.
        says: likewise.
        calibration: that the graph holds; the file says what a relaxed face's logits usually are.
        metadata: more of it, for the file.
        half: store the large weights in 16 bits where these hold them exactly; they are widened when the file is loaded.
        check: the file's bytes → parity and rounding, see `Exported`.

    Raises:
        UsageError: a fact cannot be (the name's form …).
        OutputError: ONNX Runtime does not give what PyTorch gives, or the file cannot be written.
    """
    describe(graph, _metadata(says, calibration) | dict(metadata))
    payload = (store_in_half(graph) if half else graph).SerializeToString()
    parity, rounding = check(payload)
    require_parity(out, parity)
    try:
        card = ModelCard(
            name=facts.name,
            architecture=facts.name.partition(".")[0],
            aus=says.aus,
            intensity_aus=says.intensity_aus,
            sided_aus=says.sided_aus,
            extractor=reads.extractor,
            input=reads.inputs,
            template=reads.template,
            normalisation=reads.normalisation,
            asset=asset_beside(out, payload, facts.name, facts.licence, facts.origin),
            licence=facts.licence,
            origin=facts.origin,
            trained_on=facts.trained_on,
            recipe=facts.recipe,
            measured=facts.measured or {},
            limits=facts.limits,
            parameters=facts.parameters,
        )
    except ValueError as error:
        raise UsageError(f"{out}: no card can be written: {error}") from None
    write_pair((out, payload), (out.with_suffix(".json"), card.to_json().encode()))
    return Exported(out, card, parity, rounding)


def _metadata(says: Says, calibration: Calibration) -> dict[str, str]:
    """What the file's reader needs, as JSON."""
    sides = list(calibration.neutral_sides)
    entries = {
        "aus": list(says.aus),
        "intensity_aus": list(says.intensity_aus),
        "sided_aus": list(says.sided_aus),
        "neutral_logits": {"occurrence": list(calibration.neutral_occurrence)}
        | ({"left": sides, "right": sides} if sides else {}),
    }
    return {key: json.dumps(value) for key, value in entries.items()}


def read_calibration(file: Path) -> tuple[tuple[int, ...], Calibration] | None:
    """AUs of a finished model's occurrence, and the calibration that its graph holds (without that of sides); None if it holds none.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        graph = onnx.load(file, load_external_data=False)
        stated = {entry.key: json.loads(entry.value) for entry in graph.metadata_props if entry.key in _STATED}
        held = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer if one.name in _HELD}
        if len(stated) < len(_STATED) or len(held) < len(_HELD):
            return None
        aus, neutral = tuple(stated["aus"]), tuple(stated["neutral_logits"]["occurrence"])
        scale, shift = (held[name].astype(float).tolist() for name in _HELD)
        maps = tuple(AffineMap(*pair) for pair in zip(scale, shift, strict=True))
    except Exception as error:  # protobuf's own exceptions share no base class
        raise InputError(f"{file}: cannot be read as a model with a calibration ({error})") from None
    if not len(aus) == len(maps) == len(neutral):
        raise InputError(f"{file}: has {len(aus)} AUs and a calibration of {len(maps)}")
    return aus, Calibration(maps, (), neutral, ())


_STATED = ("aus", "neutral_logits")
_HELD = ("occurrence.scale", "occurrence.shift")
"""Names that `Affine` has in the graph of a model whose attribute it is (`export`, `export_pixels`)."""
