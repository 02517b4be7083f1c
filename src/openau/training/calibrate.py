"""Calibration: an affine map of each AU's logits after which 0 is the decision threshold. Pure NumPy.

Training sets hold far more of each AU than life does, and F1's best threshold depends on how common an AU is. So held-out faces are
weighted to a life-like base rate, the threshold with the best F1 under these weights becomes 0, and the slope is the logistic fit with
that point kept fixed. Probabilities are then monotone in the logits and meaningful on both sides of 0.5, but 0.5 itself means "F1's
best threshold": the share of positives there is half of the F1 reached, not a half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from openau.evaluation.metrics import best_f1

Doubles = npt.NDArray[np.float64]

PRIORS: Mapping[int, float] = MappingProxyType(
    {
        1: 0.15, 2: 0.12, 4: 0.20, 5: 0.08, 6: 0.25, 7: 0.25, 9: 0.08, 10: 0.20, 12: 0.30, 14: 0.20, 15: 0.12, 16: 0.08, 17: 0.20,
        18: 0.08, 20: 0.08, 22: 0.08, 23: 0.15, 24: 0.15, 25: 0.30, 26: 0.20, 27: 0.08, 28: 0.08, 43: 0.10,
    }
)  # fmt: skip
"""Share of faces on which each AU is assumed to show in use: between the rates of spontaneous films (DISFA) and of elicited emotion
(BP4D) where those code the AU; rounded, kept within .08 and .30, and never fitted to photos."""

USUAL_PRIOR = 0.15
"""For AUs not in `PRIORS`."""

RESAMPLES = 20
_STEEPEST = 20.0


@dataclass(frozen=True, slots=True)
class AffineMap:
    """`scale * logit + shift`; scale > 0, and the decision threshold lands on 0."""

    scale: float
    shift: float

    def __call__(self, logits: npt.NDArray[np.floating]) -> Doubles:
        """Calibrated logits."""
        return np.asarray(self.scale * logits + self.shift, np.float64)


def fit(logits: npt.ArrayLike, labels: npt.ArrayLike, prior: float, seed: int = 0) -> AffineMap:
    """Calibrate one AU.

    Args:
        logits: (N,) of held-out faces; NaN is left out.
        labels: (N,) 0, 1 or NaN.
        prior: base rate 0–1 to weight the faces to.
        seed: of the resamples that steady the threshold.

    Returns:
        The map; the identity where the faces do not hold both classes.
    """
    given, truth = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    known = ~(np.isnan(given) | np.isnan(truth))
    z, y = given[known], truth[known] > 0.5
    if not y.any() or y.all():
        return AffineMap(1.0, 0.0)
    weight = prior_weights(y, prior)
    threshold = steady_threshold(z, y, weight, seed)
    scale = fit_slope(z - threshold, y, weight)
    return AffineMap(scale, -scale * threshold)


def prior_weights(labels: npt.NDArray[np.bool_], prior: float) -> Doubles:
    """(N,) weights that sum to 1 and give positives the share `prior`."""
    share = labels.mean()
    return np.asarray(np.where(labels, prior / share, (1 - prior) / (1 - share)) / len(labels), np.float64)


def steady_threshold(logits: Doubles, labels: npt.NDArray[np.bool_], weight: Doubles, seed: int) -> float:
    """The threshold with the best weighted F1, as the median over bootstrap resamples: F1 is flat and ragged near its top."""
    rng = np.random.default_rng(seed)
    n = len(logits)
    counts = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(RESAMPLES)]
    found = [best_f1(logits, labels, weight * count)[1] for count in counts]
    return float(np.median([best_f1(logits, labels, weight)[1], *(t for t in found if not np.isnan(t))]))


def fit_slope(distance: Doubles, labels: npt.NDArray[np.bool_], weight: Doubles) -> float:
    """Slope of p = sigmoid(slope · distance) with the largest weighted likelihood; within 1/20 and 20 standard deviations of the logits.

    Args:
        distance: (N,) logits minus the threshold.
        labels: (N,).
        weight: (N,).
    """
    spread = float(distance.std()) or 1.0
    unit = distance / spread
    low, high = 1 / _STEEPEST, _STEEPEST
    # The likelihood is concave in the slope, so its derivative changes sign at most once.
    for _ in range(60):
        middle = (low + high) / 2
        probability = 0.5 * (1 + np.tanh(0.5 * middle * unit))
        if (weight * unit * (labels - probability)).sum() > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2 / spread


def neutral_logits(calibrated: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Median calibrated logit of faces on which an AU is absent: what a relaxed face usually scores; −2 where none is known."""
    z, y = np.asarray(calibrated, np.float64), np.asarray(labels, np.float64)
    absent = z[(y < 0.5) & ~np.isnan(z)]
    return float(np.median(absent)) if len(absent) else -2.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps of a model's outputs, in their order; left and right share one.

    Attributes:
        occurrence: a map per AU.
        sides: a map per sided AU.
        neutral_occurrence: usual calibrated logit of a face without the AU.
        neutral_sides: likewise of one side.
    """

    occurrence: tuple[AffineMap, ...]
    sides: tuple[AffineMap, ...]
    neutral_occurrence: tuple[float, ...]
    neutral_sides: tuple[float, ...]

    @classmethod
    def identity(cls, aus: int, sided: int) -> Calibration:
        """No calibration."""
        one = AffineMap(1.0, 0.0)
        return cls((one,) * aus, (one,) * sided, (-2.0,) * aus, (-2.0,) * sided)


def calibrate(
    occurrence: npt.NDArray[np.floating],
    occurrence_labels: npt.NDArray[np.floating],
    sides: npt.NDArray[np.floating],
    side_labels: npt.NDArray[np.floating],
    aus: tuple[int, ...],
    sided_aus: tuple[int, ...],
    priors: Mapping[int, float] = PRIORS,
    seed: int = 0,
) -> Calibration:
    """Calibrate a model on held-out faces, each scored by the mean over its views.

    Args:
        occurrence: (N, A) logits.
        occurrence_labels: (N, A) 0, 1 or NaN.
        sides: (M, S) logits of left sides and of right sides, stacked.
        side_labels: (M, S).
        aus: of the columns of `occurrence`.
        sided_aus: of the columns of `sides`.
        priors: AU → base rate; `USUAL_PRIOR` for others.
        seed: of the resamples.
    """
    rate = [priors.get(number, USUAL_PRIOR) for number in (*aus, *sided_aus)]
    logits = [*occurrence.T, *sides.T]
    labels = [*occurrence_labels.T, *side_labels.T]
    maps = [fit(z, y, prior, seed) for z, y, prior in zip(logits, labels, rate, strict=True)]
    neutral = [neutral_logits(f(z), y) for f, z, y in zip(maps, logits, labels, strict=True)]
    n = len(aus)
    return Calibration(tuple(maps[:n]), tuple(maps[n:]), tuple(neutral[:n]), tuple(neutral[n:]))
