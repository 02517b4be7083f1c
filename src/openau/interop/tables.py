"""Tables of AUs, ours and others', as `Faces`.

The readers of `openau.evaluation.readers` say whose table it is, check it and give what an evaluation needs; this module adds the rest of
a `Faces`: times, boxes, poses, sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, UsageError
from openau.evaluation.predictions import PICTURE, ToolPredictions, told_aus
from openau.evaluation.readers import openface, own, pyfeat
from openau.evaluation.readers.columns import SUFFIXES, Columns, Header, header_of
from openau.facs import intensity_column, occurrence_column, parse_column
from openau.result import FACE_COLUMNS, NO_FACE, AUColumns, Faces
from openau.sinks.folder import INDEX

Floats = npt.NDArray[np.float32]

KNOWN = "OpenAU, OpenFace 2 and Py-Feat"
_BESIDE = (INDEX, ".events.csv", ".summary.csv")
"""What may lie beside tables of faces."""
LANDMARKS = 68
"""Points of OpenFace's and Py-Feat's faces."""


def read_faces(path: str | os.PathLike[str], rate: float | None = None) -> Faces:
    """A table as `Faces`, without landmarks.

    - **OpenAU**: CSV, Parquet or JSON Lines, whatever columns the table has.
    - **OpenFace 2**: presence 0 or 1 as the probability, intensity 0–5, time, pose (as degrees with our signs); the box is that of the 2D
      landmarks. Rows whose tracking failed become frames without a face. The source is the file's name.
    - **Py-Feat**: probabilities and the face box. Poses are left out: their unit and signs differ between its versions. People named
      `Identity` get numbers in the order in which they appear.

    Args:
        path: a table; or a folder of tables, which are stacked (all with the same AUs).
        rate: frames per second, for tables that tell no times (Py-Feat's); None leaves times of recordings unknown (NaN).

    Raises:
        InputError: the file is missing, is no table of a known tool, or holds something else than numbers where AUs should be.
        MissingExtraError: PyArrow is not installed.
        UsageError: the rate is not above 0.
    """
    if rate is not None and not rate > 0:
        raise UsageError(f"a rate of {rate:g} frames per second is not above 0")
    files = tables_in(Path(path))
    parts = [_read_one(file, rate) for file in files]
    columns = parts[0].columns
    for file, part in zip(files, parts, strict=True):
        if part.columns != columns:
            raise InputError(f"{file}: has other columns than {files[0]}, so the two cannot be read as one table")
    return parts[0] if len(parts) == 1 else Faces.concatenate(parts)


def tables_in(path: Path) -> list[Path]:
    """The table itself, or a folder's tables in sorted order, without `index.csv`, events and summaries.

    Raises:
        InputError: there are none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(
        file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.endswith(_BESIDE)
    )
    if not found:
        raise InputError(f"{path}: holds no tables ({', '.join(SUFFIXES)})")
    return found


def _read_one(path: Path, rate: float | None) -> Faces:
    header = header_of(path)
    if own.recognises(header):
        return _own(path, header)
    if openface.recognises(header):
        return _openface(path, header)
    if pyfeat.recognises(header):
        return _pyfeat(path, header, rate)
    first = ", ".join(header[:5]) + (" …" if len(header) > 5 else "")
    raise InputError(f"{path}: has the columns {first}, which no known tool writes; known are {KNOWN}")


def _own(path: Path, header: Header) -> Faces:
    parsed = {name: found for name in header if (found := parse_column(name)) is not None}
    occurrence = tuple(number for number, kind in parsed.values() if kind is None)
    intensity = tuple(number for number, kind in parsed.values() if kind == "i" and number in occurrence)
    sided = tuple(number for number, kind in parsed.values() if kind == "L" and (number, "R") in parsed.values())
    extra = tuple(name for name in header if name not in FACE_COLUMNS and name not in parsed)
    columns = AUColumns(occurrence, intensity, tuple(n for n in sided if n in occurrence), extra)
    names = columns.names
    table = Columns(path, header, [*FACE_COLUMNS[1:], *names], ["source"])
    graded = {intensity_column(number) for number in intensity}
    values = [
        table.matrix([name]) if name in extra else table.within([name], 0, 5 if name in graded else 1) for name in names
    ]
    face = table.number("face_id")
    return Faces(
        columns=columns,
        source=table.text("source").astype(object),
        frame=table.whole("frame", 0),
        timestamp=table.number("timestamp"),
        face_id=np.where(np.isnan(face), NO_FACE, np.nan_to_num(face)).astype(np.int64),
        score=table.matrix(["score"])[:, 0],
        box=table.matrix(["x", "y", "width", "height"]),
        pose=table.matrix(["pitch", "yaw", "roll"]),
        values=np.concatenate(values, axis=1),
    )


def _openface(path: Path, header: Header) -> Faces:
    said = openface.read(path, header, path.stem)
    points = [f"{axis}_{i}" for axis in "xy" for i in range(LANDMARKS)]
    about = ["timestamp", "pose_Rx", "pose_Ry", "pose_Rz", "face"]
    table = Columns(path, header, [*about, *points])
    pictures = said.frame == PICTURE
    empty = len(said) > len(table)  # a picture without a face is a table without rows, and one row of ours
    box = np.full((len(said), 4), np.nan, np.float32) if empty else _box_of_points(table, points, header)
    pose = np.full((len(said), 3), np.nan, np.float32)
    if not empty:
        angles = np.rad2deg(table.matrix(["pose_Rx", "pose_Ry", "pose_Rz"]))
        pose = (angles * np.array([-1, -1, 1], np.float32) + np.float32(0)).astype(np.float32)
    number = np.array([int(name) if name else 0 for name in said.person.tolist()], np.int64)
    if pictures.any() and not empty:
        number = np.where(pictures, np.nan_to_num(table.number("face")).astype(np.int64), number)
    times = np.zeros(len(said)) if empty else np.where(pictures, 0.0, table.number("timestamp"))
    return _faces(said, times, number, box, pose)


def _pyfeat(path: Path, header: Header, rate: float | None) -> Faces:
    said = pyfeat.read(path, header, path.stem)
    table = Columns(path, header, ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "timestamp"])
    box = table.matrix(["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"])
    times = table.number("timestamp")  # ours writes it, Py-Feat does not
    if rate is not None:
        times = np.where(np.isnan(times), said.frame / rate, times)
    times = np.where(said.frame == PICTURE, 0.0, times)
    return _faces(said, times, _numbers(said), box, np.full((len(said), 3), np.nan, np.float32))


