"""`Faces`: the one result type, a table with a row per face (or per frame without a face)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openau.errors import MissingExtraError
from openau.facs import Side, intensity_column, occurrence_column

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

FACE_COLUMNS = (
    "source", "frame", "timestamp", "face_id", "score", "x", "y", "width", "height", "pitch", "yaw", "roll",
)  # fmt: skip
"""The columns before the AUs, in order. See `docs/columns.md` for units."""

NO_FACE = -1
"""`face_id` of a row that stands for a frame without a face; written as an empty field."""

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AUColumns:
    """Which AU columns a table has, in order.

    Attributes:
        occurrence: AUs with an occurrence probability `AU12`.
        intensity: AUs with an intensity `AU12_i`, 0–5; a subset of `occurrence`.
        sided: AUs with `AU12_L` and `AU12_R`; a subset of `occurrence`.
        extra: further columns (quality flags …), written after the AUs.
    """

    occurrence: tuple[int, ...]
    intensity: tuple[int, ...] = ()
    sided: tuple[int, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the contract: occurrences, intensities, sides, extras."""
        sides: tuple[Side, Side] = ("L", "R")
        return (
            *(occurrence_column(n) for n in self.occurrence),
            *(intensity_column(n) for n in self.intensity),
            *(occurrence_column(n, side) for n in self.sided for side in sides),
            *self.extra,
        )


