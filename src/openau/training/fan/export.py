"""From a FAN to a file that `openau.faces.fan` runs: one ONNX graph, heatmaps and tapped features out, with its card.

The file is written only if ONNX Runtime gives what PyTorch gives.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from openau.errors import UsageError
from openau.faces.align import TEMPLATES
from openau.models.fan import FAN, SIDE, SIZE, tapped
from openau.training import onnx_file
from openau.training.onnx_file import (
    asset_beside,
    describe,
    require_parity,
    require_target,
    store_in_half,
    write_pair,
)
from openau.weights.cards import MODEL_NAME, Measure
from openau.weights.extractors import ExtractorCard, card_beside

Floats = npt.NDArray[np.float32]

OUTPUTS = ("heatmaps", "features")
CONFIG_KEY = "fan"
"""Metadata of the ONNX file: `FANConfig` as JSON."""
PARITY_BATCHES = (1, 3)


@dataclass(frozen=True, slots=True)
class FANFacts:
    """What the card says beyond what the network knows; as in `ExtractorCard`."""

    name: str
    template: str
    trained_on: str
    recipe: str
    limits: str
    licence: str = "Apache-2.0"
    origin: str = "the OpenAU project"
    measured: Mapping[str, Measure] | None = None


@dataclass(frozen=True, slots=True)
class ExportedFAN:
    """What was written.

    Attributes:
        file: the ONNX file; its card lies beside it.
        card: the card.
        parity: largest difference of ONNX Runtime to PyTorch, in parts of an output's largest value, where that is above 1.
        rounding: the same between 16-bit and 32-bit weights.
    """

    file: Path
    card: ExtractorCard
    parity: float
    rounding: float


class FANExtractor(nn.Module):
    """A FAN as an extractor.

    Shape:
        image (B, 3, 256, 256) → heatmaps (B, K, 64, 64) of the last stack, features (B, (1 + S) W, 64, 64)
    """

    def __init__(self, fan: FAN) -> None:
        super().__init__()
        self.fan = fan

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and features."""
        output = self.fan(image)
        return output.heatmaps[-1], tapped(output)


def export_fan(fan: FAN, out: Path, facts: FANFacts, half: bool = True) -> ExportedFAN:
    """Write `out` (.onnx) and its card beside it (.extractor.json), both or neither.

    Args:
        fan: the network.
        out: the ONNX file.
        facts: for the card.
        half: store the convolutions' weights in 16 bits; they are widened when the file is loaded.

    Raises:
        UsageError: the file's suffix is not .onnx, there is no such template, or a fact cannot be (the name's form …).
        OutputError: the folder cannot be written, or ONNX Runtime does not give what PyTorch gives.
    """
    require_target(out)
    if not MODEL_NAME.fullmatch(facts.name):
        raise UsageError(f"{facts.name!r} is not of the form architecture.tag, such as fan_small.mine")
    if facts.template not in TEMPLATES:
        raise UsageError(f"no alignment template is called {facts.template!r}; there are {', '.join(TEMPLATES)}")
    exact = FANExtractor(copy.deepcopy(fan)).eval()
    settled = copy.deepcopy(exact)
    _settle(settled.fan, half)
    graph = to_onnx(settled)
    describe(graph, {CONFIG_KEY: json.dumps(fan.config.to_json())})
    payload = (store_in_half(graph) if half else graph).SerializeToString()
    parity, rounding = check_parity(payload, settled, exact)
    require_parity(out, parity)
    card = _card(fan, payload, out, facts)
    write_pair((out, payload), (card_beside(out), card.to_json().encode()))
    return ExportedFAN(out, card, parity, rounding)


def to_onnx(extractor: FANExtractor) -> onnx.ModelProto:
    """The module as an ONNX graph with a free batch axis."""
    return onnx_file.to_onnx(extractor, {"image": torch.zeros(2, 3, SIZE, SIZE)}, OUTPUTS)


def check_parity(payload: bytes, extractor: FANExtractor, exact: FANExtractor) -> tuple[float, float]:
    """Largest difference of ONNX Runtime to PyTorch, and of the rounded to the exact weights; on noise of all sizes."""
    return onnx_file.gaps(payload, extractor, exact, _batches(), OUTPUTS, relative=True)


def _batches() -> Iterator[tuple[Mapping[str, Floats], bool]]:
    rng = np.random.default_rng(0)
    for count in PARITY_BATCHES:
        yield {"image": _pictures(count, rng)}, True


def _pictures(count: int, rng: np.random.Generator) -> Floats:
    """(count, 3, 256, 256) in [0, 1]: noise of every size, the way pictures have it."""
    sides = [2**k for k in range(2, 9)]
    layers = [rng.standard_normal((count, 3, side, side), np.float32) for side in sides]
    grown = [
        np.kron(layer, np.ones((SIZE // side, SIZE // side), np.float32))
        for layer, side in zip(layers, sides, strict=True)
    ]
    return np.asarray(np.clip(0.5 + 0.1 * np.sum(grown, axis=0), 0, 1), np.float32)


def _settle(fan: FAN, half: bool) -> None:
    """Fold norms into the convolutions before them, and for 16-bit storage round weights, so that graph and PyTorch hold the same numbers.

    Only two kinds of norm follow a convolution whose output nothing else reads; the exporter would fold these by itself, after rounding.
    """
    pairs = [("conv1", "bn1"), *((f"conv_last{n}", f"bn_end{n}") for n in range(fan.config.stacks))]
    for before, norm in pairs:
        convolution, following = fan.get_submodule(before), fan.get_submodule(norm)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(following, nn.BatchNorm2d)
        setattr(fan, before, fuse_conv_bn_eval(convolution, following))
        setattr(fan, norm, nn.Identity())
    for module in fan.modules():
        if half and isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.half().float()


def _card(fan: FAN, payload: bytes, out: Path, facts: FANFacts) -> ExtractorCard:
    try:
        return ExtractorCard(
            name=facts.name,
            architecture=facts.name.partition(".")[0],
            points=fan.config.points,
            size=SIZE,
            channels=fan.config.channels,
            side=SIDE,
            template=facts.template,
            asset=asset_beside(out, payload, facts.name, facts.licence, facts.origin),
            licence=facts.licence,
            origin=facts.origin,
            trained_on=facts.trained_on,
            recipe=facts.recipe,
            measured=facts.measured or {},
            limits=facts.limits,
        )
    except ValueError as error:
        raise UsageError(f"{out}: no card can be written: {error}") from None
