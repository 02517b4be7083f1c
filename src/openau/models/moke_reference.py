"""Mixture-of-Knowledge Experts (AUFormer, figure 2), one ordinary module per expert: to be read beside the figure.

`openau.models.moke` computes the same much faster and is what is used; tests hold the two equal, gradients included. What the paper
states is marked [F], what a public relative does [R], what we chose because it is not published [open].
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openau.models.moke import MoKEConfig
from openau.models.moke_operators import DILATIONS


class Highways(NamedTuple):
    """What the experts of a site hand to those of the next: their outputs, (B, T, D) each, and how many tokens precede the patches."""

    outputs: list[Tensor]
    prefix: int


class MoKEs(nn.Module):
    """All experts of a network: a group of N at each of 2 L sites, before attention and before the MLP of each block [F]."""

    def __init__(self, config: MoKEConfig) -> None:
        super().__init__()
        self.config = config
        self.groups = nn.ModuleList(
            nn.ModuleList(MoKE(config) for _ in range(config.experts)) for _ in range(config.sites)
        )

    def site(
        self, index: int, tokens: Tensor, highway: Highways | None, grid: tuple[int, int], prefix: int
    ) -> tuple[Tensor, Highways]:
        """Ask the experts of one site. Expert i reads the normalised tokens plus what expert i of the site before said [F].

        Args:
            index: of the site, from 0.
            tokens: (B, T, D), normalised; T = prefix + rows · columns.
            highway: of the site before, None at the first, where there is nothing yet [I].
            grid: rows, columns of patches.
            prefix: class and register tokens before the patches.

        Returns:
            the mean of the experts' outputs (B, T, D), to be added to the branch's [F], and the highway for the next site.
        """
        outputs = []
        for i, expert in enumerate(cast(nn.ModuleList, self.groups[index])):
            joined = tokens if highway is None or not self.config.highway else tokens + highway.outputs[i]
            outputs.append(expert(joined, grid, prefix))
        return torch.stack(outputs).mean(dim=0), Highways(outputs, prefix)

    def streams(self, highway: Highways) -> Tensor:
        """What each expert of that site said, averaged over the patches: (B, N, D)."""
        return torch.stack([output[:, highway.prefix :].mean(dim=1) for output in highway.outputs], dim=1)


class MoKE(nn.Module):
    """One expert of one AU at one site.

    1×1 convolution D → d, GELU, 3×3 convolution = M; M + MRF(M) + CA(M); GELU, 1×1 convolution d → D [F].

    All convolutions have biases [open]. The last starts at zero, weight and bias, and the 3×3 as the identity, so that training starts from
    the frozen ViT exactly; other weights start Xavier-uniform, other biases at zero: Convpass' choices [R], open in the paper.

    Shape:
        tokens (B, T, D) → the same; the `prefix` tokens before the patches go through the same convolutions, each as a map of 1×1, as
        Convpass has it [R] (`class_token="conv"`), or give zeros (`"skip"`) [open].
    """

    def __init__(self, config: MoKEConfig) -> None:
        super().__init__()
        self.skip = config.class_token == "skip"
        self.down = nn.Conv2d(config.dim, config.width, 1)
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.mrf = MRF(config.width) if config.mrf else None
        self.ca = CA(config.width, config.context) if config.ca else None
        self.up = nn.Conv2d(config.width, config.dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
        """The expert's output."""
        first, patches = tokens[:, :prefix], tokens[:, prefix:]
        maps = self.convolve(patches.mT.reshape(len(tokens), -1, *grid)).flatten(2).transpose(1, 2)
        cells = first.reshape(-1, first.shape[2], 1, 1)
        said = torch.zeros_like(first) if self.skip else self.convolve(cells).view_as(first)
        return torch.cat([said, maps], dim=1)

    def convolve(self, maps: Tensor) -> Tensor:
        """Maps (B, D, rows, columns) → the same."""
        m = self.conv(F.gelu(self.down(maps)))
        mixed = m
        if self.mrf is not None:
            mixed = mixed + self.mrf(m)
        if self.ca is not None:
            mixed = mixed + self.ca(m)
        return self.up(F.gelu(mixed))  # type: ignore[no-any-return]


class MRF(nn.Module):
    """Multi-receptive-field operator: 3×3 convolutions of dilation 1, 3 and 5 side by side, concatenated, 1×1 convolution 3 d → d [F].

    Shape:
        (B, d, rows, columns) → the same
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.merge = nn.Conv2d(len(DILATIONS) * width, width, 1)

    def forward(self, m: Tensor) -> Tensor:
        """The operator."""
        return self.merge(torch.cat([branch(m) for branch in self.branches], dim=1))  # type: ignore[no-any-return]


class CA(nn.Module):
    """Context-aware operator: attention over the places around each, channel by channel [F].

    Q, K, V are 1×1 convolutions of M; CA[c, p] = Σ_q softmax_q(Q[c, p] · K[c, q]) · V[c, q].

    The places q are an odd window around p, or with `"full"` all of the map; the figure leaves that open [open]. Places of the window that
    lie outside the map take no part in the softmax (they are masked, not zeros) [open]. There is no scale factor [F: none is drawn].

    Shape:
        (B, d, rows, columns) → the same
    """

    def __init__(self, width: int, context: int | str) -> None:
        super().__init__()
        self.context = context
        self.q, self.k, self.v = (nn.Conv2d(width, width, 1) for _ in range(3))

    def forward(self, m: Tensor) -> Tensor:
        """The operator."""
        q = self.q(m).flatten(2).unsqueeze(2)  # (B, d, 1, P)
        k, v = self.around(self.k(m)), self.around(self.v(m))  # (B, d, places, P) or (B, d, places, 1)
        correlation = q * k
        if isinstance(self.context, int):
            inside = self.around(torch.ones_like(m[:1, :1]))
            correlation = correlation.masked_fill(inside == 0, -torch.inf)
        attended: Tensor = (correlation.softmax(dim=2) * v).sum(dim=2)
        return attended.view_as(m)

    def around(self, maps: Tensor) -> Tensor:
        """The places that each place looks at: (B, channels, rows, columns) → (B, channels, places, P); the same for all (…, 1) if full."""
        if not isinstance(self.context, int):
            return maps.flatten(2).unsqueeze(3)
        window = F.unfold(maps, self.context, padding=self.context // 2)
        return window.view(*maps.shape[:2], self.context**2, maps.shape[2] * maps.shape[3])
