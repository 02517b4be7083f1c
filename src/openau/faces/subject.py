"""Recordings of one person: the subject is always face 0, and nobody else is reported."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openau.faces.identity import describe
from openau.faces.track import TrackedFace, Tracker

TAKES_OVER = 1.5
"""A face so many times as tall as the one that is followed is the subject: whoever passed before the camera first is not."""
STANDS_IN = 0.6
"""A face at least so many times as tall as the subject's used to be may be the subject again, whatever it looks like …"""
RESEMBLES = 0.3
"""… and one this similar, whatever its size (`openau.faces.identity`; 92 % of the pictures of one person in a scene are, and 5 % of
other people's)."""
MEMORY = 0.02
"""Share of a new frame in what is known of the subject."""

Float = npt.NDArray[np.float32]


class SubjectTracker:
    """Follows the one person a recording is about.

    The rule: the subject is the largest face when the first one appears, and stays the subject while it is seen, unless another face is
    `TAKES_OVER` times as tall. Where it is not seen, the largest of the other faces is the subject again if it looks like the subject
    (`RESEMBLES`) or is about as tall (`STANDS_IN`); others, such as people who pass in the background, are left out.

    Args:
        tracker: follows all faces.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._track: int | None = None
        self._height = 0.0
        self._look: Float | None = None

    def update(self, image: npt.NDArray[np.uint8], time: float | None = None) -> list[TrackedFace]:
        """The subject's face in the next frame, numbered 0; nothing where it is not seen. Arguments as for `Tracker.update`."""
        faces = sorted(self._tracker.update(image, time), key=_height, reverse=True)
        chosen = self._choose(faces)
        if chosen is None:
            return []
        if chosen.id != self._track:
            self._track = chosen.id
            self._look = describe(chosen.face) if self._look is None else self._look
            self._height = self._height or _height(chosen)
        self._height += MEMORY * (_height(chosen) - self._height)
        return [TrackedFace(0, chosen.face)]

    def _choose(self, faces: list[TrackedFace]) -> TrackedFace | None:
        """Of the faces of a frame, the tallest first, the subject's."""
        now = next((tracked for tracked in faces if tracked.id == self._track), None)
        if now is not None:
            if _height(faces[0]) <= TAKES_OVER * _height(now):
                return now
            self._look, self._height = describe(faces[0].face), _height(faces[0])
            return faces[0]
        return next((tracked for tracked in faces if self._may_be(tracked)), None)

    def _may_be(self, tracked: TrackedFace) -> bool:
        if self._look is None or _height(tracked) >= STANDS_IN * self._height:
            return True
        return float(self._look @ describe(tracked.face)) >= RESEMBLES


def _height(tracked: TrackedFace) -> float:
    return float(tracked.face.box[3])
