"""Faces through a video: the same person keeps the same number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.faces.detect import Detection, Window, overlap, windows
from openau.faces.finder import FaceFinder, LocatedFace, by_size

INTERVAL = 10
"""Frames between two looks at the whole picture: a new face appears within a third of a second at 30 frames per second."""
TILE_PAUSE = 5
"""Every so many frames in between, one tile is searched for small faces: a detector pass costs as much as following three faces."""
PATIENCE = 3
"""Frames a track may go without its face before it ends."""
SEARCH = 3.0
"""Side, in face sizes, of the window in which a lost face is searched."""
SAME_FACE = 0.3
"""Boxes that overlap by more than this (intersection over union) show one face."""
SETTLED = 0.5
"""Likewise for two tracks that have slid onto one face."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face of one frame and the number of its track, from 0 in order of appearance, the largest first."""

    id: int
    face: LocatedFace


@dataclass(slots=True)
class _Track:
    id: int
    face: LocatedFace
    missed: int = 0


class Tracker:
    """Follows faces through the frames of one video.

    A face is followed by its landmarks: one pass of the mesh, no detection. New faces are looked for in turn: in the whole picture
    every `interval` frames, and halfway between in one of the tiles that show faces of the finder's `min_size` large
    enough. A frame so costs at most one pass of the detector, plus one for each face that has just been lost. Faces too small for
    the whole picture appear once their tile has had its turn: within two seconds at 720p, later in larger pictures.

    Once there are the finder's `max_faces` tracks, no new faces are looked for.

    Args:
        finder: finds and refines; its `max_faces` bounds the number of tracks.
        interval: frames between two looks at the whole picture.
        patience: frames a track survives without its face.
    """

    def __init__(self, finder: FaceFinder, interval: int = INTERVAL, patience: int = PATIENCE) -> None:
        self._finder = finder
        self._interval = interval
        self._patience = patience
        self._ids = itertools.count()
        self._tracks: list[_Track] = []
        self._frame = 0
        self._tile = 0

    def update(self, image: Image) -> list[TrackedFace]:
        """Faces of the next frame (H, W, 3) RGB uint8, in the order of their numbers; tracks without a face now are left out."""
        for track in self._tracks:
            self._follow(image, track)
        self._merge()
        if self._frame == 0:
            self._adopt(self._finder.find(image))
        elif not self._full():
            self._adopt(self._locate_new(image, self._scan(image)))
            if not self._tracks and self._frame % self._interval == 0:
                self._adopt(self._finder.find_closeup(image))
        self._tracks = [t for t in self._tracks if t.missed <= self._patience]
        self._frame += 1
        return [TrackedFace(t.id, t.face) for t in self._tracks if t.missed == 0]

    def _follow(self, image: Image, track: _Track) -> None:
        face = self._finder.refine(image, track.face.landmarks) if track.missed == 0 else None
        if face is None:
            face = self._search(image, track)
        if face is None:
            track.missed += 1
        else:
            track.face, track.missed = face, 0

    def _search(self, image: Image, track: _Track) -> LocatedFace | None:
        """Look for a lost face around its last place."""
        x, y, width, height = (float(v) for v in track.face.box)
        side = SEARCH * max(width, height)
        window = Window(round(x + (width - side) / 2), round(y + (height - side) / 2), round(side), round(side))
        candidates = [
            face
            for face in self._locate_new(image, self._finder.detector.look(image, window))
            if _plausible(track.face, face)
        ]
        return min(candidates, key=lambda face: _distance(track.face, face), default=None)

    def _scan(self, image: Image) -> list[Detection]:
        """This frame's share of the search for new faces."""
        whole, *tiles = windows(image.shape[1], image.shape[0], self._finder.min_size)
        turn = self._frame % self._interval
        if turn == 0:
            return self._finder.detector.look(image, whole)
        if turn % TILE_PAUSE != 0 or turn // TILE_PAUSE > len(tiles):
            return []
        self._tile = (self._tile + 1) % len(tiles)
        return self._finder.detector.look(image, tiles[self._tile])

    def _locate_new(self, image: Image, detections: list[Detection]) -> list[LocatedFace]:
        """Landmarks of the detections that no visible track accounts for."""
        taken = [t.face.box for t in self._tracks if t.missed == 0]
        fresh = [d for d in detections if all(overlap(d.box, box) <= SAME_FACE for box in taken)]
        located = (self._finder.locate(image, d) for d in fresh)
        return [
            face for face in located if face is not None and all(overlap(face.box, box) <= SAME_FACE for box in taken)
        ]

    def _adopt(self, faces: list[LocatedFace]) -> None:
        """Give faces back to tracks that miss theirs, or start tracks."""
        for face in by_size(faces):
            lost = [t for t in self._tracks if t.missed > 0 and overlap(t.face.box, face.box) > SAME_FACE]
            if lost:
                track = min(lost, key=lambda t: _distance(t.face, face))
                track.face, track.missed = face, 0
            elif not self._full():
                self._tracks.append(_Track(next(self._ids), face))

    def _merge(self) -> None:
        """End the younger of two tracks that follow one face."""
        kept: list[_Track] = []
        for track in self._tracks:
            if track.missed > 0 or all(t.missed > 0 or overlap(t.face.box, track.face.box) <= SETTLED for t in kept):
                kept.append(track)
        self._tracks = kept

    def _full(self) -> bool:
        limit = self._finder.max_faces
        return limit is not None and len(self._tracks) >= limit


def _distance(a: LocatedFace, b: LocatedFace) -> float:
    """Distance of two faces' middles, pixels."""
    return float(np.linalg.norm((a.box[:2] + a.box[2:] / 2) - (b.box[:2] + b.box[2:] / 2)))


def _plausible(before: LocatedFace, now: LocatedFace) -> bool:
    """Whether a lost face can have got here: within its own size, about as large."""
    old, new = float(max(before.box[2:])), float(max(now.box[2:]))
    return _distance(before, now) < old and 0.6 < new / old < 1 / 0.6
