"""Events: when an Action Unit sets in, is at its strongest, and is gone again.

An AU's probability is read by a rule with two thresholds (`EventRule`). The event begins with the first frame that reaches `enter` and
goes on until a frame falls below `leave`. If the AU is back within `gap` seconds, the event was only interrupted; what is shorter than
`minimum` is left out. A frame without the face says nothing: it interrupts an event, which goes on if the face is back in time and still
shows the AU, and ends, marked `ends_unseen`, if not. An AU that is there when the face appears is marked `starts_unseen`: it began
before.

Everything works frame by frame in constant memory; a whole table is read by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openau.facs import intensity_column
from openau.result import AUColumns, Faces

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

_IDLE, _ACTIVE, _BLIND, _BELOW = range(4)
"""What an AU is doing: nothing, an event, an event interrupted by frames without the face, or by frames without the AU."""
_SLACK = 1e-6
"""Seconds by which time stamps may be off, as tables round them."""


@dataclass(frozen=True, slots=True)
class EventRule:
    """When probabilities make an event.

    Attributes:
        enter: an event begins when the probability reaches this; 0.5 is every AU's decision threshold.
        leave: it ends when the probability falls below this; at most `enter`.
        gap: seconds an event may be interrupted.
        minimum: seconds an event must last, with its interruptions.

    Raises:
        ValueError: the thresholds do not satisfy 0 < leave <= enter <= 1, or a time is negative.
    """

    enter: float = 0.5
    leave: float = 0.4
    gap: float = 0.1
    minimum: float = 0.08

    def __post_init__(self) -> None:
        if not 0 < self.leave <= self.enter <= 1:
            raise ValueError(
                f"thresholds of events must satisfy 0 < leave <= enter <= 1, not {self.leave}, {self.enter}"
            )
        if not (self.gap >= 0 and self.minimum >= 0):
            raise ValueError(f"gap and minimum are times in seconds, not {self.gap} and {self.minimum}")


RULE = EventRule()
"""The usual rule: two frames at 25 per second make an event, and three frames without it do not break one."""


@dataclass(frozen=True, slots=True)
class Event:
    """One time that a face showed an AU. Times are seconds on the table's clock, frames its frame numbers.

    Attributes:
        source: the recording.
        face_id: who.
        au: FACS number.
        onset: time of the first frame that shows it.
        apex: time of the frame where it is strongest, by intensity where the model measures it, else by probability; the first of equals.
        offset: time of the first frame that does not show it any more. Where the recording ends before: one frame distance after the
            last one.
        onset_frame, apex_frame, last_frame: first, strongest and last frame that shows it.
        frames: number of frames that show it, less than the span where it was interrupted.
        peak: highest probability, 0–1.
        mean: mean probability of the frames that show it, 0–1.
        peak_intensity: highest intensity, 0–5; NaN where the model does not measure it.
        starts_unseen: it was there already when the face appeared, or when the recording began.
        ends_unseen: it was still there when the face was lost, or when the recording ended.
    """

    source: str
    face_id: int
    au: int
    onset: float
    apex: float
    offset: float
    onset_frame: int
    apex_frame: int
    last_frame: int
    frames: int
    peak: float
    mean: float
    peak_intensity: float
    starts_unseen: bool
    ends_unseen: bool

    @property
    def duration(self) -> float:
        """Seconds from onset to offset."""
        return self.offset - self.onset


def find_events(
    times: Floats,
    probability: Floats,
    intensity: Floats | None = None,
    rule: EventRule = RULE,
    *,
    au: int = 0,
    face_id: int = 0,
    source: str = "",
) -> list[Event]:
    """Events of one AU of one face.

    Args:
        times: (N,) seconds, increasing.
        probability: (N,) 0–1; NaN where the face is not seen.
        intensity: (N,) 0–5 or None; NaN where it is not known.
        rule: what makes an event.
        au: FACS number, written into the events.
        face_id: likewise.
        source: likewise.

    Returns:
        The events in order; their frames are indices into `times`.

    Raises:
        ValueError: the lengths differ, or the times do not increase.
    """
    times, probability = np.asarray(times, np.float64), np.asarray(probability, np.float64)
    strength = np.full(len(times), np.nan) if intensity is None else np.asarray(intensity, np.float64)
    if times.ndim != 1 or probability.shape != times.shape or strength.shape != times.shape:
        raise ValueError(f"times {times.shape}, probability {probability.shape} and intensity {strength.shape} differ")
    finder = _Finder((au,), rule, source, face_id)
    found: list[Event] = []
    for frame, time in enumerate(times):
        found += finder.add(frame, float(time), probability[frame : frame + 1], strength[frame : frame + 1])
    return found + finder.finish()


def events_of(faces: Faces, rule: EventRule = RULE) -> list[Event]:
    """Events of every source, face and AU of a table.

    Args:
        faces: rows frame by frame, as a video's table has them; several sources may follow each other. A picture has no events.
        rule: what makes an event.

    Returns:
        Source by source in the table's order, there by onset, face and AU.

    Raises:
        ValueError: the time stamps of a source do not increase from frame to frame.
    """
    found: list[Event] = []
    for rows in _by_source(faces):
        stream = EventStream(faces.columns, rule)
        bounds = np.flatnonzero(np.diff(faces.frame[rows], prepend=np.nan, append=np.nan) != 0)
        own = [event for a, b in pairwise(bounds) for event in stream.add(faces, rows[a:b])] + stream.finish()
        found += sorted(own, key=lambda event: (event.onset, event.face_id, event.au))
    return found


class EventStream:
    """Events of one source, frame by frame, of all its faces and AUs.

    Memory is constant: a face that is gone is forgotten once its last event has ended.

    Args:
        columns: AU columns of the tables.
        rule: what makes an event.
    """

    def __init__(self, columns: AUColumns, rule: EventRule = RULE) -> None:
        self._rule = rule
        self._aus = columns.occurrence
        names = columns.names
        self._measured = [n for n, au in enumerate(self._aus) if au in columns.intensity]
        self._intensity = [names.index(intensity_column(self._aus[n])) for n in self._measured]
        self._finders: dict[int, _Finder] = {}

    def add(self, faces: Faces, rows: Sequence[int] | npt.NDArray[np.intp] | None = None) -> list[Event]:
        """The next frame.

        Args:
            faces: its rows.
            rows: the frame's rows, where `faces` holds more; None: all.

        Returns:
            Events that are over now. An event is told once it cannot go on any more: up to `gap` seconds after its offset.

        Raises:
            ValueError: the time is not after that of the frame before.
        """
        frame_rows = np.arange(len(faces)) if rows is None else np.asarray(rows)
        frame, time = int(faces.frame[frame_rows[0]]), float(faces.timestamp[frame_rows[0]])
        found: list[Event] = []
        present = set()
        for row in frame_rows:
            person = int(faces.face_id[row])
            if person < 0:
                continue
            present.add(person)
            finder = self._finders.get(person)
            if finder is None:
                finder = self._finders[person] = _Finder(self._aus, self._rule, str(faces.source[row]), person)
            values = faces.values[row]
            strength = np.full(len(self._aus), np.nan)
            strength[self._measured] = values[self._intensity]
            found += finder.add(frame, time, values[: len(self._aus)], strength)
        for person in [p for p in self._finders if p not in present]:
            found += self._finders[person].miss(frame, time)
            if self._finders[person].idle:
                del self._finders[person]
        return found

    def finish(self) -> list[Event]:
        """The events that are going on as the source ends. Afterwards the next source may begin."""
        found = [event for finder in self._finders.values() for event in finder.finish()]
        self._finders.clear()
        return found


class _Finder:
    """All AUs (A) of one face, frame by frame."""

    def __init__(self, aus: Sequence[int], rule: EventRule, source: str, face_id: int) -> None:
        count = len(aus)
        self._aus, self._rule, self._source, self._face_id = tuple(aus), rule, source, face_id
        self._state = np.full(count, _IDLE, np.int8)
        self._seen_before = np.zeros(count, bool)
        self._unseen = np.full(count, np.nan)
        self._time = self._step = math.nan
        self._onset, self._gone, self._apex = (np.full(count, np.nan) for _ in range(3))
        self._first, self._apex_frame, self._last, self._frames = (np.zeros(count, np.int64) for _ in range(4))
        self._peak, self._total, self._strongest, self._intensity = (np.zeros(count) for _ in range(4))
        self._starts_unseen, self._ends_unseen = np.zeros(count, bool), np.zeros(count, bool)

    @property
    def idle(self) -> bool:
        """Whether no event is going on, not even an interrupted one."""
        return not self._state.any()

    def miss(self, frame: int, time: float) -> list[Event]:
        """A frame without the face."""
        return self.add(frame, time, self._unseen, self._unseen)

    def add(self, frame: int, time: float, probability: Floats, intensity: Floats) -> list[Event]:
        """The next frame; events that are over. `probability` (A,) and `intensity` (A,) are NaN where not known."""
        if not (math.isnan(self._time) or time > self._time):
            raise ValueError(f"{self._source}: frame {frame} at {time} s does not come after the one at {self._time} s")
        self._step = time - self._time
        self._time = time
        seen = ~np.isnan(probability)
        high, low = probability >= self._rule.enter, probability >= self._rule.leave
        interrupted = self._state >= _BLIND
        over = interrupted & (time - self._gone > self._rule.gap + _SLACK)
        found = self._close(over) if over.any() else []
        interrupted &= ~over
        active = self._state == _ACTIVE
        resumed = interrupted & (high | (low & (self._state == _BLIND)))
        started = high & (self._state == _IDLE)
        lost = active & ~low
        if started.any():
            self._start(started, frame, time)
        if lost.any():
            self._gone[lost] = time
            self._ends_unseen[lost] = ~seen[lost]
        self._state[lost & ~seen] = _BLIND
        self._state[(lost | (interrupted & ~resumed)) & seen] = _BELOW
        self._state[resumed] = _ACTIVE
        self._note((active & low) | resumed | started, frame, time, probability, intensity)
        self._seen_before = seen
        return found

    def finish(self) -> list[Event]:
        """No frame follows: events that are going on end here."""
        active = self._state == _ACTIVE
        self._gone[active] = self._time + (0.0 if math.isnan(self._step) else self._step)
        self._ends_unseen[active] = True
        return self._close(self._state != _IDLE)

    def _start(self, started: Flags, frame: int, time: float) -> None:
        self._state[started] = _ACTIVE
        self._onset[started], self._first[started] = time, frame
        self._starts_unseen[started] = ~self._seen_before[started]
        self._frames[started] = 0
        self._total[started] = 0.0
        self._peak[started] = self._strongest[started] = -1.0
        self._intensity[started] = np.nan

    def _note(self, showing: Flags, frame: int, time: float, probability: Floats, intensity: Floats) -> None:
        """Take a frame into the events that it belongs to."""
        which = np.flatnonzero(showing)
        if not len(which):
            return
        p, i = probability[which].astype(np.float64), intensity[which].astype(np.float64)
        self._frames[which] += 1
        self._total[which] += p
        self._last[which] = frame
        self._peak[which] = np.maximum(self._peak[which], p)
        self._intensity[which] = np.fmax(self._intensity[which], i)
        strength = np.where(np.isnan(i), p, i)
        higher = which[strength > self._strongest[which]]
        self._strongest[which] = np.maximum(self._strongest[which], strength)
        self._apex[higher], self._apex_frame[higher] = time, frame

    def _close(self, over: Flags) -> list[Event]:
        found = [self._event(n) for n in np.flatnonzero(over)]
        self._state[over] = _IDLE
        return [event for event in found if event.duration >= self._rule.minimum - _SLACK]

    def _event(self, n: np.intp) -> Event:
        return Event(
            self._source, self._face_id, self._aus[n], float(self._onset[n]), float(self._apex[n]), float(self._gone[n]),
            int(self._first[n]), int(self._apex_frame[n]), int(self._last[n]), int(self._frames[n]), float(self._peak[n]),
            float(self._total[n] / self._frames[n]), float(self._intensity[n]), bool(self._starts_unseen[n]),
            bool(self._ends_unseen[n]),
        )  # fmt: skip


def _by_source(faces: Faces) -> list[npt.NDArray[np.intp]]:
    """The rows of each source, in the order of their first ones."""
    if not len(faces):
        return []
    _, first, which = np.unique(faces.source.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(which))[:-1])
    return [groups[n] for n in np.argsort(first)]
