"""Events in video: runs of frames that show an AU, coded and called, and how well they agree.

Frame metrics do not see whether one smile was found once or in ten pieces. Ding, Chu, De la Torre, Cohn & Wang ("Facial Action Unit Event
Detection by Cascade of Tasks", ICCV 2013) therefore count events: recall is the share of coded events that are found, precision the share
of called events that are right, both by an overlap of at least a threshold, and the event-based F1 is their harmonic mean. Theirs (as a
public re-implementation has it) asks for the share of an event's frames covered by the other side, which a call of everything satisfies;
`criterion="coverage"` does that. Ours, `"iou"`, is stricter: coded and called events are matched one to one (best overlap first) if their
intersection is at least the threshold of their union.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

Criterion = Literal["iou", "coverage"]
Index = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Order:
    """Rows of videos in the order of their frames.

    Attributes:
        rows: (V,) rows that belong to a clip and have a frame number, by clip, then frame.
        position: (V,) grows by 1 from a frame to the next and by more at a gap or a new clip.
    """

    rows: Index
    position: npt.NDArray[np.int64]


def order_frames(clip: npt.NDArray[np.str_], frame: npt.NDArray[np.int64]) -> Order:
    """Sort frames.

    A data set may code every k-th frame: two frames follow each other if they are no farther apart than frames of their clip usually are
    (the median distance); more is a gap, which breaks an event. Rows without clip or with a negative frame are no video.

    Args:
        clip: (N,) text, "" where there is none.
        frame: (N,) number, negative where there is none.
    """
    rows = np.flatnonzero((clip != "") & (frame >= 0))
    if not len(rows):
        return Order(rows, np.zeros(0, np.int64))
    names, which = np.unique(clip[rows], return_inverse=True)
    order = np.lexsort((frame[rows], which))
    rows, which = rows[order], which[order]
    distance = np.diff(frame[rows])
    bounds = np.searchsorted(which, np.arange(len(names) + 1))
    inside = [distance[start : stop - 1] for start, stop in pairwise(bounds)]
    usual = np.array([np.median(own) if len(own) else 1.0 for own in inside])
    gap = (which[1:] != which[:-1]) | (distance > usual[which[1:]])
    return Order(rows, np.cumsum(np.r_[0, np.where(gap, 2, 1)]))


@dataclass(frozen=True, slots=True)
class Events:
    """Runs of frames that show something.

    Attributes:
        start, stop: (E,) first index of each run and the one behind its last.
        of_row: (V,) the run each row belongs to, −1 for none.
    """

    start: Index
    stop: Index
    of_row: Index


def find_events(shown: Flags, position: npt.NDArray[np.int64]) -> Events:
    """Maximal runs of rows that show it and follow each other.

    Args:
        shown: (V,) of each row.
        position: (V,) of `Order`, for these rows.
    """
    follows = np.r_[False, np.diff(position) == 1] if len(position) else np.zeros(0, bool)
    before = np.r_[False, shown[:-1]] if len(shown) else shown
    first = shown & ~(before & follows)
    after = np.r_[first[1:] | ~shown[1:], True] if len(shown) else shown
    start, stop = np.flatnonzero(first), np.flatnonzero(shown & after) + 1
    return Events(start, stop, np.where(shown, np.cumsum(first) - 1, -1))


def count_events(
    called: Flags,
    coded: Flags,
    position: npt.NDArray[np.int64],
    person: Index,
    people: int,
    overlap: float = 0.5,
    criterion: Criterion = "iou",
) -> npt.NDArray[np.float64]:
    """Events of one AU, counted per person. Rows are frames in order whose coding and call are both known.

    Args:
        called: (V,) what the model says.
        coded: (V,) what the coders say.
        position: (V,) of `Order`.
        person: (V,) index of whom each row shows.
        people: number of them, U.
        overlap: least overlap, above 0 to 1.
        criterion: what overlap is, see the module.

    Returns:
        (4, U): coded events, those found, called events, those right.
    """
    true, said = find_events(coded, position), find_events(called, position)
    found, right = (_match if criterion == "iou" else _cover)(true, said, overlap)
    sides = ((true, np.ones(len(true.start))), (true, found), (said, np.ones(len(said.start))), (said, right))
    return np.stack([np.bincount(person[events.start], weight, people) for events, weight in sides])


def event_f1(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Harmonic mean of event recall and event precision.

    NaN where no event is coded and none is called; 0 where only one side has events or nothing overlaps.

    Args:
        counts: (4, …) as `count_events` gives them, or sums of such.
    """
    coded, found, called, right = counts
    recall, precision = found / np.maximum(coded, 1e-300), right / np.maximum(called, 1e-300)
    total = recall + precision
    value = np.where(total > 0, 2 * recall * precision / np.where(total > 0, total, 1.0), 0.0)
    return np.where(coded + called > 0, value, np.nan)


def _cover(true: Events, said: Events, overlap: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    def covered(events: Events, other: Events) -> npt.NDArray[np.float64]:
        inside = events.of_row >= 0
        shared = np.bincount(events.of_row[inside], other.of_row[inside] >= 0, len(events.start))
        return (shared >= overlap * (events.stop - events.start)).astype(np.float64)

    return covered(true, said), covered(said, true)


def _match(true: Events, said: Events, overlap: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    found, right = np.zeros(len(true.start)), np.zeros(len(said.start))
    both = (true.of_row >= 0) & (said.of_row >= 0)
    pairs, shared = np.unique(np.stack([true.of_row[both], said.of_row[both]]), axis=1, return_counts=True)
    length = (true.stop - true.start)[pairs[0]] + (said.stop - said.start)[pairs[1]]
    share = shared / (length - shared)
    for pair in np.argsort(-share, kind="stable"):
        t, s = pairs[:, pair]
        if share[pair] >= overlap and not found[t] and not right[s]:
            found[t] = right[s] = 1.0
    return found, right
