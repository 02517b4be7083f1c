"""`openau serve`: the page and the HTTP API."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from openau.serve.server import Server, open_browser
from openau.serve.settings import Settings

_CORES = os.cpu_count() or 1
_WORKERS = max(1, min(4, _CORES // 4))
_SERVER = "Where"
_LIMITS = "Limits"


def command(
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on. Others than this machine need a --token.", rich_help_panel=_SERVER
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", "-p", min=0, max=65535, help="0 takes a free one and says which.", rich_help_panel=_SERVER
        ),
    ] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="OPENAU_TOKEN",
            show_envvar=True,
            help="What clients must know, 16 characters or more.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name of this server; again for more.", rich_help_panel=_SERVER),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page in your browser.", rich_help_panel=_SERVER)
    ] = False,
    model: Annotated[str, typer.Option("--model", help="A name of `openau models`, or an .onnx file.")] = "default",
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=1, help="Processes for photos, and as many for live pictures.", rich_help_panel=_LIMITS
        ),
    ] = _WORKERS,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Videos at the same time, a process each.", rich_help_panel=_LIMITS)
    ] = _WORKERS,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Photos that may wait, and videos likewise.", rich_help_panel=_LIMITS)
    ] = 64,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="Requests at the same time.", rich_help_panel=_LIMITS)
    ] = 256,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.001, help="Megabytes of an upload.", rich_help_panel=_LIMITS)
    ] = 1000,
    max_megapixels: Annotated[
        float,
        typer.Option("--max-megapixels", min=0.01, help="Of a photo, or a video's frame.", rich_help_panel=_LIMITS),
    ] = 50,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=1, help="Of a video.", rich_help_panel=_LIMITS)
    ] = 1800,
    keep: Annotated[
        float, typer.Option("--keep", min=1, help="Seconds a video's results are kept.", rich_help_panel=_LIMITS)
    ] = 3600,
    live_sessions: Annotated[
        int, typer.Option("--live-sessions", min=1, help="Live pages at the same time.", rich_help_panel=_LIMITS)
    ] = 8,
) -> None:
    """A page and an HTTP API for Action Units, on this machine and for this machine.

    For example:

      openau serve --open                       the page, in your browser

      openau serve --port 0                     any free port; it is printed

      curl -F file=@photo.jpg http://127.0.0.1:8765/v1/detect

      curl -H "Accept: text/csv" -F file=@photo.jpg http://127.0.0.1:8765/v1/detect

    THE PAGE has three tabs: Live (your camera: bars, timeline, a recording
    as CSV), Analyse (drop photos and videos, download tables) and Models
    (what they were trained on, how good they are, two beside each other).

    NOTHING LEAVES THIS MACHINE. Uploads go to a private temporary folder
    and are deleted when they have been judged, a video's results after
    --keep seconds, everything at the end.

    FOR OTHERS, too: `--host 0.0.0.0` needs a token. It is sent in the
    clear, so put a proxy with TLS before it, and name that with
    --allow-host:

      OPENAU_TOKEN=$(openssl rand -hex 16) openau serve --host 0.0.0.0 --allow-host aus.example.org

    THE API is described by /openapi.json, /metrics is for Prometheus,
    /healthz for whoever asks whether it is up.

    Ctrl-C ends it. EXIT CODE: 0, 1 (weights are missing), 2 (wrong usage).
    """
    settings = Settings(
        host=host, port=port, token=token, allowed_hosts=tuple(allow_host or ()), model=model, workers=workers, jobs=jobs, queue=queue,
        connections=connections, max_bytes=round(max_mb * 1e6), max_pixels=round(max_megapixels * 1e6), max_seconds=max_seconds,
        max_disk=max(8_000_000_000, round(4e6 * max_mb)), keep_seconds=keep, live_sessions=live_sessions, warm=True,
    )  # fmt: skip

    def ready(address: str) -> None:
        typer.echo(f"OpenAU is at {address}  (Ctrl-C ends it; nothing leaves this machine)")
        if show:
            open_browser(address)

    Server(settings, ready).serve_until_stopped()
    typer.echo("Stopped; nothing was kept.")
