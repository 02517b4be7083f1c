"""`openau explain`: look inside a trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from openau.cli.progress import working
from openau.errors import InputError, UsageError
from openau.facs import au
from openau.outputs import make_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from openau.explain.links import Links

_WHO = {
    "unseen": "people the model has never seen",
    "watched": "people who chose its epoch",
    "trained": "people it was trained on",
}
_CALLED = {True: "called", False: "not called"}
_LISTED = 5


class Format(StrEnum):
    """Of the figures."""

    PNG = "png"
    SVG = "svg"


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder (its best epoch), or a checkpoint, FILE.safetensors.")],
    data: Annotated[
        Path, typer.Option("--data", help="Feature store with faces to watch the model on, or a folder that has one.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for figures and numbers; made if need be.")],
    image: Annotated[
        Path | None, typer.Option("--image", help="A photo: what speaks for and against each AU on its largest face.")
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(help="With --image, for a model over a FAN of one's own: the FAN's .onnx with the card beside it."),
    ] = None,
    faces: Annotated[
        int, typer.Option("--faces", min=2, help="Watch it on at most so many faces, drawn at random.")
    ] = 2000,
    kind: Annotated[Format, typer.Option("--format", help="Of the figures.")] = Format.PNG,
) -> None:  # fmt: skip
    """Look inside a trained FAN-Trans: which AU listens to which, which decides about which, where each looks.

    Faces are of people the model was not trained on, where the data has such. In DIR:

      attention     from whose token each AU's token is mixed, in percent; blocks: the same per transformer block

      keep          which of these links the learned attention drop keeps, and which it cuts

      influence     how far each AU's features move the verdict on another AU, exactly, in logits

      where         which parts of the face each AU's verdict rests on; looked_at: for a map, where its features come from

      photo         with --image: what speaks for (red) and against (blue) each AU on this face

      explain.json, links.csv, where.csv: all numbers, with the names of the AUs

    This shows what the model does, not what the face does: attention is not importance, and relevance is not cause.
    Needs no labels but for `where`, which is averaged over the faces that show an AU.

    For example:

      openau explain runs/0 --data faces/features -o inside --image photo.jpg
    """
    from openau.cli.train import open_stores
    from openau.explain import figures, grounds
    from openau.explain.faces import choose
    from openau.explain.files import write_numbers
    from openau.explain.links import links as links_of
    from openau.explain.relevance import baseline, relevance, signed
    from openau.explain.verdicts import probabilities
    from openau.training.joined import layout_of
    from openau.training.judge import load_team

    if extractor is not None and image is None:
        raise UsageError("--extractor is for --image: the faces of a feature store have been looked at already")
    if image is not None and not image.is_file():
        raise InputError(f"{image}: no such picture")
    team, store = load_team([run]), open_stores([data])
    model, layout = team.models[0], layout_of(store)
    watched = choose(team, store, faces)
    if len(watched.rows) < 2:
        raise UsageError(f"{store.folder}: holds a single usable face, but it takes several to tell what varies")
    on_photo = None if image is None else grounds.photo(image, layout, extractor)
    make_folder(out, parents=True)
    name = "/".join(run.absolute().parts[-2:])
    who = f"{len(watched.rows):,} faces of {watched.people} {_WHO[watched.known_to_model]}"
    about = f"{name}, {who}"
    with working(f"looking at {who}"):
        found, average = links_of(model, watched), baseline(model, watched)
        where = relevance(model, watched, average)
    drawn: dict[str, Callable[[], Figure]] = {"influence": lambda: figures.influence(found, about)}
    if len(found.attention):
        drawn |= {"attention": lambda: figures.attention(found, about), "blocks": lambda: figures.blocks(found, about)}
    if found.keep is not None:
        drawn["keep"] = lambda: figures.keep(found, about)
    canonical = grounds.canonical(layout)
    drawn["where"] = lambda: figures.where(where, canonical, about)
    if where.attention is not None:
        drawn["looked_at"] = lambda: figures.looked_at(where, canonical, about)
    speaks = None
    if image is not None and on_photo is not None:
        ground, inputs = on_photo
        speaks = signed(model, inputs, average, range(len(model.config.aus)), steps=32).places[0]
        said = probabilities(team, store, inputs)
        notes = {} if said is None else {a: f"{_CALLED[p >= 0.5]}, {p:.2f}" for a, p in enumerate(said.tolist())}
        title, places = f"{image.name}, {name}", speaks
        drawn["photo"] = lambda: figures.on_photo(found.aus, places, ground, where.side, notes, title)
    facts = {
        "model": str(run), "data": str(store.folder), "faces": len(watched.rows), "people": watched.people,
        "known_to_model": watched.known_to_model, "image": None if image is None else str(image),
    }  # fmt: skip
    write_numbers(out, facts, found, where, layout, speaks)
    with working("drawing"):
        _draw(drawn, out, kind)
    _tell(found, who)
    typer.echo(f"{out}: {', '.join(sorted(drawn))} as .{kind}; explain.json, links.csv, where.csv")


def _draw(drawn: Mapping[str, Callable[[], Figure]], out: Path, kind: Format) -> None:
    from openau.evaluation.plots import save

    for name, draw in drawn.items():
        save(draw(), out / f"{name}.{kind}")


def _tell(links: Links, who: str) -> None:
    """The strongest links on the terminal."""
    from openau.explain.figures import hardly_learned

    off = ~np.eye(len(links.aus), dtype=bool)
    table = Table(
        box=None, pad_edge=False, header_style="dim", title=f"Strongest links, on {who}", title_justify="left"
    )
    for heading, right in (("", False), ("this AU", False), ("by way of", False), ("", True)):
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)

    def add(what: str, size: Any, values: Any, text: str, unit: str) -> None:
        order = np.argsort(np.where(off, -size, np.inf), axis=None, kind="stable")
        for place in order[: min(_LISTED, int(off.sum()))]:
            i, j = divmod(int(place), len(links.aus))
            value = format(values[i, j], text) + unit
            table.add_row(what, _name(links.aus[i]), _name(links.aus[j]), value)

    add("verdict moved", np.abs(links.influence), links.influence, "+.2f", " logits")
    if links.mean_attention is not None:
        add("listens", links.mean_attention, 100 * links.mean_attention, ".1f", " %")
    moved = hardly_learned(links)
    if links.mean_keep is not None and moved is None:
        add("cut", -links.mean_keep, links.mean_keep, ".2f", " kept")
    Console(width=None if Console().is_terminal else 120).print(table)
    if not len(links.attention):
        typer.echo("This model has no transformer, so there is no attention to show.")
    elif links.keep is None:
        typer.echo("This model has no attention drop, so there are no keep probabilities to show.")
    elif moved is not None:
        typer.echo(
            f"The attention drop has hardly learned: no link's keep probability is more than {moved:.3f} from the "
            f"{links.begun_at:.2f} it began with."
        )


def _name(number: int) -> str:
    return f"AU{number} {au(number).name}"
