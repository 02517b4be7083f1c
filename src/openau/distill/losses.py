"""What a peer is taught: softened probabilities, and how alike the AUs' features are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def binary_kl(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T² · KL(σ(taught / T) ‖ σ(logits / T)), mean over everything; AUs are independent binary variables.

    T² keeps the gradient's size about the same for every T (Hinton et al. 2015, section 2). The teacher speaks about all outputs, also
    where the label is unknown.

    Args:
        logits: (..., O) of the peer.
        taught: (..., O) of the teacher; no gradient flows into it.
        temperature: T.
    """
    target = torch.sigmoid(taught.detach() / temperature)
    cross = functional.binary_cross_entropy_with_logits(logits / temperature, target)
    entropy = functional.binary_cross_entropy(target, target)
    return temperature**2 * (cross - entropy)


def relation(tokens: Tensor, taught: Tensor) -> Tensor:
    """Distillation between features: mean squared difference to the similarities of the AUs' features that are taught.

    Peers start from different weights, so the axes of their features have nothing in common; which AUs are alike on a face they can
    share [open].

    Args:
        tokens: (B, A, W) of the peer.
        taught: (B, A, A) similarities to learn (`similarity`); no gradient flows into it.
    """
    return functional.mse_loss(similarity(tokens), taught.detach())


def similarity(tokens: Tensor) -> Tensor:
    """(B, A, W) tokens → (B, A, A) cosines between the AUs' tokens of each face."""
    unit = functional.normalize(tokens, dim=-1)
    return unit @ unit.transpose(-1, -2)
