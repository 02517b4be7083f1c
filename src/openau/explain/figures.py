"""Figures of what `openau.explain` finds; `openau.evaluation.plots.save` writes them.

Colours are told apart with any common colour vision: one hue for amounts, red against blue or orange against purple for signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openau.evaluation.plots import new_figure
from openau.explain.grounds import Ground
from openau.explain.links import Links
from openau.explain.relevance import Relevance
from openau.facs import au
from openau.overlay import CONTOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Doubles = npt.NDArray[np.float64]
Colours = tuple[str, "Normalize"]
"""A colour map's name and how values are laid on it."""

_LINE = "#8A8A8A"
_LEAST_RANGE = 0.05
"""Keep probabilities that differ by less than this from where they began are drawn pale: hardly anything has been learned."""
_SMOOTHING = 0.09
"""Standard deviation of the kernel that spreads a landmark's relevance, in distances between the outer eye corners."""
_FINE = 120
"""Pixels a side of a drawn field."""


class Field(NamedTuple):
    """Values (H, W) over a face and the edges of what they cover: left, right, bottom, top."""

    values: Doubles
    extent: tuple[float, float, float, float]


def attention(links: Links, about: str) -> Figure:
    """Whom each AU's token listens to, in percent of its attention.

    Raises:
        ValueError: the model has no transformer.
    """
    mean = links.mean_attention
    if mean is None:
        raise ValueError("a model without transformer has no attention")
    return _matrix(
        100 * mean, links.aus, _attention_colours(100 * mean),
        title=f"Which AU listens to which: attention\n{about}", rows="this AU listens …", columns="… to this AU",
        bar=f"percent of its attention (white: {100 / len(links.aus):.1f}, an even share)",
    )  # fmt: skip


def keep(links: Links, about: str) -> Figure:
    """What the attention drop has learned: purple links are cut more often than at the start, orange ones less often.

    Raises:
        ValueError: the model has no attention drop.
    """
    mean = links.mean_keep
    if mean is None:
        raise ValueError("a model without attention drop has no keep probabilities")
    shown = _without_diagonal(mean)
    low, high = float(np.nanmin(shown, initial=links.begun_at)), float(np.nanmax(shown, initial=links.begun_at))
    learned = "" if hardly_learned(links) is None else f"\nhardly learned: all links between {low:.3f} and {high:.3f}"
    return _matrix(
        shown, links.aus, _keep_colours(links),
        title=f"Which links the attention drop keeps\n{about}{learned}", rows="this AU listens …", columns="… to this AU",
        bar=f"keep probability (white: {links.begun_at:.2f}, before training); an AU always hears itself",
    )  # fmt: skip


def hardly_learned(links: Links) -> float | None:
    """The largest difference of a keep probability to where it began, if that is too small to speak of; else None."""
    if links.keep is None:
        return None
    off = ~np.eye(len(links.aus), dtype=bool)
    moved = float(np.abs(links.keep[:, off] - links.begun_at).max(initial=0))
    return moved if moved < _LEAST_RANGE else None


def influence(links: Links, about: str) -> Figure:
    """How far one AU's features move another AU's verdict in the classifier; on the diagonal, in figures, the AU's own."""
    from matplotlib.colors import Normalize

    shown = _without_diagonal(links.influence)
    reach = max(1e-9, float(np.nanmax(np.abs(shown), initial=0)))
    return _matrix(
        shown, links.aus, ("RdBu_r", Normalize(-reach, reach)),
        title=f"Which AU decides about which: the classifier\n{about}", rows="verdict on this AU",
        columns="moved by this AU's features",
        bar="logits by which the verdict moves when the other AU's logit is 1 s.d. higher\nred: speaks for it, blue: against it",
        diagonal=np.diag(links.influence),
    )  # fmt: skip


def blocks(links: Links, about: str) -> Figure:
    """Attention of each transformer block, and what its drop keeps.

    Raises:
        ValueError: the model has no transformer.
    """
    depth = len(links.attention)
    if not depth:
        raise ValueError("a model without transformer has no blocks")
    kinds = 1 if links.keep is None else 2
    figure = new_figure(max(6.0, 4.3 * depth + 0.8), 4.1 * kinds + 0.6)
    grid = figure.subplots(kinds, depth, squeeze=False)
    colours = _attention_colours(100 * links.attention)
    for number, axes in enumerate(grid[0]):
        image = _cells(axes, 100 * links.attention[number], links.aus, colours, short=True)
        axes.set_title(f"block {number + 1}: attention, percent", fontsize=9)
    figure.colorbar(image, ax=grid[0].tolist(), shrink=0.8)
    if links.keep is not None:
        colours = _keep_colours(links)
        for number, axes in enumerate(grid[1]):
            image = _cells(axes, _without_diagonal(links.keep[number]), links.aus, colours, short=True)
            axes.set_title(f"block {number + 1}: keep probability", fontsize=9)
        figure.colorbar(image, ax=grid[1].tolist(), shrink=0.8)
    figure.suptitle(f"Block by block: rows listen to columns\n{about}", fontsize=11)
    return figure


