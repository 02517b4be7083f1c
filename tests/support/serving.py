"""A real server of `openau serve` on a free port, in a thread, with its real worker processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from openau.serve.server import Server
from openau.serve.settings import Settings

PATIENCE = 60.0
"""Seconds any request of a test may take."""


@dataclass
class Serving:
    """A running server.

    Attributes:
        address: `http://127.0.0.1:PORT/`.
        client: asks it.
        server: itself.
    """

    address: str
    client: httpx.Client
    server: Server

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    @property
    def folder(self) -> Path:
        """Its private folder."""
        return self.server.config.app.state.rooms.store.folder  # type: ignore[union-attr, no-any-return]

    def files(self) -> list[str]:
        """What lies on the disk now."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def finished(self, place: str) -> dict[str, Any]:
        """A job once it is over."""
        until = time.monotonic() + PATIENCE
        while (job := self.client.get(place).json())["state"] in ("queued", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.05)
        return job  # type: ignore[no-any-return]


@contextmanager
def serving(**settings: Any) -> Iterator[Serving]:
    """Run a server for the length of a block."""
    told: list[str] = []
    is_ready = threading.Event()

    def ready(address: str) -> None:
        told.append(address)
        is_ready.set()

    server = Server(Settings(**{"port": 0, **settings}), ready)
    thread = threading.Thread(target=server.serve_until_stopped, name="server")
    thread.start()
    try:
        assert is_ready.wait(PATIENCE)
        with httpx.Client(base_url=told[0], timeout=PATIENCE) as client:
            yield Serving(told[0], client, server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(condition: Any, seconds: float = 30.0) -> bool:
    """Wait until something is true; whether it became so."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)
