"""From checkpoints to a file `openau detect` runs: one ONNX graph of one or several heads, calibrated, with its card.

The file is written only if ONNX Runtime gives what PyTorch gives, on random and on real features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from openau.errors import UsageError
from openau.models.attention_drop import AttentionDrop
from openau.models.fantrans import AUOutput, Ensemble, FANTrans
from openau.training import onnx_file
from openau.training.au_file import Affine, Exported, Facts, Reads, Says, write
from openau.training.calibrate import Calibration
from openau.training.joined import Features, layout_of
from openau.training.onnx_file import require_target

__all__ = ["CalibratedHead", "Exported", "Facts", "check_parity", "export", "to_onnx"]

Floats = npt.NDArray[np.float32]

PARITY_BATCHES = (1, 2, 7)
OUTPUTS = AUOutput._fields
_INPUTS = ("geometry", "hypercolumns")


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
        self.occurrence, self.sides = Affine(calibration.occurrence), Affine(calibration.sides)

    def forward(self, geometry: Tensor, hypercolumns: Tensor) -> tuple[Tensor, ...]:
        """Calibrated logits and intensities."""
        raw: AUOutput = self.ensemble(geometry, hypercolumns)
        calibrated = AUOutput(
            self.occurrence(raw.occurrence), raw.intensity, self.sides(raw.left), self.sides(raw.right)
        )
        return tuple(getattr(calibrated, name) for name in self.names)


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
    require_target(out)
    try:
        exact = CalibratedHead(Ensemble(copy.deepcopy(list(models))), calibration).eval()
    except ValueError as error:
        raise UsageError(str(error)) from None
    head = copy.deepcopy(exact)
    for model in head.ensemble.heads:
        _settle(model, half)
    config = head.ensemble.config
    reads = Reads(
        extractor=config.extractor,
        inputs={"geometry": (config.geometry_size,), "hypercolumns": (config.points, config.channels)},
        template=layout_of(store).template,
        normalisation="as the extractor gives them; standardised inside the network",
    )
    says = Says(config.aus, config.intensity_aus, config.sided_aus)
    return write(
        to_onnx(head), out, facts, reads, says, calibration, {"extractor_sha256": config.extractor_sha256}, half,
        lambda payload: check_parity(payload, head, exact, store),
    )  # fmt: skip


def to_onnx(head: CalibratedHead) -> onnx.ModelProto:
    """The module as an ONNX graph with a free batch axis."""
    config = head.ensemble.config
    example = (torch.zeros(2, config.geometry_size), torch.zeros(2, config.points, config.channels))
    return onnx_file.to_onnx(head, dict(zip(_INPUTS, example, strict=True)), head.names)


def check_parity(payload: bytes, head: CalibratedHead, exact: CalibratedHead, store: Features) -> tuple[float, float]:
    """Largest difference of ONNX Runtime to PyTorch, and of the rounded to the exact weights (on real features)."""
    return onnx_file.gaps(payload, head, exact, _batches(store), head.names)


def _batches(store: Features) -> Iterator[tuple[Mapping[str, Floats], bool]]:
    """Real and random features."""
    rng = np.random.default_rng(0)
    for count in PARITY_BATCHES:
        for draw in (_real, _random):
            yield dict(zip(_INPUTS, draw(store, count, rng), strict=True)), draw is _real


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
