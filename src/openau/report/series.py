"""Curves made small: a long recording as few enough points that a page can hold, without losing a peak.

A curve is cut into stretches with the same number of frames; each becomes two points, its lowest and its highest value in the order in
which they came. A smile of one frame is therefore as high in the report as in the table, and at most one stretch away from its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

GAP = 2.5
"""Frame distances without the face after which a curve is interrupted."""
STEPS = 250
"""Levels of a probability in a report; 255 stands for "not known"."""
UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class Curves:
    """Several curves over one time axis.

    Attributes:
        times: (P,) seconds, increasing.
        values: (P, S) as in the table; NaN = not known.
        stretch: seconds that two points stand for; 0 where every frame is there.
    """

    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    stretch: float


def reduce(times: npt.NDArray[np.float64], values: npt.NDArray[np.float32], limit: int) -> Curves:
    """Curves of at most about `limit` points, with their extremes.

    Args:
        times: (N,) seconds, increasing.
        values: (N, S); NaN = not known.
        limit: number of points, at least 4.

    Raises:
        ValueError: the lengths differ.
    """
    if values.ndim != 2 or len(times) != len(values):
        raise ValueError(f"{len(times)} times for values of the shape {values.shape}")
    if len(times) < 2:
        return Curves(times, values, 0.0)
    steps = np.diff(times)
    span = float(times[-1] - times[0])
    # Only so many interruptions are kept as the points allow.
    longest = max(GAP * float(np.median(steps)), 4 * span / limit if len(times) > limit else 0.0)
    cuts = np.flatnonzero(steps > longest) + 1
    stretches = max(1, (limit - 2 * len(cuts)) // 2)
    size = 1 if len(times) <= limit else int(np.ceil(len(times) / stretches))
    parts: list[tuple[Floats, Floats]] = []
    bounds = [0, *cuts.tolist(), len(times)]
    for begin, end in pairwise(bounds):
        if parts:
            middle = (times[begin - 1] + times[begin]) / 2
            parts.append((np.array([middle]), np.full((1, values.shape[1]), np.nan, np.float32)))
        own = times[begin:end], values[begin:end]
        parts.append(own if size <= 2 or end - begin <= 2 else _extremes(*own, size))
    stretch = span * size / len(times) if size > 2 else 0.0
    return Curves(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), stretch)


def encode(values: Floats) -> npt.NDArray[np.uint8]:
    """Probabilities 0–1 as bytes, rounded to 1/250; NaN becomes 255."""
    known = ~np.isnan(values)
    steps = np.round(np.clip(np.where(known, values, 0), 0, 1) * STEPS)
    return np.where(known, steps, UNKNOWN).astype(np.uint8)


def _extremes(times: Floats, values: Floats, size: int) -> tuple[Floats, Floats]:
    """Two points per `size` rows."""
    starts = np.arange(0, len(times), size)
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    which = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(times))))
    rows = np.arange(len(times))[:, None]
    never = len(times)
    low_at = np.minimum.reduceat(np.where(values == low[which], rows, never), starts)
    high_at = np.minimum.reduceat(np.where(values == high[which], rows, never), starts)
    rising = low_at <= high_at
    points = np.empty((2 * len(starts), values.shape[1]), np.float32)
    points[0::2] = np.where(rising, low, high)
    points[1::2] = np.where(rising, high, low)
    ends = np.append(starts[1:], len(times)) - 1
    # A stretch of a single row would give two points at one moment; the second is put right behind it.
    later = np.maximum(times[starts + (ends - starts) * 3 // 4], np.nextafter(times[starts], np.inf) + 1e-6)
    moments = np.empty(2 * len(starts))
    moments[0::2], moments[1::2] = times[starts], later
    return moments, points