@dataclass(frozen=True, slots=True)
class Faces:
    """A table of faces; NumPy inside, converters at its edge.

    Shapes (n rows, A = `len(columns.names)`):
        source (n,) str, frame (n,) int64, timestamp (n,) float64 seconds from the first frame,
        face_id (n,) int64 (`NO_FACE` where a frame has none), score (n,) float32 0–1,
        box (n, 4) float32 x, y, width, height in pixels of the upright image,
        pose (n, 3) float32 pitch, yaw, roll in degrees (pitch + looks up, yaw + turns to the subject's left,
        roll + tilts to the subject's left), values (n, A) float32: occurrence probabilities 0–1 (0.5 is the
        decision threshold), intensities 0–5, NaN = not judged.
        landmarks (n, 468, 3) float32 or None: Face Mesh points in pixels of the upright image (z in the same unit).

    Raises:
        ValueError: the arrays' lengths or widths do not fit together.
    """

    columns: AUColumns
    source: npt.NDArray[np.object_]
    frame: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.float64]
    face_id: npt.NDArray[np.int64]
    score: Float
    box: Float
    pose: Float
    values: Float
    landmarks: Float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = len(self.source)
        expected = {
            "frame": (n,), "timestamp": (n,), "face_id": (n,), "score": (n,),
            "box": (n, 4), "pose": (n, 3), "values": (n, len(self.columns.names)),
        }  # fmt: skip
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"Faces.{name} has shape {got}, expected {shape}")
        if self.landmarks is not None and self.landmarks.shape[0] != n:
            raise ValueError(f"Faces.landmarks has {self.landmarks.shape[0]} rows, expected {n}")

    @classmethod
    def no_face(cls, columns: AUColumns, source: str, frame: int = 0, timestamp: float = 0.0) -> Faces:
        """One row for a frame in which no face was found."""
        nan = np.float32(np.nan)
        return cls(
            columns=columns,
            source=np.array([source], object),
            frame=np.array([frame], np.int64),
            timestamp=np.array([timestamp], np.float64),
            face_id=np.array([NO_FACE], np.int64),
            score=np.full(1, nan),
            box=np.full((1, 4), nan),
            pose=np.full((1, 3), nan),
            values=np.full((1, len(columns.names)), nan),
        )

    @classmethod
    def concatenate(cls, tables: Iterable[Faces]) -> Faces:
        """Stack tables with the same AU columns; landmarks are kept only if every table has them.

        Raises:
            ValueError: no table was given, or their columns differ.
        """
        parts = list(tables)
        if not parts:
            raise ValueError("Faces.concatenate needs at least one table")
        columns = parts[0].columns
        if any(part.columns != columns for part in parts):
            raise ValueError("Faces.concatenate: the tables' AU columns differ")
        arrays: dict[str, Any] = {}
        for f in fields(cls):
            if f.name == "columns":
                continue
            values = [getattr(part, f.name) for part in parts]
            arrays[f.name] = None if any(v is None for v in values) else np.concatenate(values)
        return cls(columns=columns, **arrays)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: slice | npt.NDArray[Any] | Sequence[int]) -> Faces:
        """The table of these rows (a slice, a boolean mask or a list of indices).

        Raises:
            TypeError: a single index; a table of one row is `faces[i : i + 1]`.
        """
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(index, slice):
            if index.ndim != 1:
                raise TypeError("rows are a slice, a mask or a list of indices; for one row write faces[i : i + 1]")
            index = index if len(index) else index.astype(np.intp)  # an empty list would be an array of floats
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "columns"}
        chosen: dict[str, Any] = {name: None if values is None else values[index] for name, values in arrays.items()}
        return Faces(columns=self.columns, **chosen)

    @property
    def has_face(self) -> npt.NDArray[np.bool_]:
        """(n,) True for rows that hold a face."""
        return np.asarray(self.face_id != NO_FACE)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column by its name in the table (`"AU12"`, `"yaw"`, …).

        Raises:
            KeyError: there is no such column.
        """
        if name in self.columns.names:
            return self.values[:, self.columns.names.index(name)]
        places: Mapping[str, npt.NDArray[Any]] = {
            "source": self.source, "frame": self.frame, "timestamp": self.timestamp, "face_id": self.face_id,
            "score": self.score, "x": self.box[:, 0], "y": self.box[:, 1], "width": self.box[:, 2],
            "height": self.box[:, 3], "pitch": self.pose[:, 0], "yaw": self.pose[:, 1], "roll": self.pose[:, 2],
        }  # fmt: skip
        if name not in places:
            raise KeyError(f"no column {name!r}; there are {', '.join((*FACE_COLUMNS, *self.columns.names))}")
        return places[name]

    @property
    def column_names(self) -> tuple[str, ...]:
        """All column names, in the order in which tables are written."""
        return (*FACE_COLUMNS, *self.columns.names)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows as plain dictionaries; what is not known is None."""
        table = {name: self.column(name) for name in self.column_names}
        for i in range(len(self)):
            yield {name: _plain(name, values[i]) for name, values in table.items()}

    def to_arrow(self) -> pa.Table:
        """The table as a `pyarrow.Table`; empty cells are null.

        Raises:
            MissingExtraError: PyArrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise MissingExtraError(
                "Arrow and Parquet need PyArrow, which is not installed; run: pip install 'openau[tables]'"
            ) from None
        arrays = {}
        for name in self.column_names:
            values = self.column(name)
            if name == "source":
                arrays[name] = pa.array(values.tolist(), pa.string())
            elif name == "face_id":
                arrays[name] = pa.array(values, mask=~self.has_face)
            else:
                arrays[name] = pa.array(values, from_pandas=True)
        return pa.table(arrays)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a `pandas.DataFrame`; `face_id` is a nullable integer.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError(
                "data frames need pandas, which is not installed; run: pip install 'openau[tables]'"
            ) from None
        frame = pd.DataFrame({name: self.column(name) for name in self.column_names})
        frame["face_id"] = frame["face_id"].astype("Int64").mask(~self.has_face)
        return frame

    def plot(self) -> Figure:
        """A panel per face with a bar per AU: probabilities in pictures, shares of the time in recordings.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            ValueError: there is no face.
        """
        from openau.notebook.figures import bars

        return bars(self)

    def timeline(self, face_id: int | None = None) -> Figure:
        """A row per AU that made an event in a recording: its probability over time, its events shaded.

        Args:
            face_id: whom to show; None: the face seen longest.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            ValueError: the table holds no recording or several, or nobody of this number.
        """
        from openau.notebook.figures import timeline

        return timeline(self, face_id)

    def overlay(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """An annotated copy of the picture these faces were found in.

        Args:
            image: (H, W, 3) RGB uint8.
        """
        from openau.overlay import annotate

        return annotate(image, self)

    def _repr_html_(self) -> str:
        from openau.notebook.html import html_of

        return html_of(self)


def _plain(name: str, value: Any) -> str | int | float | None:
    if name == "source":
        return str(value)
    if name in ("frame", "face_id"):
        return None if value == NO_FACE and name == "face_id" else int(value)
    return None if np.isnan(value) else float(value)
