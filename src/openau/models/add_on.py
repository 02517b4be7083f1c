"""What FAN-Trans' add-on subnets have in common: they begin with one 1×1 convolution of the frozen network's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AddOn(nn.Module):
    """A 1×1 convolution shared by all positions, then what a subclass makes of it.

    Standardisation of the channels is folded into the convolution's weights, which saves two passes over the largest tensor.

    Shape:
        hypercolumns (B, P, C) → what `finish` gives
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, hypercolumns: Tensor) -> Tensor:
        """See the class."""
        return self.finish(self.projected(hypercolumns))

    def projected(self, hypercolumns: Tensor) -> Tensor:
        """The 1×1 convolution of channels that are not standardised yet: (B, P, C) → (B, P, width)."""
        weight, bias = self.standardised()
        return nn.functional.linear(hypercolumns.to(weight.dtype), weight, bias)

    def standardised(self) -> tuple[Tensor, Tensor]:
        """Weight (width, C) and bias (width,) that standardise and project at once."""
        weight = self.project.weight / self.std
        return weight, self.project.bias - weight @ self.mean

    def finish(self, projected: Tensor) -> Tensor:
        """What follows the convolution."""
        raise NotImplementedError

    @torch.no_grad()
    def fold_standardisation(self, half: bool) -> None:
        """Move mean and std into the convolution, for export; with `half` its weights are rounded to 16 bits on the way."""
        self.project.weight.div_(self.std)
        if half:
            self.project.weight.copy_(self.project.weight.half().float())
        self.project.bias.sub_(self.project.weight @ self.mean)
        self.mean.zero_()
        self.std.fill_(1)


def hide(positions: Tensor, probability: float) -> Tensor:
    """Hide whole positions of (B, P, width) with this probability and make up for it in the others."""
    seen = torch.rand(positions.shape[:2], device=positions.device)[..., None] >= probability
    return positions * (seen / (1 - probability))
