"""`openau convert`: tables from and for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from openau.cli import voice
from openau.errors import UsageError
from openau.interop import TARGETS, convert, read_faces
from openau.interop.convert import Target


def command(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="A table of OpenAU, OpenFace 2 or Py-Feat, or a folder of such tables."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, or a folder: a file per recording.")],
    to: Annotated[
        str | None, typer.Option("--to", help=f"{', '.join(TARGETS)}. Default: what the suffix of --out says.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Frames per second, for tables that tell no times (Py-Feat's).")
    ] = None,
) -> None:
    """Convert a table, or turn it into Action Unit events.

    For example:

      openau convert clip.csv -o clip.eaf                 tiers for ELAN

      openau convert clip.csv -o events.csv --to boris    BORIS's aggregated events

      openau convert openface.csv -o clip.csv             OpenFace's table as ours

      openau convert clip.csv -o fex.csv --to pyfeat

      openau convert results/ -o all.parquet              many tables as one

    Events begin when a probability reaches 0.5 and end below 0.4;
    interruptions of 0.1 s do not end them, and those shorter than 0.08 s
    are left out.
    """
    target = _target(to)
    faces = read_faces(table, rate)
    if out.exists() and table.exists() and out.samefile(table) and not out.is_dir():
        raise UsageError(f"--out {out}: this is the input, which would be lost; name another file")
    # The table's own date, so that converting it again gives the same bytes.
    date = datetime.fromtimestamp(int(table.stat().st_mtime), UTC)
    written = convert(faces, out, target, date)
    names = ", ".join(map(str, written[:5])) + (", …" if len(written) > 5 else "")
    voice.note(f"{len(faces):,} rows → {names}")


def _target(name: str | None) -> Target | None:
    for known in TARGETS:
        if name == known:
            return known
    if name is not None:
        raise UsageError(f"--to {name}: there is no such kind of file; there are {', '.join(TARGETS)}")
    return None
