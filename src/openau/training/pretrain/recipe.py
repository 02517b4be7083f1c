"""How a backbone is pre-trained: every choice, as plain values that a run writes down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from openau.errors import UsageError
from openau.models.vit import ViTConfig
from openau.training.picture_recipes import Augmentation

Objective = Literal["mae", "landmarks"]
Precision = Literal["32", "bf16-mixed"]

MILD = Augmentation(rotation=10, scale=(0.85, 1.2), brightness=0.3, contrast=0.3, saturation=0.3, grey=0.1, blur=0.7)
"""For masked autoencoding: targets are pixels, so pictures stay sharp and whole."""

HEAVY = Augmentation(
    rotation=15, scale=(0.8, 1.25), brightness=0.4, contrast=0.4, saturation=0.5, grey=0.15, blur=1.2, jpeg=0.25, dropout=0.3,
)  # fmt: skip
"""For labels of renders: everything that could betray a render is varied."""


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """How to pre-train; every value is ours [I], masking and targets of `mae` are He et al.'s.

    Attributes:
        objective: "mae" reads no labels; "landmarks" reads landmarks, head pose and AUs of renders.
        model: name of the ViT.
        epochs: passes over the pictures; the learning rate falls to zero over them (a cosine, after `warm_up` of them).
        batch: pictures per step, all processes together.
        learning_rate: peak, of AdamW. weight_decay: of matrices; biases, norms, tokens and positions have none.
        beta: second moment's decay.
        warm_up: share of the steps.
        clip: largest norm of the gradient.
        ema: decay of a moving average of the ViT, which is then what is exported; 0 = none.
        precision: "bf16-mixed" or "32".
        watched: share of the people (of the pictures, in a folder without names) kept away to write down how well it goes; at most 1,000
            pictures of theirs are looked at.
        mask: share of the patches masked. decoder_width, decoder_depth, decoder_heads: of the decoder.
        normalise_patches: targets have mean 0 and variance 1 in each patch.
        landmark_weight, pose_weight, au_weight: of the parts of the loss; 0 leaves a part out.
        augmentation: how pictures are varied.

    Raises:
        UsageError: a value cannot be.
    """

    objective: Objective = "landmarks"
    model: str = "vit_tiny_patch16_112"
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 7e-4
    weight_decay: float = 0.05
    beta: float = 0.95
    warm_up: float = 0.05
    clip: float = 1.0
    ema: float = 0.0
    precision: Precision = "bf16-mixed"
    watched: float = 0.02
    mask: float = 0.75
    decoder_width: int = 128
    decoder_depth: int = 3
    decoder_heads: int = 4
    normalise_patches: bool = True
    landmark_weight: float = 4.0
    pose_weight: float = 0.5
    au_weight: float = 1.0
    augmentation: Augmentation = field(default=HEAVY)

    @classmethod
    def of(cls, objective: str) -> PretrainRecipe:
        """The defaults of an objective.

        Raises:
            UsageError: there is no such objective.
        """
        if objective == "mae":
            return cls("mae", learning_rate=1e-3, epochs=100, augmentation=MILD)
        return cls(objective)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise UsageError(f"the objective must be one of {', '.join(get_args(Objective))}, not {self.objective!r}")
        if self.precision not in get_args(Precision):
            raise UsageError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")
        for name in ("epochs", "batch", "learning_rate", "clip", "decoder_width", "decoder_depth", "decoder_heads"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("weight_decay", "landmark_weight", "pose_weight", "au_weight"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("ema", "warm_up", "watched", "beta"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, but is {getattr(self, name)}")
        if not 0 < self.mask < 1:
            raise UsageError(f"mask must lie between 0 and 1, but is {self.mask}")
        if self.decoder_width % 4 or self.decoder_width % self.decoder_heads:
            raise UsageError("decoder_width must be a multiple of 4 and of decoder_heads")
        if self.objective == "landmarks" and not self.landmark_weight + self.pose_weight + self.au_weight > 0:
            raise UsageError("landmark_weight, pose_weight and au_weight are all 0, so there is nothing to learn")
        try:
            ViTConfig.named(self.model)
        except ValueError as error:
            raise UsageError(str(error)) from None

    @property
    def vit(self) -> ViTConfig:
        """The model's configuration."""
        return ViTConfig.named(self.model)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PretrainRecipe:
        """Read what `to_json` gives; raises KeyError, TypeError or UsageError where it is no recipe."""
        how = dict(document["augmentation"])
        return cls(**{**document, "augmentation": Augmentation(**{**how, "scale": tuple(how["scale"])})})

    def changed(self, changes: Sequence[str]) -> PretrainRecipe:
        """With `key=value` changes, such as learning_rate=1e-3 or augmentation.blur=1.5.

        Raises:
            UsageError: there is no such setting, or it cannot have this value.
        """
        document = self.to_json()
        for change in changes:
            key, equals, text = change.partition("=")
            part, _, inner = key.rpartition(".")
            target = document.get(part) if part else document
            if not equals or not isinstance(target, dict) or inner not in target or isinstance(target[inner], dict):
                raise UsageError(f"--set {change}: there is no such setting; `--print-config` shows all")
            try:
                target[inner] = _read(text, target[inner])
            except ValueError:
                raise UsageError(f"--set {change}: {text!r} is no value of it") from None
        return PretrainRecipe.from_json(document)


def _read(text: str, before: Any) -> Any:
    """A value of the kind that `before` is; pairs are written 0.8,1.2.

    Raises:
        ValueError: the text is none.
    """
    if isinstance(before, bool):
        return {"true": True, "false": False}[text] if text in ("true", "false") else _refuse()
    if isinstance(before, tuple):
        values = tuple(float(part) for part in text.split(","))
        return values if len(values) == len(before) else _refuse()
    return type(before)(text)


def _refuse() -> Any:
    raise ValueError
