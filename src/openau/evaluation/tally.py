"""Scored faces counted per person, so that any weighting of people (resamples, re-drawn parts) gives every metric in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from openau.evaluation.bootstrap import draw_people
from openau.evaluation.counts import Confusion, Doubles, Moments, confusion_sums, mean_of_defined, moment_sums, ratio
from openau.evaluation.events import Criterion, count_events, event_f1, order_frames
from openau.evaluation.metrics import bin_of
from openau.evaluation.ranking import Ranking
from openau.evaluation.scored import Floats, Scored

Weights = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a column of a table says.

    Attributes:
        key: name in code and files.
        title: heading.
        higher_is_better: which way is good.
    """

    key: str
    title: str
    higher_is_better: bool = True


METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("f1", "F1 at 0.5"),
        Metric("f1_chosen", "F1, chosen threshold"),
        Metric("auc", "AUC"),
        Metric("average_precision", "average precision"),
        Metric("accuracy", "accuracy"),
        Metric("balanced_accuracy", "balanced accuracy (UAR)"),
        Metric("mcc", "MCC"),
        Metric("unweighted_f1", "UF1"),
        Metric("false_alarms", "false alarms", higher_is_better=False),
        Metric("calibration_error", "ECE", higher_is_better=False),
        Metric("event_f1", "event F1"),
    )
}
"""Metrics of occurrence, by key. UAR and UF1 are those of two classes, presence and absence."""

INTENSITY_METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("icc", "ICC(3,1)"),
        Metric("pcc", "PCC"),
        Metric("mse", "MSE", higher_is_better=False),
        Metric("mae", "MAE", higher_is_better=False),
    )
}
"""Metrics of intensity, by key."""


@dataclass(frozen=True, slots=True)
class Options:
    """How faces are judged.

    Attributes:
        over: "parts": each metric within each test part, then the mean over the parts in which it is defined (the published metric of
            k-fold protocols); "pooled": over all faces at once. None: parts where there are several and each has at least two people,
            else pooled (leave-one-subject-out, as MEGC 2019 does; a single test set).
        missed: faces with a label that the model did not judge (probability NaN): left out, or counted as probability 0 for every AU.
        threshold: of `f1` and of all metrics of decisions but `f1_chosen`.
        repetitions: bootstrap resamples of people.
        seed: of the resamples.
        widened: intervals of comparisons are made wider where people are few (`openau.evaluation.bootstrap.widened_ends`).
        event_overlap: least overlap of a coded and a called event.
        event_criterion: see `openau.evaluation.events`.
        bins: of the calibration error.
        data_aus: AUs that are coded in the data; those among them that the model lacks are named in the table.
    """

    over: Literal["parts", "pooled"] | None = None
    missed: Literal["exclude", "negative"] = "exclude"
    threshold: float = 0.5
    repetitions: int = 500
    seed: int = 0
    widened: bool = False
    event_overlap: float = 0.5
    event_criterion: Criterion = "iou"
    bins: int = 15
    data_aus: tuple[int, ...] = ()


def people_of(scored: Scored) -> npt.NDArray[np.str_]:
    """(N,) text that is one per person: part and subject, since data sets that make up different parts may share subject names."""
    return np.char.add(np.char.add(scored.part, "\x1f"), scored.subject)


def row_thresholds(scored: Scored) -> Floats:
    """(N, A) threshold chosen for the test part of each face; NaN where none was."""
    found = np.full(scored.probability.shape, np.nan, np.float32)
    for part, values in scored.thresholds.items():
        found[scored.part == part] = values
    return found


