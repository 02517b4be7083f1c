"""File names for sources: the nicest one that no other source has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from openau.sinks.formats import plain_text

LONGEST = 200
"""Bytes of a source's own name that go into a file's."""


class Names:
    """Gives every source a file name of its own, always the same one; upper and lower case do not tell names apart.

    Args:
        taken: file name → the source that has it (of an earlier run, or "" for a name nobody may have).
    """

    def __init__(self, taken: Mapping[str, str] | None = None) -> None:
        self._owners = {name.casefold(): source for name, source in (taken or {}).items()}

    def name(self, source: str, ending: str) -> str:
        """The file name of a source: `smile.csv`, or `smile_png.csv`, `monday_smile.csv` … if another source has that one.

        Args:
            source: the source's name, a path or a camera's index.
            ending: what follows the stem, e.g. `.csv` or `_overlay.mp4`.
        """
        owner = plain_text(source)
        free = (name for name in _names(owner, ending) if self._owners.setdefault(name.casefold(), owner) == owner)
        return next(free)


def _names(source: str, ending: str) -> Iterator[str]:
    path = Path(source)
    stem = _short(path.stem) or "source"
    kind = f"_{_short(path.suffix[1:])}" if path.suffix else ""
    folder = f"{path.parent.name}_" if path.parent.name else ""
    for name in (stem, stem + kind, folder + stem, folder + stem + kind):
        yield _short(name) + ending
    for number in count(2):
        yield f"{stem}_{number}{ending}"


def _short(name: str) -> str:
    """The beginning of a long name: file systems end at 255 bytes, and temporary names add to it."""
    return name.encode()[:LONGEST].decode(errors="ignore")
