"""Losses that ignore what is not known: NaN targets contribute neither value nor gradient.

Every loss of occurrences is called with logits (B, N) and targets (B, N), the targets in [0, 1] (soft ones are welcome) or NaN, and gives
a scalar: the mean over the known pairs of face and AU, which is the sum of their weighted terms by their number. With every label known
that is the mean over batch and AUs of the published formulas; with none it is 0, and so is the gradient. 16-bit logits are judged in 32
bits.

AUFormer's experts are judged each on its own AU: `MDWALoss` on their logits (B, N), one per expert, is that loss (AUFormer's L'_MDWA [F]).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Values = Sequence[float] | npt.NDArray[np.floating] | Tensor
"""One number per AU."""

RATE_FLOOR = 0.01
"""Rarest occurrence that weights still follow."""


class MDWALoss(nn.Module):
    """Margin-truncated difficulty-aware weighted asymmetric loss (AUFormer, as reconstructed from its figure 2 [F+I]).

        L = −mean_i w_i [ y_i log p_i + (1 − y_i) pm_i^γ_i log(1 − pm_i) ],   pm_i = max(p_i − m, 0)

    A negative that the network gives less than m is done with; one of which it is very sure of the opposite pulls less and less, as it may
    be mislabelled. The gradient flows through pm^γ. With m = 0, γ = 1 and that factor detached it is ME-GraphAU's loss [R].

    Args:
        rates: (N,) occurrence of each AU in the training set, which sets w (`weights_from_rates`); None = all weigh 1.
        margin: m in [0, 1). The figure's curve has 0.05; 0.1 is another candidate [open].
        gamma: γ, at least 0: one number, or one per AU; larger for harder AUs (`difficulty_gammas`). The figure's curve has 1.

    Shape:
        logits (B, N), targets (B, N) in [0, 1] or NaN → scalar

    Raises:
        ValueError: an option is out of its range, or, when called, sizes differ.
    """

    def __init__(self, rates: Values | None, margin: float = 0.05, gamma: float | Values = 1.0) -> None:
        super().__init__()
        self.weight: Tensor
        self.gamma: Tensor
        self.margin = _margin(margin)
        self.register_buffer("weight", _weights(rates), persistent=False)
        self.register_buffer("gamma", _exponents(gamma), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        z, y, known = _known(logits, targets, self.weight, self.gamma)
        terms = _asymmetric(z, y, torch.zeros_like(self.gamma), self.gamma, self.margin)
        return _known_mean(self.weight * terms, known)


class AsymmetricLoss(nn.Module):
    """ASL (Ridnik et al. 2021): focal factors of their own for positives and negatives, and a margin for negatives.

        L = −mean [ y (1 − p)^γ₊ log p + (1 − y) pm^γ₋ log(1 − pm) ],   pm = max(p − m, 0)

    Defaults are the paper's for multi-label images. The gradient flows through the factors, as in the paper; its authors sum over
    labels where this is a mean.

    Args:
        positive: γ₊ ≥ 0. negative: γ₋ ≥ 0.
        clip: m in [0, 1).

    Shape:
        logits (B, N), targets (B, N) in [0, 1] or NaN → scalar
    """

    def __init__(self, positive: float = 0.0, negative: float = 4.0, clip: float = 0.05) -> None:
        super().__init__()
        self.positive: Tensor
        self.negative: Tensor
        self.margin = _margin(clip)
        self.register_buffer("positive", _exponents(positive), persistent=False)
        self.register_buffer("negative", _exponents(negative), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        z, y, known = _known(logits, targets)
        return _known_mean(_asymmetric(z, y, self.positive, self.negative, self.margin), known)


class WeightedBCELoss(nn.Module):
    """Binary cross-entropy with weights from occurrence rates.

    Args:
        rates: (N,) occurrence of each AU in the training set, floored at `RATE_FLOOR`.
        balance: "aus": an AU weighs the more, the rarer it is, w_i = N (1/r_i) / Σ_j (1/r_j), as in JAA-Net [R] and in MDWA; "positives":
            each AU's positives weigh (1 − r_i) / r_i, so that they and its negatives have the same sum.

    Shape:
        logits (B, N), targets (B, N) in [0, 1] or NaN → scalar
    """

    def __init__(self, rates: Values, balance: Literal["aus", "positives"] = "aus") -> None:
        super().__init__()
        if balance not in ("aus", "positives"):
            raise ValueError(f"there is no balance {balance!r}; there are aus and positives")
        self.weight: Tensor
        self.balance = balance
        rate = _rates(rates).clamp(min=RATE_FLOOR)
        weight = _weights(rates) if balance == "aus" else ((1 - rate) / rate).nan_to_num(nan=1.0).float()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        if self.balance == "positives":
            return masked_bce(logits, targets, self.weight)
        z, y, known = _known(logits, targets, self.weight)
        return _known_mean(self.weight * _bce(z, y), known)


class WeightedDiceLoss(nn.Module):
    """Weighted Dice loss of each AU over the batch (AUFormer's L_WDI; the form is JAA-Net's [R]).

        L = mean_i w_i [ 1 − (2 Σ p y + 1) / (Σ p² + Σ y² + 1) ],   sums over the faces of the batch on which AU i is known

    The mean is over the AUs that are known on at least one face.

    Args:
        rates: (N,) occurrence of each AU in the training set, which sets w (`weights_from_rates`); None = all weigh 1.

    Shape:
        logits (B, N), targets (B, N) in [0, 1] or NaN → scalar
    """

    def __init__(self, rates: Values | None) -> None:
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", _weights(rates), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        z, y, known = _known(logits, targets, self.weight)
        p = torch.where(known, torch.sigmoid(z), 0.0)
        overlap = (2 * (p * y).sum(dim=0) + 1) / (p.square().sum(dim=0) + y.square().sum(dim=0) + 1)
        return _known_mean(self.weight * (1 - overlap), known.any(dim=0))


def masked_bce(logits: Tensor, targets: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over the known targets.

    Args:
        logits: (B, A).
        targets: (B, A) in 0–1 or NaN.
        positive_weight: (A,) weight of the positive part.
    """
    z, y, known = _known(logits, targets)
    return _known_mean(_bce(z, y, positive_weight), known)


