"""Columns of a table on disk, whatever its format: CSV (with or without blanks after commas), Parquet, JSON Lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, MissingExtraError
from openau.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

Doubles = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]
Header = tuple[str, ...]

SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson")
"""Of the tables that are looked for in a folder."""

_NULLS = ["", "nan", "NaN", "-nan", "-nan(ind)", "nan(ind)", "NA", "None", "null"]
"""How pandas, C++ on Linux and C++ on Windows write "no number"."""
_FLOAT_ERROR = re.compile(r"Row #(\d+): CSV conversion error to double: invalid value '(.*)'")

_SHORT_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def header_of(path: Path) -> Header:
    """Column names of a table, without blanks around them; a CSV's nameless columns are `""`.

    Raises:
        InputError: the file is missing, empty or not a table.
        MissingExtraError: PyArrow is not installed.
    """
    _need_pyarrow()
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            return tuple(pq.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            return tuple(json.loads(line)) if line.strip() else ()
        names = tuple(name.strip() for name in next(csv.reader([line]), []))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: is not a readable table ({_first_line(error)})") from None
    if not names:
        raise InputError(f"{path}: is empty")
    return names


class Columns:
    """Some columns of a table.

    Args:
        path: the table.
        header: its column names, as `header_of` gives them.
        numbers: columns to read as numbers; those that the table lacks are left out.
        texts: likewise as text.

    Raises:
        InputError: the file is damaged, a row is too short, or a cell is not a number.
    """

    def __init__(self, path: Path, header: Header, numbers: Sequence[str], texts: Sequence[str] = ()) -> None:
        import pyarrow as pa

        self.path = path
        self._numbers = [name for name in numbers if name in header]
        self._texts = [name for name in texts if name in header]
        try:
            self._table = self._read(header)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path}: {_reason(error)}") from None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def number(self, name: str) -> Doubles:
        """(N,) a column; NaN where a cell is empty, and everywhere if the table has no such column."""
        if name not in self._numbers:
            return np.full(len(self), np.nan)
        return np.asarray(self._table.column(name).to_numpy(zero_copy_only=False), np.float64)

    def matrix(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """(N, columns) float32."""
        if not names:
            return np.zeros((len(self), 0), np.float32)
        return np.stack([self.number(name) for name in names], axis=1).astype(np.float32)

    def text(self, name: str) -> Texts:
        """(N,) a column; "" where a cell is empty or there is no such column."""
        if name not in self._texts:
            return np.full(len(self), "")
        return np.array([value or "" for value in self._table.column(name).to_pylist()], np.str_).reshape(-1)

    def whole(self, name: str, least: int) -> npt.NDArray[np.int64]:
        """(N,) a column of whole numbers.

        Raises:
            InputError: a cell is empty, is not whole or is smaller than `least`.
        """
        values = self.number(name)
        with np.errstate(invalid="ignore"):
            wrong = ~(values == np.floor(values)) | ~(values >= least)
        if wrong.any():
            self._complain(int(wrong.argmax()), name, values[wrong][0], f"a whole number from {least}")
        return values.astype(np.int64)

    def within(self, names: Sequence[str], low: float, high: float) -> npt.NDArray[np.float32]:
        """(N, columns) float32 numbers that mean nothing outside a range.

        Raises:
            InputError: a number lies outside.
        """
        values = self.matrix(names)
        with np.errstate(invalid="ignore"):
            outside = (values < low - 1e-6) | (values > high + 1e-6)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            self._complain(int(row), names[column], values[row, column], f"{low:g} to {high:g}")
        return self.clipped(names, low, high)

    def clipped(self, names: Sequence[str], low: float, high: float) -> npt.NDArray[np.float32]:
        """(N, columns) float32 numbers, those beyond a scale's ends brought to them: regressions overshoot."""
        return np.asarray(np.clip(self.matrix(names), low, high), np.float32)

    def _complain(self, row: int, name: str, value: float, expected: str) -> NoReturn:
        line = row + 2 if self.path.suffix.lower() == ".csv" else row + 1
        has = "nothing" if np.isnan(value) else f"{value:g}"
        raise InputError(f"{self.path}: line {line} has {has} in {name}, expected {expected}")

    def _read(self, header: Header) -> pa.Table:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet as pq

        wanted = [*self._numbers, *self._texts]
        types = {**dict.fromkeys(self._numbers, pa.float64()), **dict.fromkeys(self._texts, pa.string())}
        suffix = self.path.suffix.lower()
        if suffix == ".parquet":
            return _cast(pq.read_table(self.path, columns=wanted), types)
        if suffix in (".jsonl", ".ndjson"):
            with self.path.open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in file if line.strip()]
            return pa.table({name: pa.array([row.get(name) for row in rows], types[name]) for name in wanted})
        names = [name if header.index(name) == place else f"#{place}" for place, name in enumerate(header)]
        return pa.csv.read_csv(
            self.path,
            read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted, column_types=types, null_values=_NULLS, strings_can_be_null=True
            ),
        )


def is_picture(source: str) -> bool:
    """Whether a source's name is that of a picture file; what may be a video too (GIF) is taken for a recording."""
    return Path(source.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES - VIDEO_SUFFIXES


def _cast(table: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: table.column(name).cast(types[name]) for name in table.column_names})


def _reason(error: Exception) -> str:
    """Why a table cannot be read, in words."""
    found = _FLOAT_ERROR.search(str(error))
    if found:
        return f"line {found[1]} has {found[2].strip()!r} where a number is expected"
    cut = _SHORT_ROW.search(str(error))
    if cut:
        return f"line {cut[1]} has {cut[3]} cells, expected {cut[2]}; the table is cut off or damaged"
    return f"is not a readable table ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "tables of predictions are read with PyArrow, which is not installed; run: pip install 'openau[tables]'"
        ) from None
