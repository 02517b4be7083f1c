"""Percentile bootstrap: how far a result would move with other faces, or with other people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ends = tuple[float, float]

ENDS: Ends = (2.5, 97.5)
"""Percentiles between which 95 % of the resamples lie."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval; NaN where the data does not define it."""

    value: float
    low: float
    high: float


def draw_people(count: int, repetitions: int, seed: int | tuple[int, ...]) -> npt.NDArray[np.int64]:
    """(R, U): how often each of `count` people is in each resample of as many, drawn with replacement."""
    if not count:
        return np.zeros((repetitions, 0), np.int64)
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=repetitions)


def widened_ends(people: int) -> Ends:
    """Percentiles for intervals over few people: Φ(∓ √(n / (n − 1)) t), Hesterberg's (2015) expanded percentiles.

    t is the 97.5 % point of Student's distribution with n − 1 degrees of freedom.
    Resamples of n people spread less than means of n people do. Of simulated means of normal values around 0, the usual interval leaves
    0 out in 16 % of cases with 6 people and in 10 % with 12, this one in 6 %.

    Args:
        people: n; with fewer than two there is no interval.
    """
    if people < 2:
        return ENDS
    tail = NormalDist().cdf(-math.sqrt(people / (people - 1)) * student_point(people - 1))
    return 100 * tail, 100 * (1 - tail)


def student_point(freedom: int) -> float:
    """97.5 % point of Student's distribution: with t = √f tan θ, its density over θ is proportional to cos^(f − 1) θ."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    density = np.cos(angle) ** (freedom - 1)
    share = np.cumsum(density) - (density + density[0]) / 2
    return math.sqrt(freedom) * math.tan(float(np.interp(0.975, share / share[-1], angle)))


def percentiles(drawn: Doubles, ends: Ends = ENDS) -> tuple[Doubles, Doubles]:
    """Ends of the 95 % interval over the first axis, the resamples.

    NaN where fewer than half of the resamples define the value, and without resamples.
    """
    low, high = np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
    for place in np.ndindex(drawn.shape[1:]):
        values = drawn[(slice(None), *place)]
        values = values[~np.isnan(values)]
        if 2 * len(values) >= len(drawn) > 0:
            low[place], high[place] = np.percentile(values, ends)
    return low, high


def estimates(value: Doubles, drawn: Doubles, ends: Ends = ENDS) -> list[Estimate]:
    """Values (A,) and their resamples (R, A) as estimates."""
    low, high = percentiles(drawn, ends)
    return [Estimate(float(v), float(lo), float(hi)) for v, lo, hi in zip(value, low, high, strict=True)]


def resample(count: int, groups: npt.ArrayLike | None, repetitions: int, seed: int) -> Iterator[Doubles]:
    """Weights of bootstrap resamples: how often each case was drawn.

    Args:
        count: cases N.
        groups: (N,) whom each case belongs to; whole groups are drawn, since faces of one person are not independent. None draws cases.
        repetitions: resamples.
        seed: the same seed gives the same resamples.
    """
    rng = np.random.default_rng(seed)
    names, member = np.unique(np.arange(count) if groups is None else np.asarray(groups), return_inverse=True)
    for _ in range(repetitions):
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        yield drawn[member].astype(np.float64)


def interval(
    statistic: Callable[[Doubles], npt.ArrayLike],
    count: int,
    groups: npt.ArrayLike | None = None,
    repetitions: int = 500,
    seed: int = 0,
) -> tuple[Doubles, Doubles, Doubles]:
    """Value and 95 % percentile interval of one or several weighted statistics.

    Args:
        statistic: weights (N,) → numbers of a fixed shape.
        count: cases N.
        groups: see `resample`.
        repetitions: resamples.
        seed: of the resamples.

    Returns:
        value, low, high; each of the statistic's shape. The ends are NaN where fewer than half of the resamples define the statistic,
        and for a single case or group: drawn again and again it would pretend to certainty.
    """
    value = np.asarray(statistic(np.ones(count)), np.float64)
    drawn = np.array([statistic(weight) for weight in resample(count, groups, repetitions, seed)], np.float64)
    drawn = drawn.reshape(repetitions, *value.shape)
    alone = (count if groups is None else len(np.unique(np.asarray(groups)))) < 2
    return value, *percentiles(drawn[:0] if alone else drawn)


def estimate(
    statistic: Callable[[Doubles], float],
    count: int,
    groups: npt.ArrayLike | None = None,
    repetitions: int = 500,
    seed: int = 0,
) -> Estimate:
    """`interval` of a single number."""
    value, low, high = interval(statistic, count, groups, repetitions, seed)
    return Estimate(float(value), float(low), float(high))
