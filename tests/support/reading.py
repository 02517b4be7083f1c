"""Read a data set and keep what its reader tells."""

from __future__ import annotations

from pathlib import Path

from openau.datasets.clips import Clip, DataSetReader, Problem

Told = set[tuple[str, str, int | None]]


def read(reader: DataSetReader, root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    """Clips by name, and every problem in the order in which it was met."""
    problems: list[Problem] = []
    clips = reader.read(root, problems.append)
    return {clip.name: clip for clip in clips}, problems


def told(problems: list[Problem]) -> Told:
    """Kind, file name and row of each problem but that most of the people are missing, as they are in a small look-alike."""
    return {(some.kind, some.path.name, some.row) for some in problems if some.kind != "missing subject"}


def edit(path: Path, line: int, text: str | None) -> None:
    """Replace a line (from 1) of a text file, or take it out."""
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")
