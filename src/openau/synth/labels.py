"""From what was rendered to what is labelled: one table of rules.

*Exact* means exact rig activation, not a certified FACS coder's score: an activation of 0–1 maps linearly to an intensity of 0–5.

| AU | level comes from | rule |
|---|---|---|
| all but 25, 26, 43 | the AU's activation, the stronger side | present from .2 (intensity 1, FACS A), absent below .1, unknown between |
| 25 | the visible gap between the inner lips | .5 mm → 0, 8 mm → 1; so parted lips of a neutral mouth count, as a coder would count them |
| 26 | jaw drop: AU26, AU27 or a talking jaw | relative to AU26's own full jaw opening |
| 27 | AU27's activation | as the first row |
| 43 | AU43's activation | present from .5, absent below .25: heavy lids are not closed eyes |
| 5, 7 | unknown where eyes are closed (43 present or unknown) | the lid position says nothing about them |
| 17, 23, 24, 28 | unknown where activated above .1 while the lips are visibly parted | pressed and parted exclude each other |
| any but 25, 26, 27, 43 | unknown where an unlabelled movement (talking …) uses its shapes by over ⅕ | it shows, but was not meant |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openau.datasets.manifest import sided_intensity_column
from openau.facs import Side, intensity_column, occurrence_column
from openau.synth.parameters import RENDERED_AUS, Shot
from openau.synth.sampler import Recipe

PRESENT, ABSENT = 0.2, 0.1
"""Activation from which an AU counts as present, and below which as absent."""

CLOSED, OPEN = 0.5, 0.25
"""The same for AU 43, eyes closed."""

LIP_GAP_ZERO, LIP_GAP_FULL = 0.5, 8.0
"""Visible gap between the inner lips, in mm, at which AU 25 is 0 and 1."""

SIDED_AUS: tuple[int, ...] = (2, 4, 6, 10, 12, 14, 15)
"""AUs labelled for left and right."""


@dataclass(frozen=True, slots=True)
class Level:
    """An AU's activation 0–1 and whether a label may be read off it."""

    left: float
    right: float
    known: bool = True

    @property
    def both(self) -> float:
        """The stronger side: what a coder scores when sides are not told apart."""
        return max(self.left, self.right)


def levels_of(shot: Shot, lip_gap: float, recipe: Recipe) -> dict[int, Level]:
    """The level of every rendered AU.

    Args:
        shot: the picture's parameters.
        lip_gap: visible gap between the inner lips in mm.
        recipe: the rig's AU recipes.
    """
    activation = shot.activation
    levels = {
        number: Level(
            activation.get((number, "L"), 0.0),
            activation.get((number, "R"), 0.0),
            known=not _disturbed(number, shot, recipe),
        )
        for number in RENDERED_AUS
    }
    gap = lips_apart(lip_gap)
    levels[25] = Level(gap, gap)
    jaw = max(levels[26].both, levels[27].both, shot.nuisance.get("jawOpen", 0.0) / recipe(26)["jawOpen"])
    levels[26] = Level(min(jaw, 1.0), min(jaw, 1.0))
    if levels[43].both >= OPEN:
        for number in (5, 7):
            levels[number] = Level(levels[number].left, levels[number].right, known=False)
    if gap >= PRESENT:
        for number in (17, 23, 24, 28):
            if levels[number].both >= ABSENT:
                levels[number] = Level(levels[number].left, levels[number].right, known=False)
    return levels


def lips_apart(lip_gap: float) -> float:
    """AU25's level, 0–1, for a visible gap between the inner lips in mm."""
    return min(max((lip_gap - LIP_GAP_ZERO) / (LIP_GAP_FULL - LIP_GAP_ZERO), 0.0), 1.0)


def _disturbed(number: int, shot: Shot, recipe: Recipe) -> bool:
    """Does an unlabelled movement use this AU's shapes by more than a fifth of their full weight?

    Shapes that count for little in the AU do not make it visible. The jaw is left out: its opening is labelled, as AU26.
    """
    if number in (25, 26, 27, 43):
        return False
    return any(
        weight > 0.15 and shot.nuisance.get(name, 0.0) / weight > 0.2
        for name, weight in recipe(number).items()
        if name != "jawOpen"
    )


def occurrence(number: int, level: float) -> int | None:
    """0, 1 or None (unknown) for an activation of 0–1."""
    absent, present = (OPEN, CLOSED) if number == 43 else (ABSENT, PRESENT)
    if level >= present:
        return 1
    return 0 if level < absent else None


def label_columns(levels: Mapping[int, Level]) -> dict[str, float | int | None]:
    """The manifest's AU columns: occurrence, intensity, and both per side for `SIDED_AUS`; None = unknown."""
    row: dict[str, float | int | None] = {}
    for number, level in levels.items():
        row[occurrence_column(number)] = occurrence(number, level.both) if level.known else None
        row[intensity_column(number)] = round(5 * level.both, 4) if level.known else None
    for number in SIDED_AUS:
        level = levels[number]
        sides: tuple[tuple[Side, float], ...] = (("L", level.left), ("R", level.right))
        for side, value in sides:
            row[occurrence_column(number, side)] = occurrence(number, value) if level.known else None
            row[sided_intensity_column(number, side)] = round(5 * value, 4) if level.known else None
    return row
