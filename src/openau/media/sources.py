"""What the user named — files, folders, patterns, cameras — as one list of sources to work through."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openau.errors import InputError
from openau.media.images import open_image

Kind = Literal["image", "video", "camera"]

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif",
    ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".gif",
})  # fmt: skip
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf",
    ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".mjpeg", ".mjpg", ".y4m", ".gif",
})  # fmt: skip
_KNOWN = IMAGE_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to read.

    Attributes:
        name: what tables call it: the path as the user wrote it, or the camera's index.
        kind: which reader it needs.
        error: why it cannot be read at all (missing, a pattern without a match …); None for a source to be tried.
        location: where its file lies, if not at its name.
    """

    name: str
    kind: Kind
    error: InputError | None = None
    location: Path | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name) if self.location is None else self.location


def classify(path: str | Path) -> Literal["image", "video"]:
    """Tell whether a file is read as an image or as a video, by its suffix and header; an animated GIF is a video.

    A file that is neither is "image" if its suffix is an image's, otherwise "video": its reader then says what is wrong.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES - IMAGE_SUFFIXES:
        return "video"
    if suffix in IMAGE_SUFFIXES - VIDEO_SUFFIXES:
        return "image"
    try:
        with open_image(path) as image:
            animated = image.format == "GIF" and getattr(image, "is_animated", False)
            return "video" if animated else "image"
    except InputError:
        return "image" if suffix in IMAGE_SUFFIXES else "video"


def expand(inputs: Sequence[str | Path]) -> list[Source]:
    """Turn what the user named into sources, in the given order, each file once.

    - A file is taken whatever its suffix.
    - A folder is searched recursively, in sorted order, for known image and video suffixes; hidden files are left out.
    - A pattern (`*`, `?`, `[…]`, `**` for any depth) is matched in sorted order; files without a known suffix are left out
      unless nothing else matches, folders are searched.
    - A whole number is a camera's index, unless a file of that name exists.

    What is missing, or matches or holds nothing, becomes a source with an `error`, so that the others are still processed.
    """
    sources: list[Source] = []
    seen: set[str] = set()
    for given in inputs:
        for source in _expand_one(str(given)):
            identity = source.name if source.kind == "camera" else str(Path(source.name).absolute())
            if identity not in seen:
                seen.add(identity)
                sources.append(source)
    return sources


def _expand_one(given: str) -> Iterator[Source]:
    path = Path(given)
    try:
        if path.is_dir():
            yield from _search(path)
        elif os.path.lexists(path):
            yield _file(path, given)
        elif given.isascii() and given.isdigit():
            yield Source(given, "camera")
        elif any(c in given for c in "*?["):
            yield from _match(given)
        else:
            yield _failure(given, "there is no such file or folder")
    except (OSError, ValueError) as error:  # a folder above may not be entered, the name is too long, holds a null …
        yield _failure(given, f"cannot be looked up: {(getattr(error, 'strerror', None) or str(error)).lower()}")


def _file(path: Path, name: str | None = None) -> Source:
    """A file as a source; a pipe or a device is not one, and reading it might never end."""
    name = str(path) if name is None else name
    try:
        endless = path.exists() and not path.is_file()
    except OSError:  # its reader tells why
        endless = False
    return _failure(name, "this is a pipe or a device, not a file") if endless else Source(name, classify(path))


def _search(folder: Path) -> Iterator[Source]:
    """Images and videos below a folder, sorted by path."""
    unreadable: list[Source] = []

    def note(error: OSError) -> None:
        unreadable.append(_failure(str(error.filename), "the folder may not be read"))

    found: list[Source] = []
    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # A folder that looks like a file is searched; if there is nothing to search, the user is told.
        odd = [name for name in folders if Path(name).suffix.lower() in _KNOWN and _is_empty(Path(parent, name))]
        found += [_failure(str(Path(parent, name)), "this is a folder, not an image or a video") for name in odd]
        known = [name for name in files if Path(name).suffix.lower() in _KNOWN and not name.startswith(".")]
        found += [_file(Path(parent, name)) for name in known]
    found += unreadable
    if not found:
        found = [_failure(str(folder), "this folder holds no images or videos")]
    yield from sorted(found, key=lambda source: Path(source.name).parts)


def _match(pattern: str) -> Iterator[Source]:
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    matches = sorted((Path(name) for name in names), key=lambda path: path.parts)
    files = [m for m in matches if not m.is_dir()]
    known = [m for m in files if m.suffix.lower() in _KNOWN] or files
    # With `**` the files of a matched folder are matched themselves.
    folders = [m for m in matches if m.is_dir()] if "**" not in pattern else []
    if not known and not folders:
        yield _failure(pattern, "nothing matches this pattern")
    for match in sorted([*known, *folders], key=lambda path: path.parts):
        yield from _search(match) if match in folders else [_file(match)]


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:  # the search itself tells that it may not be read
        return False


def _failure(name: str, reason: str) -> Source:
    return Source(name, "image", InputError(f"{name}: {reason}"))