def masked_huber(intensity: Tensor, targets: Tensor) -> Tensor:
    """Huber loss (border at one intensity point), mean over the known targets.

    Args:
        intensity: (B, A) 0–5.
        targets: (B, A) 0–5 or NaN.
    """
    value, y, known = _known(intensity, targets)
    return _known_mean(functional.huber_loss(value, y, reduction="none"), known)


def ranking(logits: Tensor, level: Tensor, subject: Tensor, chunk_size: int, margin: float) -> Tensor:
    """Faces of one subject in the order of their activation: mean of softplus(z_weak − z_strong) over pairs that clearly differ.

    What a face looks like at rest then cancels out, so a low brow is not taken for a lowered one.

    Args:
        logits: (B, A).
        level: (B, A) activation 0–1 or NaN.
        subject: (B,) integers.
        chunk_size: only faces within the same chunk of so many rows are compared; B is a multiple of it.
        margin: pairs whose levels differ by more than this are ordered.
    """
    z = logits.reshape(-1, chunk_size, logits.shape[1])
    y = level.reshape(z.shape)
    who = subject.reshape(-1, chunk_size)
    stronger = (y[:, :, None] - y[:, None] > margin) & (who[:, :, None] == who[:, None])[..., None]
    loss = functional.softplus(z[:, None] - z[:, :, None])
    return (loss * stronger).sum() / (stronger.sum() + 1)


def rates_of(targets: Tensor | npt.NDArray[np.floating]) -> Tensor:
    """Occurrence rate (N,) of each AU among the known training labels (rows, N); NaN where none is known. Soft labels count as they are."""
    labels = torch.as_tensor(targets).double()
    return labels.nanmean(dim=0)


