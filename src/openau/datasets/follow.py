"""The one person a recording of a data set shows, from picture to picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openau.faces.detect import Window, overlap
from openau.faces.finder import FaceFinder, LocatedFace
from openau.faces.track import INTERVAL

MAX_GAP = 4
"""Positions after which the face is looked for afresh: by then that costs less than following it through the pictures in between."""
SAME_FACE = 0.3
"""Boxes that overlap by more than this (intersection over union) show one face."""
TAKE_OVER = 2.0
"""A face so many times as large as the followed one is the subject; what was followed is somebody or something behind."""

Image = npt.NDArray[np.uint8]


class Subject:
    """Finds the subject of a recording in each of its pictures, in order.

    As in `openau detect`, a face is followed by its landmarks, one pass of the mesh and no detection. Where it is lost, the picture is
    searched at once, since every labelled frame counts; of several faces, the one that continues the last is taken, else the largest.
    Every `INTERVAL` pictures the whole picture is looked at, too, so that other faces are noticed.

    Args:
        finder: must keep all faces (`max_faces` None).

    Attributes:
        company: faces beside the subject when the whole picture was last looked at.
    """

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._last: LocatedFace | None = None
        self._position = 0
        self._looks = 0
        self.company = 0

    def find(self, image: Image, position: int) -> LocatedFace | None:
        """The subject's face in the picture (H, W, 3) at a position of the recording, or None."""
        face = None
        if self._last is not None and position - self._position <= MAX_GAP:
            face = self._finder.refine(image, self._last.landmarks)
        face = self._search(image) if face is None else self._look_around(image, face)
        if face is not None:
            self._last, self._position = face, position
        return face

    def _search(self, image: Image) -> LocatedFace | None:
        faces = self._finder.find_large(image)
        self._looks, self.company = 1, max(len(faces) - 1, 0)
        if not faces:
            return None
        if self._last is None:
            return faces[0]
        before = self._last.box
        nearest = max(faces, key=lambda face: overlap(face.box, before))
        continues = overlap(nearest.box, before) > SAME_FACE and _area(faces[0]) <= TAKE_OVER * _area(nearest)
        return nearest if continues else faces[0]

    def _look_around(self, image: Image, face: LocatedFace) -> LocatedFace:
        """Now and then, look for other faces; one that is much larger is taken instead."""
        self._looks += 1
        if self._looks % INTERVAL != 1:
            return face
        seen = self._finder.detector.look(image, Window(0, 0, image.shape[1], image.shape[0]))
        fresh = [d for d in seen if overlap(d.box, face.box) <= SAME_FACE]
        others = [other for d in fresh if (other := self._finder.locate(image, d)) is not None]
        others = [other for other in others if overlap(other.box, face.box) <= SAME_FACE]
        self.company = len(others)
        return max([face, *(other for other in others if _area(other) > TAKE_OVER * _area(face))], key=_area)


def _area(face: LocatedFace) -> float:
    return float(face.box[2] * face.box[3])
