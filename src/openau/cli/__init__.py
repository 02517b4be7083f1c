"""The command line: `openau VERB …`, one file per verb.

To add a verb, write `openau/cli/<verb>.py` with either

- `command`, a plain function with Typer annotations (`openau detect INPUT…`), or
- `app`, a `typer.Typer` with sub-commands (`openau bench detect`, `openau bench synth`),

and add a line to `VERBS` below. The module is imported only when the verb is used, so it may import what it needs at its
top: a missing optional package becomes one sentence that names the `pip install`, and the other verbs go on working.

A verb raises the classes of `openau.errors`; `main` prints their sentence and leaves with their exit code. A verb that worked on
several inputs of which some failed reports each with `complain` and ends with `raise typer.Exit(1)`.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from openau import __version__
from openau.errors import MissingExtraError, OpenAUError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as a shell gives it."""

READER_LEFT = 141
"""Exit code when the reader of a pipe went away: 128 + SIGPIPE, as a shell gives it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A word of the command line.

    Attributes:
        name: the word, and the module `openau.cli.<name>`.
        summary: its line in `openau --help`.
        extra: the optional dependencies it needs as a whole, if any.
    """

    name: str
    summary: str
    extra: str | None = None


VERBS = (
    Verb("detect", "Action Units of the faces in images, videos or a camera, as a table and an overlay."),
    Verb("demo", "Detect on a short clip that comes with OpenAU; needs no input."),
    Verb("serve", "A page for camera, photos and videos in your browser, and an HTTP API.", extra="serve"),
    Verb("report", "One HTML file about a table or a video: timeline, muscles, numbers, limits.", extra="report"),
    Verb("convert", "Tables from and for OpenFace and Py-Feat; AU events for ELAN and BORIS.", extra="tables"),
    Verb("models", "Which models there are, and the whole card of one."),
    Verb("fetch", "Fill the weight store, so that detection works without a network."),
    Verb("synth", "Render faces with known Action Units.", extra="synth"),
    Verb("prepare", "Aligned faces and a manifest from a labelled data set.", extra="datasets"),
    Verb("train", "Train a model on rendered or labelled faces.", extra="train"),
    Verb("finetune", "Adapt a model to your own labelled faces, and say whether it helped.", extra="train"),
    Verb("pretrain", "Make a backbone: a Vision Transformer that knows faces, from pictures of them.", extra="train"),
    Verb("evaluate", "Judge a model on labelled faces, with intervals."),
    Verb("explain", "Look inside a trained model: AU links, attention, where on the face it looks.", extra="train"),
    Verb("reproduce", "From a data set's folder to its table beside the published rows.", extra="train"),
    Verb("export", "Turn a checkpoint into a model that `detect` runs.", extra="train"),
    Verb("fan", "Face alignment networks: convert published ones, train, judge and export your own.", extra="train"),
    Verb("bench", "Time detection and rendering on this machine."),
)

_EXTRA_OF: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("pyarrow", "pandas"), "tables"),
        **dict.fromkeys(("numba", "scipy"), "synth"),
        "openpyxl": "datasets",
        "matplotlib": "plots",
        **dict.fromkeys(("ray", "fsspec"), "cluster"),
        **dict.fromkeys(("jinja2", "markupsafe"), "report"),
        **dict.fromkeys(("fastapi", "starlette", "uvicorn", "websockets", "python_multipart"), "serve"),
        **dict.fromkeys(
            ("torch", "lightning", "safetensors", "onnx", "onnxscript", "jsonargparse", "yaml", "tensorboardX"), "train"
        ),
    }
)

_EXAMPLES = """For example:

  openau demo                              a first look, without any input

  openau detect photo.jpg                  a table on the terminal

  openau detect clip.mp4 -o clip.csv       a row per face and frame

  openau detect clip.mp4 --overlay o.mp4   the clip with its AUs drawn in

  openau models default                    what it was trained on, its limits
"""


def complain(message: str) -> None:
    """Print one line, `openau: message`, on stderr."""
    typer.echo(f"openau: {message}", err=True)


class _Verbs(TyperGroup):
    """The top command: knows its verbs by name and loads only the one that is used."""

    used: Verb | None = None

    def list_commands(self, ctx: Any) -> list[str]:
        return [verb.name for verb in VERBS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that can be listed; `resolve_command` loads the real one."""
        verb = next((verb for verb in VERBS if verb.name == cmd_name), None)
        return None if verb is None else TyperCommand(name=verb.name, help=verb.summary, callback=lambda: None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        self.used = next(verb for verb in VERBS if verb.name == name)
        return name, _load(self.used), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OpenAUError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            complain(str(_missing_extra(error, self.used)))
            raise typer.Exit(MissingExtraError.exit_code) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()
            raise typer.Exit(READER_LEFT) from None
        except (
            OSError
        ) as error:  # what no room has put into words: no temporary folder, a cache that may not be entered …
            complain(f"{error.filename or 'the system'}: {(error.strerror or str(error)).lower()}")
            raise typer.Exit(OpenAUError.exit_code) from None


def _load(verb: Verb) -> Any:
    module = importlib.import_module(f"openau.cli.{verb.name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name=verb.name)(module.command)
    command = typer.main.get_command(app)
    command.name = verb.name
    return command


def _missing_extra(error: ModuleNotFoundError, verb: Verb | None) -> MissingExtraError:
    """The sentence for a missing optional package; any other missing module is a defect and is raised again."""
    package = (error.name or "").split(".")[0]
    if verb is None or package not in _EXTRA_OF:
        raise error
    extra = verb.extra or _EXTRA_OF[package]
    return MissingExtraError(
        f"`openau {verb.name}` needs {package}, which is not installed; run: pip install 'openau[{extra}]'"
    )


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of complaining about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    cls=_Verbs, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, epilog=_EXAMPLES
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openau {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Facial Action Units from photos, video and webcam.

    `openau VERB --help` explains a verb. Exit codes: 0 done, 1 some input failed (named on stderr), 2 wrong usage.
    """


def main() -> None:
    """Run the command line; the entry point of the `openau` script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name or a sign that the terminal's encoding does not have is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        sys.exit(READER_LEFT)
