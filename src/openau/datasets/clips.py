"""What a data set on disk holds, before any face is looked for: clips, their labelled frames, and what is wrong with it.

A reader (`openau.datasets.bp4d` …) turns a folder in its published layout into `Clip`s and reports every `Problem` it meets;
`openau.datasets.prepare` turns clips into aligned faces and a manifest. No reader looks at a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openau.facs import Side

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

NO_PICTURE = -1
"""Position of a labelled frame that has no picture."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A recording as one video file; positions count its frames from 0 in presentation order."""

    path: Path


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """A recording as picture files in order of time; positions count them from 0."""

    paths: tuple[Path, ...]


Media = VideoFile | PictureFiles


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One recording of one person and the labels of its N coded frames, in ascending order of `frame`.

    Attributes:
        subject: who it is, as the data set names people ("F001", "SN001").
        name: of the recording, unique in the data set, usable as a path ("F001/T1").
        media: its pictures.
        frame: (N,) the data set's own frame numbers, as its label files count.
        position: (N,) where in `media` each frame is, or `NO_PICTURE` (a label without a frame).
        occurrence: AU → (N,) 0, 1 or NaN (not known).
        intensity: AU → (N,) 0–5 or NaN.
        sides: (AU, side) → (N,) occurrence on the subject's own left or right, where the coders told them apart.
        fold: number of the published part the subject belongs to, or None.
        extra: free columns of the manifest, N values each ("emotion", "phase" …).
    """

    subject: str
    name: str
    media: Media
    frame: Integers
    position: Integers
    occurrence: Mapping[int, Floats]
    intensity: Mapping[int, Floats] = field(default_factory=dict)
    sides: Mapping[tuple[int, Side], Floats] = field(default_factory=dict)
    fold: int | None = None
    extra: Mapping[str, Sequence[object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a data set that a user has to know.

    Attributes:
        kind: what sort, for counting: "label without frame", "frame without label", "value out of range", "missing file" …
        path: the file.
        reason: one clause, lower case, no full stop.
        row: line of a label file, from 1, or frame number of a recording; None where the whole file is meant.
        known: a defect of the published data set itself, documented in its reader: told, but no reason to fail.
    """

    kind: str
    path: Path
    reason: str
    row: int | None = None
    known: bool = False

    def __str__(self) -> str:
        place = f"{self.path}:{self.row}" if self.row is not None else str(self.path)
        return f"{place}: {self.reason}"


Report = Callable[[Problem], None]
"""Takes each problem as it is met; a strict caller raises from it, which stops the reader."""


class DataSetReader(Protocol):
    """Reads one data set; each module of a data set has one, called `READER`.

    Attributes:
        name: as users type it ("bp4d+").
        title: in full.
        people: namespace of its subjects; data sets that share people ("disfa", "disfa+") share it.
        aus: AUs with occurrence labels.
        usual_aus: of these, those that published results are about.
        intensity_aus: AUs with intensity labels.
        licence: how to get the data, in a sentence.
        citation: whom to cite.
    """

    name: str
    title: str
    people: str
    aus: tuple[int, ...]
    usual_aus: tuple[int, ...]
    intensity_aus: tuple[int, ...]
    licence: str
    citation: str

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips of the data set at `root`, sorted by name; label files are read, videos and pictures only looked for.

        Raises:
            InputError: `root` does not hold this data set in a layout the reader knows; the sentence says what was expected.
        """
        ...