def _faces(
    said: ToolPredictions,
    times: npt.NDArray[np.float64],
    number: npt.NDArray[np.int64],
    box: Floats,
    pose: Floats,
) -> Faces:
    """A tool's predictions with what they lack of a `Faces`; a decision alone stands for the probability 0 or 1.

    AUs whose columns are empty on every face are left out.
    """
    said = told_aus(said)
    occurrence = tuple(sorted({*said.aus, *said.intensity_aus}))
    columns = AUColumns(occurrence, tuple(sorted(said.intensity_aus)))
    values = np.full((len(said), len(columns.names)), np.nan, np.float32)
    probability = np.where(np.isnan(said.probability), said.decision, said.probability)
    for own_columns, aus, name in (
        (probability, said.aus, occurrence_column),
        (said.intensity, said.intensity_aus, intensity_column),
    ):
        for place, au in enumerate(aus):
            values[:, columns.names.index(name(au))] = own_columns[:, place]
    lost = ~said.found
    return Faces(
        columns=columns,
        source=said.source.astype(object),
        frame=np.where(said.frame == PICTURE, 0, said.frame),
        timestamp=times,
        face_id=np.where(lost, NO_FACE, number),
        score=_unless(lost, said.confidence),
        box=_unless(lost, box),
        pose=_unless(lost, pose),
        values=_unless(lost, values),
    )


def _unless(lost: npt.NDArray[np.bool_], values: Floats) -> Floats:
    """NaN in the rows without a face."""
    where = lost.reshape(-1, *[1] * (values.ndim - 1))
    return np.where(where, np.float32(np.nan), values).astype(np.float32)


def _box_of_points(table: Columns, names: Sequence[str], header: Header) -> Floats:
    """(N, 4) x, y, width, height around the 2D landmarks; NaN without them."""
    if not {"x_0", "y_0"} <= set(header) or not len(table):
        return np.full((len(table), 4), np.nan, np.float32)
    x, y = table.matrix(names[:LANDMARKS]), table.matrix(names[LANDMARKS:])
    low = np.stack([x.min(axis=1), y.min(axis=1)], axis=1)
    return np.concatenate([low, np.stack([x.max(axis=1), y.max(axis=1)], axis=1) - low], axis=1)


def _numbers(said: ToolPredictions) -> npt.NDArray[np.int64]:
    """(N,) a number per person within a source by first appearance; without names, the place among the frame's rows."""
    numbers = np.zeros(len(said), np.int64)
    people: dict[tuple[str, str], int] = {}
    count: dict[str, int] = {}
    in_frame: dict[tuple[str, int], int] = {}
    rows: Iterable[tuple[str, str, int]] = zip(
        said.source.tolist(), said.person.tolist(), said.frame.tolist(), strict=True
    )
    for row, (source, person, frame) in enumerate(rows):
        if not said.found[row]:
            continue
        if person:
            if (source, person) not in people:
                people[source, person] = count.get(source, 0)
                count[source] = people[source, person] + 1
            numbers[row] = people[source, person]
        else:
            numbers[row] = in_frame.get((source, frame), 0)
            in_frame[source, frame] = int(numbers[row]) + 1
    return numbers
