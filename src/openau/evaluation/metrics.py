"""Metrics of AU detection in plain NumPy.

Labels and scores that are NaN are not known and are left out. Every function takes `weight`, one non-negative number per case, which also
makes it a bootstrap statistic (`openau.evaluation.bootstrap`). A metric that the data does not define (no positives …) is NaN, not an
error and not 0: each docstring says when.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openau.evaluation.counts import Confusion, Doubles, Moments, confusion_sums, mean_of_defined, moment_sums, ratio

Array = npt.ArrayLike
_Flags = npt.NDArray[np.bool_]


def roc_auc(score: Array, label: Array, weight: Array | None = None) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    NaN unless both classes are there; 0.5 for a constant score.

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


def average_precision(score: Array, label: Array, weight: Array | None = None) -> float:
    """Average precision: Σ (recall step × precision) over falling thresholds, without interpolation; cases of one score enter together.

    NaN without positives; 1 without negatives; the share of positives for a constant score.
    """
    s, y, w = _known_binary(score, label, weight)
    order = np.argsort(-s, kind="stable")
    s, hits, called = s[order], np.cumsum((w * y)[order]), np.cumsum(w[order])
    if not len(s) or hits[-1] <= 0:
        return float("nan")
    ends = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    precision = np.where(called[ends] > 0, hits[ends] / np.maximum(called[ends], 1e-300), 0.0)
    return float((np.diff(hits[ends], prepend=0.0) * precision).sum() / hits[-1])


def f1(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """F1 of `score >= threshold`; see `Confusion.f1` for degenerate cases."""
    return float(confusion(score, label, threshold, weight).f1)


def accuracy(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """Share of right decisions `score >= threshold`. NaN without cases."""
    return float(confusion(score, label, threshold, weight).accuracy)


def balanced_accuracy(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """Mean of both classes' recalls; see `Confusion.balanced_accuracy`."""
    return float(confusion(score, label, threshold, weight).balanced_accuracy)


def mcc(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """Matthews' correlation coefficient of `score >= threshold`; see `Confusion.mcc`."""
    return float(confusion(score, label, threshold, weight).mcc)


def false_alarm_rate(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> float:
    """Share of negatives with `score >= threshold`. NaN without negatives."""
    return float(confusion(score, label, threshold, weight).false_alarm_rate)


def confusion(score: Array, label: Array, threshold: float = 0.5, weight: Array | None = None) -> Confusion:
    """Counts of the decisions `score >= threshold`."""
    s, y, w = _known_binary(score, label, weight)
    return Confusion.stacked(confusion_sums(s >= threshold, y, w).sum(axis=1))


def best_f1(score: Array, label: Array, weight: Array | None = None) -> tuple[float, float]:
    """The largest F1 any threshold reaches and that threshold (half-way to the next lower score). NaN without positives.

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
    """Expected calibration error: |mean probability − share of positives| over bins of equal width, weighted by their cases.

    NaN without cases.
    """
    p, y, w = _known_binary(probability, label, weight)
    if w.sum() <= 0:
        return float("nan")
    gap = np.bincount(bin_of(p, bins), w * (p - y), bins)
    return float(np.abs(gap).sum() / w.sum())


def bin_of(probability: npt.NDArray[np.floating], bins: int) -> npt.NDArray[np.intp]:
    """Bin of equal width of each probability; 1 belongs to the last."""
    return np.clip((probability * bins).astype(np.intp), 0, bins - 1)


def unweighted_f1(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """UF1 of class labels: mean over classes of 2 TP / (2 TP + FP + FN).

    As in the Micro-Expression Grand Challenge 2019 (See et al., FG 2019): counts are pooled over all test subjects, then every class counts
    the same. Classes are those of the truth and the predictions; NaN without cases.

    Args:
        predicted: (N,) numbers or text; a face without prediction (NaN, "") is left out.
        truth: (N,) likewise; NaN or "" is not known.
        weight: (N,) of each case; default 1.
    """
    tp, called, present = _per_class(predicted, truth, weight)
    return float(mean_of_defined(ratio(2 * tp, called + present), axis=0))


def unweighted_recall(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """UAR of class labels: mean recall over the classes there are (MEGC 2019; also called balanced accuracy). See `unweighted_f1`."""
    tp, _, present = _per_class(predicted, truth, weight)
    return float(mean_of_defined(ratio(tp, present), axis=0))


def mean_absolute_error(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """Mean of |predicted − truth|. NaN without cases."""
    return float(_moments(predicted, truth, weight).mean_absolute_error)


def mean_squared_error(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """Mean of (predicted − truth)². NaN without cases."""
    return float(_moments(predicted, truth, weight).mean_squared_error)


def pcc(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """Pearson's correlation; see `Moments.pcc`."""
    return float(_moments(predicted, truth, weight).pcc)


def icc(predicted: Array, truth: Array, weight: Array | None = None) -> float:
    """ICC(3,1), the field's measure of intensity; see `Moments.icc`."""
    return float(_moments(predicted, truth, weight).icc)


def _moments(predicted: Array, truth: Array, weight: Array | None) -> Moments:
    return Moments.stacked(moment_sums(*_known(predicted, truth, weight)).sum(axis=1))


def _per_class(predicted: Array, truth: Array, weight: Array | None) -> tuple[Doubles, Doubles, Doubles]:
    said, true = np.asarray(predicted), np.asarray(truth)
    w = _weights(weight, true)
    _require_same_length(said, true, w)
    known = _is_known(said) & _is_known(true)
    names, index = np.unique(np.concatenate([said[known], true[known]]), return_inverse=True)
    a, b = np.split(index, 2)
    w, count = w[known], len(names)
    return tuple(np.bincount(i, v, count) for i, v in ((a, w * (a == b)), (a, w), (b, w)))  # type: ignore[return-value]


def _is_known(labels: npt.NDArray[np.generic]) -> _Flags:
    return labels != "" if labels.dtype.kind in "US" else ~np.isnan(labels.astype(np.float64))


def _known(value: Array, truth: Array, weight: Array | None) -> tuple[Doubles, Doubles, Doubles]:
    v, t = np.asarray(value, np.float64), np.asarray(truth, np.float64)
    w = _weights(weight, t)
    _require_same_length(v, t, w)
    known = ~(np.isnan(t) | np.isnan(v))
    return v[known], t[known], w[known]


def _known_binary(score: Array, label: Array, weight: Array | None) -> tuple[Doubles, _Flags, Doubles]:
    s, y, w = _known(score, label, weight)
    return s, y > 0.5, w


def _weights(weight: Array | None, like: npt.NDArray[np.generic]) -> Doubles:
    return np.ones(len(like)) if weight is None else np.asarray(weight, np.float64)


def _require_same_length(v: npt.NDArray[np.generic], t: npt.NDArray[np.generic], w: Doubles) -> None:
    if not (v.shape == t.shape == w.shape and v.ndim == 1):
        raise ValueError(f"values {v.shape}, labels {t.shape} and weights {w.shape} must be of the same length")
