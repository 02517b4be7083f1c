"""How much is said about the work, on stderr: as usual, only complaints (`--quiet`), or how it went as well (`--verbose`).

What a verb finds is its result and goes to stdout, whatever the loudness.
"""

from __future__ import annotations

import enum
import platform
import sys
import time
import traceback
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openau import __version__

if TYPE_CHECKING:
    from rich.console import Console

PACKAGES = ("numpy", "opencv-python-headless", "av", "onnxruntime", "ai-edge-litert", "torch")
"""Packages whose versions matter most when something goes wrong."""


class Loudness(enum.Enum):
    """What is said besides results and complaints."""

    QUIET = "nothing"
    USUAL = "progress and notes"
    VERBOSE = "progress, notes, and how it went"


_loudness = Loudness.USUAL
_started = time.monotonic()


def speak(loudness: Loudness) -> None:
    """Be so loud from now on; downloads as well."""
    from openau.weights import progress

    global _loudness
    _loudness = loudness
    progress.show(loudness is not Loudness.QUIET)
    detail(_versions())


def complain(message: str) -> None:
    """Print one line about something that went wrong, `openau: message`."""
    typer.echo(f"openau: {message}", err=True)


def note(message: str) -> None:
    """Print a line about the work, unless quiet."""
    if _loudness is not Loudness.QUIET:
        typer.echo(message, err=True)


def detail(message: str) -> None:
    """Print a line about how the work goes, if verbose."""
    if _loudness is Loudness.VERBOSE:
        typer.echo(f"[{time.monotonic() - _started:6.2f} s] {message}", err=True)


def explain(error: BaseException) -> None:
    """Print where an error comes from, if verbose."""
    if _loudness is Loudness.VERBOSE:
        traceback.print_exception(error, file=sys.stderr)


def console() -> Console:
    """The console on stderr for bars and notes; silent where quiet."""
    from rich.console import Console

    return Console(stderr=True, quiet=_loudness is Loudness.QUIET)


def options() -> list[Any]:
    """`--quiet` and `--verbose`, as parameters that any command may have beside its own."""
    lender = typer.Typer(add_completion=False)
    lender.command()(_lent)
    return [param for param in typer.main.get_command(lender).params if param.name in ("quiet", "verbose")]


def _be_quiet(wanted: bool) -> None:
    if wanted:
        speak(Loudness.QUIET)


def _be_verbose(wanted: bool) -> None:
    if wanted:
        speak(Loudness.VERBOSE)


def _lent(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", callback=_be_quiet, expose_value=False, rich_help_panel="Any verb",
            help="No progress, no notes: only results and complaints.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", callback=_be_verbose, expose_value=False, rich_help_panel="Any verb",
            help="Also tell versions, times, and where an error comes from.",
        ),
    ] = False,
) -> None: ...  # fmt: skip


def memory() -> str:
    """The most memory this process has taken, in words."""
    try:
        import resource
    except ImportError:  # Windows
        return "done"
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return f"done; at most {most:,.0f} MB of memory"


def _versions() -> str:
    found = [
        f"OpenAU {__version__}",
        f"Python {platform.python_version()}",
        f"{platform.system()} {platform.machine()}",
    ]
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
