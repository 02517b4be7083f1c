"""Plain pre-norm Vision Transformers (Dosovitskiy et al., 2021), the frozen backbones of AUFormer and of its rivals.

Names of the parameters are those of timm's `vit_*` family, so files in that layout load as they are; `openau.models.vit_layouts` turns
those of Hugging Face's ViT, CLIP and DINOv2 into it. Pixels are standardised inside the network, with the statistics it was trained with.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["gelu", "quick_gelu"]

SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
)
"""Size → width, blocks, heads (DeiT's tiny and small, ViT's base and large)."""

PATCHES = (8, 14, 16)
"""Sides of patches, pixels, that names may have."""

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_NAME = re.compile(r"vit_(tiny|small|base|large)_patch(\d+)(?:_(\d+))?")


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """Everything needed to build the network again.

    Attributes:
        width: D of the tokens. depth: blocks L. heads: of the attention; they divide the width.
        patch: side of a patch, pixels. size: side of the picture its position embeddings are made for; others are interpolated.
        mlp_ratio: hidden units of the MLP, in widths.
        class_token: put a learned token before the patches. registers: so many learned tokens without a position behind it (DINOv2).
        patch_bias: the patch projection has a bias (CLIP's has none). norm_before: LayerNorm before the first block (CLIP).
        layer_scale: each block's two branches are scaled by learned factors, with this initial value (DINOv2); None = they are not.
        activation: of the MLP; "quick_gelu", x · sigmoid(1.702 x), is CLIP's.
        epsilon: of the LayerNorms.
        mean, std: of RGB in [0, 1]; inputs are standardised with them.

    Raises:
        ValueError: a size does not fit the others.
    """

    width: int
    depth: int
    heads: int
    patch: int = 16
    size: int = 224
    mlp_ratio: float = 4.0
    class_token: bool = True
    registers: int = 0
    patch_bias: bool = True
    norm_before: bool = False
    layer_scale: float | None = None
    activation: Activation = "gelu"
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.patch, self.size) < 1 or self.registers < 0:
            raise ValueError("sizes of a ViT must be positive")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.width}")
        if self.size % self.patch:
            raise ValueError(f"patches of {self.patch} pixels do not divide a side of {self.size}")
        if self.activation not in ("gelu", "quick_gelu"):
            raise ValueError(f"there is no activation {self.activation!r}")

    @property
    def grid(self) -> int:
        """Patches of a side."""
        return self.size // self.patch

    @property
    def prefix(self) -> int:
        """Tokens before the patches: class token and registers."""
        return int(self.class_token) + self.registers

    def to_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ViTConfig:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**values)

    @classmethod
    def named(cls, name: str) -> ViTConfig:
        """The configuration of `vit_tiny_patch16_224` and the like: tiny, small, base or large; patch 8, 14 or 16; any side, 224 if none.

        Raises:
            ValueError: there is none of this name.
        """
        match = _NAME.fullmatch(name)
        if match is None or int(match[2]) not in PATCHES:
            raise ValueError(
                f"{name!r} names no ViT; names are like vit_tiny_patch16_224: {', '.join(SIZES)}; patch 8, 14 or 16"
            )
        width, depth, heads = SIZES[match[1]]
        return cls(width, depth, heads, int(match[2]), int(match[3] or 224))


class ViT(nn.Module):
    """The network; outputs are tokens, there is no head.

    Shape:
        pixels (B, 3, H, W) RGB in [0, 1], H and W multiples of the patch → (B, prefix + H·W / patch², D) after the last LayerNorm; first
        the class token, then registers, then patches row by row.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if config.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, config.registers, width)) if config.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, int(config.class_token) + config.grid**2, width))
        self.patch_embed = PatchEmbedding(config)
        self.norm_pre = nn.LayerNorm(width, config.epsilon) if config.norm_before else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, config.epsilon)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        self.apply(_initialise)
        for parameter in (self.cls_token, self.reg_token, self.pos_embed):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)

    def __iter__(self) -> Iterator[Block]:
        """The blocks."""
        yield from self.blocks  # type: ignore[misc]

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens (B, prefix + H·W / patch², D) before the first block.

        Raises:
            ValueError: patches do not divide the picture.
        """
        height, width = pixels.shape[-2:]
        patch = self.config.patch
        if height % patch or width % patch:
            raise ValueError(f"patches of {patch} pixels do not divide a picture of {width} × {height}")
        patches = self.patch_embed((pixels - self.get_buffer("mean")) / self.get_buffer("std"))
        classes, places = self.positions(height // patch, width // patch)
        tokens = [patches + places]
        if self.reg_token is not None:
            tokens.insert(0, self.reg_token.expand(pixels.shape[0], -1, -1))
        if self.cls_token is not None:
            tokens.insert(0, (self.cls_token + classes).expand(pixels.shape[0], -1, -1))
        joined = torch.cat(tokens, dim=1) if len(tokens) > 1 else tokens[0]
        return self.norm_pre(joined)  # type: ignore[no-any-return]

    def positions(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Position embeddings of the class token (1, 0 or 1, D) and of so many patches (1, rows · columns, D)."""
        first = int(self.config.class_token)
        classes, places = self.pos_embed[:, :first], self.pos_embed[:, first:]
        return classes, interpolate_positions(places, rows, columns)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens after the last LayerNorm."""
        tokens = self.embed(pixels)
        for block in self:
            tokens = block(tokens)
        return self.norm(tokens)  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """(B, 3, H, W) → (B, H·W / patch², D), patches row by row."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch, config.patch, bias=config.patch_bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Project each patch."""
        return self.proj(pixels).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block, (B, T, D) → (B, T, D): attention, then MLP, each added to what it read."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, config.epsilon)
        self.attn = Attention(config)
        self.ls1 = _scale(config)
        self.norm2 = nn.LayerNorm(config.width, config.epsilon)
        self.mlp = MLP(config)
        self.ls2 = _scale(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """One block."""
        tokens = tokens + self.attend(self.norm1(tokens))
        return tokens + self.think(self.norm2(tokens))

    def attend(self, normed: Tensor) -> Tensor:
        """The attention branch on normalised tokens, before it is added."""
        return self.ls1(self.attn(normed))  # type: ignore[no-any-return]

    def think(self, normed: Tensor) -> Tensor:
        """The MLP branch on normalised tokens, before it is added."""
        return self.ls2(self.mlp(normed))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, D) → (B, T, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend."""
        batch, count, width = tokens.shape
        q, k, v = self.qkv(tokens).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """(B, T, D) → (B, T, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden = round(config.mlp_ratio * config.width)
        self.fc1 = nn.Linear(config.width, hidden)
        self.quick = config.activation == "quick_gelu"
        self.fc2 = nn.Linear(hidden, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Think."""
        hidden = self.fc1(tokens)
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else functional.gelu(hidden)
        return self.fc2(hidden)  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """Factors (D,) of a branch."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale."""
        return tokens * self.gamma


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q · kᵀ / √d) · v, (B, heads, T, d) each; by whichever way is fastest where it runs."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # PyTorch's fused kernel takes two to four times as long as the plain products here (197 tokens, forward and backward).
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = weights @ v
        return mixed
    return functional.scaled_dot_product_attention(q, k, v)


def interpolate_positions(places: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings (1, S², D) of a square grid for a grid of another shape, (1, rows · columns, D).

    Bicubic, smoothed where the grid shrinks; unchanged where the shape is the same.
    """
    side = round(places.shape[1] ** 0.5)
    if (rows, columns) == (side, side):
        return places
    grid = places.reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    grid = functional.interpolate(grid, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(places.dtype)


def _scale(config: ViTConfig) -> nn.Module:
    return nn.Identity() if config.layer_scale is None else LayerScale(config.width, config.layer_scale)


def _initialise(module: nn.Module) -> None:
    """Truncated normal weights (s.d. .02), no biases; as the ViTs that these are compatible with start."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
