"""`openau --help`, a page: the verbs by what they are for, each group with an example, and what goes for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from openau.cli import Verb


@dataclass(frozen=True, slots=True)
class Purpose:
    """Verbs that are for the same thing.

    Attributes:
        verbs: their names, in the order of the page.
        examples: commands.
    """

    verbs: tuple[str, ...]
    examples: tuple[str, ...]


GROUPS: Mapping[str, Purpose] = {
    "Detect and look": Purpose(
        ("detect", "report", "serve", "demo"),
        ("openau detect photo.jpg", "openau detect clip.mp4 -o clip.csv --overlay seen.mp4", "openau report clip.mp4"),
    ),
    "Data": Purpose(
        ("synth", "prepare", "convert"),
        ("openau synth -o faces --people 100 --rig anny", "openau prepare disfa --root DISFA --out disfa"),
    ),
    "Train": Purpose(
        ("train", "finetune", "pretrain", "fan", "export"),
        ("openau train fantrans --data faces -o runs/0", "openau export runs/0 --data faces/features -o mine.onnx"),
    ),
    "Measure": Purpose(
        ("evaluate", "explain", "reproduce", "bench"),
        ("openau evaluate mine.onnx --data faces/features", "openau bench detect"),
    ),
    "Models and files": Purpose(("models", "fetch"), ("openau models default", "openau fetch")),
}
"""What verbs are for, in the order of the page."""

Row = tuple[str, str]
"""A name and what is said about it."""

WIDTH = 100
"""The widest the page gets, characters."""


def print_page(verbs: Sequence[Verb], always: Sequence[Row], alone: Sequence[Row]) -> None:
    """Print the page on stdout.

    Args:
        verbs: all of them; each is shown in its group.
        always: options that go with every verb.
        alone: options that stand without a verb.
    """
    console = Console(highlight=False)
    console = Console(highlight=False, width=min(console.width, WIDTH))
    width = max(len(verb.name) for verb in verbs)
    console.print(Text("\nFacial Action Units from photos, video and webcam, on your own machine.\n", style="bold"))
    console.print(Text("  openau VERB …          do it"))
    console.print(Text("  openau VERB --help     all about a verb\n"))
    said = {verb.name: verb.summary for verb in verbs}
    for title, purpose in GROUPS.items():
        console.print(Text(title, style="bold"))
        console.print(_rows([(name, said[name]) for name in purpose.verbs], width))
        console.print(_examples(purpose.examples))
    for title, options in (("With any verb", always), ("Alone", alone)):
        console.print(Text(title, style="bold"))
        console.print(_rows(options, max(len(name) for name, _ in [*always, *alone])))
        console.print()
    console.print(
        Text("Exit codes: 0 done, 1 some input failed (named on stderr), 2 wrong usage, 130 Ctrl-C\n", style="dim")
    )


def _rows(rows: Sequence[Row], width: int) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=width, style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in rows:
        table.add_row(name, Text(said))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _examples(commands: Sequence[str]) -> RenderableType:
    return Padding(Group(*(Text(f"$ {command}", style="green") for command in commands)), (1, 0, 1, 4), expand=False)
