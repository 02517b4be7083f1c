"""Smoothing that keeps onsets where they are.

The filter is the binomial one over three frames, ¼ · before + ½ · now + ¼ · after, of every AU column. It is symmetric, so it shifts
nothing in time: a step crosses its middle in the same frame as before, whatever its size, and a ramp stays where it is. It needs one
frame ahead, so rows come one frame late, with their own time stamps. The variance of noise that is independent from frame to frame falls
to ¼² + ½² + ¼² = 0.375 (its spread to 61 %); a peak of a single frame is halved, one of two frames loses a quarter.

Where a neighbour does not show the face, the weights of the others are scaled up to sum to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from openau.result import AUColumns, Faces

Floats = npt.NDArray[np.float32]

OWN, NEIGHBOUR = 0.5, 0.25
"""Weights of the frame itself and of each of its neighbours."""


class Smoother:
    """Smooths the AU columns of one source, frame by frame, in constant memory.

    Every face is smoothed by itself. Columns other than AUs stay as they are, and so does what is not known.

    Args:
        columns: AU columns of the tables.
    """

    def __init__(self, columns: AUColumns) -> None:
        self._width = len(columns.names) - len(columns.extra)
        self._before: dict[int, Floats] = {}
        self._now: Faces | None = None

    def add(self, faces: Faces) -> Faces | None:
        """Take the next frame; returns the frame before it, smoothed, or None as the first frame is taken."""
        now, self._now = self._now, faces
        return None if now is None else self._smoothed(now, self._values(faces))

    def finish(self) -> Faces | None:
        """The last frame, smoothed; None if there was none. Afterwards the next source may begin."""
        now, self._now = self._now, None
        found = None if now is None else self._smoothed(now, {})
        self._before = {}
        return found

    def _values(self, faces: Faces) -> dict[int, Floats]:
        return {int(p): faces.values[row, : self._width] for row, p in enumerate(faces.face_id) if p >= 0}

    def _smoothed(self, now: Faces, after: dict[int, Floats]) -> Faces:
        values = now.values.copy()
        for row, person in enumerate(now.face_id.tolist()):
            if person < 0:
                continue
            own = now.values[row, : self._width].astype(np.float64)
            total, weight = OWN * own, np.full(self._width, OWN)
            for other in (self._before.get(person), after.get(person)):
                if other is not None:
                    known = ~np.isnan(other)
                    total = total + np.where(known, NEIGHBOUR * other, 0.0)
                    weight = weight + NEIGHBOUR * known
            values[row, : self._width] = total / weight
        self._before = self._values(now)
        return replace(now, values=values)


def smooth(frames: Iterable[Faces], columns: AUColumns) -> Iterator[Faces]:
    """The frames of one source, smoothed: as many as there were. See the module for the filter.

    Args:
        frames: a table per frame, in order.
        columns: their AU columns.
    """
    smoother = Smoother(columns)
    for faces in frames:
        if (ready := smoother.add(faces)) is not None:
            yield ready
    if (ready := smoother.finish()) is not None:
        yield ready
