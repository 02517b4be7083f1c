"""A public source tree at a pinned commit, unpacked while it is downloaded."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, cast

from openau.errors import WeightsError
from openau.weights import cache
from openau.weights.download import open_url
from openau.weights.progress import Bar

MAX_TREE = 2 << 30
"""Most bytes of all unpacked files together."""


def fetch_tree(url: str, folder: Path, label: str, size: int) -> Path:
    """Download a `.tar.gz` with one top folder and unpack its regular files.

    Links, devices and names that lead outside are skipped; permissions and owners are not taken over.

    Args:
        url: address of the archive.
        folder: folder to make; the archive's top folder becomes this one.
        label: what a progress bar calls it.
        size: about how many bytes the archive has.

    Returns:
        `folder`.

    Raises:
        WeightsError: unreachable, damaged, or more than `MAX_TREE` bytes.
        OSError: `folder` cannot be written.
    """
    left = MAX_TREE
    try:
        with open_url(url) as response, Bar(label, size) as bar:
            for place, length, content in _members(_Counted(response, bar)):
                left -= length
                if left < 0:
                    raise WeightsError(f"{url} holds more than {MAX_TREE:,} bytes")
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                cache.copy_limited(content, target, length)
    except (tarfile.TarError, zlib.error, EOFError, HTTPException, TimeoutError, ConnectionError) as error:
        raise WeightsError(f"{url}: the archive is damaged or broke off ({error})") from None
    if not folder.is_dir():
        raise WeightsError(f"{url} holds no files")
    return folder


class _Counted:
    """A stream that tells a progress bar what was read."""

    def __init__(self, stream: IO[bytes], bar: Bar) -> None:
        self._stream, self._bar = stream, bar

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._bar.advance(len(chunk))
        return chunk


def _members(stream: _Counted) -> Iterator[tuple[PurePosixPath, int, IO[bytes]]]:
    """Place below the top folder, size and content of every regular file."""
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|gz") as archive:
        for member in archive:
            place = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            content = archive.extractfile(member) if member.isfile() else None
            inside = ".." not in place.parts and not any(sign in member.name for sign in "\\:")
            if content is not None and inside and place.parts:
                yield place, member.size, content
