"""Recipes: everything about a training run that is not data. Models differ by recipe, not by loop."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openau.distill.settings import Distillation
from openau.facs import DATASET_AUS

SIDED_AUS: tuple[int, ...] = (2, 4, 6, 7, 10, 12, 14, 15)
"""AUs whose left and right are predicted where the data tells them apart."""

Targets = Literal["activation", "occurrence"]
Precision = Literal["32", "bf16-mixed", "16-mixed"]
Schedule = Literal["one-cycle", "steps"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained on a feature store.

    Attributes:
        name: of the recipe.
        aus: AUs to predict; None = all the data knows.
        sided_aus: of these, left and right where the data knows them.
        model: options of the model's configuration (`openau.models.fantrans.FANTransConfig`).
        epochs: passes over the training rows.
        chunks: a batch is so many chunks …
        chunk_size: … of so many faces of one subject.
        accumulate: batches per step of the optimiser.
        learning_rate: the schedule's highest.
        schedule: "one-cycle" (`one_cycle`), or "steps": times .3 after every third of the epochs, as AU-Net's 12 epochs in steps of 4.
        warm_up: the one-cycle schedule's rising share.
        weight_decay: of AdamW.
        clip: bound of the gradient's norm.
        precision: of the arithmetic; 16-mixed needs a GPU.
        ema: decay per optimiser step of the weights' moving average, which is then what is judged and kept; None = no average.
        heavy_share: how often a degraded view is seen instead of the mild one.
        geometry_noise: s.d. of independent noise on standardised geometry; half as much is added along one random direction per batch.
        targets: what occurrence aims at: "activation", a ramp over the intensity (renders, whose faint band is left open), or
            "occurrence", the coded 0 or 1 (data sets whose coders decided: in DISFA, intensity 1 is an absence).
        ramp: activation (0–1) at which the target begins to rise and is full.
        ramps: AUs with a ramp of their own.
        smoothing: label smoothing.
        positive_weight: k of the positives' weight 1 + clip(k / sqrt(mean target), .5, 3).
        intensity_weight, side_weight, ranking_weight: of the losses beside occurrence.
        ranking_margin: activation difference from which two faces of a subject are ordered.
        drop_weight: price of keeping attention links; 0 lets the loss alone decide [open].
        drop_pace: learning rate of the attention drop's keep probabilities, in learning rates of the rest; they have no weight decay.
        distillation: how peers teach each other; with one peer there is none.
        validation: share of subjects that choose the epoch.
        keep_best: keep the best epoch (else the last).
        early_stopping: stop after so many epochs without a better score; None = never.
        split_seed: of the subjects' draw; keep it for all members of an ensemble.

    Raises:
        ValueError: a number is out of its range.
    """

    name: str = "fantrans"
    aus: tuple[int, ...] | None = None
    sided_aus: tuple[int, ...] = SIDED_AUS
    model: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 10
    chunks: int = 16
    chunk_size: int = 8
    accumulate: int = 1
    learning_rate: float = 2e-3
    schedule: Schedule = "one-cycle"
    warm_up: float = 0.15
    weight_decay: float = 0.05
    clip: float = 1.0
    precision: Precision = "32"
    ema: float | None = None
    heavy_share: float = 0.6
    geometry_noise: float = 0.1
    targets: Targets = "activation"
    ramp: tuple[float, float] = (0.05, 0.5)
    ramps: Mapping[int, tuple[float, float]] = field(default_factory=lambda: {43: (0.2, 0.8)})
    smoothing: float = 0.02
    positive_weight: float = 0.35
    intensity_weight: float = 0.5
    side_weight: float = 0.5
    ranking_weight: float = 0.3
    ranking_margin: float = 0.3
    drop_weight: float = 0.0
    drop_pace: float = 50.0
    distillation: Distillation = field(default_factory=Distillation)
    validation: float = 0.1
    keep_best: bool = True
    early_stopping: int | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "chunks", "chunk_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError("early_stopping must be at least 1 epoch, or null")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError("ema must lie between 0 and 1, or be null")
        for name in ("warm_up", "heavy_share", "smoothing", "validation"):
            if not 0 <= getattr(self, name) < 1 and not (name == "heavy_share" and self.heavy_share == 1):
                raise ValueError(f"{name} must lie between 0 and 1")
        for name in ("learning_rate", "clip", "drop_pace"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be greater than 0")

    @property
    def batch_size(self) -> int:
        """Faces per batch, over all processes."""
        return self.chunks * self.chunk_size

    def to_json(self) -> str:
        """The recipe as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["ramps"] = {int(number): tuple(ramp) for number, ramp in values["ramps"].items()}
        values["distillation"] = Distillation(**values.get("distillation", {}))
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**values)


def one_cycle(progress: float, warm_up: float) -> tuple[float, float]:
    """Learning rate (share of its peak) and AdamW's first beta at a point of the run (Smith & Topin 2018).

    Cosine from 1/25 up to 1, then down to 1/250,000; beta from .95 to .85 and back.

    Args:
        progress: 0 at the first step, 1 at the last.
        warm_up: rising share of the run.
    """
    if progress < warm_up:
        high = (1 - math.cos(math.pi * progress / warm_up)) / 2
        return 1 / 25 + (1 - 1 / 25) * high, 0.95 - 0.1 * high
    high = (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2
    return 1 / 250_000 + (1 - 1 / 250_000) * high, 0.95 - 0.1 * high


def steps(progress: float) -> float:
    """Learning rate (share of its highest) at a point (0–1) of the run: 1, .3, .09 in its thirds, as AU-Net has it over 12 epochs."""
    return float(0.3 ** min(2, int(3 * progress)))


FANTRANS = Recipe(model={"landmark_width": 12, "dropout": 0.4})
"""What the default model's full heads are trained with. Width and drop-out come from a pilot on 3,600 renders, two
seeds each, judged by AUC on the development photos; the differences (about .005) lie within the seeds' spread."""

FANTRANS_DISTILLED = dataclasses.replace(FANTRANS, name="fantrans_distilled", distillation=Distillation(peers=2))
"""FAN-Trans whole: two peers that teach each other, of which one is kept. Two cost 1.8 times a single model, three 2.7 times."""

FANTRANS_GEOMETRY = Recipe(name="fantrans_geometry", model={"hypercolumns": False}, epochs=18)

FANTRANS_RECORDINGS = Recipe(
    name="fantrans_recordings",
    model=FANTRANS.model,
    epochs=12,
    chunks=8,
    learning_rate=1e-3,
    heavy_share=0.3,
    targets="occurrence",
    ranking_weight=0.1,
)
"""For recordings of people coded frame by frame, whichever data set.

Twelve epochs of batches of 64 with AdamW are the habit of the method's authors (their public AU-Net); the rest is ours and was chosen
without seeing a frame of these data sets, which are licensed: fewer degraded views than for renders, which must be carried over to photos,
and little weight on the order of a subject's frames, where most AUs are only coded present or absent.
"""

_AUTHORS_FAMILY = dataclasses.replace(
    FANTRANS_RECORDINGS, learning_rate=1e-4, schedule="steps", distillation=Distillation(peers=2)
)
"""What the same first author's public AU-Net is trained with, as far as a recipe says it: AdamW at 1e-4, batches of 64, 12 epochs, × .3
every 4; with distillation, as FAN-Trans' title has it. AU-Net's augmentation (turns of 15°, sizes .75–1.25, shifts, flips, blur, colour,
JPEG, holes) is near that of our feature stores; its flip at test time is what detection does. The number of peers and all of
distillation's weights are ours. Not a recipe of FAN-Trans' authors, and never run on the real data here.
"""

FANTRANS_BP4D = dataclasses.replace(_AUTHORS_FAMILY, name="fantrans_bp4d", aus=DATASET_AUS["bp4d"])

FANTRANS_DISFA = dataclasses.replace(_AUTHORS_FAMILY, name="fantrans_disfa", aus=DATASET_AUS["disfa"])
"""In the family, DISFA starts from a model of BP4D: `--start-from RUN/best.safetensors`."""


def on_maps(recipe: Recipe) -> Recipe:
    """The recipe for an extractor that gives a map, such as FAN: the convolutional add-on and, as in the paper, no geometry beside it."""
    return dataclasses.replace(recipe, name=f"{recipe.name}_fan", model={"add_on": "maps", "geometry": "none"})


_WITH_BOTH_ADD_ONS = (FANTRANS, FANTRANS_DISTILLED, FANTRANS_RECORDINGS, FANTRANS_BP4D, FANTRANS_DISFA)

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (*_WITH_BOTH_ADD_ONS, FANTRANS_GEOMETRY, *map(on_maps, _WITH_BOTH_ADD_ONS))
}


def recipe_for(dataset: str | None, maps: bool = False) -> Recipe:
    """FAN-Trans' recipe for a data set.

    Args:
        dataset: its name in the manifest; None is a manifest that names none, as `openau synth` writes them.
        maps: its features lie on a grid.
    """
    renders = dataset is None or dataset.startswith("facs-bench")
    recipe = FANTRANS if renders else RECIPES.get(f"fantrans_{dataset}", FANTRANS_RECORDINGS)
    return RECIPES[f"{recipe.name}_fan"] if maps else recipe
