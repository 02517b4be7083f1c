"""What AUFormer and its rivals share: a Vision Transformer that judges AUs, of which only a small part may learn."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from openau.facs import AUS
from openau.models.vit import ViT, ViTConfig

Pool = Literal["class", "mean"]
ClassToken = Literal["conv", "skip"]
Supervised = Literal["last", "every"]


@dataclass(frozen=True, slots=True)
class AUViTConfig:
    """Everything needed to build the network again, but for the backbone's weights.

    Attributes:
        aus: N AUs of the logits, in order.
        vit: the backbone.
        backbone: name or file of its weights; "" = random ones. backbone_sha256: of that file.
        method: "auformer", or one of `openau.models.petl.METHODS`.
        width: bottleneck d of an expert, or the rival's width (rank, prompts); 0 = the method's default.
        pool: what the head reads: the class token, or the mean of the patches. The figure shows a head above the tokens and no more [open].
        hidden: units of the head's hidden layer; 0 = one linear layer ("MLP head" is all the figure says [open]).
        context: of AUFormer only, like all below: side of CA's window, odd; 0 = the whole map [open].
        class_token: how class and register tokens pass the experts [open]: "conv", as a 1×1 map of their own (Convpass [R]), or "skip".
        highway: each AU's experts hand on what they found [F]; without, each reads the tokens alone.
        mrf, ca: the expert's multi-receptive-field and context-aware paths [F].
        supervised: expert streams that are judged: those that leave the last block [F], or every block's [open].

    Raises:
        ValueError: AUs that are not known or named twice, or values that do not fit the backbone.
    """

    aus: tuple[int, ...]
    vit: ViTConfig
    backbone: str = ""
    backbone_sha256: str = ""
    method: str = "auformer"
    width: int = 0
    pool: Pool = "class"
    hidden: int = 0
    context: int = 3
    class_token: ClassToken = "conv"
    highway: bool = True
    mrf: bool = True
    ca: bool = True
    supervised: Supervised = "last"

    def __post_init__(self) -> None:
        unknown = [number for number in self.aus if number not in AUS]
        if unknown or not self.aus or len(set(self.aus)) != len(self.aus):
            raise ValueError(f"aus must be known and different AUs, not {list(self.aus)}")
        if self.width < 0 or self.hidden < 0:
            raise ValueError("widths must not be negative")
        if self.context < 0 or (self.context and self.context % 2 == 0):
            raise ValueError(f"context must be odd, or 0 for the whole map, not {self.context}")
        if self.pool == "class" and not self.vit.class_token:
            raise ValueError("this backbone has no class token to pool; use pool=mean")
        for name, values in (
            ("pool", ("class", "mean")), ("class_token", ("conv", "skip")), ("supervised", ("last", "every")),
        ):  # fmt: skip
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be {' or '.join(values)}, not {getattr(self, name)!r}")

    def to_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AUViTConfig:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["vit"] = ViTConfig.from_json(json.dumps(values["vit"]))
        values["aus"] = tuple(values["aus"])
        return cls(**values)


LEAST_SPREAD = 0.02
"""Added to standard deviations, so that what hardly differs between faces is not blown up; those of a trained ViT are about .1."""


class Head(nn.Module):
    """Normalised tokens (B, T, D) → logits (B, N): pooled, standardised, then a linear layer or a small MLP.

    What a frozen ViT's pooled tokens have in common is far larger than how they differ, so a head that reads them as they are learns
    slowly and pulls at everything below it. `prepare` gives mean and standard deviation; until then they are 0 and 1.
    """

    def __init__(self, config: AUViTConfig) -> None:
        super().__init__()
        self.pool, self.prefix = config.pool, config.vit.prefix
        width, aus = config.vit.width, len(config.aus)
        layers: list[nn.Module] = []
        if config.hidden:
            layers, width = [nn.Linear(width, config.hidden), nn.GELU()], config.hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, aus))
        nn.init.trunc_normal_(self.last.weight, std=0.02)
        nn.init.zeros_(self.last.bias)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(config.vit.width))
        self.register_buffer("std", torch.ones(config.vit.width))

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the logits."""
        return cast(nn.Linear, self.layers[-1])

    def pooled(self, tokens: Tensor) -> Tensor:
        """(B, D)."""
        return tokens[:, 0] if self.pool == "class" else tokens[:, self.prefix :].mean(dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Judge."""
        return self.layers((self.pooled(tokens) - self.mean) / self.std)  # type: ignore[no-any-return]

    @torch.no_grad()
    def prepare(self, pooled: Tensor, log_odds: Tensor) -> None:
        """Before training: standardise by these faces (n, D), and begin with each AU's log odds (N,) whatever the face."""
        self.mean.copy_(pooled.mean(dim=0))
        self.std.copy_(pooled.std(dim=0) + LEAST_SPREAD)
        self.last.weight.mul_(0.1)
        self.last.bias.copy_(log_odds)


class AUViT(nn.Module):
    """A ViT with something small that learns, and a head; subclasses say what.

    Shape:
        pixels (B, 3, S, S) RGB in [0, 1] → logits (B, N)
    """

    def __init__(self, config: AUViTConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Head(config)
        self._kept: frozenset[str] = frozenset()

    def note_learnable(self) -> None:
        """Called once all parts are there: what learns now is what a checkpoint will hold, also of a copy whose gradients are off."""
        everything = not self.config.backbone_sha256
        weights = self.named_parameters()
        self._kept = frozenset(name for name, weight in weights if weight.requires_grad or everything)

    def prepare(self, pixels: Tensor, rates: Tensor) -> None:
        """Before training: let the head know what faces (n, 3, S, S) look like to the backbone, and how common each AU is.

        Args:
            pixels: RGB in [0, 1], a few hundred training faces.
            rates: (N,) share of the training faces that show each AU.
        """
        with torch.no_grad():
            pooled = torch.cat([self.head.pooled(self.encode(part)[0]).float() for part in torch.split(pixels, 32)])
        self.head.prepare(pooled, torch.logit(rates.clamp(0.01, 0.99)))

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T, D) after the last LayerNorm, and expert logits (B, K, N) of K supervised blocks, or None without experts."""
        raise NotImplementedError

    def judge(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (B, N), and what `encode` says of the experts."""
        tokens, experts = self.encode(pixels)
        return self.head(tokens), experts

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, N)."""
        return self.head(self.encode(pixels)[0])  # type: ignore[no-any-return]

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint holds: what learns, what the head standardises with, and the backbone if it is random, found nowhere else."""
        weights = {name: weight.detach() for name, weight in self.named_parameters() if name in self._kept}
        return weights | {f"head.{name}": value for name, value in self.head.named_buffers()}

    def load_kept(self, tensors: Mapping[str, Tensor]) -> None:
        """Put in place what `kept` gave.

        Raises:
            ValueError: a tensor is missing, one too many, or of another size.
        """
        mine = self.kept()
        if odd := sorted(mine.keys() ^ tensors.keys()):
            raise ValueError(f"{odd[0]} is on one side only")
        for name, weight in mine.items():
            if weight.shape != tensors[name].shape:
                raise ValueError(f"{name} has the size {tuple(tensors[name].shape)}, not {tuple(weight.shape)}")
            weight.copy_(tensors[name])


def freeze(vit: ViT) -> ViT:
    """The ViT, none of whose weights learns any more."""
    return vit.requires_grad_(False)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Learnable parameters, and all of them."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)
