"""Readers of AU tools' tables: a file, or a folder with one file per recording or picture, becomes `ToolPredictions`.

Which tool wrote a table is told by its header. To add a tool, write a module with `NAME`, `recognises(header)` and `read(path, header,
source)` and add it to `_READERS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from openau.errors import InputError
from openau.evaluation.predictions import ToolPredictions, join, told_aus
from openau.evaluation.readers import libreface, openface, own, pyfeat
from openau.evaluation.readers.columns import SUFFIXES, Header, header_of

KNOWN = "OpenFace 2, Py-Feat, LibreFace and OpenAU"

_NOT_TABLES = ("index.csv", "problems.csv")
"""Files of ours that may lie beside tables."""
_BESIDE = (".events.csv", ".summary.csv")
"""Endings of others."""


class _Reader(Protocol):
    """A module that reads one tool's tables."""

    NAME: str

    def recognises(self, header: Header) -> bool:
        """Whether a table with these columns is this tool's."""
        ...

    def read(self, path: Path, header: Header, source: str) -> ToolPredictions:
        """Read a table; `source` names what it is about where its rows do not."""
        ...


# OpenAU before Py-Feat: both have AU01, AU02 …, but only ours says `face_id` and `timestamp`.
_READERS: tuple[_Reader, ...] = (openface, libreface, own, pyfeat)


def read_predictions(path: Path) -> ToolPredictions:
    """Read a tool's output.

    Args:
        path: a table (CSV; ours also Parquet or JSON Lines), or a folder of tables of one tool, searched recursively, each named after its
            recording or picture.

    Raises:
        InputError: it is missing, is no table of a known tool, or holds something else than numbers where AUs should be.
        MissingExtraError: PyArrow is not installed.
    """
    if not path.is_dir():
        return told_aus(_read_table(path, path.stem))
    tables = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.name not in _NOT_TABLES and not file.name.endswith(_BESIDE)
    )
    if not tables:
        raise InputError(f"{path}: holds no tables ({', '.join(SUFFIXES)})")
    parts = [_read_table(file, file.relative_to(path).with_suffix("").as_posix()) for file in tables]
    return told_aus(join(parts, str(path)))


def _read_table(path: Path, source: str) -> ToolPredictions:
    header = header_of(path)
    reader = next((reader for reader in _READERS if reader.recognises(header)), None)
    if reader is None:
        first = ", ".join(header[:5]) + (" …" if len(header) > 5 else "")
        raise InputError(f"{path}: has the columns {first}, which no known tool writes; known are {KNOWN}")
    return reader.read(path, header, source)
