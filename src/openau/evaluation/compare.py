"""Two models on the same faces: paired bootstrap of the difference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from openau.errors import InputError
from openau.evaluation.bootstrap import ENDS, Ends, Estimate, estimates, widened_ends
from openau.evaluation.counts import Doubles, mean_of_defined
from openau.evaluation.scored import Index, Scored, Texts
from openau.evaluation.tables import cell_text, title_of, without_nan
from openau.evaluation.tally import Groups, Options

if TYPE_CHECKING:
    from rich.table import Table

COMPARED = ("f1", "auc", "average_precision", "balanced_accuracy", "mcc")
"""Metrics that any two models can be compared by."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models.

    Attributes:
        a, b: of each model.
        difference: a − b, with its 95 % interval over people.
        below_zero: share of resamples in which a is worse than b (a draw counts half); NaN without resamples.
    """

    a: float
    b: float
    difference: Estimate
    below_zero: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models differ on the faces both were given.

    Attributes:
        a, b: names of the models.
        matched: faces of both.
        only_a, only_b: faces of one alone, left out.
        people: subjects among the matched.
        aus: of both models.
        over: see `Options.over`.
        mean: means over AUs, by metric.
        per_au: AU → metric.
        notes: sentences for the foot.
    """

    a: str
    b: str
    matched: int
    only_a: int
    only_b: int
    people: int
    aus: tuple[int, ...]
    over: str
    mean: Mapping[str, Difference]
    per_au: Mapping[int, Mapping[str, Difference]]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """As JSON; what is not defined is null."""
        return json.dumps(without_nan(asdict(self)), indent=1)

    def to_rich(self) -> Table:
        """For a terminal: means, then F1 and AUC per AU."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(f"{self.a} − {self.b} ({self.matched:,} faces, {self.people} people)"), title_justify="left"
        )
        table.caption, table.caption_justify = Text("\n".join(self.notes), style="dim"), "left"
        for name in ("", "metric", self.a, self.b, "difference", "resamples below 0"):
            table.add_column(name, justify="left" if name in ("", "metric") else "right")
        rows = [("mean", key, found) for key, found in self.mean.items()]
        shown = [key for key in ("f1", "f1_chosen", "auc") if key in self.mean]
        rows += [(f"AU{n:02d}", key, self.per_au[n][key]) for n in self.aus for key in shown]
        for name, key, found in rows:
            share = "–" if np.isnan(found.below_zero) else f"{found.below_zero:.1%}"
            sides = (cell_text(Estimate(value, np.nan, np.nan)) for value in (found.a, found.b))
            table.add_row(name, title_of(key), *sides, cell_text(found.difference), share)
        return table


def compare(a: Scored, b: Scored, options: Options | None = None, metrics: Sequence[str] = COMPARED) -> Comparison:
    """Compare two models on the faces and AUs they share.

    The same people are drawn for both in every resample, so that what is hard for everybody cancels. Test parts are those of `a`; the
    labels too. Faces that either model did not judge are left out for both, unless `options.missed` is "negative".

    Args:
        a: one model's faces.
        b: the other's.
        options: how to judge.
        metrics: to compare, keys of `openau.evaluation.tally.METRICS`; `f1_chosen` only if both models have thresholds for every part.

    Raises:
        InputError: they share no face or no AU, faces cannot be told apart, or their labels differ.
    """
    options = options or Options()
    aus = tuple(number for number in a.aus if number in b.aus)
    if not aus:
        raise InputError(f"{a.model} and {b.model} judge no AU in common, so they cannot be compared")
    rows_a, rows_b = match(a, b)
    both_a, both_b = a.take(rows_a).only(aus), b.take(rows_b).only(aus)
    _require_same_labels(both_a, both_b)
    if options.missed == "exclude":
        unjudged = np.isnan(both_a.probability) | np.isnan(both_b.probability)
        labels = np.where(unjudged, np.float32(np.nan), both_a.occurrence)
    else:
        labels = both_a.occurrence
    both_a = replace(both_a, occurrence=labels)
    both_b = replace(both_b, occurrence=labels, subject=both_a.subject, part=both_a.part)
    groups_a, groups_b = Groups(both_a, options), Groups(both_b, options)
    drawn = groups_a.resamples()
    values = [groups.measure(groups.whole(), metrics) for groups in (groups_a, groups_b)]
    resampled = [groups.measure(drawn, metrics) for groups in (groups_a, groups_b)]
    people = sum(len(tally.people) for tally in groups_a.tallies.values())
    ends = widened_ends(people) if options.widened else ENDS
    per_metric = {
        key: _differences(values[0][key], values[1][key], resampled[0][key], resampled[1][key], ends) for key in metrics
    }
    return Comparison(
        a=a.model,
        b=b.model,
        matched=len(rows_a),
        only_a=len(a) - len(rows_a),
        only_b=len(b) - len(rows_b),
        people=len(np.unique(both_a.subject)),
        aus=aus,
        over=groups_a.over,
        mean={key: found[-1] for key, found in per_metric.items()},
        per_au={number: {key: found[i] for key, found in per_metric.items()} for i, number in enumerate(aus)},
        notes=_notes(a, b, both_a, both_b, options),
    )


def match(a: Scored, b: Scored) -> tuple[Index, Index]:
    """Rows of the same faces: same subject, clip and frame.

    Tables whose faces stand in the same order are matched row by row, also where clip and frame are not known.

    Raises:
        InputError: there are none, or several faces of a table have the same subject, clip and frame.
    """
    if len(a) == len(b) and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("subject", "clip", "frame")):
        everything = np.arange(len(a), dtype=np.intp)
        return everything, everything
    keys = [_keys(scored) for scored in (a, b)]
    for scored, key in zip((a, b), keys, strict=True):
        names, counts = np.unique(key, return_counts=True)
        if len(names) < len(key):
            subject, clip, frame = str(names[counts.argmax()]).split("\x1f")
            raise InputError(
                f"{scored.model}: {counts.max()} faces have subject {subject!r}, clip {clip!r} and frame {frame}, "
                "so faces cannot be matched with another model's"
            )
    _, rows_a, rows_b = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    if not len(rows_a):
        raise InputError(
            f"{a.model} and {b.model} share no face (same subject, clip and frame), so they cannot be compared"
        )
    order = np.argsort(rows_a)
    return rows_a[order], rows_b[order]


def _keys(scored: Scored) -> Texts:
    columns = (scored.subject, scored.clip, scored.frame.astype(np.str_))
    return np.array(["\x1f".join(key) for key in zip(*(column.tolist() for column in columns), strict=True)], np.str_)


def _require_same_labels(a: Scored, b: Scored) -> None:
    known = ~(np.isnan(a.occurrence) | np.isnan(b.occurrence))
    differing = int((known & (a.occurrence != b.occurrence)).any(axis=1).sum())
    if differing:
        raise InputError(
            f"{a.model} and {b.model} were given different labels for {differing:,} of {len(a):,} shared faces"
        )


def _differences(a: Doubles, b: Doubles, drawn_a: Doubles, drawn_b: Doubles, ends: Ends) -> list[Difference]:
    """Of each AU, then of the mean over the AUs in which both are defined."""
    undefined = np.isnan(a) | np.isnan(b), np.isnan(drawn_a) | np.isnan(drawn_b)
    columns = []
    for values, gone in ((a, undefined[0]), (b, undefined[0]), (drawn_a, undefined[1]), (drawn_b, undefined[1])):
        mean = mean_of_defined(np.where(gone, np.nan, values), axis=1)
        columns.append(np.concatenate([values, mean[:, None]], axis=1))
    a, b, drawn_a, drawn_b = columns
    gaps = drawn_a - drawn_b
    worse = mean_of_defined(np.where(np.isnan(gaps), np.nan, (gaps < 0) + 0.5 * (gaps == 0)), axis=0)
    found = estimates(a[0] - b[0], gaps, ends)
    return [Difference(float(a[0, i]), float(b[0, i]), found[i], float(worse[i])) for i in range(len(found))]


def _notes(a: Scored, b: Scored, both_a: Scored, both_b: Scored, options: Options) -> tuple[str, ...]:
    notes = [
        f"test-selected: {s.model} was chosen on these very faces" for s in (a, b) if s.selection == "test-selected"
    ]
    count = len(both_a)
    notes.append(
        f"{count:,} faces matched by subject, clip and frame; left out: {len(a) - count:,} of {a.model}, {len(b) - count:,} of {b.model}."
    )
    others = [f"AU{n:02d}" for n in sorted(set(a.aus) ^ set(b.aus))]
    if others:
        notes.append(f"AUs of one model alone, left out: {', '.join(others)}.")
    missed = [int(np.isnan(s.probability).any(axis=1).sum()) for s in (both_a, both_b)]
    if any(missed):
        fate = "left out for both" if options.missed == "exclude" else 'counted as "no AU"'
        notes.append(f"Faces not judged: {missed[0]:,} by {a.model}, {missed[1]:,} by {b.model}; {fate}.")
    notes.append(
        f"Paired bootstrap: the same people are drawn for both, {options.repetitions} resamples, intervals 95 %"
        f"{', widened for so few people' if options.widened else ''}."
    )
    return tuple(notes)