class Tally:
    """Faces of one group (a test part, or everything), counted per person and AU.

    Args:
        scored: the faces.
        options: thresholds, bins, fate of missed faces.

    Attributes:
        people: (U,) names, sorted, as `people_of` has them.
    """

    def __init__(self, scored: Scored, options: Options) -> None:
        self.options = options
        self.people, person = np.unique(people_of(scored), return_inverse=True)
        rows = np.argsort(person, kind="stable")
        self._scored, self._person = scored.take(rows), person[rows]
        self._first = np.searchsorted(self._person, np.arange(len(self.people)))
        said = self._scored.probability
        if options.missed == "negative":
            said = np.where(np.isnan(said), np.float32(0), said)
        self._said, self._coded = said, self._scored.occurrence
        self._known = ~(np.isnan(said) | np.isnan(self._coded))
        self._present = self._coded > 0.5

    def measure(self, weights: Weights, metrics: Iterable[str]) -> dict[str, Doubles]:
        """Metrics where people count as often as the weights say.

        Args:
            weights: (R, U) integers.
            metrics: keys of `METRICS`.

        Returns:
            key → (R, A).
        """
        makers: Mapping[str, Callable[[], Doubles]] = {
            "f1": lambda: decided().f1,
            "f1_chosen": lambda: Confusion.stacked(weighted(weights, self._chosen)).f1,
            "accuracy": lambda: decided().accuracy,
            "balanced_accuracy": lambda: decided().balanced_accuracy,
            "mcc": lambda: decided().mcc,
            "unweighted_f1": lambda: decided().unweighted_f1,
            "false_alarms": lambda: decided().false_alarm_rate,
            "calibration_error": lambda: self._calibration_error(weights),
            "event_f1": lambda: event_f1(weighted(weights, self._events)),
        }

        def decided() -> Confusion:
            return Confusion.stacked(weighted(weights, self._decided))

        wanted = tuple(metrics)
        found = {key: makers[key]() for key in wanted if key in makers}
        if {"auc", "average_precision"} & set(wanted):
            ranked = [ranking.measure(weights) for ranking in self._rankings]
            shape = (len(weights), len(ranked))
            for place, key in enumerate(("auc", "average_precision")):
                found[key] = np.array([pair[place] for pair in ranked]).T.reshape(shape)
        return {key: found[key] for key in wanted}

    def measure_intensity(self, weights: Weights) -> dict[str, Doubles]:
        """Likewise for intensity: key of `INTENSITY_METRICS` → (R, A_i)."""
        moments = Moments.stacked(weighted(weights, self._moments))
        return {
            "icc": moments.icc,
            "pcc": moments.pcc,
            "mse": moments.mean_squared_error,
            "mae": moments.mean_absolute_error,
        }

    @cached_property
    def _decided(self) -> Doubles:
        return self._count(self._said >= np.float32(self.options.threshold), self._known)

    @cached_property
    def _chosen(self) -> Doubles:
        """NaN for an AU unless every face that counts has a threshold of its own part."""
        threshold = row_thresholds(self._scored)
        counts = self._count(self._said >= threshold, self._known)
        counts[..., (np.isnan(threshold) & self._known).any(axis=0)] = np.nan
        return counts

    @cached_property
    def _bins(self) -> Doubles:
        """(bins + 1, U, A): Σ (probability − label) per bin, then the number of faces."""
        bins, places = self.options.bins, len(self.people)
        sums = np.zeros((bins + 1, places, len(self._scored.aus)))
        for a in range(len(self._scored.aus)):
            rows = self._known[:, a]
            said = self._said[rows, a].astype(np.float64)
            cell = self._person[rows] * bins + bin_of(said, bins)
            gap = np.bincount(cell, said - self._present[rows, a], places * bins)
            sums[:bins, :, a] = gap.reshape(places, bins).T
        sums[bins] = self._per_person(self._known.astype(np.float64))
        return sums

    @cached_property
    def _events(self) -> Doubles:
        """(4, U, A) as `count_events` has them; NaN where the data holds no video."""
        clip = np.char.add(np.char.add(self.people[self._person], "\x1f"), self._scored.clip)
        order = order_frames(np.where(self._scored.clip == "", "", clip), self._scored.frame)
        counts = np.full((4, len(self.people), len(self._scored.aus)), np.nan)
        if not (np.diff(order.position) == 1).any():
            return counts
        called = self._said >= np.float32(self.options.threshold)
        for a in range(len(self._scored.aus)):
            known = self._known[order.rows, a]
            rows = order.rows[known]
            counts[..., a] = count_events(
                called[rows, a], self._present[rows, a], order.position[known], self._person[rows], len(self.people),
                self.options.event_overlap, self.options.event_criterion,
            )  # fmt: skip
        return counts

    @cached_property
    def _rankings(self) -> list[Ranking]:
        people, columns = len(self.people), range(len(self._scored.aus))
        return [Ranking.of(self._said[:, a], self._coded[:, a], self._person, people) for a in columns]

    @cached_property
    def _moments(self) -> Doubles:
        said, true = (v.astype(np.float64) for v in (self._scored.intensity, self._scored.intensity_labels))
        if self.options.missed == "negative":
            said = np.where(np.isnan(said), 0.0, said)
        known = ~(np.isnan(said) | np.isnan(true))
        shares = moment_sums(np.where(known, said, 0.0), np.where(known, true, 0.0), known.astype(np.float64))
        return np.stack([self._per_person(share) for share in shares])

    def _calibration_error(self, weights: Weights) -> Doubles:
        sums = weighted(weights, self._bins)
        return ratio(np.abs(sums[:-1]).sum(axis=0), sums[-1])

    def _count(self, called: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> Doubles:
        cells = confusion_sums(called, self._present, known.astype(np.float64))
        return np.stack([self._per_person(cell) for cell in cells])

    def _per_person(self, values: Doubles) -> Doubles:
        return np.add.reduceat(values, self._first, axis=0) if len(values) else np.zeros((0, values.shape[1]))


class Groups:
    """Faces in the groups within which metrics are taken: the test parts, or one group of everything.

    Args:
        scored: the faces.
        options: how to judge.

    Attributes:
        over: which of the two.
        tallies: of each group, by the name of its part; "" for everything.
    """

    def __init__(self, scored: Scored, options: Options) -> None:
        self.options = options
        self.over = options.over or default_grouping(scored)
        if self.over == "pooled":
            self.tallies = {"": Tally(scored, options)}
        else:
            self.tallies = {p: Tally(scored.take(np.flatnonzero(scored.part == p)), options) for p in scored.parts}

    @property
    def resampleable(self) -> bool:
        """Whether every group has at least two people: drawn again and again, one person would pretend to certainty."""
        return all(len(tally.people) > 1 for tally in self.tallies.values())

    def whole(self) -> list[Weights]:
        """Everybody once, per group (1, U)."""
        return [np.ones((1, len(tally.people)), np.int64) for tally in self.tallies.values()]

    def resamples(self) -> list[Weights]:
        """Bootstrap resamples of the people of each group, (R, U) each; none where that is not possible."""
        repetitions = self.options.repetitions if self.resampleable else 0
        counts = [len(tally.people) for tally in self.tallies.values()]
        return [draw_people(count, repetitions, (self.options.seed, place)) for place, count in enumerate(counts)]

    def measure(self, weights: Sequence[Weights], metrics: Iterable[str]) -> dict[str, Doubles]:
        """Key → (R, A): mean over the groups in which a metric is defined."""
        wanted = tuple(metrics)
        return _mean_over_groups([t.measure(w, wanted) for t, w in zip(self.tallies.values(), weights, strict=True)])

    def measure_intensity(self, weights: Sequence[Weights]) -> dict[str, Doubles]:
        """Key → (R, A_i), likewise."""
        return _mean_over_groups([t.measure_intensity(w) for t, w in zip(self.tallies.values(), weights, strict=True)])


def default_grouping(scored: Scored) -> Literal["parts", "pooled"]:
    """Parts where there are several and each has at least two people; else pooled."""
    people = np.unique(np.stack([scored.part, people_of(scored)]), axis=1)[0]
    _, counts = np.unique(people, return_counts=True)
    return "parts" if len(counts) > 1 and counts.min() > 1 else "pooled"


def _mean_over_groups(found: Sequence[Mapping[str, Doubles]]) -> dict[str, Doubles]:
    return {key: mean_of_defined([group[key] for group in found], axis=0) for key in found[0]} if found else {}


def weighted(weights: Weights, counts: Doubles) -> Doubles:
    """Sums over people: (R, U) and (K, U, A) → (K, R, A). A column that is NaN stays NaN."""
    return weights.astype(np.float64) @ counts
