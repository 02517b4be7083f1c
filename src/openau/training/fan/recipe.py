"""How a FAN is trained: every choice, as plain numbers that a run writes down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from openau.errors import UsageError
from openau.models.fan import FANConfig

Precision = Literal["32", "bf16"]


@dataclass(frozen=True, slots=True)
class FANRecipe:
    """How to train a FAN.

    The loss is the published idea, a Gaussian per landmark and the squared difference to it in every stack [A]; weights, schedule and
    jitter are ours [I].

    Attributes:
        model: the network.
        template: the crop it will see, without the jitter.
        images: pictures seen in all; the learning rate falls to zero over them (a cosine, after a twentieth of warming up).
        round_size: pictures after which the run is saved and judged.
        batch: pictures per step.
        learning_rate: peak, of AdamW. weight_decay: likewise.
        sigma: standard deviation of a landmark's Gaussian, in cells of the heatmap.
        peak_weight: how much more an error counts at a landmark than far from all; without it, empty heatmaps are too good an answer.
        rotation: standard deviation, degrees; limited to ±30. scale: likewise of the logarithm of the crop's side, limited to ±0.35.
        shift: largest, in sides of the crop.
        plain, mild: shares of pictures left as they are or degraded mildly (`openau.training.augment`); the others are degraded heavily.
        patches: probability that a random patch hides part of the face.
        precision: of the forward and backward pass.

    Raises:
        UsageError: a value cannot be.
    """

    model: FANConfig = field(default_factory=lambda: FANConfig(stacks=1, width=80, stem=16))
    template: str = "fan256"
    images: int = 50_000
    round_size: int = 2_000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    sigma: float = 1.5
    peak_weight: float = 20.0
    rotation: float = 12.0
    scale: float = 0.13
    shift: float = 0.08
    plain: float = 0.15
    mild: float = 0.35
    patches: float = 0.3
    precision: Precision = "bf16"

    def __post_init__(self) -> None:
        for name in ("images", "round_size", "batch", "learning_rate", "sigma"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("weight_decay", "peak_weight", "rotation", "scale", "shift"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not (self.plain >= 0 and self.mild >= 0 and self.plain + self.mild <= 1 and 0 <= self.patches <= 1):
            raise UsageError("plain, mild and patches are shares: none below 0, plain and mild together at most 1")
        if self.precision not in get_args(Precision):
            raise UsageError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all."""
        return max(1, self.images // self.batch)

    @property
    def round_steps(self) -> int:
        """Steps of one round."""
        return max(1, self.round_size // self.batch)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FANRecipe:
        """Read what `to_json` gives; raises KeyError, TypeError, ValueError or UsageError where it is no recipe."""
        return cls(**{**document, "model": FANConfig.from_json(document["model"])})
