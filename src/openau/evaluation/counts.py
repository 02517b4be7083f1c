"""Sums over faces from which metrics follow: confusion counts, moments of intensity, bins of probability.

They add up over people, so that a resample of people is a weighted sum of their counts: this makes bootstraps over 140,000 faces cheap.
Every array may have any shape; results have the same. What the counts do not define is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def ratio(numerator: Doubles, denominator: Doubles) -> Doubles:
    """Quotient; NaN where the denominator is not positive."""
    defined = denominator > 0
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)


@dataclass(frozen=True, slots=True)
class Confusion:
    """True and false positives and negatives of one decision, weighted or not.

    Attributes:
        tp, fp, fn, tn: counts, (…) float64 each.
    """

    tp: Doubles
    fp: Doubles
    fn: Doubles
    tn: Doubles

    @classmethod
    def stacked(cls, counts: Doubles) -> Self:
        """From an array (4, …) of tp, fp, fn, tn."""
        return cls(counts[0], counts[1], counts[2], counts[3])

    @property
    def f1(self) -> Doubles:
        """2 TP / (2 TP + FP + FN). NaN where nothing is positive and nothing is called; 0 where only one of the two is so."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> Doubles:
        """Share of right decisions. NaN without cases."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def recall(self) -> Doubles:
        """TP / (TP + FN). NaN without positives."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def false_alarm_rate(self) -> Doubles:
        """FP / (FP + TN). NaN without negatives."""
        return ratio(self.fp, self.fp + self.tn)

    @property
    def balanced_accuracy(self) -> Doubles:
        """Mean of the recalls of positives and negatives; chance is 0.5. NaN where one of the two classes is absent.

        For the two classes of an AU this is the unweighted average recall (UAR) of the Micro-Expression Grand Challenge.
        """
        return (self.recall + 1 - self.false_alarm_rate) / 2

    @property
    def mcc(self) -> Doubles:
        """Matthews' correlation coefficient, −1 to 1. NaN where one class is absent; 0 where every decision is the same."""
        present, absent = self.tp + self.fn, self.fp + self.tn
        called, passed = self.tp + self.fp, self.fn + self.tn
        numerator = self.tp * self.tn - self.fp * self.fn
        # The root of each factor apart: their product leaves what float64 resolves for large counts.
        spread = np.sqrt(present) * np.sqrt(absent) * np.sqrt(called) * np.sqrt(passed)
        value = np.where(spread > 0, numerator / np.where(spread > 0, spread, 1.0), 0.0)
        return np.where((present > 0) & (absent > 0), value, np.nan)

    @property
    def unweighted_f1(self) -> Doubles:
        """Mean of the F1 of presence and the F1 of absence (UF1 with two classes). A class neither there nor called is left out."""
        of_absence = ratio(2 * self.tn, 2 * self.tn + self.fp + self.fn)
        return mean_of_defined(np.stack([self.f1, of_absence]), axis=0)


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over pairs of a predicted and a true number.

    Attributes:
        count: sum of weights.
        p, t: sums of predicted and true values.
        pp, tt, pt: sums of their squares and products.
        distance: sum of |predicted − true|.
    """

    count: Doubles
    p: Doubles
    t: Doubles
    pp: Doubles
    tt: Doubles
    pt: Doubles
    distance: Doubles

    @classmethod
    def stacked(cls, sums: Doubles) -> Self:
        """From an array (7, …) in the order of the attributes."""
        return cls(*sums)

    @property
    def mean_squared_error(self) -> Doubles:
        """Mean of (predicted − true)². NaN without cases."""
        return np.maximum(ratio(self.pp - 2 * self.pt + self.tt, self.count), 0.0)

    @property
    def mean_absolute_error(self) -> Doubles:
        """Mean of |predicted − true|. NaN without cases."""
        return ratio(self.distance, self.count)

    @property
    def pcc(self) -> Doubles:
        """Pearson's correlation. NaN for fewer than two cases and where either side is constant."""
        vp, vt, covariance = self._central()
        return ratio(covariance, np.sqrt(vp * vt))

    @property
    def icc(self) -> Doubles:
        """ICC(3,1): consistency of two fixed raters (Shrout & Fleiss 1979), (BMS − EMS) / (BMS + EMS).

        BMS is the mean square between cases, EMS the residual one after the raters' means are removed: both with n − 1 degrees of freedom
        for two raters, which cancel. A constant prediction against varying truth gives 0. NaN for fewer than two cases, and where both
        sides are constant.
        """
        vp, vt, covariance = self._central()
        return ratio(2 * covariance, vp + vt)

    def _central(self) -> tuple[Doubles, Doubles, Doubles]:
        """Central sums of squares and products; 0 where rounding alone makes them differ from it."""
        enough = self.count > 1
        n = np.where(enough, self.count, 1.0)
        vp, vt = (
            np.where(enough & (s > 1e-12 * squares), s, 0.0)
            for s, squares in ((self.pp - self.p**2 / n, self.pp), (self.tt - self.t**2 / n, self.tt))
        )
        covariance = np.where((vp > 0) & (vt > 0), self.pt - self.p * self.t / n, 0.0)
        return vp, vt, covariance


def confusion_sums(called: npt.NDArray[np.bool_], present: npt.NDArray[np.bool_], weight: Doubles) -> Doubles:
    """Weight of every case in its cell: (4, N) in `Confusion`'s order."""
    cells = np.stack([called & present, called & ~present, ~called & present, ~called & ~present])
    return cells * weight


def moment_sums(predicted: Doubles, truth: Doubles, weight: Doubles) -> Doubles:
    """Every case's share of the sums: (7, N) in `Moments`' order."""
    p, t = predicted, truth
    return np.stack([np.ones_like(p), p, t, p * p, t * t, p * t, np.abs(p - t)]) * weight


def mean_of_defined(values: Doubles | Sequence[Doubles], axis: int) -> Doubles:
    """Mean over an axis of what is not NaN; NaN where nothing is."""
    table = np.asarray(values, np.float64)
    known = ~np.isnan(table)
    return ratio(np.where(known, table, 0.0).sum(axis=axis), known.sum(axis=axis).astype(np.float64))
