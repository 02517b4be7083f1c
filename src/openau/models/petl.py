"""AUFormer's rivals: other ways to teach a ViT something new, with few learnable parameters (PETL) or with all of them.

What the literature has beside a frozen backbone, on ours, so that all can be compared in one loop at one number of learnable parameters:

| method | learns | source |
|---|---|---|
| `linear` | nothing here; the head alone | – |
| `full` | the whole ViT | – |
| `lora` | a product of two thin matrices beside linear layers | Hu et al. 2022 |
| `adapter` | a bottleneck behind the MLP (behind attention too: Houlsby et al.) | Pfeiffer et al. 2021, Houlsby et al. 2019 |
| `adaptformer` | a bottleneck beside the MLP | Chen et al. 2022 |
| `convpass` | a convolutional bottleneck beside attention and MLP | Jie & Deng 2022 |
| `vpt_shallow`, `vpt_deep` | tokens put before the first or before every block | Jia et al. 2022 |

All but the prompts start from the frozen ViT exactly, as their last matrix is zero; a prompt, whatever it is, takes some attention away.
None has the dropout that some public codes put into their bottlenecks: AUFormer has none either.

LoRA is ours although the package `peft` has it: there it brings transformers and accelerate into every run and its own names into every
checkpoint, for one line of algebra. A test proves that outputs and gradients are those of `peft`'s own on our layers.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from openau.models.vit import ViT, ViTConfig

Method = Literal["linear", "full", "lora", "adapter", "adaptformer", "convpass", "vpt_shallow", "vpt_deep"]
Site = Literal["attention", "mlp"]
Layer = Literal["qkv", "proj", "fc1", "fc2"]

METHODS: tuple[Method, ...] = get_args(Method)
SITES: tuple[Site, ...] = get_args(Site)
LAYERS: tuple[Layer, ...] = get_args(Layer)
"""Linear layers of a block: of attention (queries, keys and values in one; output) and of the MLP."""

MOST_PROMPTS = 200
"""Prompts of a block that `widths_for` gives at most: about as many as a picture of 224 pixels has patches of 16."""


@dataclass(frozen=True, slots=True)
class PETLConfig:
    """A method and its settings; `petl_config` has each method's usual ones.

    Attributes:
        method: one of `METHODS`.
        width: rank of LoRA, channels of a bottleneck, prompts of a block; 0 for `linear` and `full`, which have none.
        scale: factor of what is added to the frozen branch; LoRA's α / rank.
        sites: branches that get a bottleneck. `adapter` with both is Houlsby's; `convpass` with attention alone is a lighter variant.
        layers: linear layers that LoRA changes.

    Raises:
        ValueError: a value means nothing for the method.
    """

    method: Method
    width: int = 0
    scale: float = 1.0
    sites: tuple[Site, ...] = ("mlp",)
    layers: tuple[Layer, ...] = LAYERS

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"there is no method {self.method!r}; there are {', '.join(METHODS)}")
        if self.method in ("linear", "full"):
            if self.width:
                raise ValueError(f"{self.method} has no width")
        elif self.width < 1:
            raise ValueError(f"the width of {self.method} must be positive, not {self.width}")
        if not self.sites or not set(self.sites) <= set(SITES):
            raise ValueError(f"sites must be among {', '.join(SITES)}, not {list(self.sites)}")
        if not self.layers or not set(self.layers) <= set(LAYERS):
            raise ValueError(f"layers must be among {', '.join(LAYERS)}, not {list(self.layers)}")


_USUAL: Mapping[Method, PETLConfig] = MappingProxyType(
    {
        config.method: config
        for config in (
            PETLConfig("linear"),
            PETLConfig("full"),
            PETLConfig("lora", 8),
            PETLConfig("adapter", 64),
            PETLConfig("adaptformer", 64, scale=0.1),
            PETLConfig("convpass", 8, sites=SITES),
            PETLConfig("vpt_shallow", 50),
            PETLConfig("vpt_deep", 50),
        )
    }
)


def petl_config(method: str, width: int = 0) -> PETLConfig:
    """The usual settings of a method.

    AdaptFormer's 64 channels and s = 0.1 and Convpass's 8 channels at both sites are those of their public codes [R]; other widths are
    common ones [open]. LoRA changes every linear layer, not attention's alone, as language models want it (Dettmers et al. 2023) [open].

    Args:
        method: one of `METHODS`.
        width: rank, channels or prompts; 0 = the usual number.

    Raises:
        ValueError: there is no such method, or it has no width.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    usual = _USUAL[method]
    return replace(usual, width=width or usual.width)


