"""Reads the one table of an Excel file (.xlsx) whose header may stand below some rows of prose.

openpyxl reads it, row by row and without formulas, macros or external links. (python-calamine is faster and also reads .xls, but reserves
memory for every cell up to the last one: a 5 KB file with one cell far out ends the process.)
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openau.errors import InputError, MissingExtraError

MAX_FILE_BYTES = 32 * 2**20
MAX_UNPACKED_BYTES = 256 * 2**20
MAX_ROWS = 50_000
MAX_COLUMNS = 64
HEADER_ROWS = 40
"""A header is looked for in this many rows from the top."""

_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row below the header.

    Attributes:
        number: the row as Excel counts, from 1.
        cells: asked-for column → text without outer spaces; whole numbers without a decimal point, "" for an empty cell or a column
            the sheet does not have.
    """

    number: int
    cells: Mapping[str, str]

    def integer(self, column: str) -> int | None:
        """A cell as a whole number, or None if it is not one."""
        text = self.cells[column]
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None


def read_sheet(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> list[SheetRow]:
    """Rows of the first sheet that has the needed columns; empty rows are left out.

    Column names match without regard to case, spaces and punctuation ("ApexFrame" is "Apex Frame").

    Args:
        path: the .xlsx file.
        needed: columns it must have, as the publisher writes them.
        optional: columns that are read where they exist.

    Raises:
        InputError: it is not a readable .xlsx file, is too large, or lacks a needed column; the sentence names which.
        MissingExtraError: openpyxl is not installed.
    """
    _check_size(path)
    best: tuple[list[str], Sequence[str]] = (list(needed), ())
    for rows in _sheets(path):
        header, rest = _split_at_header(rows, needed)
        missing = [name for name in needed if _plain(name) not in header]
        if not missing:
            return _named(rest, header, (*needed, *optional))
        if len(missing) < len(best[0]):
            best = (missing, [name for name in header if name])
    missing, found = best
    columns = f"; its columns are {', '.join(found)}" if found else f" in its first {HEADER_ROWS} rows"
    raise InputError(f"{path}: has no column {' and no column '.join(repr(name) for name in missing)}{columns}")


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path}: has {size / 2**20:.0f} MiB; a coding table has at most {MAX_FILE_BYTES >> 20}")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is not a readable .xlsx file ({error}); an old .xls must be saved as .xlsx"
        ) from None
    if unpacked > MAX_UNPACKED_BYTES:
        raise InputError(
            f"{path}: unpacks to {unpacked / 2**20:.0f} MiB; a coding table has at most {MAX_UNPACKED_BYTES >> 20}"
        )


def _sheets(path: Path) -> Iterator[list[list[str]]]:
    """The cells of each sheet as text, row by row."""
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError(
            "this data set's labels are an Excel file and need openpyxl, which is not installed; run: pip install 'openau[datasets]'"
        ) from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # what a sheet says about its own size is often wrong
                rows = sheet.iter_rows(max_row=MAX_ROWS, max_col=MAX_COLUMNS, values_only=True)
                yield [[_text(value) for value in row] for row in rows]
        finally:
            book.close()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        SyntaxError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        # openpyxl has no error class of its own for damaged files; XML errors are SyntaxErrors
        raise InputError(f"{path}: is not a readable .xlsx file ({type(error).__name__}: {error})") from None


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _plain(name: str) -> str:
    return _NOT_A_NAME.sub("", name.lower())


def _split_at_header(rows: list[list[str]], needed: Iterable[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header's plain names and the numbered rows below it; the header is the row with most of the needed names."""
    wanted = {_plain(name) for name in needed}
    names = [[_plain(cell) for cell in row] for row in rows[:HEADER_ROWS]]
    if not names:
        return [], []
    at = max(range(len(names)), key=lambda index: len(wanted & set(names[index])))
    return names[at], list(enumerate(rows[at + 1 :], at + 2))


def _named(rows: Iterable[tuple[int, list[str]]], header: list[str], columns: Sequence[str]) -> list[SheetRow]:
    at = {name: header.index(_plain(name)) for name in columns if _plain(name) in header}
    found = []
    for number, row in rows:
        cells = {name: row[at[name]] if name in at and at[name] < len(row) else "" for name in columns}
        if any(cells.values()):
            found.append(SheetRow(number, cells))
    return found
