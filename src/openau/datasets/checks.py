"""What is checked across the recordings of a data set, whoever's it is, before and after faces are looked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from openau.datasets import folds
from openau.datasets.clips import Clip, Floats, Problem, Report
from openau.datasets.crops import place
from openau.facs import intensity_column, occurrence_column

PUBLISHED: Mapping[str, folds.Parts] = MappingProxyType({"bp4d": folds.BP4D, "disfa": folds.DISFA})
"""Data sets whose parts are published, and so in which parts somebody has to be."""

Key = TypeVar("Key")


def repaired(clips: Sequence[Clip], report: Report) -> list[Clip]:
    """The clips without what would break a manifest; each thing left out is reported.

    - Of clips of one name, only the first stays; of rows of one frame of a clip likewise.
    - Values that are no occurrence (0, 1) or intensity (0–5) become unknown.
    - Somebody in two folds belongs to none, so that no split can have the same person on both sides.
    """
    kept: dict[str, Clip] = {}
    for clip in clips:
        if clip.name in kept:
            reason = f"a second recording is called {clip.name}; it was left out"
            report(Problem("duplicate recording", place(clip.media, clip.name), reason))
        else:
            kept[clip.name] = _valid(_without_repeats(clip, report), report)
    torn = _in_two_folds(list(kept.values()), report)
    return [replace(clip, fold=None) if clip.subject in torn else clip for clip in kept.values()]


def tell_empty_parts(dataset: str, clips: Sequence[Clip], root: Path, report: Report) -> None:
    """Report each published part of which nobody is there; single people who are missing are told by the reader."""
    present = {clip.subject for clip in clips}
    for part, subjects in PUBLISHED.get(dataset, {}).items():
        if present.isdisjoint(subjects):
            report(Problem("empty fold", root, f"nobody of published part {part} is there ({', '.join(subjects)})"))


def tell_absent_aus(clips: Sequence[Clip], expected: Sequence[int], root: Path, report: Report) -> None:
    """Report each AU that is coded, but never present, in a fold (or in the data set, where there are no folds).

    Args:
        clips: of the data set.
        expected: AUs a complete copy shows in every fold; to lack one of them is a reason to fail.
        root: of the data set.
        report: takes "no positives" problems.
    """
    coded: dict[tuple[int | None, int], bool] = defaultdict(bool)
    for clip in clips:
        for au, values in clip.occurrence.items():
            if np.isfinite(values).any():
                coded[clip.fold, au] |= bool((values == 1).any())
    for (fold, au), present in sorted(coded.items(), key=lambda item: (item[0][0] or 0, item[0][1])):
        if not present:
            where = "in this data set" if fold is None else f"in fold {fold}"
            reason = f"{occurrence_column(au)} is coded, but never present {where}; no F1 or AUC can be had there"
            report(Problem("no positives", root, reason, known=au not in expected))


def _without_repeats(clip: Clip, report: Report) -> Clip:
    counts = Counter(clip.frame.tolist())
    if len(counts) == len(clip.frame):
        return clip
    for frame in (frame for frame, count in counts.items() if count > 1):
        report(
            Problem(
                "duplicate frame",
                place(clip.media, clip.name),
                "this frame is labelled twice; the first label was kept",
                frame,
            )
        )
    first = np.sort(np.unique(clip.frame, return_index=True)[1])
    return replace(
        clip,
        frame=clip.frame[first],
        position=clip.position[first],
        occurrence=_rows(clip.occurrence, first),
        intensity=_rows(clip.intensity, first),
        sides=_rows(clip.sides, first),
        extra={name: [values[row] for row in first] for name, values in clip.extra.items()},
    )


def _rows(labels: Mapping[Key, Floats], rows: np.ndarray) -> dict[Key, Floats]:
    return {key: values[rows] for key, values in labels.items()}


def _valid(clip: Clip, report: Report) -> Clip:
    """The clip with values that cannot be right turned into NaN."""

    def clean(name: str, values: Floats, fine: np.ndarray) -> Floats:
        wrong = np.flatnonzero(~fine & ~np.isnan(values))
        for row in wrong.tolist():
            reason = f"{name} is {values[row]:g}; it counts as not known"
            report(Problem("value out of range", place(clip.media, clip.name), reason, int(clip.frame[row])))
        return np.where(fine, values, np.nan).astype(np.float32) if len(wrong) else values

    return replace(
        clip,
        occurrence={au: clean(occurrence_column(au), v, np.isin(v, (0, 1))) for au, v in clip.occurrence.items()},
        intensity={au: clean(intensity_column(au), v, (v >= 0) & (v <= 5)) for au, v in clip.intensity.items()},
        sides={key: clean(occurrence_column(*key), v, np.isin(v, (0, 1))) for key, v in clip.sides.items()},
    )


def _in_two_folds(clips: Sequence[Clip], report: Report) -> set[str]:
    """People whose clips name more than one fold."""
    found: dict[str, dict[int | None, Clip]] = defaultdict(dict)
    for clip in clips:
        found[clip.subject].setdefault(clip.fold, clip)
    torn = {subject: places for subject, places in found.items() if len(places) > 1}
    for subject, places in torn.items():
        names = " and ".join(sorted("none" if fold is None else str(fold) for fold in places))
        last = list(places.values())[-1]
        reason = f"{subject} is in folds {names}; until that is settled, in none"
        report(Problem("subject in two folds", place(last.media, last.name), reason))
    return set(torn)
