"""Writing files: whole or not at all, and a sentence where it cannot be done."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openau.errors import OutputError

_SCRATCH = re.compile(r"\.(?P<stem>.+)\.\d+\.tmp(?P<suffix>(\..*)?)", re.DOTALL)


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The sentence for a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{path}: cannot be written: {' '.join(reason.split()).lower()}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors into the sentence that `path` cannot be written.

    Raises:
        OutputError: the disk is full, there is no permission …
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def require_folder(path: Path) -> None:
    """Check that the folder a file goes to exists.

    Raises:
        OutputError: it does not.
    """
    with writing(path):
        if path.parent.is_dir():
            return
        reason = "is not a folder" if path.parent.exists() else "does not exist; create it first"
    raise OutputError(f"{path}: cannot be written, the folder {path.parent} {reason}")


def make_folder(path: Path, parents: bool = False) -> None:
    """Make a folder, if it is not there yet.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{path}: cannot be made, there is a file of this name") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be made: {(error.strerror or str(error)).lower()}") from None


def scratch_beside(target: Path) -> Path:
    """A temporary name in the folder of `target`, with its suffix, that this process alone uses."""
    return target.with_name(f".{target.stem[:40]}.{os.getpid()}.tmp{target.suffix}")


def remove_scratch(targets: Iterable[Path]) -> None:
    """Remove the temporary files (`scratch_beside`) that killed processes left of these files, whichever process that was.

    Raises:
        OSError: a folder cannot be listed, or a file in it cannot be removed.
    """
    wanted: dict[Path, set[tuple[str, str]]] = {}
    for target in targets:
        wanted.setdefault(target.parent, set()).add((target.stem[:40], target.suffix))
    for folder, ours in wanted.items():
        for file in folder.glob(".*.tmp*"):
            found = _SCRATCH.fullmatch(file.name)
            if found is not None and (found["stem"], found["suffix"]) in ours:
                file.unlink(missing_ok=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `target` if the block ends without an exception and is removed if not.

    Raises:
        OutputError: the folder does not exist, or the file cannot be written.
    """
    require_folder(target)
    scratch = scratch_beside(target)
    try:
        with writing(target):
            yield scratch
            scratch.replace(target)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
