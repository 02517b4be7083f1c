"""What AUFormer's experts cost: both implementations beside the bare frozen ViT, judging and training."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openau.facs import AUS
from openau.losses import MDWALoss
from openau.models.auformer import AUFormer
from openau.models.create import create_model
from openau.models.vit import ViT

BARE, FUSED, REFERENCE = "bare ViT", "fused", "reference"
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one way to run one step.

    Attributes:
        least, median: milliseconds over the rounds.
        memory: MB that the process grew by at the most while it ran, the largest over the rounds; NaN where Linux does not tell.
    """

    least: float
    median: float
    memory: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one setting: way → what it took. A bare training step is forward and backward through the frozen ViT to its patch tokens."""

    batch: int
    dtype: str
    judging: dict[str, Taken]
    training: dict[str, Taken]


def time_auformer(
    name: str, aus: int, width: int, settings: Sequence[tuple[int, str]], rounds: int, reference: bool = True
) -> list[Costs]:
    """Time all ways in turn, so that whatever else the machine does meets all alike.

    Args:
        name: of an AUFormer (`openau.models.create`), on random weights.
        aus: number N of AUs.
        width: bottleneck d of an expert.
        settings: batch and "float32" or "bfloat16" (autocast) of each.
        rounds: how often each way is timed, after one round that warms up.
        reference: also time the implementation with one module per expert.

    Raises:
        ValueError: the name means nothing, or there are not so many AUs.
    """
    if not 1 <= aus <= len(AUS):
        raise ValueError(f"there are 1 to {len(AUS)} AUs, not {aus}")
    models = _models(name, sorted(AUS)[:aus], width, reference)
    return [_costs(models, batch, dtype, rounds) for batch, dtype in settings]


def profile(name: str, aus: int, width: int, batch: int, dtype: str, rows: int = 16) -> str:
    """PyTorch's table of where a training step of the fused form spends its time."""
    model = _models(name, sorted(AUS)[:aus], width, reference=False)[FUSED]
    step = _training(model, _pixels(model, batch), dtype)
    step()
    with torch.profiler.profile() as seen:
        step()
    return str(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40))


def _models(name: str, aus: Sequence[int], width: int, reference: bool) -> dict[str, AUFormer]:
    torch.manual_seed(0)
    fused = create_model(name, aus, width=width)
    if not isinstance(fused, AUFormer):
        raise ValueError(f"{name} is no AUFormer")
    with torch.no_grad():
        for weight in fused.mokes.parameters():
            weight.add_(0.02 * torch.randn_like(weight))  # zeros would be quicker than numbers
    found = {FUSED: fused}
    if reference:
        one_by_one = copy.deepcopy(fused)
        one_by_one.mokes = fused.mokes.to_reference()  # type: ignore[assignment]
        found[REFERENCE] = one_by_one
    return found


def _costs(models: dict[str, AUFormer], batch: int, dtype: str, rounds: int) -> Costs:
    pixels = _pixels(models[FUSED], batch)
    vit = models[FUSED].backbone
    settled = copy.deepcopy(models[FUSED])
    settled.mokes = models[FUSED].mokes.settle()  # type: ignore[assignment]
    judging = {BARE: _judging(vit, pixels, dtype), FUSED: _judging(settled, pixels, dtype)}
    training = {BARE: _through(vit, pixels, dtype), FUSED: _training(models[FUSED], pixels, dtype)}
    if REFERENCE in models:
        judging[REFERENCE] = _judging(models[REFERENCE], pixels, dtype)
        training[REFERENCE] = _training(models[REFERENCE], pixels, dtype)
    return Costs(batch, dtype, _in_turn(judging, rounds), _in_turn(training, rounds))


def _in_turn(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, Taken]:
    times: dict[str, list[float]] = {name: [] for name in actions}
    grown: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            before = _start_watching_memory()
            began = time.perf_counter()
            action()
            times[name].append(1000 * (time.perf_counter() - began))
            grown[name].append(_status("VmHWM") - before)
    return {
        name: Taken(min(taken[1:]), statistics.median(taken[1:]), max(grown[name])) for name, taken in times.items()
    }


def _pixels(model: AUFormer, batch: int) -> Tensor:
    side = model.config.vit.size
    return torch.rand(batch, 3, side, side)


def _autocast(dtype: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")


def _judging(model: torch.nn.Module, pixels: Tensor, dtype: str) -> Callable[[], object]:
    def run() -> None:
        with torch.inference_mode(), _autocast(dtype):
            model(pixels)

    return run


def _through(vit: ViT, pixels: Tensor, dtype: str) -> Callable[[], object]:
    """Forward and backward of the frozen ViT, down to its patch tokens."""

    def run() -> None:
        with _autocast(dtype):
            tokens = vit.embed(pixels).detach().requires_grad_()
            seen = tokens
            for block in vit:
                seen = block(seen)
            loss = vit.norm(seen).float().square().mean()
        torch.autograd.backward(loss)

    return run


def _training(model: AUFormer, pixels: Tensor, dtype: str) -> Callable[[], object]:
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, 1e-6, fused=True)
    targets = torch.randint(0, 2, (len(pixels), len(model.config.aus))).float()
    loss_of = MDWALoss(None)

    def run() -> None:
        with _autocast(dtype):
            logits, experts = model.judge(pixels)
        assert experts is not None
        loss = loss_of(logits.float(), targets) + loss_of(experts[:, 0].float(), targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return run


def _start_watching_memory() -> float:
    """MB the process has now; from here on Linux notes its peak anew."""
    try:
        _RESET.write_text("5")
    except OSError:
        return math.nan
    return _status("VmRSS")


def _status(name: str) -> float:
    """MB, by /proc/self/status; NaN where there is none."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return math.nan
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), math.nan)