def where(found: Relevance, ground: Ground, about: str) -> Figure:
    """Where each AU looks, a face per AU, each coloured relative to its own strongest place."""
    return _faces(
        found.aus, found.places, ground, found.side, _unseen(found), f"Where each AU looks\n{about}",
        "relevance, relative to the AU's strongest place",
    )  # fmt: skip


def looked_at(found: Relevance, ground: Ground, about: str) -> Figure:
    """The attention with which an add-on over maps gathers each AU's features from the cells.

    Raises:
        ValueError: the add-on is not one over maps.
    """
    if found.attention is None:
        raise ValueError("an add-on under landmarks has no attention over cells")
    return _faces(
        found.aus, found.attention, ground, found.side, _unseen(found),
        f"From where each AU gathers its features: attention over the map\n{about}",
        "attention, relative to the AU's strongest cell",
    )  # fmt: skip


def on_photo(
    aus: tuple[int, ...], places: Doubles, ground: Ground, side: int, notes: Mapping[int, str], about: str
) -> Figure:
    """What speaks for and against each AU on one face; colours mean the same in all panels.

    Args:
        aus: of the panels.
        places: (A, P) signed relevance, logits.
        ground: the photo.
        side: cells of a row and column; 0 = landmarks.
        notes: position among the AUs → remark below its panel.
        about: the photo and the model, for the title.
    """
    return _faces(
        aus, places, ground, side, notes, f"What speaks for and against each AU on this face\n{about}",
        "red: speaks for the AU, blue: against it; relative to the strongest of all panels", signed=True,
    )  # fmt: skip


def _unseen(found: Relevance) -> dict[int, str]:
    return {a: "no face shows it" for a in range(len(found.aus)) if not found.faces[a]}


def _attention_colours(percent: Doubles) -> Colours:
    """From none (purple) by an even share (white) to the most (orange)."""
    from matplotlib.colors import TwoSlopeNorm

    even = 100 / percent.shape[-1]
    return "PuOr_r", TwoSlopeNorm(even, 0, max(2 * even, float(percent.max())))


def _keep_colours(links: Links) -> Colours:
    """From links that are cut more often than before training (purple) to those that are kept more often (orange)."""
    from matplotlib.colors import Normalize

    off = ~np.eye(len(links.aus), dtype=bool)
    reach = _LEAST_RANGE
    if links.keep is not None:
        reach = max(reach, float(np.abs(links.keep[:, off] - links.begun_at).max(initial=0)))
    return "PuOr_r", Normalize(links.begun_at - reach, links.begun_at + reach)


