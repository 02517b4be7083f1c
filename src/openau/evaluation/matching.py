"""A tool's predictions laid beside coders' labels: which row is about which face, and what the tool's numbers mean as a decision.

**Recordings** are matched by name and frame. A source is a clip if the trailing parts of its path are the clip's name (`…/F001/T1.mp4`), or
the parts joined by `_` or `-` (`F001_T1.csv`), or else if its file name contains the joined name between other signs
(`LeftVideoSN001_comp` is `SN001`) and no other clip's; upper and lower case are the same. A single unnamed table is the only clip's.

**Frames.** Predictions count from 0 here, whatever the tool counts from (OpenFace: 1). A manifest counts as its data set does. Frame f of a
manifest is position f − offset of the recording; `FIRST_FRAME` has the offsets that are known.

**Pictures** are matched by path, as far as both paths go (`…/images/F001/T1/000123.jpg`), or else as frames of a clip: the folder is the
clip, the digits at the end of the file's name are the frame, to which an offset that the caller names is added (BP4D's original pictures
count from 0 and its labels from 1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import aus_in, intensity_aus_in
from openau.datasets.people import identities
from openau.errors import InputError
from openau.evaluation.predictions import PICTURE, ToolPredictions, one_face_per_frame
from openau.evaluation.readers.columns import SUFFIXES
from openau.evaluation.scored import Scored
from openau.facs import intensity_column, occurrence_column
from openau.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

FIRST_FRAME: Mapping[str, int] = MappingProxyType({"bp4d": 1, "bp4d+": 1, "disfa": 1})
"""Number a data set (the manifest's column `dataset`) gives to the first frame of a recording; 0 for all others.

From the data sets' readers: `openau.datasets.bp4d`, `disfa`.
"""

_KNOWN_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | frozenset(SUFFIXES)
_NUMBER_AT_END = re.compile(r"\d+$")

Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a tool's numbers become decisions.

    Attributes:
        threshold: a probability from here on is a "yes", where the tool does not decide itself.
        intensity_threshold: an intensity from here on is a "yes" for AUs of which the tool tells nothing else; None leaves them out.
        count_missing_aus: AUs that are coded but that the tool lacks count as "no" on every face.
        frame_offset: number the manifest gives to the first frame of a recording, or to the picture numbered 0; None takes
            `FIRST_FRAME` for recordings and 0 for pictures.
    """

    threshold: float = 0.5
    intensity_threshold: float | None = None
    count_missing_aus: bool = False
    frame_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Predictions beside the truth.

    Attributes:
        scored: the coded faces of the recordings (or folders of pictures) the tool has seen; NaN where it found no face.
        rows: (n,) their rows in the manifest.
        judged: of these, faces with a prediction.
        missed: frames in which the tool says it found no face.
        without_row: coded frames that no row of the tool is about.
        unseen: coded frames of recordings that the tool's table knows nothing of; not in `scored`.
        unused: predictions about frames nobody coded.
        crowded: frames with several faces, of which one was chosen (`one_face_per_frame`).
        only_truth: AUs coded, but not predicted by the tool.
        only_tool: AUs predicted, but not coded.
        only_intensity: AUs coded, of which the tool tells only an intensity.
    """

    scored: Scored
    rows: Index
    judged: int
    missed: int
    without_row: int
    unseen: int
    unused: int
    crowded: int
    only_truth: tuple[int, ...]
    only_tool: tuple[int, ...]
    only_intensity: tuple[int, ...]


def match(said: ToolPredictions, truth: pa.Table, data: str, reading: Reading | None = None) -> Match:
    """Lay predictions beside a manifest (`openau.datasets.manifest`).

    Args:
        said: all that the tool wrote.
        truth: the manifest's rows.
        data: name of the data, for tables.
        reading: what the tool's numbers mean.

    Raises:
        InputError: nothing belongs together (the sentence shows a name of either side), two predictions are about the same coded face, or
            tool and truth have no AU in common.
    """
    if not len(said):
        raise InputError(f"{said.tool} says nothing: its table has columns but no rows")
    reading = reading or Reading()
    chosen, crowded = one_face_per_frame(said)
    offset = _offset(truth) if reading.frame_offset is None else reading.frame_offset
    row = _rows(chosen, truth, offset, reading.frame_offset or 0)
    seen = _seen_recordings(row, truth)
    told = np.full(truth.num_rows, -1, np.intp)
    told[row[row >= 0]] = np.flatnonzero(row >= 0)
    kept = np.flatnonzero(seen)
    coded, graded = aus_in(truth), intensity_aus_in(truth)
    decisions = _decisions(chosen, reading)
    only_truth = tuple(number for number in coded if number not in decisions)
    aus = tuple(number for number in coded if number in decisions or reading.count_missing_aus)
    if not set(aus) & set(decisions):
        raise InputError(
            f"{said.tool} predicts {_list(decisions)} and {data} codes {_list(coded)}: there is no AU in common to judge"
        )
    measured = tuple(number for number in graded if number in chosen.intensity_aus)
    found = np.zeros(truth.num_rows, np.bool_)
    found[told >= 0] = chosen.found[told[told >= 0]]
    scored = Scored(
        model=said.tool,
        data=data,
        protocol="",
        aus=aus,
        probability=_beside(told, found, [decisions.get(number) for number in aus])[kept],
        occurrence=_labels(truth, [occurrence_column(number) for number in aus])[kept],
        subject=identities(truth)[kept],
        clip=_texts(truth, "clip")[kept],
        frame=_frames(truth)[kept],
        part=np.full(len(kept), "", np.str_),
        intensity_aus=measured,
        intensity=_beside(told, found, [chosen.intensity[:, chosen.intensity_aus.index(n)] for n in measured])[kept],
        intensity_labels=_labels(truth, [intensity_column(number) for number in measured])[kept],
    )
    result = Match(
        scored=scored,
        rows=kept,
        judged=int(found[kept].sum()),
        missed=int(((told >= 0) & ~found)[kept].sum()),
        without_row=int((told[kept] < 0).sum()),
        unseen=int((~seen).sum()),
        unused=int((row < 0).sum()),
        crowded=crowded,
        only_truth=only_truth,
        only_tool=tuple(n for n in sorted({*chosen.aus, *chosen.intensity_aus}) if n not in coded and n not in graded),
        only_intensity=tuple(number for number in only_truth if number in chosen.intensity_aus),
    )
    return _with_notes(result, chosen, reading, offset)


def _decisions(said: ToolPredictions, reading: Reading) -> dict[int, Floats]:
    """AU → (N,) one number 0–1 whose 0.5 is the tool's decision: see `_ranked` for tools that decide themselves."""
    found: dict[int, Floats] = {}
    for place, number in enumerate(said.aus):
        decision = said.decision[:, place]
        if np.isnan(decision).all() and not np.isnan(said.probability[:, place]).all():
            found[number] = _centred(said.probability[:, place], reading.threshold)
        elif number in said.intensity_aus:
            found[number] = _ranked(decision, said.intensity[:, said.intensity_aus.index(number)])
        else:
            found[number] = decision
    if reading.intensity_threshold is not None:
        for place, number in enumerate(said.intensity_aus):
            if number not in found:
                found[number] = _centred(said.intensity[:, place] / 5, reading.intensity_threshold / 5)
    return found


def _centred(value: npt.NDArray[np.floating], threshold: float) -> Floats:
    """Bring the threshold to 0.5, keeping 0, 1 and the order."""
    below = 0.5 * value / max(threshold, 1e-9)
    above = 0.5 + 0.5 * (value - threshold) / max(1 - threshold, 1e-9)
    centred = np.where(value >= threshold, above, np.minimum(below, _JUST_NO))
    return np.where(np.isnan(value), np.nan, np.clip(centred, 0, 1)).astype(np.float32)


_JUST_NO = np.nextafter(np.float32(0.5), np.float32(0))


def _ranked(decision: Floats, intensity: Floats) -> Floats:
    """A binary decision as one number: its 0.5 is the decision, and among faces decided alike the more intense is the larger.

    F1 and the like are thus exactly those of the decisions; the AUC ranks by decision, then by intensity.
    """
    within = np.minimum(np.nan_to_num(intensity) / 10, _JUST_NO)
    return np.where(np.isnan(decision), np.nan, 0.5 * (decision > 0.5) + within).astype(np.float32)


def _beside(told: Index, found: npt.NDArray[np.bool_], columns: Sequence[Floats | None]) -> Floats:
    """(N, columns) what was said about each coded face, NaN without a face; a column that is None is 0 everywhere."""
    values = np.full((len(told), len(columns)), np.nan, np.float32)
    for place, column in enumerate(columns):
        values[found, place] = 0 if column is None else column[told[found]]
    return values


def _rows(said: ToolPredictions, truth: pa.Table, offset: int, picture_offset: int) -> Index:
    """(N,) which coded face each prediction is about, −1 for none.

    Raises:
        InputError: none is about any, or two are about the same.
    """
    picture = said.frame == PICTURE
    clips = _Clips(truth, offset)
    row = np.full(len(said), -1, np.intp)
    row[~picture] = clips.rows_of_recordings(said, np.flatnonzero(~picture))
    pictures = _Pictures(truth if picture.any() else truth.slice(0, 0))
    for place in np.flatnonzero(picture):
        parts = _file_parts(str(said.source[place]))
        row[place] = pictures.row_of(parts)
        if row[place] < 0:
            row[place] = clips.row_of_picture(parts, picture_offset)
    _require_single(row, said)
    if not (row >= 0).any():
        raise InputError(_nothing_matches(said, truth, offset))
    return row


class _Clips:
    """Coded faces by clip and position."""

    def __init__(self, truth: pa.Table, offset: int) -> None:
        clip, frame = _texts(truth, "clip"), _frames(truth)
        names: list[str] = sorted(set(clip.tolist()) - {""})
        self._parts = {name: _parts(name) for name in names}
        self._names: dict[Path_, str] = {parts: name for name, parts in self._parts.items()}
        self._joined: dict[str, str] = {sign.join(parts): name for name, parts in self._parts.items() for sign in "_-"}
        where = np.flatnonzero(clip != "")
        self._by_position = _keyed(clip, frame - offset, where)
        self._by_frame = _keyed(clip, frame, where)

    def rows_of_recordings(self, said: ToolPredictions, rows: Index) -> Index:
        """(n,) coded face of each of these predictions about frames of recordings."""
        named = {name: self._clip_of(_file_parts(name)) for name in sorted(set(said.source[rows].tolist()))}
        if len(named) == len(self._parts) == 1 and not said.named_inside:
            named = dict.fromkeys(named, next(iter(self._parts)))
        return np.array(
            [
                -1 if (clip := named[str(said.source[row])]) is None else self._by_position.get((clip, frame), -1)
                for row, frame in zip(rows, said.frame[rows].tolist(), strict=True)
            ],
            np.intp,
        )

    def row_of_picture(self, parts: Path_, offset: int) -> int:
        """Coded face that a picture named after clip and number shows; −1 for none."""
        number = _NUMBER_AT_END.search(parts[-1])
        clip = self._clip_of(parts[:-1]) if number and len(parts) > 1 else None
        return -1 if clip is None or number is None else self._by_frame.get((clip, int(number[0]) + offset), -1)

    def _clip_of(self, parts: Path_) -> str | None:
        for start in range(len(parts)):
            if parts[start:] in self._names:
                return self._names[parts[start:]]
        stem = parts[-1]
        if stem in self._joined:
            return self._joined[stem]
        inside = {name for joined, name in self._joined.items() if _contains(stem, joined)}
        return inside.pop() if len(inside) == 1 else None


class _Pictures:
    """Coded faces by the path of their picture."""

    def __init__(self, truth: pa.Table) -> None:
        self._whole: dict[Path_, int] = {}
        self._ends: dict[Path_, int] = {}
        for row, image in enumerate(truth.column("image").to_pylist()):
            if image is None:
                continue
            parts = _file_parts(image)
            self._whole[parts] = row
            for start in range(len(parts)):
                end = parts[start:]
                self._ends[end] = row if end not in self._ends else -1

    def row_of(self, parts: Path_) -> int:
        """The face whose picture's path agrees as far as both go; −1 for none, or for several."""
        for start in range(len(parts)):
            if parts[start:] in self._whole:
                return self._whole[parts[start:]]
        return self._ends.get(parts, -1)


def _parts(name: str) -> Path_:
    """A path as its lower-case parts; both kinds of slashes separate."""
    parts = [part.lower() for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return tuple(parts) or ("",)


def _file_parts(name: str) -> Path_:
    """The same without the suffix of a picture, recording or table."""
    parts = _parts(name)
    stem, dot, suffix = parts[-1].rpartition(".")
    return (*parts[:-1], stem) if stem and f"{dot}{suffix}" in _KNOWN_SUFFIXES else parts


def _contains(text: str, name: str) -> bool:
    """Whether a file's name holds a clip's name that goes on neither with digits before nor with digits or letters behind it."""
    return re.search(rf"(?<!\d){re.escape(name)}(?![0-9a-z])", text) is not None


def _keyed(clip: npt.NDArray[np.str_], number: npt.NDArray[np.int64], rows: Index) -> dict[tuple[str, int], int]:
    return {(str(clip[row]), int(number[row])): int(row) for row in rows}


def _require_single(row: Index, said: ToolPredictions) -> None:
    places = np.flatnonzero(row >= 0)
    order = places[np.argsort(row[places], kind="stable")]
    twice = np.flatnonzero(np.diff(row[order]) == 0)
    if len(twice):
        first, second = order[twice[0]], order[twice[0] + 1]
        raise InputError(
            f"{said.source[first]} and {said.source[second]} are both taken for the same coded face; "
            "keep one of them, or name the files after the clips"
        )


def _seen_recordings(row: Index, truth: pa.Table) -> npt.NDArray[np.bool_]:
    """(N,) rows of clips of which at least one frame is matched; without clips all rows belong together."""
    clip = np.unique(_texts(truth, "clip"), return_inverse=True)[1]
    return np.asarray(np.isin(clip, clip[row[row >= 0]]), np.bool_)


def _offset(truth: pa.Table) -> int:
    if "dataset" not in truth.column_names:
        return 0
    names = {name for name in truth.column("dataset").to_pylist() if name is not None}
    offsets = {FIRST_FRAME.get(str(name), 0) for name in names}
    return offsets.pop() if len(offsets) == 1 else 0


def _nothing_matches(said: ToolPredictions, truth: pa.Table, offset: int) -> str:
    frame = int(said.frame[0]) if len(said) else PICTURE
    theirs = (
        f"{said.source[0]}, " + ("a picture" if frame == PICTURE else f"frame {frame} from 0") if len(said) else "none"
    )
    image, clip, number = (
        truth.column(name)[0].as_py() if truth.num_rows else None for name in ("image", "clip", "frame")
    )
    return (
        f"no prediction is about a coded face: the first of {said.tool}'s rows is {theirs}; the truth begins with clip {clip}, "
        f"frame {number} (position {number - offset if number is not None else None}), picture {image}; "
        "name the files after the clips, or set the frame offset"
    )


def _with_notes(result: Match, said: ToolPredictions, reading: Reading, offset: int) -> Match:
    notes = [_binarisation(said, reading), _fate(result)]
    if result.only_truth:
        fate = "counted as absent on every face, as asked" if reading.count_missing_aus else "not counted"
        notes.append(f"AUs coded but not told by {said.tool}, {fate}: {_list(result.only_truth)}.")
    if result.only_intensity and not reading.count_missing_aus:
        notes.append(f"Of these, {_list(result.only_intensity)} have an intensity, which no threshold was given for.")
    if result.only_tool:
        notes.append(f"AUs told but not coded: {_list(result.only_tool)}.")
    if (said.frame != PICTURE).any():
        notes.append(f"The truth's frame {offset} is the first of a recording.")
    return replace(result, scored=replace(result.scored, notes=tuple(notes)))


def _binarisation(said: ToolPredictions, reading: Reading) -> str:
    own = [number for place, number in enumerate(said.aus) if not np.isnan(said.decision[:, place]).all()]
    parts = []
    if own:
        ranked = " (the AUC ranks by decision, then intensity)" if set(own) & set(said.intensity_aus) else ""
        parts.append(f"{said.tool}'s own 0 or 1{ranked}")
    if set(said.aus) - set(own):
        parts.append(f"probability ≥ {reading.threshold:g}")
    if reading.intensity_threshold is not None and set(said.intensity_aus) - set(said.aus):
        only = sorted(set(said.intensity_aus) - set(said.aus))
        parts.append(f"intensity ≥ {reading.intensity_threshold:g} for {_list(only)}")
    return f"Decisions: {'; '.join(parts) or 'none'}."


def _fate(result: Match) -> str:
    coded = len(result.scored)
    parts = [f"{result.judged:,} of {coded:,} coded frames judged", f"no face found in {result.missed:,}"]
    parts.append(f"{result.without_row:,} without a prediction")
    if result.crowded:
        parts.append(f"{result.crowded:,} frames held several faces, one was chosen")
    if result.unseen:
        parts.append(f"{result.unseen:,} coded frames of other recordings left out")
    if result.unused:
        parts.append(f"{result.unused:,} predictions about frames nobody coded")
    return "; ".join(parts) + "."


def _labels(truth: pa.Table, names: Sequence[str]) -> Floats:
    values = np.full((truth.num_rows, len(names)), np.nan, np.float32)
    for place, name in enumerate(names):
        values[:, place] = [np.nan if value is None else float(value) for value in truth.column(name).to_pylist()]
    return values


def _texts(truth: pa.Table, name: str) -> npt.NDArray[np.str_]:
    return np.array([value or "" for value in truth.column(name).to_pylist()], np.str_).reshape(-1)


def _frames(truth: pa.Table) -> npt.NDArray[np.int64]:
    return np.array([-1 if value is None else value for value in truth.column("frame").to_pylist()], np.int64)


def _list(numbers: Sequence[int] | dict[int, Floats]) -> str:
    return ", ".join(f"AU{number:02d}" for number in numbers) or "no AU"
