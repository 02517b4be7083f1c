"""A row per face of a recording: when it was seen, how large, and what it showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from openau.result import AUColumns, Faces
from openau.temporal.events import Event

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """One face of one source.

    Attributes:
        source: the recording.
        face_id: who.
        first, last: time of the first and the last frame that shows the face, seconds.
        frames: number of frames that show it.
        share: of all frames of the recording, 0–1.
        width, height: mean size of its box, pixels.
        mean: (A,) mean of every AU column over these frames, in the columns' order; NaN where nothing is known.
        peak: (A,) highest value likewise.
        events: (O,) events of every AU (`columns.occurrence`).
    """

    source: str
    face_id: int
    first: float
    last: float
    frames: int
    share: float
    width: float
    height: float
    mean: Floats
    peak: Floats
    events: npt.NDArray[np.int64]


@dataclass(slots=True)
class _Seen:
    first: float
    width: int
    last: float = 0.0
    frames: int = 0
    box: Floats = field(init=False)
    total: Floats = field(init=False)
    known: Floats = field(init=False)
    peak: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.box = np.zeros(2)
        self.total, self.known, self.peak = np.zeros(self.width), np.zeros(self.width), np.full(self.width, np.nan)


class Summariser:
    """Summaries of one source, frame by frame; memory grows with the number of faces only.

    Args:
        columns: AU columns of the tables.
    """

    def __init__(self, columns: AUColumns) -> None:
        self._columns = columns
        self._width = len(columns.names) - len(columns.extra)
        self._seen: dict[int, _Seen] = {}
        self._events: Counter[tuple[int, int]] = Counter()
        self._frames = 0
        self._source = ""

    def add(self, faces: Faces) -> None:
        """The rows of the next frame."""
        self._frames += 1
        self._source = str(faces.source[0])
        for row in np.flatnonzero(faces.has_face):
            time, values = float(faces.timestamp[row]), faces.values[row, : self._width].astype(np.float64)
            seen = self._seen.setdefault(int(faces.face_id[row]), _Seen(time, self._width))
            known = ~np.isnan(values)
            seen.last = time
            seen.frames += 1
            seen.box += faces.box[row, 2:]
            seen.total += np.where(known, values, 0.0)
            seen.known += known
            seen.peak = np.fmax(seen.peak, values)

    def count(self, events: list[Event]) -> None:
        """Events of this source that are over."""
        self._events.update((event.face_id, event.au) for event in events)

    def finish(self) -> list[Summary]:
        """A row per face, in the order of their numbers. Afterwards the next source may begin."""
        rows = []
        for person, seen in sorted(self._seen.items()):
            mean = np.where(seen.known > 0, seen.total / np.maximum(seen.known, 1), np.nan)
            width, height = (seen.box / seen.frames).tolist()
            events = np.array([self._events[person, au] for au in self._columns.occurrence], np.int64)
            rows.append(
                Summary(
                    self._source, person, seen.first, seen.last, seen.frames, seen.frames / self._frames, width, height,
                    mean, seen.peak, events,
                )
            )  # fmt: skip
        self._seen, self._frames = {}, 0
        self._events.clear()
        return rows
