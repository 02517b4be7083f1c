"""AUC and average precision of one AU for many resamples of people: sorted once, then one matrix product for all resamples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from openau.evaluation.counts import Doubles, ratio
from openau.evaluation.metrics import average_precision, roc_auc

Index = npt.NDArray[np.intp]

STEPS = 512
_CHUNK = 256  # resamples at once: bounds the memory


@dataclass(frozen=True, slots=True)
class Ranking:
    """How many faces of each person a falling threshold lets pass, in G steps.

    A step is one score that at least one positive has; where there are more than `STEPS` of these, neighbours share a step (as many
    positives in each) and count as ties. `measure` then adds what sharing costs on the faces themselves, so that it is exact where
    everybody counts once and off by at most about 0.001 in resamples.

    Attributes:
        positives: (U, G) positives of each person in each step.
        above, upto: (U, G) negatives of each person above each step, and down to its end.
        negatives: (U,) all of them.
        auc, average_precision: of the faces, exact.
    """

    positives: Doubles
    above: Doubles
    upto: Doubles
    negatives: Doubles
    auc: float
    average_precision: float

    @classmethod
    def of(
        cls,
        score: npt.NDArray[np.floating],
        label: npt.NDArray[np.floating],
        person: Index,
        people: int,
        steps: int = STEPS,
    ) -> Self:
        """Sort; NaN scores and labels are left out.

        Args:
            score: (N,) larger = more likely.
            label: (N,) 0, 1 or NaN.
            person: (N,) index of whom each face belongs to.
            people: number of them, U.
            steps: most steps to keep.
        """
        known = ~(np.isnan(score) | np.isnan(label))
        positive = label[known] > 0.5
        said, who = -score[known], person[known]
        values, counts = np.unique(said[positive], return_counts=True)
        first, last = _share(values, counts, steps)
        step = np.searchsorted(last, said[positive])
        # Negatives fall between the edges first_0, last_0, first_1, last_1 …: an even slot is above a step, an odd one in it.
        slot = np.searchsorted(last, said[~positive])
        inside = said[~positive] >= np.append(first, np.inf)[slot]
        passed = np.cumsum(_table(who[~positive], 2 * slot + inside, people, 2 * len(last) + 2), axis=1)
        return cls(
            positives=_table(who[positive], step, people, len(last)),
            above=passed[:, :-2:2],
            upto=passed[:, 1:-2:2],
            negatives=passed[:, -1],
            auc=roc_auc(score, label),
            average_precision=average_precision(score, label),
        )

    def measure(self, weights: npt.NDArray[np.integer]) -> tuple[Doubles, Doubles]:
        """AUC and average precision where people count as often as the weights say.

        Args:
            weights: (R, U) how often each person was drawn.

        Returns:
            (R,) each; as `metrics.roc_auc` and `metrics.average_precision` define them.
        """
        auc, average = self._shared(np.ones((1, len(self.negatives))))
        missing = self.auc - auc, self.average_precision - average
        chunks = [weights[start : start + _CHUNK].astype(np.float64) for start in range(0, len(weights), _CHUNK)]
        found = [self._shared(chunk) for chunk in chunks]
        return tuple(  # type: ignore[return-value]
            np.clip(np.concatenate([np.zeros(0), *values]) + gap, 0, 1)
            for values, gap in zip(zip(*found, strict=True) if found else ((), ()), missing, strict=True)
        )

    def _shared(self, weights: Doubles) -> tuple[Doubles, Doubles]:
        positives, above, upto = weights @ self.positives, weights @ self.above, weights @ self.upto
        present, absent = positives.sum(axis=1), weights @ self.negatives
        hits = np.cumsum(positives, axis=1)
        precision = hits / np.maximum(hits + upto, 1)
        won = (positives * (absent[:, None] - (above + upto) / 2)).sum(axis=1)
        return ratio(won, present * absent), ratio((positives * precision).sum(axis=1), present)


def _share(values: Doubles, counts: Index, steps: int) -> tuple[Doubles, Doubles]:
    """First and last value of each step."""
    if len(values) <= steps:
        return values, values
    passed = np.cumsum(counts)
    step = np.minimum((passed - 1) * steps // passed[-1], steps - 1)
    starts = np.flatnonzero(np.diff(step, prepend=-1))
    return values[starts], values[np.append(starts[1:] - 1, len(values) - 1)]


def _table(person: Index, column: Index, people: int, columns: int) -> Doubles:
    """(people, columns): how many cases are in each cell."""
    counts = np.bincount(person * columns + column, minlength=people * columns)
    return counts.reshape(people, columns).astype(np.float64)
