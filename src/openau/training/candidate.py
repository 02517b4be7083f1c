"""What a protocol tests: anything that learns from some faces of a feature store and then judges others.

A model of ours is a `RecipeCandidate`; `openau.training.baselines` has the simple ones. A new model brings a candidate and a line in
`openau.training.experiment.MODELS`; it is then judged by every protocol.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from openau.training.callbacks import Progress
from openau.training.checkpoint import TrainingSelection, load_fantrans, load_vit
from openau.training.face_pictures import FacePictures
from openau.training.joined import Features, LabelledFaces, judged
from openau.training.picture_recipes import PictureRecipe
from openau.training.predict import predict, predict_pictures
from openau.training.recipes import Recipe
from openau.training.run import train
from openau.training.splits import Index, Split

Floats = npt.NDArray[np.float32]

JUDGED_VIEW = 0
"""View of `judged(store)` on which faces are judged: the plain one; in a store that has none, the mild one."""

LEAST_STEPS = 500
"""A run of fewer optimisation steps gets more epochs: a recipe's epochs are meant for tens of thousands of faces."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What was said about n faces.

    Attributes:
        probability: (n, A) 0–1; NaN = not judged.
        intensity_aus: of the next.
        intensity: (n, A_i) 0–5 or NaN.
    """

    probability: Floats
    intensity_aus: tuple[int, ...]
    intensity: Floats


F = TypeVar("F", bound=LabelledFaces)

Reads = Literal["features", "pictures"]

Judge = Callable[[Index], Said]
"""Rows of the job's store → what was said about them."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One part of a protocol, to be learned.

    Attributes:
        store: labelled faces as the candidate reads them (with noise in the labels, if the protocol asks for it).
        split: who trains, who chooses the epoch, who is tested.
        aus: A AUs to predict, in this order.
        name: of the split, for the record.
        out: folder of the run.
        seed: of weights and batches.
        threads: CPU threads. device: Lightning's name of an accelerator.
        selection: who chooses the epoch.
        report: called as training goes on, or None.
        start: checkpoint to start from, or None; see `openau.training.run.train`.
    """

    store: Any
    split: Split
    aus: tuple[int, ...]
    name: str
    out: Path
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    selection: TrainingSelection = "validation"
    report: Callable[[Progress], None] | None = None
    start: Path | None = None

    @property
    def watched(self) -> Index:
        """Rows that choose the epoch."""
        return self.split.test if self.selection == "test-selected" else self.split.validation


class Candidate(Protocol):
    """Something that can be trained and judged.

    Attributes:
        name: as users type it.
        summary: what it is, in a clause.
        reads: "features" (a job's store is `Features`) or "pictures" (it is `FacePictures`).
        validation: share of the training people that choose the epoch and the thresholds.
        split_seed: of their draw.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def reads(self) -> Reads: ...  # noqa: D102
    @property
    def validation(self) -> float: ...  # noqa: D102
    @property
    def split_seed(self) -> int: ...  # noqa: D102

    def settings(self) -> dict[str, Any]:
        """Everything that tells this candidate from another of its name, as JSON values."""
        ...

    def fit(self, job: Job) -> Judge:
        """Learn (or go on learning) in `job.out`; what comes back judges any rows of the job's store."""
        ...


@dataclass(frozen=True, slots=True)
class RecipeCandidate:
    """A model trained by a recipe (`openau.training.run`).

    Attributes:
        recipe: how; its AUs give way to those the protocol judges.
        least_steps: see `long_enough`; 0 keeps to the recipe's epochs and batches.
    """

    name: str
    summary: str
    recipe: Recipe
    least_steps: int = LEAST_STEPS
    reads: Reads = "features"

    @property
    def validation(self) -> float:
        """See `Candidate`."""
        return self.recipe.validation

    @property
    def split_seed(self) -> int:
        """See `Candidate`."""
        return self.recipe.split_seed

    def settings(self) -> dict[str, Any]:
        """The recipe."""
        return {"recipe": dataclasses.asdict(self.recipe), "least_steps": self.least_steps}

    def fit(self, job: Job) -> Judge:
        """Train, or go on after the last finished epoch."""
        recipe = long_enough(replace(self.recipe, aus=job.aus), len(job.split.train), self.least_steps)
        result = train(
            job.store, job.out, recipe, split=job.split, split_name=job.name, seed=job.seed, threads=job.threads,
            device=job.device, resume=True, report=job.report, selection=job.selection, start=job.start,
        )  # fmt: skip
        model, _ = load_fantrans(result.checkpoint)
        shown = _only_judged_view(judged(job.store))

        def judge(rows: Index) -> Said:
            columns = model.config
            probability = np.full((len(rows), len(job.aus)), np.nan, np.float32)
            intensity = np.full((len(rows), len(columns.intensity_aus)), np.nan, np.float32)
            if shown.ok[rows].any():
                said = predict(model, shown, rows).mean([JUDGED_VIEW])
                place = [job.aus.index(number) for number in columns.aus]
                probability[:, place] = 0.5 * (1 + np.tanh(0.5 * said.occurrence[:, 0]))
                intensity = said.intensity[:, 0]
            return Said(probability, columns.intensity_aus, intensity)

        return judge


@dataclass(frozen=True, slots=True)
class PictureCandidate:
    """A model that looks at pixels, trained by a recipe.

    Attributes:
        recipe: how; its AUs give way to those the protocol judges.
        least_steps: fewer optimisation steps get more epochs; 0 keeps to the recipe's.
    """

    name: str
    summary: str
    recipe: PictureRecipe
    least_steps: int = LEAST_STEPS
    reads: Reads = "pictures"

    @property
    def validation(self) -> float:
        """See `Candidate`."""
        return self.recipe.validation

    @property
    def split_seed(self) -> int:
        """See `Candidate`."""
        return self.recipe.split_seed

    def settings(self) -> dict[str, Any]:
        """The recipe."""
        return {"recipe": dataclasses.asdict(self.recipe), "least_steps": self.least_steps}

    def fit(self, job: Job) -> Judge:
        """Train, or go on after the last finished epoch."""
        recipe = pictures_enough(replace(self.recipe, aus=job.aus), len(job.split.train), self.least_steps)
        result = train(
            job.store, job.out, recipe, split=job.split, split_name=job.name, seed=job.seed, threads=job.threads,
            device=job.device, resume=True, report=job.report, selection=job.selection, start=job.start,
        )  # fmt: skip
        model, _ = load_vit(result.checkpoint)
        faces: FacePictures = job.store

        def judge(rows: Index) -> Said:
            probability = np.full((len(rows), len(job.aus)), np.nan, np.float32)
            seen = np.flatnonzero(faces.ok[rows, 0])
            place = [job.aus.index(number) for number in model.config.aus]
            logits = predict_pictures(model, faces, rows[seen], recipe.precision)
            probability[seen[:, None], place] = 0.5 * (1 + np.tanh(0.5 * logits))
            return Said(probability, (), np.zeros((len(rows), 0), np.float32))

        return judge


def pictures_enough(recipe: PictureRecipe, faces: int, steps: int) -> PictureRecipe:
    """The recipe for so many training faces: as many epochs as make `steps`, if its own do not."""
    per_epoch = max(1, faces // (recipe.batch * recipe.accumulate))
    return replace(recipe, epochs=max(recipe.epochs, -(-steps // per_epoch)))


def long_enough(recipe: Recipe, faces: int, steps: int) -> Recipe:
    """The recipe for so many training faces: batches of at most a quarter of them, then epochs until `steps` are reached."""
    if not steps:
        return recipe
    chunks = int(np.clip(faces // (4 * recipe.chunk_size), 1, recipe.chunks))
    per_epoch = max(1, faces // (chunks * recipe.chunk_size * recipe.accumulate))
    return replace(recipe, chunks=chunks, epochs=max(recipe.epochs, -(-steps // per_epoch)))


def _only_judged_view(store: Features) -> Features:
    ok = np.zeros_like(store.ok)
    ok[:, JUDGED_VIEW] = store.ok[:, JUDGED_VIEW]
    return with_parts(store, ok=ok)


def with_parts(store: F, **parts: Any) -> F:
    """The store with some of its attributes replaced; arrays are shared."""
    return cast(F, replace(cast(Any, store), **parts))
