"""The folder of verified files: where it lies, how a file enters it, and how its bytes are checked.

OPENAU_CACHE     another folder than the platform's own
OPENAU_OFFLINE   1 forbids every use of the network
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from openau.errors import WeightsError

if TYPE_CHECKING:
    from openau.weights.cards import Asset

CHUNK = 1 << 20
"""Bytes read at a time; bounds the memory any file takes here."""

_checked: set[tuple[str, str, int, int]] = set()


def folder() -> Path:
    """The cache folder (it need not exist yet): `OPENAU_CACHE`, or the platform's place for a user's caches.

    Raises:
        WeightsError: the user has no home folder, and OPENAU_CACHE is not set.
    """
    chosen = os.environ.get("OPENAU_CACHE")
    if chosen:
        return expanded(chosen).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else _home() / "AppData" / "Local") / "openau" / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "openau"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification asks to ignore a relative path.
    return (Path(base) if Path(base).is_absolute() else _home() / ".cache") / "openau"


def expanded(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder; as it is, where nobody knows that home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise WeightsError(
            "the user has no home folder to keep the weight cache in; set OPENAU_CACHE to a folder you can write to"
        ) from None


def offline() -> bool:
    """Whether `OPENAU_OFFLINE` forbids the network."""
    return os.environ.get("OPENAU_OFFLINE", "").strip().lower() not in ("", "0", "no", "off", "false")


def file_of(asset: Asset) -> Path:
    """Where the cache keeps this asset; the digest in the name lets two versions of OpenAU share one cache."""
    source = asset.sources[0]
    named = getattr(source, "member", None) or getattr(source, "filename", None) or getattr(source, "path", None)
    suffix = ".whl" if named is None and hasattr(source, "project") else Path(named or asset.name).suffix
    return folder() / f"{asset.name}-{asset.sha256[:12]}{suffix}"


def flaw(file: Path, asset: Asset) -> str | None:
    """What is wrong with the bytes of `file`, or None. A file found right is not read again until it changes."""
    try:
        state = file.stat()
        key = (str(file), asset.sha256, state.st_size, state.st_mtime_ns)
        if key in _checked:
            return None
        if state.st_size != asset.size:
            return f"it has {state.st_size:,} bytes instead of {asset.size:,}"
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if digest != asset.sha256:
        return f"its SHA-256 begins {digest[:12]} instead of {asset.sha256[:12]}"
    _checked.add(key)
    return None


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder inside the cache, so that a finished file can be renamed into place.

    Raises:
        WeightsError: the cache cannot be written (no permission, disk full …).
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=folder(), ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        raise WeightsError(
            f"{folder()}: cannot write to the weight cache ({error.strerror or error}); "
            "free some space there or set OPENAU_CACHE to a folder you can write to"
        ) from None


def admit(file: Path, asset: Asset) -> Path:
    """Move a file from the workspace to its place in the cache, if its bytes are the right ones.

    Raises:
        WeightsError: they are not.
        OSError: the cache cannot be written.
    """
    wrong = flaw(file, asset)
    if wrong is not None:
        raise WeightsError(f"the file received is not {asset.name}: {wrong}")
    target = file_of(asset)
    replace(file, target)
    return target


def replace(file: Path, target: Path) -> None:
    """Rename `file` to `target`, giving way to a process that put the same file there first."""
    try:
        file.replace(target)
    except PermissionError:
        # Windows refuses to replace a file another process has open; the store checks whatever lies there.
        if not target.is_file():
            raise


def copy_limited(source: IO[bytes], target: Path, limit: int) -> None:
    """Copy at most `limit` bytes of a stream to a new file.

    Raises:
        WeightsError: the stream holds more.
    """
    left = limit
    with target.open("xb") as out:
        while chunk := source.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise WeightsError(f"more than the expected {limit:,} bytes")
            out.write(chunk)


def copy_in(file: Path, target: Path) -> None:
    """Copy a local file into the cache under a temporary name, then rename it."""
    with workspace() as desk:
        shutil.copyfile(file, desk / target.name)
        replace(desk / target.name, target)


@contextlib.contextmanager
def locked(key: str) -> Iterator[None]:
    """Let one process at a time fetch what `key` names; the others wait and then find it in the cache.

    The lock only saves work: files enter by rename, so the cache stays right on file systems without locks.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        stream = (folder() / f".{key}.lock").open("ab")
    except OSError:
        # The fetch that follows says in its own words that the cache cannot be written.
        yield
        return
    with stream:
        _lock(stream)
        # Closing the file releases the lock, also when the process dies.
        yield


def _lock(stream: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                stream.seek(0)
                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != 36:  # EDEADLOCK: ten seconds went by; wait on
                    return
    else:
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
