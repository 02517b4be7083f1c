"""One file over https (or from a local index), never more bytes than expected."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from openau.errors import WeightsError
from openau.weights.cache import CHUNK
from openau.weights.progress import Bar

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as dead."""


def open_url(url: str, headers: Mapping[str, str] | None = None, cafile: str | None = None) -> IO[bytes]:
    """Open an address for reading; a name and password in it are sent as basic authentication.

    Raises:
        WeightsError: it cannot be opened; the sentence gives the reason and never the password.
    """
    bare, authorisation = _split_credentials(url)
    request = urllib.request.Request(bare, headers={"User-Agent": "openau", **(headers or {})})
    if authorisation is not None:
        # Unredirected: another host must not see it.
        request.add_unredirected_header("Authorization", authorisation)
    try:
        context = ssl.create_default_context(cafile=cafile) if bare.startswith("https:") else None
        response: IO[bytes] = urllib.request.urlopen(request, timeout=TIMEOUT, context=context)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{bare} answered {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise WeightsError(f"{bare} is unreachable ({getattr(error, 'reason', error)})") from None
    return response


def download(url: str, target: Path, limit: int, label: str, cafile: str | None = None) -> None:
    """Write what `url` holds to the new file `target`.

    Args:
        url: address.
        target: file to write; must not exist.
        limit: most bytes to accept.
        label: what a progress bar calls it.
        cafile: certificates to trust instead of the system's.

    Raises:
        WeightsError: unreachable, more than `limit` bytes, or the connection broke.
        OSError: `target` cannot be written.
    """
    bare = _split_credentials(url)[0]
    with open_url(url, cafile=cafile) as response, target.open("xb") as out:
        announced = _announced_size(response)
        if announced is not None and announced > limit:
            raise WeightsError(f"{bare} announces {announced:,} bytes where at most {limit:,} are expected")
        received = 0
        with Bar(label, announced) as bar:
            while chunk := _read(response, bare):
                received += len(chunk)
                if received > limit:
                    raise WeightsError(f"{bare} sends more than the expected {limit:,} bytes")
                out.write(chunk)
                bar.advance(len(chunk))
    if announced is not None and received < announced:
        raise WeightsError(f"{bare}: the connection broke after {received:,} of {announced:,} bytes")


def _read(response: IO[bytes], url: str) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{url}: the connection broke ({error})") from None


def _announced_size(response: IO[bytes]) -> int | None:
    headers = getattr(response, "headers", {})
    value = headers.get("Content-Length") or ""
    return int(value) if value.isdigit() else None


def _split_credentials(url: str) -> tuple[str, str | None]:
    """The address without name and password, and the header that carries them."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    login, _, host = parts.netloc.rpartition("@")
    token = base64.b64encode(unquote(login).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {token}"
