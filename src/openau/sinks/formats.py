"""What a row looks like on disk: CSV, JSON Lines, Parquet, OpenFace 2.2's CSV and Py-Feat's.

Every format is written in two steps. While rows arrive they are appended as bytes to a partial file (`header`, `encode`), so that a
killed run loses nothing; at the end `finish` makes the table out of that file. Numbers are rounded once, before any format sees
them, so that all formats hold the same values: docs/columns.md states the decimals.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Literal

import numpy as np

from openau.errors import MissingExtraError, UsageError
from openau.outputs import whole_file
from openau.result import FACE_COLUMNS, AUColumns, Faces

FormatName = Literal["csv", "parquet", "jsonl", "openface", "pyfeat"]

SUFFIXES: dict[str, FormatName] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Format meant by a table's suffix."""

DECIMALS = {
    "timestamp": 6, "score": 4, "x": 2, "y": 2, "width": 2, "height": 2, "pitch": 2, "yaw": 2, "roll": 2,
    "eye_distance": 2, "blur": 2, "turn": 2, "brightness": 1,
    "is_small": 0, "is_blurred": 0, "is_occluded": 0, "is_turned": 0, "is_dark": 0, "is_overexposed": 0,
}  # fmt: skip
AU_DECIMALS = 4

ROW_GROUP = 65_536
"""Rows per Parquet row group."""


def decimals(column: str) -> int | None:
    """Decimals a column is written with; None for whole numbers and text."""
    return None if column in ("source", "frame", "face_id") else DECIMALS.get(column, AU_DECIMALS)


def plain_text(source: str) -> str:
    """A file name as valid Unicode (bytes of a name that are not UTF-8 become U+FFFD)."""
    return source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def rounded(faces: Faces) -> dict[str, list[Any]]:
    """Columns of a table as plain Python values, rounded as they are written; what is not known is None."""
    columns: dict[str, list[Any]] = {}
    for name in faces.column_names:
        values = faces.column(name)
        places = decimals(name)
        if name == "source":
            columns[name] = [plain_text(str(v)) for v in values]
        elif places is None:
            columns[name] = [int(v) for v in values]
        else:
            exact = np.round(np.asarray(values, np.float64), places) + 0.0  # + 0.0 turns -0.0 into 0.0
            columns[name] = [None if np.isnan(v) else float(v) for v in exact]
    columns["face_id"] = [v if known else None for v, known in zip(columns["face_id"], faces.has_face, strict=True)]
    return columns


class Format(ABC):
    """How rows become bytes of the partial file, and how that file becomes the table."""

    name: FormatName
    suffix: str
    has_source = True
    """Whether rows tell their source, so that one table can hold several."""

    def __init__(self, columns: AUColumns) -> None:
        self.columns = columns
        self.names = (*FACE_COLUMNS, *columns.names)

    @abstractmethod
    def header(self) -> bytes:
        """First bytes of the partial file."""

    @abstractmethod
    def encode(self, faces: Faces) -> bytes:
        """Bytes of these rows."""

    @abstractmethod
    def keep(self, table: Path, out: IO[bytes], without: Collection[str]) -> set[str]:
        """Copy a finished table's rows behind a partial file's header, without those of some sources; returns the sources kept.

        Raises:
            UsageError: the table's columns are not the ones of this format.
        """

    def finish(self, partial: Path, table: Path) -> None:
        """Turn the partial file into the table, replacing an existing one at once."""
        partial.replace(table)


class _Csv(Format):
    name: FormatName = "csv"
    suffix = ".csv"

    def header(self) -> bytes:
        return _csv_line(list(self._header_names()))

    def _header_names(self) -> tuple[str, ...]:
        return self.names

    def encode(self, faces: Faces) -> bytes:
        table = rounded(faces)
        cells = [_csv_cells(name, table[name]) for name in self.names]
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(zip(*cells, strict=True))
        return buffer.getvalue().encode()

    def keep(self, table: Path, out: IO[bytes], without: Collection[str]) -> set[str]:
        found: set[str] = set()
        with table.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            _require_same_columns(table, header, self._header_names())
            for row in rows:
                if row[0] not in without:
                    found.add(row[0])
                    out.write(_csv_line(row))
        return found


class _JsonLines(Format):
    name = "jsonl"
    suffix = ".jsonl"

    def header(self) -> bytes:
        return b""

    def encode(self, faces: Faces) -> bytes:
        table = rounded(faces)
        rows = zip(*(table[name] for name in self.names), strict=True)
        return b"".join(_json_line(dict(zip(self.names, row, strict=True))) for row in rows)

    def keep(self, table: Path, out: IO[bytes], without: Collection[str]) -> set[str]:
        found: set[str] = set()
        with table.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if not found:
                    _require_same_columns(table, list(row), self.names)
                if row["source"] not in without:
                    found.add(row["source"])
                    out.write(_json_line(row))
        return found


