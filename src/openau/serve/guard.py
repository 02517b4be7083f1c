"""Who may ask: the gate every request goes through before anything else sees it.

- The `Host` must be this server's: a foreign page that gives its own name our address (DNS rebinding) is turned away.
- What changes something, and every WebSocket, must not come from another site's page (`Origin`).
- With a token, everything but the page's files and `/healthz` needs it: `Authorization: Bearer …`, or the cookie of a session that
  began with it.
- No more requests at a time than there may be.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openau.serve.metrics import Metrics
from openau.serve.problems import ProblemError, busy
from openau.serve.settings import is_loopback

COOKIE = "openau_session"
SESSION_SECONDS = 12 * 3600
MAX_SESSIONS = 1000
OPEN = ("/", "/login", "/healthz")
"""Paths that need no token, besides the page's files under `/page/`. The first is the page or, without a session, its login."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
"""Headers of every answer that does not set its own."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


class Sessions:
    """The token, and the sessions of those who knew it. Only hashes are kept.

    Args:
        token: None lets everybody in.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else _digest(token)
        self._ends: dict[bytes, float] = {}

    @property
    def needed(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for a wrong one."""
        return self._token is not None and hmac.compare_digest(_digest(token), self._token)

    def begin(self) -> str:
        """The secret of a new session."""
        now = time.monotonic()
        self._ends = {key: end for key, end in self._ends.items() if end > now}
        while len(self._ends) >= MAX_SESSIONS:
            del self._ends[next(iter(self._ends))]
        secret = secrets.token_urlsafe(32)
        self._ends[_digest(secret)] = now + SESSION_SECONDS
        return secret

    def end(self, connection: HTTPConnection) -> None:
        """Log out."""
        self._ends.pop(_digest(connection.cookies.get(COOKIE, "")), None)

    def admits(self, connection: HTTPConnection) -> bool:
        """Whether a request may come in: there is no token, or it has it, or a session."""
        if self._token is None:
            return True
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(given.strip()):
            return True
        return self._ends.get(_digest(connection.cookies.get(COOKIE, "")), 0.0) > time.monotonic()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """ASGI middleware: the gate, the headers of every answer, and the count of requests.

    Args:
        app: what is behind.
        sessions: who is let in.
        bound: the address the server listens on.
        names: further names under which it may be addressed.
        connections: requests at a time.
        metrics: counts.
    """

    def __init__(
        self, app: ASGIApp, sessions: Sessions, bound: str, names: Iterable[str], connections: int, metrics: Metrics
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._local = is_loopback(bound)
        own = () if self._local else (bound, socket.gethostname())
        self._names = {"localhost", *(name.lower().rstrip(".") for name in (*own, *names))}
        self._most = connections
        self._inside = 0
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or turn it away."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = {key.lower() for key, _ in message.get("headers", ())}
                extra = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.lower().encode() not in headers]
                if b"cache-control" not in headers:
                    extra.append((b"Cache-Control", b"no-store"))
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        self._inside += 1
        try:
            try:
                self._check(scope)
            except ProblemError as problem:
                await problem.response()(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        finally:
            self._inside -= 1
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.add(method=scope.get("method", "WEBSOCKET"), route=route, status=str(status))
            if scope["type"] == "http":
                self._metrics.seconds.observe(route, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        connection = HTTPConnection(scope)
        host = self._host(connection.headers)
        origin = connection.headers.get("origin")
        safe = scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")
        if not safe and origin is not None and urlsplit(origin).netloc.lower() != host:
            raise ProblemError(403, "this request comes from another site's page, which may not use this server")
        if not safe and connection.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise ProblemError(403, "this request comes from another site's page, which may not use this server")
        path = scope["path"]
        is_open = scope["type"] == "http" and (path in OPEN or path.startswith("/page/"))
        if not is_open and not self._sessions.admits(connection):
            raise ProblemError(
                401, "this server wants its token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        if self._inside > self._most:
            raise busy("too many requests at the same time; try again in a moment")

    def _host(self, headers: Headers) -> str:
        """The `Host` of a request, in lower case.

        Raises:
            ProblemError: 400 it is missing or malformed, 421 it is not this server.
        """
        given = headers.getlist("host")
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            raise ProblemError(400, "the request's Host header is missing or malformed")
        name = match[1].lower().rstrip(".")
        if name not in self._names and not self._is_address(name):
            raise ProblemError(421, f"this server is not called {name}; start it with --allow-host {name} if it is")
        return given[0].lower()

    def _is_address(self, name: str) -> bool:
        """Whether a host is a plain address: no name, so none that somebody else could point at us."""
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or not self._local
