"""Uploads: from the network straight to a private folder, within limits, and off the disk again when they are done with."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from openau.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from openau.outputs import writing
from openau.serve.problems import ProblemError

PREFIX = "openau-serve-"
DRAIN_BYTES = 16 << 20
"""Bytes of a refused upload that are still read: a client may look for the answer only when it has sent everything."""
DRAIN_SECONDS = 3.0
FORM_OVERHEAD = 64 << 10
"""Bytes of a form that are not the file's."""
NAME_LENGTH = 120
FIELD = "file"
"""The form field that holds the file."""
FORM = "multipart/form-data"

_SUFFIX_OF_TYPE = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif", "image/bmp": ".bmp",
    "image/tiff": ".tif", "image/avif": ".avif", "video/mp4": ".mp4", "video/quicktime": ".mov",
    "video/x-matroska": ".mkv", "video/webm": ".webm", "video/x-msvideo": ".avi", "video/mpeg": ".mpg",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent.

    Attributes:
        path: where it lies, in a folder of its own.
        name: what the client calls it, without folders.
        size: bytes.
    """

    path: Path
    name: str
    size: int


class Store:
    """The private folder of one server: uploads and results; gone when the server ends.

    Args:
        max_bytes: of an upload.
        max_disk: bytes of all uploads together.
        silence: seconds a client may be silent while it sends.

    Attributes:
        folder: readable by its owner only.

    Raises:
        OutputError: there is no place for temporary files.
    """

    def __init__(self, max_bytes: int, max_disk: int, silence: float) -> None:
        self._max_bytes = max_bytes
        self._max_disk = max_disk
        self._silence = silence
        self._taken: dict[Path, int] = {}
        place = Path(tempfile.gettempdir())
        with writing(place):
            _remove_what_the_dead_left(place)
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_folder(self) -> Path:
        """A new folder for one upload, and what is made of it."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def remove(self, folder: Path) -> None:
        """Remove such a folder with all that is in it."""
        self._taken.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)

    def forget(self, upload: Upload) -> None:
        """Remove an upload, but not what was made of it."""
        self._taken.pop(upload.path.parent, None)
        upload.path.unlink(missing_ok=True)

    async def receive(self, request: Request, folder: Path) -> Upload:
        """Write the file of a request into a folder of `make_folder`.

        Raises:
            ProblemError: 400 the form is broken, 408 the client fell silent, 413 too large, 415 neither form, image nor video, 507 no room.
            ClientDisconnect: the client is gone.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        content_type = kind.decode("latin-1").lower()
        is_form = content_type == FORM
        if not is_form and not re.fullmatch(r"(image|video)/[\w.+-]+|application/octet-stream", content_type):
            stated = content_type or "of no stated type"
            detail = f"send a photo or a video, as multipart/form-data or as a body of type image/… or video/…; this is {stated}"
            await _refuse(request, True, ProblemError(415, detail))
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes + FORM_OVERHEAD * is_form:
            await _refuse(request, True, self._too_large())
        raw = folder / "upload"
        with raw.open("wb") as file:
            if is_form:
                form = _Form(options.get(b"boundary", b""), file)
                await self._write(request, file, form.feed)
                form.finish()
                given, stated = form.name, form.content_type
            else:
                await self._write(request, file, file.write)
                given, stated = request.query_params.get("name", ""), content_type
            size = file.tell()
        if not size:
            raise ProblemError(
                400,
                f"nothing was sent: the photo or video is the body, or the field {FIELD!r} of a form, and not empty",
            )
        name = clean_name(given)
        path = raw.with_suffix(suffix_of(name, stated))
        raw.rename(path)
        return Upload(path, name or path.name, size)

    async def _write(self, request: Request, file: IO[bytes], write: Callable[[bytes], object]) -> None:
        """Pass a body on as it comes, watching over the limits."""
        seen = 0
        folder = Path(file.name).parent
        while True:
            try:
                chunk, more = await asyncio.wait_for(_next_chunk(request), self._silence)
            except TimeoutError:
                raise ProblemError(
                    408, f"nothing came for {self._silence:g} seconds, so the upload was given up"
                ) from None
            seen += len(chunk)
            self._taken[folder] = seen
            if sum(self._taken.values()) > self._max_disk:
                await _refuse(
                    request, more, ProblemError(507, "there is no room for more uploads now; try again later")
                )
            try:
                write(chunk)
            except ProblemError as problem:
                await _refuse(request, more, problem)
            except OSError:
                await _refuse(request, more, ProblemError(507, "the disk of the server is full"))
            if file.tell() > self._max_bytes or seen > self._max_bytes + FORM_OVERHEAD:
                await _refuse(request, more, self._too_large())
            if not more:
                return

    def _too_large(self) -> ProblemError:
        limit = f"{self._max_bytes / 1e6:,.0f} MB" if self._max_bytes >= 10_000_000 else f"{self._max_bytes:,} bytes"
        return ProblemError(413, f"the file is larger than this server takes, {limit} (--max-mb)")


class _Form:
    """Reads a multipart form: the first field `file` that is a file goes to the disk, everything else nowhere."""

    def __init__(self, boundary: bytes, file: IO[bytes]) -> None:
        if not boundary or len(boundary) > 200:
            raise ProblemError(400, "the form states no boundary between its fields")
        self.name = ""
        self.content_type = ""
        self._file = file
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._wanted = self._found = self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._part_data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body.

        Raises:
            ProblemError: 400, this is not a form.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise ProblemError(400, "the form is broken: it does not follow multipart/form-data") from None

    def finish(self) -> None:
        """There are no more bytes.

        Raises:
            ProblemError: 400, the form is cut short, or holds no file.
        """
        if not self._ended:
            raise ProblemError(400, "the form is cut short: its closing boundary is missing")
        if not self._found:
            raise ProblemError(400, f"the form holds no file in its field {FIELD!r}")

    def _begin_part(self) -> None:
        self._headers = {}
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        field, value = self._header
        self._headers[bytes(field).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._wanted = not self._found and options.get(b"name") == FIELD.encode() and b"filename" in options
        if self._wanted:
            self._found = True
            self.name = options[b"filename"].decode("utf-8", "replace")
            self.content_type = self._headers.get(b"content-type", b"").decode("latin-1").lower()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._file.write(data[start:end])

    def _end(self) -> None:
        self._ended = True


def clean_name(given: str) -> str:
    """What a client calls its file, as a plain name: no folders, no control characters, no bidirectional tricks, not endless."""
    last = re.split(r"[/\\]", given)[-1]
    kept = "".join(c for c in last if c.isprintable()).strip(". ")
    if len(kept) <= NAME_LENGTH:
        return kept
    stem, dot, suffix = kept.rpartition(".")
    ending = dot + suffix if len(suffix) <= 5 else ""
    return (stem or kept)[: NAME_LENGTH - len(ending)] + ending


def suffix_of(name: str, content_type: str) -> str:
    """The suffix an upload is kept under: one that OpenAU knows, from its name or else its type, or none."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES else _SUFFIX_OF_TYPE.get(content_type, "")


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    """The next bytes of a body, and whether there are more.

    Raises:
        ClientDisconnect: the client is gone.
    """
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _refuse(request: Request, more: bool, problem: ProblemError) -> NoReturn:
    """Read on for a while, so that the client gets to see the answer, then raise it.

    Raises:
        ProblemError: the one given.
        ClientDisconnect: the client is gone.
    """
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while more and seen < DRAIN_BYTES:
                chunk, more = await _next_chunk(request)
                seen += len(chunk)
    problem.headers["Connection"] = "close"
    raise problem


def _remove_what_the_dead_left(place: Path) -> None:
    """Remove the folders of servers of this user that were killed before they could."""
    if os.name == "nt":  # there, asking whether a process lives may end it
        return
    for folder in place.glob(f"{PREFIX}*-*"):
        number = folder.name.removeprefix(PREFIX).split("-")[0]
        with suppress(OSError, OverflowError):
            if number.isdecimal() and folder.lstat().st_uid == os.getuid() and not _lives(int(number)):
                shutil.rmtree(folder)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
