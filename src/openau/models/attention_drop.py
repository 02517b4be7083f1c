"""Learnable attention drop: which AU may listen to which is learned, and training sees the links come and go."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_QUADRATURE_POINTS = 32


class AttentionDrop(nn.Module):
    """Gates on attention weights, each kept with a learned probability.

    FAN-Trans names a *learnable attention drop*, but how it is parametrised is not known to us [open]. Here every (head, listening AU,
    heard AU) has a keep-logit α. Training draws relaxed Bernoulli (concrete; Maddison et al. 2017) gates per sample,

        gate = sigmoid((α + log u − log(1 − u)) / temperature),    u ~ U(0, 1),

    multiplies the attention weights with them and renormalises, so gradients reach α. Inference uses the gates' exact mean.

    Args:
        heads: attention heads H.
        tokens: AUs A.
        keep: initial keep probability.
        temperature: of the relaxation; towards 0 the gates become 0 or 1.
        keep_self: an AU's token never loses sight of itself.

    Shape:
        attention (B, H, A, A), rows summing to 1 → the same.
    """

    def __init__(
        self, heads: int, tokens: int, keep: float = 0.9, temperature: float = 2 / 3, keep_self: bool = True
    ) -> None:
        super().__init__()
        self.keep_logit = nn.Parameter(torch.full((heads, tokens, tokens), math.log(keep / (1 - keep))))
        self.temperature = temperature
        always = torch.eye(tokens) if keep_self else torch.zeros(tokens, tokens)
        self.always: Tensor
        self.register_buffer("always", always, persistent=False)
        middles = (torch.arange(_QUADRATURE_POINTS) + 0.5) / _QUADRATURE_POINTS
        self.noise_quantiles: Tensor
        self.register_buffer("noise_quantiles", torch.logit(middles), persistent=False)
        self.settled: Tensor | None
        self.register_buffer("settled", None, persistent=False)

    def keep_probability(self) -> Tensor:
        """(H, A, A) learned probability that head h lets AU i (row) listen to AU j (column)."""
        return torch.maximum(torch.sigmoid(self.keep_logit.detach()), self.always)

    def mean_gate(self) -> Tensor:
        """(H, A, A) mean of the relaxed gates, by quadrature over the noise."""
        if self.settled is not None:
            return self.settled
        gates = torch.sigmoid((self.keep_logit[..., None] + self.noise_quantiles) / self.temperature)
        return self._keep_self(gates.mean(dim=-1))

    @torch.no_grad()
    def settle(self) -> None:
        """Compute the mean gates once and for all, for export: an exported graph would otherwise hold the quadrature's every point."""
        self.settled = self.mean_gate()

    def sample_gates(self, batch: int) -> Tensor:
        """(B, H, A, A) gates as training draws them."""
        uniform = torch.rand((batch, *self.keep_logit.shape), device=self.keep_logit.device).clamp_(1e-6, 1 - 1e-6)
        return self._keep_self(torch.sigmoid((self.keep_logit + torch.logit(uniform)) / self.temperature))

    def forward(self, attention: Tensor) -> Tensor:
        """Drop and renormalise."""
        gates = self.sample_gates(attention.shape[0]) if self.training else self.mean_gate()
        kept = attention * gates
        return kept / (kept.sum(dim=-1, keepdim=True) + 1e-6)

    def _keep_self(self, gates: Tensor) -> Tensor:
        return gates + self.always * (1 - gates)