def weights_from_rates(rates: Values, floor: float = RATE_FLOOR) -> Tensor:
    """w_i = N (1/r_i) / Σ_j (1/r_j): rare AUs weigh more, and the mean is 1.

    Args:
        rates: (N,) occurrence rates in [0, 1]. An AU without one (NaN: never labelled) weighs 1, and the others are weighed without it.
        floor: a rarer AU is taken to be as common as this [ours]. One that never shows would otherwise take all the weight.

    Raises:
        ValueError: a rate is not in [0, 1], or the floor is not positive.
    """
    if floor <= 0:
        raise ValueError(f"the floor of rates must be positive, not {floor}")
    rate = _rates(rates)
    inverse = 1 / rate.clamp(min=floor)
    return (inverse / inverse.nanmean()).nan_to_num(nan=1.0)


def difficulty_gammas(ease: Values, low: float = 1.0, high: float = 2.0) -> Tensor:
    """γ per AU (N,) for `MDWALoss`: `low` for the easiest AU, `high` for the hardest, linear in between.

    AUFormer's γ are larger for harder AUs within a small interval; the rule is not published [open], this one is ours.

    Args:
        ease: (N,) how easy each AU is: its F1 or AUC with an earlier model on validation subjects, or, for want of one, its occurrence
            rate. An AU for which it is NaN gets the middle; if all are equally easy, all get `low`.
        low: smallest γ.
        high: largest γ.
    """
    value = _vector(ease)
    defined = value[~value.isnan()]
    if len(defined) == 0:
        return torch.full_like(value, (low + high) / 2)
    easiest, hardest = defined.max(), defined.min()
    hardness = (easiest - value) / (easiest - hardest) if easiest > hardest else value * 0
    return low + (high - low) * hardness.nan_to_num(nan=0.5)


def _known(logits: Tensor, targets: Tensor, *per_au: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and targets, in at least 32 bits and 0 where the target is unknown, and where it is known, each (B, N)."""
    if logits.shape != targets.shape or logits.ndim != 2:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must both be (batch, AUs)")
    for values in per_au:
        if values.ndim and len(values) != logits.shape[1]:
            raise ValueError(f"the loss was made for {len(values)} AUs, not {logits.shape[1]}")
    known = ~torch.isnan(targets)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.where(known, logits, 0).to(dtype), torch.where(known, targets, 0).to(dtype), known


def _known_mean(loss: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)


def _bce(z: Tensor, y: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    return functional.binary_cross_entropy_with_logits(z, y, pos_weight=positive_weight, reduction="none")


def _asymmetric(z: Tensor, y: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """−[ y (1 − p)^γ₊ log p + (1 − y) pm^γ₋ log(1 − pm) ] of each element, by way of logarithms: always finite, as is its gradient.

    At pm = 0 value and gradient of the negative part are 0, which they tend to for every γ₋ ≥ 0.
    """
    log_p, log_not_p = functional.logsigmoid(z), functional.logsigmoid(-z)
    if margin:
        p = torch.sigmoid(z)
        active = p > margin
        log_pm = torch.where(active, p - margin, 1.0).log()
        log_not_pm = (torch.sigmoid(-z) + margin).log()  # 1 − p, not rounded away for large z
        against = torch.where(active, (negative * log_pm).exp() * log_not_pm, 0.0)
    else:
        against = (negative * log_p).exp() * log_not_p
    return -(y * (positive * log_not_p).exp() * log_p + (1 - y) * against)


def _vector(values: Values) -> Tensor:
    vector = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"one number per AU is needed, not an array of shape {tuple(vector.shape)}")
    return vector


def _rates(rates: Values) -> Tensor:
    vector = _vector(rates)
    if bool(((vector < 0) | (vector > 1)).any()):
        raise ValueError(f"occurrence rates must lie in [0, 1]: {vector.tolist()}")
    return vector


def _margin(margin: float) -> float:
    if not 0 <= margin < 1:
        raise ValueError(f"the margin must be in [0, 1), not {margin}")
    return float(margin)


def _weights(rates: Values | None) -> Tensor:
    return torch.ones(()) if rates is None else weights_from_rates(rates).float()


def _exponents(gamma: float | Values) -> Tensor:
    exponents = torch.tensor(float(gamma)) if isinstance(gamma, int | float) else _vector(gamma).float()
    if not bool((exponents >= 0).all()):
        raise ValueError(f"exponents of factors must not be negative: {exponents.tolist()}")
    return exponents
