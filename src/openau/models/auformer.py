"""AUFormer (Yuan et al., ECCV 2024, arXiv 2403.04697): a frozen ViT with two groups of small experts in every block, one expert per AU.

Read off the published figure [F]; text and code were not at hand. Frozen: patch projection, position embeddings, LayerNorms, attention and
MLP. Learnable: the experts, the head, and each AU's classifier of its expert stream. With the experts' up-projections at zero, training
starts from the frozen ViT exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openau.models.au_vit import AUViT, AUViTConfig, freeze
from openau.models.moke import MoKEConfig, MoKEs
from openau.models.vit import ViT

WIDTH = 8
"""Default bottleneck d of an expert; the authors' is not known to us [open]. With 8, twelve AUs on a ViT-B have 4.56 M weights."""


class AUFormer(AUViT):
    """A frozen ViT and its experts.

        K_att[l,i] = MoKE(Norm1(x[l−1]) + K_mlp[l−1,i])       x'[l] = x[l−1] + MHSA(Norm1(x[l−1])) + mean_i K_att[l,i]
        K_mlp[l,i] = MoKE(Norm2(x'[l]) + K_att[l,i])          x[l] = x'[l] + MLP(Norm2(x'[l])) + mean_i K_mlp[l,i]

    Args:
        config: what to build.
        vit: the backbone; it is frozen here, not copied.
    """

    def __init__(self, config: AUViTConfig, vit: ViT) -> None:
        super().__init__(config)
        self.backbone = freeze(vit)
        width = config.vit.width
        self.mokes = MoKEs(moke_config(config))
        judged = 1 if config.supervised == "last" else config.vit.depth
        self.experts = ExpertClassifiers(judged, len(config.aus), width)
        self.note_learnable()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens after the last LayerNorm, and expert logits (B, K, N)."""
        tokens, streams = self._walk(pixels)
        return tokens, self.experts(torch.stack(streams, dim=1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N); the experts' own verdicts are for training only."""
        return self.head(self._walk(pixels, supervised=False)[0])  # type: ignore[no-any-return]

    def prepare(self, pixels: Tensor, rates: Tensor) -> None:
        """As `AUViT.prepare`; the experts' classifiers begin with the log odds, too."""
        super().prepare(pixels, rates)
        with torch.no_grad():
            self.experts.bias.copy_(torch.logit(rates.clamp(0.01, 0.99)).expand_as(self.experts.bias))

    def _walk(self, pixels: Tensor, supervised: bool = True) -> tuple[Tensor, list[Tensor]]:
        """Through all blocks; with the pooled streams (B, N, D) of those that are judged."""
        vit, mokes = self.backbone, self.mokes
        patch = vit.config.patch
        grid = (pixels.shape[-2] // patch, pixels.shape[-1] // patch)
        prefix = vit.config.prefix
        tokens, highway, streams = vit.embed(pixels), None, []
        for number, block in enumerate(vit):
            normed = block.norm1(tokens)
            update, highway = mokes.site(2 * number, normed, highway, grid, prefix)
            tokens = tokens + block.attend(normed) + update
            normed = block.norm2(tokens)
            update, highway = mokes.site(2 * number + 1, normed, highway, grid, prefix)
            tokens = tokens + block.think(normed) + update
            if supervised and (self.config.supervised == "every" or number + 1 == vit.config.depth):
                streams.append(mokes.streams(highway))
        return vit.norm(tokens), streams


class ExpertClassifiers(nn.Module):
    """Each AU's own linear classifier of its own stream, averaged over the patches [I]; (B, K, N, D) → (B, K, N)."""

    def __init__(self, blocks: int, aus: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, aus, width))
        self.bias = nn.Parameter(torch.zeros(blocks, aus))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, streams: Tensor) -> Tensor:
        """Judge."""
        return (streams * self.weight).sum(dim=-1) + self.bias


def moke_config(config: AUViTConfig) -> MoKEConfig:
    """The experts' part of a configuration."""
    return MoKEConfig(
        dim=config.vit.width, experts=len(config.aus), sites=2 * config.vit.depth, width=config.width or WIDTH,
        context=config.context or "full", class_token=config.class_token, highway=config.highway, mrf=config.mrf, ca=config.ca,
    )  # fmt: skip
