"""From a network that looks at pixels to a file `openau detect` runs: one ONNX graph, calibrated, with its card.

The file is written only if ONNX Runtime gives what PyTorch gives, on noise and on real crops.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openau.errors import OutputError, UsageError
from openau.faces.align import TEMPLATES, planes
from openau.training import onnx_file
from openau.training.au_file import Affine, Exported, Facts, Reads, Says, write
from openau.training.calibrate import Calibration
from openau.training.onnx_file import TOLERANCE, largest_gap, require_target
from openau.weights.cards import PIXELS

Crops = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

TEMPLATE = "face224"
"""Of the crops that training cuts (`openau.training.pictures`)."""
OUTPUTS = ("occurrence",)
PARITY_BATCHES = (1, 3)
_LARGE = 256
"""Values from which a matrix is rounded for 16-bit storage; smaller ones are stored in 32 bits."""


class Calibrated(nn.Module):
    """A network and its calibration.

    Shape:
        pixels (B, 3, S, S) RGB in [0, 1] → (occurrence (B, A),)
    """

    def __init__(self, network: nn.Module, calibration: Calibration) -> None:
        super().__init__()
        self.network, self.occurrence = network, Affine(calibration.occurrence)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Calibrated logits."""
        return (self.occurrence(self.network(pixels)),)


def export_pixels(
    model: nn.Module,
    size: int,
    aus: tuple[int, ...],
    calibration: Calibration,
    out: Path,
    facts: Facts,
    crops: Crops,
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
    template: str = TEMPLATE,
) -> Exported:
    """Write `out` (.onnx) and the card beside it (.json), both or neither.

    Args:
        model: pixels (B, 3, S, S) RGB in [0, 1] → logits (B, A). It is left as it is; its copy is settled (`settled`).
        size: side S of the crops, pixels.
        aus: of the logits, in order.
        calibration: of the logits.
        out: the ONNX file.
        facts: for the card.
        crops: (n, S, S, 3) RGB uint8, real ones, for the parity check.
        half: store the large weights in 16 bits; they are widened when the file is loaded.
        metadata: more of it for the file, such as `backbone` and `backbone_sha256`.
        template: the crops are of (`openau.faces.align.TEMPLATES`), at side S.

    Raises:
        UsageError: the model, its AUs, the calibration and the crops do not fit together, there is no such template, the file's suffix is
            not .onnx, or a fact cannot be (the name's form …).
        OutputError: the folder cannot be written, settling changes what the model says, or ONNX Runtime does not give what PyTorch gives.
    """
    require_target(out)
    if template not in TEMPLATES:
        raise UsageError(f"{out}: no alignment template is called {template!r}; there are {', '.join(TEMPLATES)}")
    if len(calibration.occurrence) != len(aus):
        raise UsageError(f"{out}: the calibration is of {len(calibration.occurrence)} AUs, not of {len(aus)}")
    if crops.dtype != np.uint8 or crops.shape != (len(crops), size, size, 3) or not len(crops):
        raise UsageError(
            f"{out}: the check needs crops of {size}×{size} RGB bytes, not an array {crops.shape} of {crops.dtype}"
        )
    exact = Calibrated(_still(model), calibration).eval()
    _require_logits(out, exact, crops[:1], len(aus))
    rounded = Calibrated(settled(model), calibration).eval()
    _require_same(out, exact, rounded, crops[: max(PARITY_BATCHES)])
    if half:
        _round(rounded)
    graph = onnx_file.to_onnx(rounded, {PIXELS: torch.zeros(2, 3, size, size)}, OUTPUTS)
    onnx_file.spell_out_softmax(graph)
    reads = Reads(PIXELS, {PIXELS: (3, size, size)}, template, "RGB in [0, 1]; standardised inside the network")
    return write(
        graph, out, facts, reads, Says(aus), calibration, metadata or {}, half,
        lambda payload: onnx_file.gaps(payload, rounded, exact, _batches(crops), OUTPUTS),
    )  # fmt: skip


def settled(model: nn.Module) -> nn.Module:
    """A copy of a network in its form for inference, in float32 on the CPU.

    Parts with a method `settle` are asked: it changes the part itself, or gives the module that takes its place. Parts of these are not.
    """
    return _settle(_still(model))


def _settle(module: nn.Module) -> nn.Module:
    settle = getattr(module, "settle", None)
    if callable(settle):
        made = settle()
        return made if isinstance(made, nn.Module) else module
    for name, child in module.named_children():
        setattr(module, name, _settle(child))
    return module


def _still(model: nn.Module) -> nn.Module:
    """A copy that does not learn, in float32 on the CPU."""
    return copy.deepcopy(model).cpu().float().requires_grad_(False).eval()


def _require_logits(out: Path, model: Calibrated, crops: Crops, aus: int) -> None:
    """Check that the model takes such crops and gives so many logits."""
    try:
        with torch.no_grad():
            logits = model.network(torch.from_numpy(planes(crops)))
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{out}: the model cannot judge such crops: {' '.join(str(error).split())}") from None
    if logits.shape != (len(crops), aus):
        raise UsageError(
            f"{out}: the model gives {tuple(logits.shape[1:])} logits of a face, not one for each of {aus} AUs"
        )


def _require_same(out: Path, exact: Calibrated, other: Calibrated, crops: Crops) -> None:
    """Check that settling has changed nothing."""
    pixels = torch.from_numpy(planes(crops))
    with torch.no_grad():
        gap = largest_gap(exact(pixels)[0].numpy(), other(pixels)[0].numpy())
    if not gap <= TOLERANCE:
        raise OutputError(
            f"{out}: not written, because the model's form for inference differs from it by {gap:.2g} (at most {TOLERANCE:g} is accepted)"
        )


def _round(model: nn.Module) -> None:
    """Round large matrices to 16 bits, so that the graph and PyTorch hold the same numbers."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim >= 2 and tensor.numel() >= _LARGE and tensor.is_floating_point():
            tensor.data = tensor.data.half().float()


def _batches(crops: Crops) -> Iterator[tuple[Mapping[str, Floats], bool]]:
    """Real crops, and noise."""
    rng = np.random.default_rng(0)
    for count in PARITY_BATCHES:
        yield {PIXELS: planes(crops[rng.integers(0, len(crops), count)])}, True
        yield {PIXELS: rng.random((count, *crops.shape[3:], *crops.shape[1:3]), np.float32)}, False
