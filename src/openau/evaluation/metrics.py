"""Metrics of AU detection in plain NumPy.

Labels that are NaN are not known and are left out. Every function takes `weight`, one non-negative number per case, which also makes
it a bootstrap statistic (`openau.evaluation.bootstrap`). A metric that the data does not define (no positives …) is NaN, not an error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.ArrayLike
_Doubles = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]


def roc_auc(score: Array, label: Array, weight: Array | None = None) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    Args:
        score: (N,) larger = more likely.
        label: (N,) 0, 1 or NaN.
        weight: (N,) of each case; default 1.
    """
    s, y, w = _known_binary(score, label, weight)
    order = np.argsort(s, kind="stable")
    s, positive, negative = s[order], (w * y)[order], (w * ~y)[order]
    if not (positive.sum() > 0 and negative.sum() > 0):
        return float("nan")
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    p, n = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(n) - n
    return float((p * (below + n / 2)).sum() / (p.sum() * n.sum()))


def f1(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """F1 of `score >= threshold`: 2 TP / (2 TP + FP + FN); NaN where nothing is positive and nothing is predicted."""
    s, y, w = _known_binary(score, label, weight)
    said = s >= threshold
    hits, called, present = w[said & y].sum(), w[said].sum(), w[y].sum()
    return float(2 * hits / (called + present)) if called + present > 0 else float("nan")


def false_alarm_rate(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """Share of negatives with `score >= threshold`."""
    s, y, w = _known_binary(score, label, weight)
    return _ratio(w[(s >= threshold) & ~y].sum(), w[~y].sum())


def best_f1(score: Array, label: Array, weight: Array | None = None) -> tuple[float, float]:
    """The largest F1 any threshold reaches and that threshold (half-way to the next lower score).

    Chosen on the same cases it is judged on, this is an upper bound, not a result.
    """
    s, y, w = _known_binary(score, label, weight)
    order = np.argsort(-s, kind="stable")
    s, hits, called = s[order], np.cumsum((w * y)[order]), np.cumsum(w[order])
    present = float((w * y).sum())
    if not len(s) or present <= 0:
        return float("nan"), float("nan")
    last_of_tie = np.r_[s[1:] != s[:-1], True]
    values = np.where(last_of_tie & (called > 0), 2 * hits / np.maximum(called + present, 1e-300), -1.0)
    best = int(values.argmax())
    lower = s[best + 1] if best + 1 < len(s) else s[best]
    return float(values[best]), float((s[best] + lower) / 2)


def calibration_error(probability: Array, label: Array, bins: int = 15, weight: Array | None = None) -> float:
    """Expected calibration error: |mean probability − share of positives| over bins of equal width, weighted by their cases."""
    p, y, w = _known_binary(probability, label, weight)
    if w.sum() <= 0:
        return float("nan")
    which = np.clip((p * bins).astype(np.intp), 0, bins - 1)
    gap = np.bincount(which, w * (p - y), bins)
    return float(np.abs(gap).sum() / w.sum())


def mean_absolute_error(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """Mean of |predicted − truth|."""
    p, t, w = _known(predicted, truth, weight)
    return _ratio((w * np.abs(p - t)).sum(), w.sum())


def icc(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """ICC(3,1): consistency of two fixed raters (Shrout & Fleiss 1979), the field's measure of intensity.

    (BMS − EMS) / (BMS + EMS), with BMS the mean square between cases and EMS the residual one after the raters' means are removed.
    """
    p, t, w = _known(predicted, truth, weight)
    total = float(w.sum())
    if total <= 1:
        return float("nan")
    p, t = p - np.average(p, weights=w), t - np.average(t, weights=w)
    between = (w * (p + t) ** 2).sum() / 2
    residual = (w * (p - t) ** 2).sum() / 2
    return _ratio(between - residual, between + residual)


def _known(value: Array, truth: Array, weight: Array | None) -> tuple[_Doubles, _Doubles, _Doubles]:
    v, t = np.asarray(value, np.float64), np.asarray(truth, np.float64)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, np.float64)
    if not (v.shape == t.shape == w.shape and v.ndim == 1):
        raise ValueError(f"values {v.shape}, labels {t.shape} and weights {w.shape} must be of the same length")
    known = ~(np.isnan(t) | np.isnan(v))
    return v[known], t[known], w[known]


def _known_binary(score: Array, label: Array, weight: Array | None) -> tuple[_Doubles, _Flags, _Doubles]:
    s, y, w = _known(score, label, weight)
    return s, y > 0.5, w


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
