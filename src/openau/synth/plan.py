"""What a rendered data set holds, before anything is rendered: how many people and pictures, and the numbers that each is drawn with.

Every draw has a generator of its own, from the plan's seed and what is drawn. NumPy pads such keys with zeros, so keys must differ in more
than trailing zeros:

    (seed, person)                 the person, then its body and skin
    (seed, person, 1)              its rig, where rigs are drawn
    (seed, person, 2)              which of its pictures get which condition
    (seed, person, 0, index)       a picture, then its noise and occluder; index 0 shares the person's, kept for old data sets
    (seed, person, 3, index)       the same in a plan with conditions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from openau.synth import conditions
from openau.synth.parameters import Condition, Person, RigName, Shot
from openau.synth.sampler import Recipe, sample_person, sample_shot

FOLDS = 5
"""People are dealt into this many folds by default."""

Sources = Path | Literal["none"] | None
"""A folder with optional skins, hair and ICT-FaceKit; None for the one `OPENAU_SYNTH_ASSETS` names, if any; "none" for nothing but the
weight store's verified rigs, whatever the environment says."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to render.

    Attributes:
        people: number of identities. images: pictures of each.
        seed: of everything.
        rigs: rig → share of the people, to be drawn (shares sum to 1); or rigs that are dealt in turn to each fold's people.
        size: side of the pictures in pixels. supersample: samples per pixel side. shadows: whether the key light casts one.
        assets: where optional material comes from.
        folds: people are dealt into this many folds, 1, 2, …, in turn.
        conditions: condition → share of each person's pictures; None for pictures as drawn.
        name, version: of a published data set (`presets`), else None.
    """

    people: int
    images: int = 30
    seed: int = 0
    rigs: Mapping[RigName, float] | tuple[RigName, ...] | None = None
    size: int = 224
    supersample: int = 2
    shadows: bool = True
    assets: Sources = None
    folds: int = FOLDS
    conditions: Mapping[Condition, float] | None = None
    name: str | None = None
    version: int | None = None

    def shares(self) -> Mapping[RigName, float]:
        """The rigs' shares; by default both, two thirds ICT."""
        if isinstance(self.rigs, tuple):
            return {name: self.rigs.count(name) / len(self.rigs) for name in self.rigs}
        return self.rigs or {"ict": 2 / 3, "anny": 1 / 3}

    def fold_of(self, number: int) -> int:
        """The fold of person `number`, from 1."""
        return 1 + number % self.folds

    def rig_of(self, number: int) -> RigName:
        """The rig of person `number`: the next in turn of its fold, or drawn by seed and number in the plan's shares."""
        if isinstance(self.rigs, tuple):
            return self.rigs[number // self.folds % len(self.rigs)]
        names = sorted(self.shares())
        draw = np.random.default_rng([self.seed, number, 1]).random()
        edges = np.cumsum([self.shares()[name] for name in names])
        return names[min(int(np.searchsorted(edges / edges[-1], draw, side="right")), len(names) - 1)]

    def person(self, number: int) -> tuple[Person, np.random.Generator]:
        """Draw person `number`; its generator goes on to body and skin."""
        rng = np.random.default_rng([self.seed, number])
        return sample_person(number, self.rig_of(number), rng), rng

    def conditions_of(self, number: int) -> tuple[Condition | None, ...]:
        """The condition of each picture of person `number`; None throughout in a plan without conditions."""
        if self.conditions is None:
            return (None,) * self.images
        return conditions.deal(self.conditions, self.images, np.random.default_rng([self.seed, number, 2]))

    def shot(
        self, person: Person, index: int, condition: Condition | None, recipe: Recipe
    ) -> tuple[Shot, np.random.Generator]:
        """Draw picture `index` of a person; its generator goes on to what is drawn per pixel."""
        if condition is None:
            rng = np.random.default_rng([self.seed, person.number, 0, index])
            return sample_shot(person, recipe, rng), rng
        rng = np.random.default_rng([self.seed, person.number, 3, index])
        drawn = sample_shot(person, recipe, rng)
        return conditions.place_under(drawn, condition, self.size, rng), rng
