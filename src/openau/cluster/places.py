"""Files anywhere: on this machine, in a bucket (`s3://`, `gs://`), wherever fsspec reaches."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from openau.errors import InputError, OutputError, UsageError
from openau.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, expand

_SCRATCH = re.compile(r"\.[0-9a-f]{32}\.tmp")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(name: str) -> bool:
    """Whether a name is an address (`s3://…`, `file://…`) and not a plain path."""
    return _URL.match(name) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder, by its address or path.

    Attributes:
        url: the address; a plain path is one of this machine, or of a disk that all machines share.
    """

    url: str

    @property
    def name(self) -> str:
        """Its last part."""
        return PurePosixPath(self.url).name

    def child(self, name: str) -> Place:
        """A file in this folder."""
        return Place(f"{self.url.rstrip('/')}/{name}")

    def beside(self, name: str) -> Place:
        """Another file in the folder of this one."""
        return Place(f"{self.url[: -len(self.name)]}{name}")

    def names(self) -> set[str]:
        """What a folder holds; nothing if it does not exist.

        Raises:
            OutputError: it cannot be listed.
        """
        system, path = self._open()
        try:
            system.invalidate_cache()
            return {PurePosixPath(entry).name for entry in system.ls(path, detail=False)}
        except FileNotFoundError:
            return set()
        except Exception as error:  # each filesystem has errors of its own
            raise OutputError(f"{self.url}: cannot be listed: {_reason(error)}") from None

    def read(self) -> bytes | None:
        """A file's bytes; None if there is none.

        Raises:
            OutputError: it cannot be read.
        """
        system, path = self._open()
        try:
            return bytes(system.cat_file(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise OutputError(f"{self.url}: cannot be read: {_reason(error)}") from None

    def write(self, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        self._publish(lambda system, scratch: system.pipe_file(scratch, content))

    def publish(self, local: Path) -> None:
        """Copy a file of this machine here, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        self._publish(lambda system, scratch: system.put_file(str(local), scratch))

    def remove(self) -> None:
        """Remove a file, if there is one."""
        system, path = self._open()
        if system.exists(path):
            system.rm_file(path)

    def fetch(self, local: Path) -> None:
        """Copy this file to this machine.

        Raises:
            InputError: it cannot be had.
        """
        system, path = self._open()
        try:
            system.get_file(path, str(local))
        except FileNotFoundError:
            raise InputError(f"{self.url}: there is no such file") from None
        except Exception as error:
            raise InputError(f"{self.url}: cannot be fetched: {_reason(error)}") from None

    def search(self) -> list[str]:
        """Addresses of images and videos below this folder, sorted, or of this file; hidden ones are left out.

        Raises:
            InputError: there is nothing, or it cannot be looked up.
        """
        system, path = self._open()
        try:
            if system.isfile(path):
                return [self.url]
            found = system.find(path)
        except Exception as error:
            raise InputError(f"{self.url}: cannot be looked up: {_reason(error)}") from None
        below = [PurePosixPath(file) for file in found if not PurePosixPath(file).name.startswith(".")]
        known = [file for file in below if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        if not known:
            raise InputError(f"{self.url}: holds no images or videos, or does not exist")
        base = path.rstrip("/")
        return [
            f"{self.url.rstrip('/')}{str(file)[len(base) :]}" for file in sorted(known, key=lambda file: file.parts)
        ]

    def _publish(self, write: Any) -> None:
        system, path = self._open()
        scratch = f"{PurePosixPath(path).parent}/.{uuid.uuid4().hex}.tmp"
        try:
            system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
            write(system, scratch)
            system.mv(scratch, path)
        except Exception as error:
            raise OutputError(f"{self.url}: cannot be written: {_reason(error)}") from None

    def _open(self) -> tuple[Any, str]:
        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise UsageError(f"{self.url}: this filesystem needs a package that is missing: {error}") from None
        except ValueError as error:
            raise UsageError(f"{self.url}: no filesystem is known by this name: {_reason(error)}") from None
        return system, str(path)


def expand_places(inputs: Sequence[str]) -> list[Source]:
    """Addresses and paths as sources, each once, in the given order; folders are searched. See `openau.media.expand`.

    Whether an animated GIF is one is seen when it is read.
    """
    sources: list[Source] = []
    for given in inputs:
        if not is_url(given):
            sources += expand([given])
            continue
        try:
            sources += [Source(url, _kind(url)) for url in Place(given).search()]
        except InputError as error:
            sources.append(Source(given, "video", error))
    return list({source.name: source for source in sources}.values())


def _kind(url: str) -> Any:
    return "image" if PurePosixPath(url).suffix.lower() in IMAGE_SUFFIXES else "video"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def remove_scratch(folder: Place) -> None:
    """Remove what killed tasks left half written in a folder.

    Raises:
        OutputError: the folder cannot be listed.
    """
    for name in folder.names():
        if _SCRATCH.fullmatch(name):
            folder.child(name).remove()