def _matrix(
    values: Doubles, aus: tuple[int, ...], colours: Colours, *, title: str, rows: str, columns: str, bar: str,
    diagonal: Doubles | None = None,
) -> Figure:  # fmt: skip
    size = max(3.6, 0.27 * len(aus) + 1.2)
    figure = new_figure(size + 3.2, size + 1.1)
    axes = figure.add_subplot()
    image = _cells(axes, values, aus, colours)
    for place, value in enumerate(() if diagonal is None else diagonal):
        axes.text(place, place, f"{value:.1f}", ha="center", va="center", fontsize=6.5, color="#333333")
    axes.set_ylabel(rows)
    axes.set_xlabel(columns)
    axes.xaxis.set_label_position("top")
    figure.colorbar(image, ax=axes, shrink=0.75).set_label(bar, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _cells(axes: Axes, values: Doubles, aus: tuple[int, ...], colours: Colours, short: bool = False) -> Any:
    """Coloured cells, the AUs' names beside them; cells without a value are grey."""
    image = axes.imshow(values, cmap=colours[0], norm=colours[1])
    axes.set_facecolor("#E4E4E4")
    names = [str(number) if short else f"AU{number}" for number in aus]
    axes.set_xticks(range(len(aus)), names, rotation=90, fontsize=6.5 if short else 8)
    axes.xaxis.tick_top()
    full = names if short else [f"{au(number).name}  AU{number}" for number in aus]
    axes.set_yticks(range(len(aus)), full, fontsize=6.5 if short else 8)
    axes.set_xticks(np.arange(1, len(aus)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(aus)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def _without_diagonal(values: Doubles) -> Doubles:
    return np.where(np.eye(len(values), dtype=bool), np.nan, values)


def _faces(
    aus: tuple[int, ...], places: Doubles, ground: Ground, side: int, notes: Mapping[int, str], title: str, bar: str,
    signed: bool = False,
) -> Figure:  # fmt: skip
    """A face per AU, its places' values as colours: signed ones relative to the largest of all, others to the AU's own largest."""
    columns = max(1, min(6, math.ceil(math.sqrt(len(aus) * 1.3))))
    rows = math.ceil(len(aus) / columns)
    figure = new_figure(max(5.5, 1.95 * columns), 2.2 * rows + 1.3)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid[len(aus) :]:
        axes.set_visible(False)
    fields = [_field(np.nan_to_num(values), ground, side) for values in places]
    largest = max(float(np.abs(field.values).max(initial=0)) for field in fields)
    image: Any = None
    for a, axes in enumerate(grid[: len(aus)]):
        top = largest if signed else float(fields[a].values.max(initial=0))
        _ground(axes, ground)
        image = _colour(axes, fields[a], top or 1.0, ground, signed)
        axes.set_title(f"AU{aus[a]} {au(aus[a]).name}", fontsize=8)
        if a in notes:
            axes.text(
                0.5, -0.02, notes[a], ha="center", va="top", fontsize=7.5, color="#444444", transform=axes.transAxes
            )
    figure.colorbar(image, ax=grid, shrink=0.5, location="bottom", aspect=45, pad=0.02).set_label(bar, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _field(values: Doubles, ground: Ground, side: int) -> Field:
    """Values (P,) of the places over a face: a grid's cells as they are; landmarks' summed under a Gaussian about each point."""
    if side:
        return Field(values.reshape(side, side), (0, ground.square, ground.square, 0))
    if ground.places is None:
        raise ValueError("there are no landmarks on this ground")
    low, high = ground.landmarks.min(axis=0), ground.landmarks.max(axis=0)
    margin = 0.08 * (high - low)
    x, y = (np.linspace(start, stop, _FINE) for start, stop in zip(low - margin, high + margin, strict=True))
    width = _SMOOTHING * float(np.linalg.norm(ground.landmarks[33] - ground.landmarks[263]))
    across = np.exp(-((x[:, None] - ground.places[:, 0]) ** 2) / (2 * width**2))
    down = np.exp(-((y[:, None] - ground.places[:, 1]) ** 2) / (2 * width**2))
    return Field((down * values) @ across.T, (float(x[0]), float(x[-1]), float(y[-1]), float(y[0])))


def _ground(axes: Axes, ground: Ground) -> None:
    """The photo, or the lines of the face."""
    if ground.picture is not None:
        height, width = ground.picture.shape[:2]
        axes.imshow(ground.picture, extent=(0, width, height, 0), zorder=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
    else:
        for ids, closed in CONTOURS:
            line = ground.landmarks[[*ids, ids[0]] if closed else list(ids)]
            axes.plot(line[:, 0], line[:, 1], color=_LINE, linewidth=0.8, zorder=2)
        if ground.square:
            axes.set(xlim=(0, ground.square), ylim=(ground.square, 0))
        else:
            axes.margins(0.04)
            axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.autoscale(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _colour(axes: Axes, field: Field, top: float, ground: Ground, signed: bool) -> Any:
    """Lay a field over a face; under landmarks it ends at the face's outline. On a photo, small values let it show through."""
    share = np.clip(field.values / top, -1, 1)
    image = axes.imshow(
        share, extent=field.extent, cmap="RdBu_r" if signed else "YlOrBr", vmin=-1 if signed else 0, vmax=1, zorder=1,
        alpha=np.clip(1.6 * np.abs(share), 0, 0.85) if ground.picture is not None else None, interpolation="nearest",
    )  # fmt: skip
    if not ground.square:
        from matplotlib.patches import Polygon

        outline = Polygon(ground.landmarks[list(CONTOURS[0][0])], transform=axes.transData)
        image.set_clip_path(outline)
    return image
