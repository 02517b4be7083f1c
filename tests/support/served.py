"""A real web server on this machine, real wheels, and assets that come from them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from openau.weights.cards import Asset, Source, Url


@dataclass
class Page:
    """What the server answers at one path; `declared` is the Content-Length it claims, None for none."""

    body: bytes
    declared: int | None
    content_type: str = "application/octet-stream"
    seconds: float = 0.0
    password: str | None = None


@dataclass
class Server:
    """Pages by path, and what was asked for."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0

    def serve(self, path: str, body: bytes, **how: object) -> str:
        how.setdefault("declared", len(body))
        self.pages[path] = Page(body, **how)  # type: ignore[arg-type]
        return self.url + path


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            page = state.pages.get(self.path)
            expected = page and page.password and "Basic " + base64.b64encode(page.password.encode()).decode()
            if page is None or (expected and self.headers.get("Authorization") != expected):
                self.send_error(404 if page is None else 401)
                return
            self.send_response(200)
            self.send_header("Content-Type", page.content_type)
            if page.declared is not None:
                self.send_header("Content-Length", str(page.declared))
            self.end_headers()
            for start in range(0, len(page.body), 1 << 16):
                time.sleep(page.seconds / max(1, len(page.body) >> 16))
                try:
                    self.wfile.write(page.body[start : start + (1 << 16)])
                except OSError:
                    return
                state.bytes_sent += len(page.body[start : start + (1 << 16)])

        def log_message(self, format: str, *args: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{web.server_address[1]}")
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def asset_of(content: bytes, *sources: Source | str, name: str = "thing") -> Asset:
    """An asset with this content, from these sources (a text is an address)."""
    places = tuple(Url(source) if isinstance(source, str) else source for source in sources)
    return Asset(name, hashlib.sha256(content).hexdigest(), len(content), "MIT", "these tests", places)


def make_wheel(
    folder: Path, members: dict[str, bytes], tag: str = "py3-none-any", project: str = "openau_tiny"
) -> Path:
    """A valid wheel, version 1.0, with these members and a dependency that exists nowhere."""
    wheel = folder / f"{project}-1.0-{tag}.whl"
    info = f"{project}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\nRequires-Dist: openau-nowhere-to-be-found\n"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def offer(server: Server, wheel: Path, password: str | None = None) -> None:
    """Put a wheel on the test's index, with an HTML page that gives its hash."""
    project, content = wheel.name.split("-")[0].replace("_", "-"), wheel.read_bytes()
    server.serve(f"/files/{wheel.name}", content, password=password)
    digest = hashlib.sha256(content).hexdigest()
    page = f'<!DOCTYPE html><a href="../../files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
    server.serve(f"/simple/{project}/", page.encode(), content_type="text/html", password=password)