class _Parquet(Format):
    """Parquet. The partial file is an Arrow IPC stream, which, unlike Parquet, can be appended to and cut at any batch."""

    name = "parquet"
    suffix = ".parquet"

    def __init__(self, columns: AUColumns) -> None:
        super().__init__(columns)
        pa = _pyarrow()
        types = {"source": pa.string(), "frame": pa.int64(), "timestamp": pa.float64(), "face_id": pa.int64()}
        self._schema = pa.schema([pa.field(name, types.get(name, pa.float32())) for name in self.names])

    def header(self) -> bytes:
        return bytes(self._schema.serialize())

    def encode(self, faces: Faces) -> bytes:
        pa = _pyarrow()
        table = rounded(faces)
        arrays = [pa.array(table[field.name], field.type) for field in self._schema]
        return bytes(pa.record_batch(arrays, schema=self._schema).serialize())

    def keep(self, table: Path, out: IO[bytes], without: Collection[str]) -> set[str]:
        pa = _pyarrow()
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        found: set[str] = set()
        with pq.ParquetFile(table) as file:
            _require_same_columns(table, file.schema_arrow.names, self.names)
            for batch in file.iter_batches(ROW_GROUP):
                dropped = pc.is_in(batch["source"], value_set=pa.array(sorted(without), pa.string()))
                kept = batch.filter(pc.invert(dropped))
                if kept.num_rows:
                    found.update(pc.unique(kept["source"]).to_pylist())
                    out.write(bytes(pa.record_batch(kept.columns, schema=self._schema).serialize()))
        return found

    def finish(self, partial: Path, table: Path) -> None:
        import pyarrow.parquet as pq

        with whole_file(table) as scratch, pq.ParquetWriter(scratch, self._schema, compression="zstd") as writer:
            for group in self._groups(partial):
                writer.write_table(group, row_group_size=ROW_GROUP)
        partial.unlink()

    def _groups(self, partial: Path) -> Iterator[Any]:
        """Tables of `ROW_GROUP` rows, whatever the batches were: the same rows give the same file."""
        pa = _pyarrow()
        waiting: list[Any] = []
        rows = 0
        with pa.memory_map(str(partial)) as file, pa.ipc.open_stream(file) as batches:
            for batch in batches:
                waiting.append(batch)
                rows += batch.num_rows
                while rows >= ROW_GROUP:
                    table = pa.Table.from_batches(waiting, self._schema)
                    yield table.slice(0, ROW_GROUP).combine_chunks()
                    waiting = table.slice(ROW_GROUP).to_batches()
                    rows -= ROW_GROUP
        if rows:
            yield pa.Table.from_batches(waiting, self._schema).combine_chunks()


OPENFACE_INTENSITY = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_OCCURRENCE = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
_OPENFACE_SAME_AU = {45: 43}
"""OpenFace calls closed eyes AU45 (blink); one frame can only tell AU43 (eyes closed)."""


def _openface_columns() -> tuple[str, ...]:
    """The 714 columns that FeatureExtraction of OpenFace 2.2 writes, in its order."""
    gaze = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
    eyes = [f"eye_lmk_{axis}_{i}" for axis in "xyXYZ" for i in range(56)]
    pose = [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]
    points = [f"{axis}_{i}" for axis in "xyXYZ" for i in range(68)]
    shape = [f"p_{name}" for name in ("scale", "rx", "ry", "rz", "tx", "ty", *range(34))]
    intensity = [f"AU{n:02d}_r" for n in OPENFACE_INTENSITY]
    occurrence = [f"AU{n:02d}_c" for n in OPENFACE_OCCURRENCE]
    start = ("frame", "face_id", "timestamp", "confidence", "success")
    return (*start, *gaze, *eyes, *pose, *points, *shape, *intensity, *occurrence)


OPENFACE_COLUMNS = _openface_columns()


class _OpenFace(_Csv):
    """OpenFace 2.2's table: frames from 1, angles in radians with OpenFace's signs, AU presence 0/1; what we lack stays empty."""

    name: FormatName = "openface"
    has_source = False

    def _header_names(self) -> tuple[str, ...]:
        return OPENFACE_COLUMNS

    def encode(self, faces: Faces) -> bytes:
        table = rounded(faces)
        n = len(faces)
        found = [face is not None for face in table["face_id"]]
        cells: dict[str, list[str]] = {
            "frame": [str(frame + 1) for frame in table["frame"]],
            "face_id": [str(face or 0) for face in table["face_id"]],
            "timestamp": ["" if t is None else f"{t:.3f}" for t in table["timestamp"]],
            "confidence": [f"{score or 0:.2f}" for score in table.get("confidence", table["score"])],
            "success": [str(int(face)) for face in found],
        }
        # OpenFace's axes are those of the camera (x right, y down, z forward), so its pitch and yaw have our signs turned round.
        for column, ours, sign in (("pose_Rx", "pitch", -1), ("pose_Ry", "yaw", -1), ("pose_Rz", "roll", 1)):
            cells[column] = ["" if v is None else f"{sign * np.deg2rad(v) + 0.0:.3f}" for v in table[ours]]
        for number in OPENFACE_INTENSITY:
            values = self._column(table, number, "_i", n)
            cells[f"AU{number:02d}_r"] = ["" if v is None else f"{v:.2f}" for v in values]
        for number in OPENFACE_OCCURRENCE:
            values = self._column(table, number, "", n)
            cells[f"AU{number:02d}_c"] = ["" if v is None else f"{float(v >= 0.5):.1f}" for v in values]
        empty = [""] * n
        rows = zip(*(cells.get(name, empty) for name in OPENFACE_COLUMNS), strict=True)
        return "".join(",".join(row) + "\n" for row in rows).encode()

    def _column(self, table: dict[str, list[Any]], number: int, ending: str, n: int) -> list[Any]:
        """An AU's values, or those of the AU that stands for it."""
        same = _OPENFACE_SAME_AU.get(number, number)
        return table.get(f"AU{number:02d}{ending}") or table.get(f"AU{same:02d}{ending}") or [None] * n


