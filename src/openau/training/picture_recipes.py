"""Recipes of models that look at pixels: AUFormer and its rivals, which differ in nothing but their names."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openau.facs import DATASET_AUS
from openau.training.recipes import Precision, Recipe

OccurrenceLoss = Literal["mdwa", "bce", "wbce", "asl"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How pictures are varied; amounts are bounds of uniform draws.

    The defaults are what public AU code commonly does (ME-GraphAU: a random 224 px crop of an aligned 256 px picture, mirroring,
    jitter 0.4); `STRONG` adds what AU-Net's code does. All of it is a choice of ours where a paper is silent.

    Attributes:
        rotation: degrees either way.
        scale: (smallest, largest) magnification.
        shift: share of the side, either way, in x and in y.
        mirror: probability of a mirror image; left and right labels then change places.
        brightness, contrast, saturation: factors lie in 1 ± this.
        grey: probability of a grey picture.
        blur: largest s.d. of a Gaussian blur in pixels, applied to half of the pictures.
        jpeg: probability of a second JPEG compression, quality 30–90.
        dropout: probability of a grey box over a part of the face (up to a third of each side).
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 16 / 256
    mirror: float = 0.5
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    grey: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    dropout: float = 0.0


STRONG = Augmentation(
    rotation=15, scale=(0.75, 1.25), brightness=0.3, contrast=0.3, saturation=0.3, blur=1.5, jpeg=0.3, dropout=0.3
)


@dataclass(frozen=True, slots=True)
class PictureRecipe:
    """How a model is trained on pictures of aligned faces.

    What the paper's figure shows is the losses' sum [F]; rates, epochs, batches and augmentation were not at hand and are ours [open].

    Attributes:
        name: of the recipe.
        architecture: method and ViT (`openau.models.create`), whose last number is the side of the pictures in pixels.
        backbone: weights of the ViT: a card's name, a safetensors file, an address on the hub; "random" for none.
        aus: AUs to predict; None = all the data knows.
        model: options of `openau.models.au_vit.AUViTConfig`: width, context, pool …
        epochs: passes over the training rows. batch: faces of a batch. accumulate: batches per step of the optimiser.
        learning_rate: the highest; it rises over `warm_up` (share of the run) and falls along a cosine to 0.
        weight_decay: of AdamW, on matrices; biases and scales have none.
        clip: bound of the gradient's norm. precision: of the arithmetic. ema: decay of the weights' moving average; None = none.
        loss: of occurrence: "mdwa" [F], or its rivals "bce", "wbce" (weighted by the AUs' rates), "asl".
        margin, gamma: of MDWA. The figure's curve is margin .05 and gamma 1; a gamma per AU is [open].
        hard_gamma: MDWA's gamma of the rarest AU, where it grows with rarity from `gamma` on [open]; None = the same for all.
        dice_weight: of the weighted Dice loss beside it [F].
        expert_weight: of the experts' own losses [F].
        remember: of the loss that keeps what a checkpoint to start from says of AUs for which too few faces here are labelled; the model
            then predicts all of `aus`, also those that the data does not know. 0 = such AUs are not predicted.
        shrink: faces of a life-like rate (`openau.training.calibrate.PRIORS`) that are added to each AU's when rates are counted, so that
            few labels do not make extreme weights.
        augmentation: how pictures are varied.
        validation: share of subjects that choose the epoch. keep_best: keep the best epoch (else the last).
        early_stopping: stop after so many epochs without a better score; None = never. split_seed: of the subjects' draw.

    Raises:
        ValueError: a number is out of its range.
    """

    name: str = "auformer"
    architecture: str = "auformer_vit_tiny_patch16_224"
    backbone: str = "vit_tiny_face.synth"
    aus: tuple[int, ...] | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 8
    batch: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: Precision = "bf16-mixed"
    ema: float | None = None
    loss: OccurrenceLoss = "mdwa"
    margin: float = 0.05
    gamma: float = 1.0
    hard_gamma: float | None = None
    dice_weight: float = 1.0
    expert_weight: float = 1.0
    remember: float = 0.0
    shrink: float = 0.0
    augmentation: Augmentation = STRONG
    validation: float = 0.1
    keep_best: bool = True
    early_stopping: int | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be greater than 0")
        for name in ("warm_up", "validation", "margin"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1")
        for name in ("gamma", "dice_weight", "expert_weight", "remember", "shrink", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative")
        if self.loss not in ("mdwa", "bce", "wbce", "asl"):
            raise ValueError(f"there is no loss {self.loss!r}")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError("early_stopping must be at least 1 epoch, or null")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError("ema must lie between 0 and 1, or be null")

    def to_json(self) -> str:
        """The recipe as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PictureRecipe:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["aus"] = None if values["aus"] is None else tuple(values["aus"])
        amounts = values["augmentation"]
        values["augmentation"] = Augmentation(**{**amounts, "scale": tuple(amounts["scale"])})
        return cls(**values)


AnyRecipe = Recipe | PictureRecipe


def warm_cosine(progress: float, warm_up: float) -> float:
    """Learning rate (share of its highest) at a point (0–1) of the run: a straight rise, then a cosine down to 0."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


AUFORMER = PictureRecipe()
"""For renders and photos."""

_RECORDINGS = dataclasses.replace(
    AUFORMER, name="auformer_recordings", architecture="auformer_vit_base_patch16_224", epochs=6, batch=64, learning_rate=3e-4,
    augmentation=Augmentation(),
)  # fmt: skip
"""For recordings of people coded frame by frame: ViT-B/16 at 224 px, the likely backbone of the paper [open]. Its weights are not shipped:
name them by `--set backbone=…`. Chosen without seeing a frame of these data sets, which are licensed."""

AUFORMER_BP4D = dataclasses.replace(_RECORDINGS, name="auformer_bp4d", aus=DATASET_AUS["bp4d"])
AUFORMER_DISFA = dataclasses.replace(_RECORDINGS, name="auformer_disfa", aus=DATASET_AUS["disfa"])
AUFORMER_CASME2 = dataclasses.replace(_RECORDINGS, name="auformer_casme2", epochs=12, batch=32)
"""Micro-expressions: few and short clips."""

FINETUNE = dataclasses.replace(
    AUFORMER, name="finetune", epochs=8, batch=16, learning_rate=3e-4, precision="32", remember=1.0, shrink=20.0,
    augmentation=Augmentation(
        rotation=5, scale=(0.95, 1.05), shift=0.02, brightness=0.2, contrast=0.2, saturation=0.2, blur=0.5, jpeg=0.1
    ),
    validation=0.0, keep_best=False,
)  # fmt: skip
"""For a trained model and a few hundred labelled faces of new people (`openau finetune`), which brings architecture, backbone and AUs: a
low rate, few epochs, the last of which counts, since so few people can both be learned from and choose an epoch only at a loss. In 32 bits,
because most laptops are slow in 16. [ours]"""

PICTURE_RECIPES: Mapping[str, PictureRecipe] = {
    recipe.name: recipe for recipe in (AUFORMER, _RECORDINGS, AUFORMER_BP4D, AUFORMER_DISFA, AUFORMER_CASME2)
}


def picture_recipe_for(dataset: str | None) -> PictureRecipe:
    """AUFormer's recipe for a data set; None is a manifest that names none, as `openau synth` writes them."""
    if dataset is None or dataset.startswith("facs-bench"):
        return AUFORMER
    return PICTURE_RECIPES.get(f"auformer_{dataset}", _RECORDINGS)
