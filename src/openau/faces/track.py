"""Faces through a video: the same person keeps the same number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.faces.detect import Detection, Window, overlap, windows
from openau.faces.finder import FaceFinder, LocatedFace, by_size
from openau.faces.identity import describe

INTERVAL = 10
"""Frames between two looks at the whole picture: a new face appears within a third of a second at 30 frames per second."""
TILE_PAUSE = 5
"""Every so many frames in between, one tile is searched for small faces: a detector pass costs as much as following three faces."""
PATIENCE = 3
"""Frames a face may be missing before it is no longer searched where it was."""
MEMORY = 30.0
"""Seconds a face that is gone is remembered: it gets its number back if it is found again."""
RATE = 25.0
"""Frames per second, where frames come without times."""
ALIKE = 0.45
"""A new face is one that was lost if their descriptors are at least so similar: 0.2 % of pictures of two rendered people in one scene are
(of two people on press photos about 1 %), and 66 % of those of one person with other expressions and poses. A track's mean descriptor
is more similar than a single picture's. A face that is not recognised gets a new number, which is the lesser evil …"""
AHEAD = 0.1
"""… and so does one that is less than this more similar to one lost face than to another."""
NOTED, NOTED_EARLY = 20, (2, 5, 10)
"""Every so many frames it is looked at what a face that is followed looks like, and in these of its first frames …"""
NOTES = 8
"""… the mean of which remembers about so many."""
CLOSE = 0.05
"""Boxes that overlap by more than this (intersection over union) may exchange their faces; once they have parted, it is checked."""
EXCHANGED = 0.15
"""They have if that way round they are more similar by this, on average."""
SEARCH = 3.0
"""Side, in face sizes, of the window in which a lost face is searched."""
SAME_FACE = 0.3
"""Boxes that overlap by more than this (intersection over union) show one face."""
SETTLED = 0.5
"""Likewise for two tracks that have slid onto one face."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face of one frame and the number of its track, from 0 in order of appearance, the largest first."""

    id: int
    face: LocatedFace


@dataclass(slots=True, eq=False)
class _Track:
    id: int
    face: LocatedFace
    time: float
    look: Float
    missed: int = 0
    seen: int = 0
    notes: int = 1

    def note(self, face: LocatedFace) -> None:
        """Take what the face looks like now into the track's mean descriptor."""
        self.notes = min(self.notes + 1, NOTES)
        mean = self.look + (describe(face) - self.look) / self.notes
        self.look = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)

    def like(self, look: Float) -> float:
        """Similarity of a descriptor to the track's, −1 to 1."""
        return float(self.look @ look)


