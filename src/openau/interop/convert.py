"""From one kind of table to another, or to AU events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from openau.errors import UsageError
from openau.interop.boris import write_boris
from openau.interop.elan import write_eaf
from openau.outputs import make_folder
from openau.result import Faces
from openau.sinks import FORMAT_NAMES, FormatName, Names, TableSink, format_of
from openau.sinks.sidecar import write_sidecar

Target = Literal["csv", "parquet", "jsonl", "openface", "pyfeat", "elan", "boris"]
TARGETS: tuple[Target, ...] = (*FORMAT_NAMES, "elan", "boris")
_ONE_SOURCE: dict[Target, str] = {"openface": ".csv", "elan": ".eaf"}
"""Kinds of files that are about one recording, and their suffix."""


def target_of(out: Path, name: Target | None) -> Target:
    """What to write: what is asked for, else what the suffix says.

    Raises:
        UsageError: the suffix says nothing, or another kind of file than is asked for.
    """
    suffix = out.suffix.lower()
    if name == "elan" or name == "boris":
        wanted = ".eaf" if name == "elan" else ".csv"
        if suffix != wanted and not _is_folder(out):
            raise UsageError(f"{out}: --to {name} writes {wanted} files; name one, or a folder")
        return name
    if name is None and suffix == ".eaf":
        return "elan"
    if _is_folder(out) and name is not None:
        return name
    return format_of(out, name)


def convert(faces: Faces, out: Path, to: Target | None = None, date: datetime | None = None) -> list[Path]:
    """Write a table in another way.

    Args:
        faces: the table.
        out: the file; or a folder, which gets a file per source.
        to: one of `TARGETS`; None: what the suffix of `out` says.
        date: of an ELAN file (see `write_eaf`).

    Returns:
        The files written. Tables get a sidecar beside them.

    Raises:
        UsageError: `out` and `to` do not fit, several sources do not fit into one file, or a recording tells no times.
        OutputError: a file cannot be written.
    """
    target = target_of(out, to)
    if not _is_folder(out):
        several = len(set(faces.source.tolist()))
        if target in _ONE_SOURCE and several > 1:
            raise UsageError(f"{out}: one file of {target} is about one recording, not {several}; name a folder")
        _write(faces, out, target, date)
        return [out]
    make_folder(out)
    written = []
    for name, part in _parts(faces, target):
        _write(part, out / name, target, date)
        written.append(out / name)
    return written


def _is_folder(path: Path) -> bool:
    return path.is_dir() or (not path.suffix and not path.exists())


def _parts(faces: Faces, target: Target) -> Iterator[tuple[str, Faces]]:
    """File name and rows of each source."""
    suffix = {"parquet": ".parquet", "jsonl": ".jsonl", "elan": ".eaf"}.get(target, ".csv")
    names = Names()
    for source in dict.fromkeys(faces.source.tolist()):
        yield names.name(str(source), suffix), faces[faces.source == source]


def _write(faces: Faces, path: Path, target: Target, date: datetime | None) -> None:
    if target == "elan":
        write_eaf(faces, path, date=date or datetime(1970, 1, 1, tzinfo=UTC))
    elif target == "boris":
        write_boris(faces, path)
    else:
        _write_table(faces, path, target)


def _write_table(faces: Faces, path: Path, format: FormatName) -> None:
    with TableSink(path, faces.columns, format) as sink:
        sink.write(faces)
    write_sidecar(path, faces.columns, format)
