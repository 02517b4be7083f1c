"""Losses that ignore what is not known: NaN targets contribute neither value nor gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def masked_bce(logits: Tensor, targets: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over the known targets.

    Args:
        logits: (B, A).
        targets: (B, A) in 0–1 or NaN.
        positive_weight: (A,) weight of the positive part.
    """
    known = ~torch.isnan(targets)
    filled = torch.where(known, targets, 0.0)
    loss = functional.binary_cross_entropy_with_logits(logits, filled, pos_weight=positive_weight, reduction="none")
    return _known_mean(loss, known)


def masked_huber(intensity: Tensor, targets: Tensor) -> Tensor:
    """Huber loss (border at one intensity point), mean over the known targets.

    Args:
        intensity: (B, A) 0–5.
        targets: (B, A) 0–5 or NaN.
    """
    known = ~torch.isnan(targets)
    return _known_mean(functional.huber_loss(intensity, torch.where(known, targets, 0.0), reduction="none"), known)


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


def _known_mean(loss: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