PYFEAT_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
"""AUs that every table of Py-Feat 0.x has."""


class _PyFeat(_Csv):
    """Py-Feat's Fex table: face box, score, a probability per AU, the input's name; what we lack stays empty."""

    name: FormatName = "pyfeat"

    def _header_names(self) -> tuple[str, ...]:
        points = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
        units = [f"AU{n:02d}" for n in sorted({*PYFEAT_AUS, *self.columns.occurrence})]
        feelings = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
        box = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore")
        return ("frame", *box, *points, *units, "Pitch", "Roll", "Yaw", *feelings, "Identity", "input", "timestamp")

    def encode(self, faces: Faces) -> bytes:
        table = rounded(faces)
        ours = {"FaceRectX": "x", "FaceRectY": "y", "FaceRectWidth": "width", "FaceRectHeight": "height", "FaceScore": "score",
                "input": "source"}  # fmt: skip
        people = ["" if face is None else f"Person_{face}" for face in table["face_id"]]
        cells = []
        for name in self._header_names():
            own = ours.get(name, name)
            known = own in ("frame", "timestamp", *ours.values()) or own in self.columns.names
            cells.append(
                people if name == "Identity" else _csv_cells(own, table[own] if known else [None] * len(faces))
            )
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(zip(*cells, strict=True))
        return buffer.getvalue().encode()

    def keep(self, table: Path, out: IO[bytes], without: Collection[str]) -> set[str]:
        found: set[str] = set()
        place = self._header_names().index("input")
        with table.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            _require_same_columns(table, next(rows, []), self._header_names())
            for row in rows:
                if row[place] not in without:
                    found.add(row[place])
                    out.write(_csv_line(row))
        return found


_FORMATS: dict[FormatName, type[Format]] = {
    "csv": _Csv, "parquet": _Parquet, "jsonl": _JsonLines, "openface": _OpenFace, "pyfeat": _PyFeat,
}  # fmt: skip

FORMAT_NAMES: tuple[FormatName, ...] = tuple(_FORMATS)


def make_format(name: FormatName, columns: AUColumns) -> Format:
    """The format of this name for tables with these columns.

    Raises:
        MissingExtraError: Parquet without PyArrow.
    """
    if name == "parquet":
        _pyarrow()
    return _FORMATS[name](columns)


def default_suffix(name: FormatName) -> str:
    """Suffix of a table in this format."""
    return _FORMATS[name].suffix


def format_of(path: Path, name: FormatName | None) -> FormatName:
    """The format of a table: the one asked for, else the one its suffix says.

    Raises:
        UsageError: the suffix says nothing, or says another format than the one asked for.
    """
    said = SUFFIXES.get(path.suffix.lower())
    if name is None:
        if said is None:
            raise UsageError(
                f"{path}: which table to write cannot be told from its name; end it with .csv, .parquet or .jsonl, "
                "add --format, or name a folder that exists"
            )
        return said
    if said is not None and said != ("csv" if name in ("openface", "pyfeat") else name):
        raise UsageError(f"{path}: the suffix says {said}, but --format says {name}; make them agree")
    return name


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise MissingExtraError(
            "Parquet needs PyArrow, which is not installed; run: pip install 'openau[tables]' (CSV needs nothing)"
        ) from None
    return pyarrow  # type: ignore[no-any-return]


def _csv_cells(name: str, values: list[Any]) -> list[str]:
    places = decimals(name)
    if places is None:
        return ["" if v is None else str(v) for v in values]
    return ["" if v is None else f"{v:.{places}f}" for v in values]


def _csv_line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode()


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _require_same_columns(table: Path, got: list[str], expected: tuple[str, ...]) -> None:
    if tuple(got) != expected:
        raise UsageError(
            f"{table}: its columns are not the ones this model writes, so it cannot be continued; "
            "run without --resume to replace it, or choose another --out"
        )
