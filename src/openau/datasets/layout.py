"""Finding the parts of a data set in the folder a user names, which may be a level above or below the published root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from openau.datasets.clips import Problem, Report
from openau.errors import InputError

DEPTH = 3
"""Parts are looked for this many levels below the user's folder."""


def existing_folder(root: Path, title: str) -> Path:
    """`root`, if it is a folder.

    Raises:
        InputError: it is not.
    """
    if not root.is_dir():
        what = "is a file, not the folder" if root.exists() else "no such folder; it should be the one"
        raise InputError(f"{root}: {what} that holds {title}")
    return root


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def files(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder whose whole name matches a regular expression, sorted; hidden ones and Office's lock files are left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "~$")) and entry.is_file()]
    return sorted(folder / name for name in names if re.fullmatch(pattern, name, re.IGNORECASE))


def plain(name: str) -> str:
    """A name without case, blanks and punctuation: `AU-OCC` and `au_occ` are both `auocc`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def named(folder: Path, *names: str) -> Path | None:
    """The subfolder of one of these names, compared as `plain`; None if there is none."""
    wanted = {plain(name) for name in names}
    return next((child for child in subfolders(folder) if plain(child.name) in wanted), None)


def folders_near(root: Path, into: Callable[[Path], bool] = lambda folder: True) -> Iterator[Path]:
    """`root` and the folders below it, nearest first; only those for which `into` holds are visited."""
    level = [root]
    for remaining in range(DEPTH, -1, -1):
        yield from level
        level = [child for folder in level for child in subfolders(folder) if into(child)] if remaining else []


def nearest(root: Path, names: Sequence[str], title: str, expected: str) -> Path:
    """The nearest folder below `root` that has one of these names, compared as `plain`.

    Raises:
        InputError: there is none; the sentence says what was expected and what is there.
    """
    found = next(filter(None, (named(folder, *names) for folder in folders_near(root))), None)
    if found is None:
        raise not_this(root, title, expected)
    return found


def matching_folders(root: Path, matches: Callable[[Path], bool]) -> Iterator[Path]:
    """Folders at or below `root` that match, nearest first; what is inside a match is not searched."""
    level = [root]
    for _ in range(DEPTH + 1):
        deeper = []
        for folder in level:
            if matches(folder):
                yield folder
            else:
                deeper.extend(subfolders(folder))
        level = deeper


def not_this(root: Path, title: str, expected: str) -> InputError:
    """The error for a folder that does not hold a data set: what was expected, what is there."""
    return InputError(f"{root}: does not hold {title}: expected {expected}, found {listing(root)}")


def listing(root: Path, most: int = 6) -> str:
    """What is in a folder, in a few words."""
    names = sorted(child.name + "/" * child.is_dir() for child in root.iterdir() if not child.name.startswith("."))
    if not names:
        return "an empty folder"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def tell_if_fewer_subjects(here: int, published: int, folder: Path, report: Report) -> None:
    """Tell that people are missing: half a data set would otherwise go unnoticed until its results disappoint."""
    if here < published:
        report(
            Problem(
                "missing subject", folder, f"has labels of {here} of the {published} subjects of the published data set"
            )
        )
