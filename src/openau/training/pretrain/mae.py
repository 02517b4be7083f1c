"""Masked autoencoding (He et al., 2022): most patches are hidden, and a light decoder has to draw them.

The encoder is the ViT itself and runs on the visible patches only; the decoder is thrown away. Labels are never read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from openau.models.vit import Block, ViT, ViTConfig
from openau.training.pretrain.crops import View
from openau.training.pretrain.recipe import PretrainRecipe


class MaskedPatches:
    """Which patches are visible: drawn per picture, so that every process draws the same.

    Args:
        config: of the ViT.
        share: of the patches that are masked.
    """

    def __init__(self, config: ViTConfig, share: float) -> None:
        self.patches = config.grid**2
        self.visible = max(1, round(self.patches * (1 - share)))

    def draw(self, row: int, view: View, rng: np.random.Generator) -> Mapping[str, npt.NDArray[np.int64]]:
        """`visible` (K,): numbers of patches, ascending."""
        return {"visible": np.sort(rng.permutation(self.patches)[: self.visible])}


class MaskedAutoencoder(nn.Module):
    """Encoder, decoder and the loss between drawn and true pixels.

        loss = mean over masked patches of mean (drawn − (pixels − μ) / σ)²,   μ, σ of the patch

    Depth and width of the decoder are ours [I]: the paper's (8 blocks of 512) are for ViT-L; position embeddings of the decoder are fixed
    sines and cosines, as there; those of the encoder stay learned, as everywhere in this project.

    Args:
        vit: the encoder, trained in place.
        recipe: decoder's width, depth and heads; whether targets are normalised per patch.
    """

    def __init__(self, vit: ViT, recipe: PretrainRecipe) -> None:
        super().__init__()
        config = vit.config
        width = recipe.decoder_width
        self.vit = vit
        self.normalise = recipe.normalise_patches
        self.enter = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        inner = ViTConfig(width, recipe.decoder_depth, recipe.decoder_heads, config.patch, config.size)
        self.blocks = nn.ModuleList(Block(inner) for _ in range(inner.depth))
        self.norm = nn.LayerNorm(width, inner.epsilon)
        self.draw = nn.Linear(width, 3 * config.patch**2)
        self.register_buffer("places", sines(config.grid, width), persistent=False)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for module in (self.enter, self.draw, *self.blocks.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """Tokens (B, prefix + K, D) of the visible patches (B, K) after the last LayerNorm; masked pixels have no influence."""
        tokens = self.vit.embed(pixels)
        prefix = self.vit.config.prefix
        tokens = torch.cat([tokens[:, :prefix], picked(tokens[:, prefix:], visible)], dim=1)
        for block in self.vit:
            tokens = block(tokens)
        return self.vit.norm(tokens)  # type: ignore[no-any-return]

    def decode(self, latent: Tensor, visible: Tensor) -> Tensor:
        """Patches (B, T, 3 · patch²) of the whole picture from the latent tokens (B, prefix + K, D)."""
        prefix = self.vit.config.prefix
        places = self.get_buffer("places")
        entered = self.enter(latent)
        patches = self.mask_token.to(entered.dtype).expand(len(latent), len(places), -1)
        patches = patches.scatter(1, _wide(visible, entered.shape[-1]), entered[:, prefix:])
        tokens = torch.cat([entered[:, :prefix], patches + places.to(entered.dtype)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.draw(self.norm(tokens[:, prefix:]))  # type: ignore[no-any-return]

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`loss` of `pixels` (B, 3, S, S) uint8 with `visible` (B, K)."""
        visible = batch["visible"]
        drawn = self.decode(self.encode(batch["pixels"].float() / 255, visible), visible)
        hidden = others(visible, drawn.shape[1])
        wanted = picked(patches_of(batch["pixels"], self.vit.config.patch), hidden).float() / 255
        if self.normalise:
            variance, mean = torch.var_mean(wanted, dim=-1, keepdim=True)
            wanted = (wanted - mean) / (variance + 1e-6).sqrt()
        return {"loss": functional.mse_loss(picked(drawn, hidden).float(), wanted)}


def patches_of(pixels: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) → (B, H·W / patch², 3 · patch²), patches row by row, in each the channels one after the other."""
    batch, channels, height, width = pixels.shape
    cut = pixels.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def others(places: Tensor, count: int) -> Tensor:
    """(B, count − K) ascending numbers below `count` that are not among the places (B, K)."""
    free = torch.ones(len(places), count, dtype=torch.bool, device=places.device).scatter(1, places, False)
    return free.nonzero()[:, 1].view(len(places), -1)


def picked(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens (B, K, D) at places (B, K) of tokens (B, T, D)."""
    return tokens.gather(1, _wide(places, tokens.shape[-1]))


def sines(grid: int, width: int) -> Tensor:
    """Fixed position embeddings (grid², width) of a square grid, row by row: half of the width for x, half for y.

    Each half is sin and cos of the position at frequencies 10000^(−k / (width / 4)), as in He et al.

    Raises:
        ValueError: the width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"the decoder's width must be a multiple of 4, not {width}")
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    across, down = line[None, :].expand(grid, grid, -1), line[:, None].expand(grid, grid, -1)
    return torch.cat([across, down], dim=-1).flatten(0, 1).float()


def _wide(places: Tensor, width: int) -> Tensor:
    return places[..., None].expand(-1, -1, width)
