"""The command line: `openau VERB …`, one file per verb.

To add a verb, write `openau/cli/<verb>.py` with either

- `command`, a plain function with Typer annotations (`openau detect INPUT…`), or
- `app`, a `typer.Typer` with sub-commands (`openau bench detect`, `openau bench synth`),

and add a line to `VERBS` below, and its name to its group in `openau.cli.page`. The module is imported only when the verb is used, so
it may import what it needs at its top: a missing optional package becomes one sentence that names the `pip install`, and the other
verbs go on working.

A verb raises the classes of `openau.errors`; `main` prints their sentence and leaves with their exit code. A verb that worked on
several inputs of which some failed reports each with `complain` and ends with `raise typer.Exit(1)`.

Results go to stdout. Everything else goes through `openau.cli.voice`, which knows `--quiet` and `--verbose`: bars on its `console()`,
lines about the work by `note` and `detail`. Every verb has these two options without doing anything for it.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from openau import __version__
from openau.cli import voice
from openau.cli.voice import complain
from openau.errors import MissingExtraError, OpenAUError, UsageError

__all__ = ["INTERRUPTED", "READER_LEFT", "VERBS", "Verb", "app", "complain", "main"]

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

MEANT: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("predict", "run", "analyse", "analyze", "process", "extract", "infer", "image", "video"), "detect"
        ),
        **dict.fromkeys(("webcam", "camera", "live"), "detect 0"),
        **dict.fromkeys(("gui", "web", "app", "server", "api"), "serve"),
        **dict.fromkeys(("download", "install", "weights"), "fetch"),
        **dict.fromkeys(("list", "info", "card", "cards"), "models"),
        **dict.fromkeys(("test", "eval", "validate", "compare", "score"), "evaluate"),
        **dict.fromkeys(("benchmark", "speed", "time"), "bench"),
        **dict.fromkeys(("generate", "render"), "synth"),
        "adapt": "finetune",
        "convert": "export",
        "help": "--help",
        "version": "--version",
    }
)
"""Words that people type, and what they mean here."""


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
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageError(_unknown_verb(args))
        name, _, rest = super().resolve_command(ctx, args)
        self.used = next(verb for verb in VERBS if verb.name == name)
        return name, _load(self.used), rest

    def get_params(self, ctx: Any) -> list[Any]:
        """The verbs' common options stand before the verb as well."""
        return [*voice.options(), *super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The page of all verbs, `openau.cli.page`."""
        from openau.cli.page import print_page

        always = [param.name for param in voice.options()]
        shown = {", ".join(sorted(param.opts, key=len)): param for param in self.get_params(ctx)}
        print_page(
            VERBS,
            [(opts, param.help) for opts, param in shown.items() if param.name in always],
            [(opts, param.help) for opts, param in shown.items() if param.name not in always],
        )

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OpenAUError as error:
            voice.explain(error)
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
        finally:
            voice.detail(voice.memory())


def _load(verb: Verb) -> Any:
    module = importlib.import_module(f"openau.cli.{verb.name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name=verb.name)(module.command)
    command = typer.main.get_command(app)
    command.name = verb.name
    for leaf in _leaves(command):
        leaf.params.extend(voice.options())
    return command


def _leaves(command: Any) -> Iterator[Any]:
    """The command itself, or what is inside a group of commands."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield command
    else:
        for one in inside.values():
            yield from _leaves(one)


def _unknown_verb(args: list[str]) -> str:
    """The sentence about a word that is no verb, with what was probably meant."""
    word = args[0]
    if Path(word).exists() or word.isdecimal():
        return f"{word} is no verb; did you mean `openau detect {' '.join(args)}`?"
    close = difflib.get_close_matches(word.lower(), [verb.name for verb in VERBS], n=1, cutoff=0.6)
    meant = MEANT.get(word.lower()) or (close[0] if close else None)
    if meant is None:
        return f"there is no verb {word!r}; `openau --help` lists them"
    return f"there is no verb {word!r}; did you mean `openau {meant}`?"


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


app = typer.Typer(cls=_Verbs, no_args_is_help=True, pretty_exceptions_enable=False)


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
    """Facial Action Units from photos, video and webcam."""


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
