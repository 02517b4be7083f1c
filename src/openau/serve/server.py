"""Running the application: one address, one process, and a clean end."""

from __future__ import annotations

import contextlib
import errno
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from openau.errors import UsageError
from openau.serve.app import make_app
from openau.serve.settings import Settings

BACKLOG = 512
GOODBYE_SECONDS = 3
"""Time that requests have to finish once the server is told to end."""


class Server(uvicorn.Server):
    """Uvicorn, telling when it is ready.

    Args:
        settings: of the application.
        ready: hears the address once requests are taken.

    Raises:
        UsageError: the address is in use or not this machine's, or there is no model of this name.
    """

    def __init__(self, settings: Settings, ready: Callable[[str], None]) -> None:
        app = make_app(settings)
        self._socket = listen(settings.host, settings.port)
        self._ready = ready
        config = uvicorn.Config(
            app,
            http="h11",
            ws="websockets-sansio",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=settings.connections + 100,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            h11_max_incomplete_event_size=64 << 10,
            ws_max_size=settings.max_frame_bytes,
            ws_max_queue=4,
            ws_per_message_deflate=False,
        )
        super().__init__(config)

    @property
    def address(self) -> str:
        """Where the page is."""
        host, port = self._socket.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def serve_until_stopped(self) -> None:
        """Answer requests until Ctrl-C or SIGTERM; nothing is left on disk then."""
        with self._socket, contextlib.suppress(KeyboardInterrupt):
            self.run(sockets=[self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and tell."""
        await super().startup(sockets)
        if self.started:
            self._ready(self.address)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: is not an address of this machine ({_reason(error)})") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: is in use by another program; choose another, or 0 for any") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host}: is not this machine's address") from None
        raise UsageError(f"--host {host} --port {port}: cannot be listened on ({_reason(error)})") from None
    return bound


def open_browser(address: str) -> None:
    """Show the page in the user's browser, if there is one."""
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