class Tracker:
    """Follows faces through the frames of one video.

    A face is followed by its landmarks: one pass of the mesh, no detection. New faces are looked for in turn: in the whole picture
    every `interval` frames, and halfway between in one of the tiles that show faces of the finder's `min_size` large
    enough. A frame so costs at most one pass of the detector, plus one for each face that has just been lost. Faces too small for
    the whole picture appear once their tile has had its turn: within two seconds at 720p, later in larger pictures.

    What a face looks like (`openau.faces.identity`) is noted now and then. It decides when a face appears that may have been lost before,
    when two tracks have slid onto one face, and when two faces part that were close. A face that leaves and comes back within `memory` has
    its old number if it is clearly the same.

    Once there are the finder's `max_faces` tracks, no new faces are looked for.

    Args:
        finder: finds and refines; its `max_faces` bounds the number of tracks.
        interval: frames between two looks at the whole picture.
        patience: frames a face may be missing before it is no longer searched where it was.
        memory: seconds for which faces that are gone are remembered; 0 gives every face that comes back a new number.
    """

    def __init__(
        self, finder: FaceFinder, interval: int = INTERVAL, patience: int = PATIENCE, memory: float = MEMORY
    ) -> None:
        self._finder = finder
        self._interval = interval
        self._patience = patience
        self._memory = memory
        self._ids = itertools.count()
        self._tracks: list[_Track] = []
        self._gone: list[_Track] = []
        self._close: set[tuple[int, int]] = set()
        self._frame = 0
        self._time = 0.0
        self._tile = 0

    def update(self, image: Image, time: float | None = None) -> list[TrackedFace]:
        """Faces of the next frame, in the order of their tracks; tracks without a face now are left out.

        Args:
            image: (H, W, 3) RGB uint8.
            time: seconds on the video's clock; None: `RATE` frames make a second.
        """
        self._time = self._frame / RATE if time is None else time
        for track in self._tracks:
            self._follow(image, track)
        self._merge()
        self._part()
        if self._frame == 0:
            self._adopt(self._finder.find(image))
        elif not self._full():
            self._adopt(self._locate_new(image, self._scan(image)))
            if not self._tracks and self._frame % self._interval == 0:
                self._adopt(self._finder.find_closeup(image))
        self._remember()
        self._frame += 1
        return [TrackedFace(t.id, t.face) for t in self._tracks if t.missed == 0]

    def _follow(self, image: Image, track: _Track) -> None:
        face = self._finder.refine(image, track.face.landmarks) if track.missed == 0 else None
        if face is None:
            face = self._search(image, track)
        if face is None:
            track.missed += 1
        else:
            self._give(track, face)

    def _give(self, track: _Track, face: LocatedFace) -> None:
        """This is the track's face now."""
        track.face, track.missed, track.time = face, 0, self._time
        track.seen += 1
        if (track.seen % NOTED == 0 or track.seen in NOTED_EARLY) and not self._is_close(track):
            track.note(face)

    def _is_close(self, track: _Track) -> bool:
        return any(track.id in pair for pair in self._close)

    def _merge(self) -> None:
        """Of two tracks that follow one face, the one that it looks more like keeps it; the other has lost its own."""
        for a, b in itertools.combinations(self._tracks, 2):
            if a.missed == b.missed == 0 and overlap(a.face.box, b.face.box) > SETTLED:
                look = describe(a.face)
                loser = b if a.like(look) >= b.like(look) else a
                loser.missed = self._patience + 1

    def _part(self) -> None:
        """Watch faces that are close; where two part, see whether their tracks have been exchanged."""
        shown = [t for t in self._tracks if t.missed == 0]
        close = {(a.id, b.id) for a, b in itertools.combinations(shown, 2) if overlap(a.face.box, b.face.box) > CLOSE}
        by_id = {t.id: t for t in shown}
        for one, other in self._close - close:
            if one in by_id and other in by_id:
                _put_right(by_id[one], by_id[other])
        self._close = close

    def _remember(self) -> None:
        """Tracks whose face is gone end, and are kept in mind for a while."""
        self._gone += [t for t in self._tracks if t.missed > self._patience]
        self._gone = [t for t in self._gone if self._time - t.time <= self._memory]
        self._tracks = [t for t in self._tracks if t.missed <= self._patience]

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
        """Give faces back to tracks that have lost theirs, or start tracks."""
        for face in by_size(faces):
            lost = [t for t in self._tracks if t.missed > 0 and overlap(t.face.box, face.box) > SAME_FACE]
            track = min(lost, key=lambda t: _distance(t.face, face), default=None)
            if track is None and self._full():
                continue
            if track is None:
                look = describe(face)
                track = self._recognise(look) or _Track(next(self._ids), face, self._time, look)
                if track not in self._tracks:
                    self._tracks.append(track)
            self._give(track, face)

    def _recognise(self, look: Float) -> _Track | None:
        """The track that a face with this descriptor clearly belongs to, of those that have lost theirs."""
        lost = [*self._gone, *(t for t in self._tracks if t.missed > 0)]
        if not lost:
            return None
        first, *others = sorted(lost, key=lambda t: -t.like(look))
        if first.like(look) < ALIKE or (others and first.like(look) - others[0].like(look) < AHEAD):
            return None
        self._gone = [t for t in self._gone if t is not first]
        return first

    def _full(self) -> bool:
        limit = self._finder.max_faces
        return limit is not None and len(self._tracks) >= limit


def _put_right(a: _Track, b: _Track) -> None:
    """Exchange the faces of two tracks, if that way round they are clearly more alike."""
    look_a, look_b = describe(a.face), describe(b.face)
    gain = a.like(look_b) + b.like(look_a) - a.like(look_a) - b.like(look_b)
    if gain / 2 > EXCHANGED:
        a.face, b.face = b.face, a.face


def _distance(a: LocatedFace, b: LocatedFace) -> float:
    """Distance of two faces' middles, pixels."""
    return float(np.linalg.norm((a.box[:2] + a.box[2:] / 2) - (b.box[:2] + b.box[2:] / 2)))


def _plausible(before: LocatedFace, now: LocatedFace) -> bool:
    """Whether a lost face can have got here: within its own size, about as large."""
    old, new = float(max(before.box[2:])), float(max(now.box[2:]))
    return _distance(before, now) < old and 0.6 < new / old < 1 / 0.6
