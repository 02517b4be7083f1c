"""What a face did, in numbers: how often and how long each AU, which together, which side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.facs import AU, au, intensity_column, occurrence_column
from openau.result import Faces
from openau.temporal.events import Event

PRESENT = 0.5
"""Every AU's decision threshold."""


@dataclass(frozen=True, slots=True)
class AUSummary:
    """One AU of one face (or of many pictures).

    Attributes:
        unit: the AU.
        judged: rows in which it was judged.
        share: of these, the share in which it was present.
        events: how often it set in.
        per_minute: events per minute in which the face was seen; NaN for pictures.
        duration: mean duration of an event, seconds; NaN without events.
        mean: mean probability.
        intensity: mean intensity (0–5) while present; NaN where it is not measured or never present.
        peak: highest probability.
        peak_time: its time, seconds.
    """

    unit: AU
    judged: int
    share: float
    events: int
    per_minute: float
    duration: float
    mean: float
    intensity: float
    peak: float
    peak_time: float


@dataclass(frozen=True, slots=True)
class SideSummary:
    """Left and right of one AU, as shares of the rows in which both sides were judged.

    Attributes:
        unit: the AU.
        both, left, right: both sides, only the subject's left, only the right present.
        mean_left, mean_right: mean probabilities.
    """

    unit: AU
    both: float
    left: float
    right: float
    mean_left: float
    mean_right: float


@dataclass(frozen=True, slots=True)
class Together:
    """Which AUs were present together.

    Attributes:
        units: the AUs that were present at all.
        share: (U, U) the share of the rows with the first AU in which the second one was present, too; NaN where it is not known.
        rows: (U,) rows in which each was present.
    """

    units: tuple[AU, ...]
    share: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]


def summarise(faces: Faces, events: Sequence[Event], seconds: float) -> list[AUSummary]:
    """Every AU of a table.

    Args:
        faces: rows with a face, of one person or of pictures.
        events: theirs.
        seconds: for how long the face was seen; 0 for pictures.
    """
    found = []
    for number in sorted(faces.columns.occurrence):
        values = faces.column(occurrence_column(number))
        known = ~np.isnan(values)
        present = values >= PRESENT
        own = [event for event in events if event.au == number]
        graded = np.full(0, np.nan)
        if number in faces.columns.intensity:
            graded = faces.column(intensity_column(number))[present]
        top = int(np.nanargmax(values)) if known.any() else -1
        found.append(
            AUSummary(
                unit=au(number),
                judged=int(known.sum()),
                share=_mean(present[known]),
                events=len(own),
                per_minute=60 * len(own) / seconds if seconds > 0 else np.nan,
                duration=_mean([event.duration for event in own]),
                mean=_mean(values[known]),
                intensity=_mean(graded[~np.isnan(graded)]),
                peak=float(values[top]) if top >= 0 else np.nan,
                peak_time=float(faces.timestamp[top]) if top >= 0 else np.nan,
            )
        )
    return found


def sides(faces: Faces) -> list[SideSummary]:
    """Left and right of every AU whose sides the model tells."""
    found = []
    for number in sorted(faces.columns.sided):
        left, right = (faces.column(occurrence_column(number, side)) for side in ("L", "R"))
        known = ~np.isnan(left) & ~np.isnan(right)
        on_left, on_right = left[known] >= PRESENT, right[known] >= PRESENT
        found.append(
            SideSummary(
                au(number),
                _mean(on_left & on_right),
                _mean(on_left & ~on_right),
                _mean(on_right & ~on_left),
                _mean(left[known]),
                _mean(right[known]),
            )
        )
    return found


def together(faces: Faces) -> Together:
    """Which AUs were present in the same rows."""
    numbers = sorted(faces.columns.occurrence)
    values = np.stack([faces.column(occurrence_column(n)) for n in numbers], axis=1) if numbers else np.zeros((0, 0))
    present, known = (values >= PRESENT).astype(np.float64), (~np.isnan(values)).astype(np.float64)
    shown = np.flatnonzero(present.sum(axis=0) > 0)
    present, known = present[:, shown], known[:, shown]
    both, first = present.T @ present, present.T @ known
    with np.errstate(invalid="ignore"):
        share = np.where(first > 0, both / first, np.nan)
    rows = present.sum(axis=0).astype(np.int64)
    return Together(tuple(au(numbers[i]) for i in shown), share, rows)


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else float("nan")