class Adapted(nn.Module):
    """A ViT and what is learned beside it.

    Args:
        vit: the backbone. It is changed here, not copied: frozen, unless the method is `full`, and with `lora` its layers are exchanged for
            ones that learn beside their frozen weights; names of frozen weights stay.
        config: the method.

    Attributes:
        bypasses: by site, a bottleneck per block.
        prompts: (1 or L, prompts, D): of the first block, or of each.

    Shape:
        pixels (B, 3, H, W) RGB in [0, 1] → (B, prefix + patches, D) after the last LayerNorm, as the ViT gives them
    """

    def __init__(self, vit: ViT, config: PETLConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = vit.requires_grad_(config.method == "full")
        self.bypasses = nn.ModuleDict()
        self.prompts: nn.Parameter | None = None
        if config.method == "lora":
            _insert_lora(vit, config)
        elif config.method in _BYPASSES:
            make = _BYPASSES[config.method]
            for site in config.sites:
                beside = (make(vit.config.width, config.width, config.scale) for _ in range(vit.config.depth))
                self.bypasses[site] = nn.ModuleList(beside)
        elif config.method in ("vpt_shallow", "vpt_deep"):
            blocks = vit.config.depth if config.method == "vpt_deep" else 1
            self.prompts = nn.Parameter(torch.empty(blocks, config.width, vit.config.width))
            # VPT's bound: Xavier's for a layer from a patch's pixels to the width.
            bound = math.sqrt(6 / (3 * vit.config.patch**2 + vit.config.width))
            nn.init.uniform_(self.prompts, -bound, bound)

    def train(self, mode: bool = True) -> Adapted:
        """What is frozen stays in evaluation mode."""
        super().train(mode)
        if self.config.method != "full":
            self.vit.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens after the last LayerNorm."""
        if self.prompts is not None:
            return self._prompted(pixels, self.prompts)
        return self._bypassed(pixels) if len(self.bypasses) else cast(Tensor, self.vit(pixels))

    def _bypassed(self, pixels: Tensor) -> Tensor:
        vit = self.vit
        patch = vit.config.patch
        grid = (pixels.shape[-2] // patch, pixels.shape[-1] // patch)
        tokens = vit.embed(pixels)
        for number, block in enumerate(vit):
            normed = block.norm1(tokens)
            tokens = tokens + self._beside("attention", number, normed, block.attend(normed), grid)
            normed = block.norm2(tokens)
            tokens = tokens + self._beside("mlp", number, normed, block.think(normed), grid)
        return cast(Tensor, vit.norm(tokens))

    def _beside(self, site: Site, number: int, normed: Tensor, branch: Tensor, grid: tuple[int, int]) -> Tensor:
        """The frozen branch's output with what its bottleneck adds, if it has one."""
        if site not in self.bypasses:
            return branch
        bypass = cast(nn.ModuleList, self.bypasses[site])[number]
        reads = branch if self.config.method == "adapter" else normed
        return branch + cast(Tensor, bypass(reads, grid, self.vit.config.prefix))

    def _prompted(self, pixels: Tensor, prompts: Tensor) -> Tensor:
        vit, count = self.vit, self.config.width
        prefix = vit.config.prefix
        tokens = vit.embed(pixels)
        for number, block in enumerate(vit):
            if number < len(prompts):
                after = (
                    prefix + count if number else prefix
                )  # where the patches begin: the block before had prompts of its own
                own = prompts[number].to(tokens.dtype).expand(tokens.shape[0], -1, -1)
                tokens = torch.cat([tokens[:, :prefix], own, tokens[:, after:]], dim=1)
            tokens = block(tokens)
        return cast(Tensor, vit.norm(torch.cat([tokens[:, :prefix], tokens[:, prefix + count :]], dim=1)))


class LoRALinear(nn.Linear):
    """y = W x + b + s · U V x with W and b frozen, V (rank, in) and U (out, rank) learned and U zero at first (Hu et al. 2022).

    Args:
        frozen: its weight and bias are used as they are, not copied.
        rank: of the product.
        scale: s, the paper's α / rank.
    """

    def __init__(self, frozen: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(frozen.in_features, frozen.out_features, device="meta")
        self.weight, self.bias = frozen.weight, frozen.bias
        self.down = nn.Parameter(frozen.weight.new_empty(rank, frozen.in_features))
        self.up = nn.Parameter(frozen.weight.new_zeros(frozen.out_features, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        """The frozen layer's output and the product's."""
        learned = functional.linear(functional.linear(tokens, self.down), self.up)
        return super().forward(tokens) + self.scale * learned


class Bottleneck(nn.Module):
    """s · (U relu(V x + v) + u) of each token, U and u zero at first.

    Beside the MLP it is AdaptFormer's (which begins with s = 0.1; it reads the normalised tokens like the MLP, where the public code leaves
    that LayerNorm out [R]); behind a branch it is Pfeiffer's and Houlsby's adapter, whose residual connection the caller makes.

    Args:
        width: D of the tokens.
        channels: of the bottleneck.
        scale: s.

    Shape:
        tokens (B, T, D) → (B, T, D); grid and prefix are not looked at
    """

    def __init__(self, width: int, channels: int, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, channels), nn.Linear(channels, width), scale
        nn.init.kaiming_uniform_(self.down.weight, math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        _silence(self.up)

    def forward(self, tokens: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
        """What is added."""
        return self.scale * cast(Tensor, self.up(functional.relu(self.down(tokens))))


class ConvBypass(nn.Module):
    """Convpass: s · up(gelu(conv(gelu(down(x))))), down and up 1×1, conv 3×3 over the map of patches and the identity at first, up zero.

    Class and register tokens go through the same convolutions, each as a map of 1×1. The public code has a sigmoid for an approximation of
    GELU [R]; s is its search's choice per data set, 1 here.

    Args:
        width: D of the tokens.
        channels: of the bottleneck.
        scale: s.

    Shape:
        tokens (B, prefix + rows · columns, D), grid (rows, columns) → the tokens' shape
    """

    def __init__(self, width: int, channels: int, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, channels), nn.Linear(channels, width), scale
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(cast(Tensor, self.conv.bias))
        _silence(self.up)

    def forward(self, tokens: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
        """What is added."""
        hidden = functional.gelu(self.down(tokens))
        patches = hidden[:, prefix:].transpose(1, 2).reshape(-1, hidden.shape[-1], *grid)
        seen = self.conv(patches).flatten(2).transpose(1, 2)
        if prefix:
            # On a map of 1×1 only the middle of the kernel meets anything but padding.
            alone = functional.linear(hidden[:, :prefix], self.conv.weight[:, :, 1, 1], self.conv.bias)
            seen = torch.cat([alone, seen], dim=1)
        return self.scale * cast(Tensor, self.up(functional.gelu(seen)))


_BYPASSES: Mapping[Method, type[Bottleneck | ConvBypass]] = MappingProxyType(
    {"adapter": Bottleneck, "adaptformer": Bottleneck, "convpass": ConvBypass}
)


def learnable_parameters(config: PETLConfig, vit: ViTConfig) -> int:
    """Learnable parameters of a method on a ViT, without the head's."""
    width, d, hidden = vit.width, config.width, round(vit.mlp_ratio * vit.width)
    if config.method == "linear":
        return 0
    if config.method == "full":
        return _all_parameters(vit)
    if config.method == "lora":
        ends = {"qkv": (width, 3 * width), "proj": (width, width), "fc1": (width, hidden), "fc2": (hidden, width)}
        return vit.depth * sum(d * sum(ends[layer]) for layer in config.layers)
    if config.method == "vpt_shallow":
        return d * width
    if config.method == "vpt_deep":
        return vit.depth * d * width
    bottleneck = 2 * width * d + d + width
    if config.method == "convpass":
        bottleneck += 9 * d**2 + d
    return vit.depth * len(config.sites) * bottleneck


def widths_for(method: str, vit: ViTConfig, budget: int) -> PETLConfig:
    """The usual settings of a method with the width whose number of learnable parameters is nearest to a budget.

    Args:
        method: one of `METHODS`. `linear` and `full` have no choice; prompts end at `MOST_PROMPTS` a block, so look at
            `learnable_parameters` of what is returned.
        vit: the backbone.
        budget: learnable parameters without the head's, such as AUFormer's experts have.

    Raises:
        ValueError: there is no such method, or the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"the budget must be positive, not {budget}")
    usual = petl_config(method)
    if not usual.width:
        return usual

    def count(width: int) -> int:
        return learnable_parameters(replace(usual, width=width), vit)

    most = MOST_PROMPTS if usual.method in ("vpt_shallow", "vpt_deep") else budget + 1
    above = 1 + bisect.bisect_left(range(1, most), budget, key=count)
    return replace(usual, width=min((max(1, above - 1), above), key=lambda width: abs(count(width) - budget)))


def _all_parameters(vit: ViTConfig) -> int:
    width, hidden = vit.width, round(vit.mlp_ratio * vit.width)
    patches = 3 * vit.patch**2 * width + (width if vit.patch_bias else 0)
    tokens = (
        vit.prefix + int(vit.class_token) + vit.grid**2
    ) * width  # the class token has a position, registers have none
    attention, mlp = 4 * width**2 + 4 * width, 2 * width * hidden + hidden + width
    block = attention + mlp + 4 * width + (0 if vit.layer_scale is None else 2 * width)
    return patches + tokens + vit.depth * block + (2 if vit.norm_before else 0) * width + 2 * width


def _insert_lora(vit: ViT, config: PETLConfig) -> None:
    for block in vit:
        for layer in config.layers:
            owner = block.attn if layer in ("qkv", "proj") else block.mlp
            setattr(owner, layer, LoRALinear(getattr(owner, layer), config.width, config.scale))


def _silence(layer: nn.Linear) -> None:
    """Let a layer say nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
