"""What an AU tool, ours or another, says about pictures and recordings: one shape for every file format.

`openau.evaluation.readers` fills it, `openau.evaluation.matching` lays it beside the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from openau.errors import InputError

Floats = npt.NDArray[np.float32]
Texts = npt.NDArray[np.str_]
Index = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

PICTURE = -1
"""`frame` of a row that is about a picture of its own, not about a frame of a recording."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolPredictions:
    """N rows: a face, or a frame in which the tool found none; A AUs with occurrence, I with intensity.

    An AU may have a probability, the tool's own decision, or both; a tool's intensity-only AUs appear in `intensity_aus` alone.

    Attributes:
        tool: whose output it is.
        source: (N,) recording or picture, as the tool names it, or as its file is named where it names none.
        frame: (N,) int64 frame of the recording, from 0 whatever the tool counts from; `PICTURE` for pictures.
        found: (N,) bool a face was found (and tracked successfully, for tools that say so).
        person: (N,) text the tool's name of whom it sees, to be followed through a recording; "" where it does not tell people apart.
        area: (N,) face box in pixels²; NaN where the tool writes none.
        confidence: (N,) the tool's own, in its own unit; NaN where it writes none.
        aus: of the next two.
        probability: (N, A) 0–1; NaN = none given.
        decision: (N, A) 0 or 1, the tool's own binary output; NaN = none given.
        intensity_aus: of the next.
        intensity: (N, I) 0–5; NaN = none given.
        named_inside: the sources come from the rows (False: from file names).

    Raises:
        ValueError: lengths do not agree.
    """

    tool: str
    source: Texts
    frame: npt.NDArray[np.int64]
    found: Flags
    person: Texts
    area: Floats
    confidence: Floats
    aus: tuple[int, ...]
    probability: Floats
    decision: Floats
    intensity_aus: tuple[int, ...]
    intensity: Floats
    named_inside: bool

    def __post_init__(self) -> None:
        count = len(self.source)
        widths = {"probability": len(self.aus), "decision": len(self.aus), "intensity": len(self.intensity_aus)}
        for name, width in widths.items():
            if getattr(self, name).shape != (count, width):
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, expected ({count}, {width})")
        for name in ("frame", "found", "person", "area", "confidence"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, expected ({count},)")

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Index) -> ToolPredictions:
        """These rows alone."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ROWS})


def no_face(tool: str, source: str, aus: tuple[int, ...], intensity_aus: tuple[int, ...]) -> ToolPredictions:
    """One row for a picture in which the tool found no face."""
    nan = np.full(1, np.nan, np.float32)
    return ToolPredictions(
        tool=tool,
        source=np.array([source], np.str_),
        frame=np.array([PICTURE], np.int64),
        found=np.zeros(1, np.bool_),
        person=np.array([""], np.str_),
        area=nan,
        confidence=nan,
        aus=aus,
        probability=np.full((1, len(aus)), np.nan, np.float32),
        decision=np.full((1, len(aus)), np.nan, np.float32),
        intensity_aus=intensity_aus,
        intensity=np.full((1, len(intensity_aus)), np.nan, np.float32),
        named_inside=False,
    )


_ROWS = ("source", "frame", "found", "person", "area", "confidence", "probability", "decision", "intensity")


def join(parts: Sequence[ToolPredictions], where: str) -> ToolPredictions:
    """Stack the files of one tool.

    Raises:
        InputError: they come from different tools, or their AUs differ.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.tool != first.tool:
            raise InputError(f"{where}: holds tables of {first.tool} and of {part.tool}; judge one tool at a time")
        if (part.aus, part.intensity_aus) != (first.aus, first.intensity_aus):
            raise InputError(f"{where}: the tables in it have different AU columns, so they are not one tool's output")
    stacked: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS}
    return replace(first, **stacked)


def told_aus(said: ToolPredictions) -> ToolPredictions:
    """Leave out the AUs whose columns are empty on every face: a tool that imitates another's table fills only what it has."""
    if not said.found.any():
        return said
    known = np.asarray((~np.isnan(said.probability) | ~np.isnan(said.decision))[said.found].any(axis=0), np.bool_)
    graded = np.asarray((~np.isnan(said.intensity))[said.found].any(axis=0), np.bool_)
    return replace(
        said,
        aus=tuple(number for number, told in zip(said.aus, known, strict=True) if told),
        probability=said.probability[:, known],
        decision=said.decision[:, known],
        intensity_aus=tuple(number for number, told in zip(said.intensity_aus, graded, strict=True) if told),
        intensity=said.intensity[:, graded],
    )


def one_face_per_frame(said: ToolPredictions) -> tuple[ToolPredictions, int]:
    """Keep the face a coder would most likely have coded: data sets code one person per frame.

    Among the faces of a frame (or picture): one that was found; then the person found in most frames of that recording; then the largest
    box; then the highest confidence; then the first.

    Returns:
        at most one row per source and frame, in order of source and frame, and how many frames held several faces.
    """
    if not len(said):
        return said, 0
    source = np.unique(said.source, return_inverse=True)[1]
    order = np.lexsort(
        (
            -_known_or_least(said.confidence),
            -_known_or_least(said.area),
            -_presence(said, source),
            ~said.found,
            said.frame,
            source,
        )
    )
    starts = np.r_[True, (np.diff(source[order]) != 0) | (np.diff(said.frame[order]) != 0)]
    group = np.cumsum(starts) - 1
    crowded = int((np.bincount(group, said.found[order]) > 1).sum())
    return said.take(order[starts]), crowded


def _presence(said: ToolPredictions, source: Index) -> npt.NDArray[np.int64]:
    """(N,) in how many rows of this recording the person is found; 0 where people are not told apart."""
    person = np.unique(said.person, return_inverse=True)[1]
    key = source * (int(person.max()) + 1) + person
    unique, which = np.unique(key, return_inverse=True)
    count = np.bincount(which, said.found, len(unique)).astype(np.int64)[which]
    return np.where(said.person == "", 0, count)


def _known_or_least(values: Floats) -> Floats:
    return np.where(np.isnan(values), -np.inf, values).astype(np.float32)
