"""What the server may be asked for, and how much of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from openau.errors import UsageError

MIN_TOKEN = 16
"""Characters of the shortest token: shorter ones can be guessed over a network."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How `openau serve` runs.

    Attributes:
        host: address the server listens on.
        port: likewise; 0 takes a free one.
        token: what a client must know; None asks for nothing, which only this machine is allowed.
        allowed_hosts: further names under which the server may be addressed (behind a proxy, in a local network).
        model: judges where a request names none.
        workers: processes for photos, and as many for live sessions.
        jobs: videos worked on at the same time, each in a process of its own.
        queue: photos that may wait for their turn, and videos likewise.
        connections: requests answered at the same time.
        max_bytes: of an upload.
        max_pixels: of a picture, or of a video's frame.
        max_seconds: of a video.
        max_disk: bytes of all uploads together, at one time.
        photo_seconds: time a photo may take in its process.
        stall_seconds: time a video may take from one frame to the next.
        upload_seconds: time a client may be silent while it uploads.
        keep_seconds: time for which a job's results are kept.
        live_sessions: live sessions at the same time.
        live_idle_seconds: a live session without a frame for so long is closed.
        max_frame_bytes: of a live frame.
        warm: start a process for photos and live pictures at once, not with the first of them.

    Raises:
        UsageError: the server would be open to others without a token, or the token is too short.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    model: str = "default"
    workers: int = 1
    jobs: int = 1
    queue: int = 64
    connections: int = 256
    max_bytes: int = 1_000_000_000
    max_pixels: int = 50_000_000
    max_seconds: float = 1800.0
    max_disk: int = 8_000_000_000
    photo_seconds: float = 30.0
    stall_seconds: float = 60.0
    upload_seconds: float = 30.0
    keep_seconds: float = 3600.0
    live_sessions: int = 8
    live_idle_seconds: float = 60.0
    max_frame_bytes: int = 2_000_000
    warm: bool = False

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MIN_TOKEN:
            raise UsageError(f"--token: is too short to be safe; use at least {MIN_TOKEN} characters")
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host}: others could reach the server there; give it a --token (at least {MIN_TOKEN} characters)"
            )


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
