"""Plots of an evaluation, drawn by Matplotlib (extra `plots`) without touching its global state.

Every function returns a figure; `save` writes it as PNG or SVG. Colours are those of Okabe and Ito, which people with any common colour
vision can tell apart; models also differ by line style or order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, MissingExtraError, UsageError
from openau.evaluation.counts import Doubles
from openau.evaluation.events import find_events, order_frames
from openau.evaluation.metrics import average_precision, bin_of, calibration_error, roc_auc
from openau.evaluation.scored import Scored
from openau.evaluation.tables import EvaluationTable, title_of
from openau.facs import au
from openau.outputs import whole_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_STYLES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":", "-", "--", "-.")
_GREY, _PALE = "#666666", "#DDDDDD"
_CURVE_POINTS = 400
FEWEST_FACES = 20


def roc_curves(results: Sequence[Scored]) -> Figure:
    """ROC curves, a panel per AU, a line per model; the legend gives the AUC."""
    return _curves(results, _roc, roc_auc, "AUC", "false-alarm rate", "hit rate", "ROC curves")


def pr_curves(results: Sequence[Scored]) -> Figure:
    """Precision over recall, a panel per AU, a line per model; grey: the share of positives, which guessing would give."""
    return _curves(
        results, _precision_recall, average_precision, "AP", "recall", "precision", "Precision–recall curves"
    )


def au_bars(tables: Sequence[EvaluationTable], metric: str = "f1") -> Figure:
    """One metric per AU as bars with 95 % intervals, models side by side, their means last.

    Args:
        tables: of the models; AUs are those that any of them judges.
        metric: key of `tables.METRICS`.

    Raises:
        UsageError: no table, or more than there are colours.
    """
    _require_some(tables)
    aus = sorted({row.au for table in tables for row in table.rows})
    figure = new_figure(max(6.4, 1.6 + 0.18 * (len(aus) + 1) * (len(tables) + 1.5)), 3.8)
    axes = figure.add_subplot()
    width = 0.8 / len(tables)
    places = np.append(np.arange(len(aus)), len(aus) + 0.5)
    for index, table in enumerate(tables):
        rows = {row.au: row[metric] for row in table.rows}
        found = [rows.get(number) for number in aus] + [table.mean[metric]]
        value, low, high = (
            np.array([getattr(e, n) if e else math.nan for e in found]) for n in ("value", "low", "high")
        )
        x = places + (index - (len(tables) - 1) / 2) * width
        axes.bar(x, value, width * 0.92, color=COLOURS[index], label=_legend_name(table))
        sides = np.clip(np.stack([value - low, high - value]), 0, None)
        axes.errorbar(x, value, yerr=sides, fmt="none", ecolor="#222222", elinewidth=1, capsize=min(3, 14 * width))
    axes.set_xticks(places, [*(au(number).column for number in aus), "mean"], rotation=45 if len(aus) > 14 else 0)
    axes.axvline(len(aus) - 0.25, color=_GREY, linewidth=0.8)
    axes.set_xlim(-0.6, len(aus) + 1.1)
    axes.set_ylabel(title_of(metric, tables[0].threshold))
    _plain(axes, grid="y")
    if len(tables) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    title = tables[0].title if len(tables) == 1 else " · ".join(dict.fromkeys(filter(None, (t.data for t in tables))))
    figure.suptitle(f"{title_of(metric, tables[0].threshold)} per AU: {title}, 95 % intervals over people", fontsize=11)
    return figure


def confusion_shares(scored: Scored, threshold: float = 0.5) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """What is called when something else is shown.

    Row i, column j ≠ i: of the faces that show AU i and do *not* show AU j, the share for which j is called. So AUs that truly come
    together do not count as confusion. The diagonal is the share of faces with AU i for which i is called (recall). The last row is for
    faces that show none of the AUs. Faces whose label of i or j is not known, or that were not judged, are left out.

    Args:
        scored: faces.
        threshold: of a call.

    Returns:
        shares (A + 1, A), NaN where there is no such face, and the faces they are taken of (A + 1, A).
    """
    judged = ~np.isnan(scored.probability)
    called = (scored.probability >= np.float32(threshold)) & judged
    present, absent = (judged & (scored.occurrence == value) for value in (1, 0))
    shown = np.concatenate([scored.occurrence == 1, (scored.occurrence == 0).all(axis=1)[:, None]], axis=1)
    rows = shown.T.astype(np.float64)
    faces, calls = rows @ absent.astype(np.float64), rows @ (absent & called).astype(np.float64)
    own = np.arange(len(scored.aus))
    faces[own, own], calls[own, own] = present.sum(axis=0), (present & called).sum(axis=0)
    return np.where(faces > 0, calls / np.maximum(faces, 1), np.nan), faces.astype(np.int64)


def confusion(scored: Scored, threshold: float = 0.5) -> Figure:
    """`confusion_shares` as a matrix in percent; cells of fewer than 20 faces stay empty."""
    shares, faces = confusion_shares(scored, threshold)
    shares = np.where(faces >= FEWEST_FACES, shares, np.nan)
    names = [au(number).column for number in scored.aus]
    size = max(4.6, 0.46 * len(names) + 2.2)
    figure = new_figure(size + 0.9, size)
    axes = figure.add_subplot()
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_facecolor("#F2F2F2")
    for (i, j), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{100 * share:.0f}"
        weight = "bold" if i == j else "normal"
        axes.text(
            j, i, text, ha="center", va="center", fontsize=8, weight=weight, color="white" if share > 0.6 else "#222222"
        )
    axes.axhline(len(names) - 0.5, color="white", linewidth=4)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names) + 1), [*names, "none"])
    axes.set_xlabel("called, among faces that do not show it\n(diagonal: among faces that do)")
    axes.set_ylabel("shown")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.8, label="percent of these faces")
    figure.suptitle(f"What is called when something else is shown\n{_title(scored)}", fontsize=11)
    return figure


def reliability(scored: Scored, bins: int = 15) -> Figure:
    """How often an AU is shown when the model gives it some probability, a panel per AU.

    Dots: share of positives over the mean probability of a bin, larger for more faces. Below: how many faces are in each bin.
    """
    figure, panels = _panels(len(scored.aus), f"Reliability: {_title(scored)}", 2.3)
    for a, (number, axes) in enumerate(zip(scored.aus, panels, strict=True)):
        known = ~(np.isnan(scored.probability[:, a]) | np.isnan(scored.occurrence[:, a]))
        said, shown = scored.probability[known, a].astype(np.float64), scored.occurrence[known, a]
        which = bin_of(said, bins)
        count = np.bincount(which, minlength=bins)
        used = count > 0
        mean = np.bincount(which, said, bins)[used] / count[used]
        share = np.bincount(which, shown, bins)[used] / count[used]
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
        height = 0.25 * count / max(count.max(), 1)
        axes.bar((np.arange(bins) + 0.5) / bins, height, 0.9 / bins, color=_PALE, zorder=0)
        axes.plot(mean, share, color=COLOURS[0], linewidth=1.2)
        axes.scatter(mean, share, s=6 + 30 * np.sqrt(count[used] / max(count.max(), 1)), color=COLOURS[0], zorder=3)
        _square(axes, number, f"ECE {calibration_error(said, shown, bins):.3f}")
    figure.supxlabel("probability given (grey bars: how many faces)", fontsize=10)
    figure.supylabel("share that shows the AU", fontsize=10)
    return figure


def timeline(scored: Scored, clip: str, aus: Sequence[int] | None = None, threshold: float = 0.5) -> Figure:
    """Prediction against coding along a clip, a strip per AU.

    Line: probability. Shaded: coded as present. Hatched: not coded. Dashed: threshold. Bar above: called. Lines break where frames are
    missing or a face was not judged.

    Args:
        scored: faces, with clips and frames.
        clip: which.
        aus: strips; default all.
        threshold: of a call.

    Raises:
        InputError: there is no such clip.
        UsageError: the model does not judge one of the AUs.
    """
    of_clip = np.flatnonzero(scored.clip == clip)
    if not len(of_clip):
        raise InputError(f"{scored.model} on {scored.data}: there is no clip {clip!r}")
    lacking = [number for number in aus or () if number not in scored.aus]
    if lacking:
        raise UsageError(f"{scored.model} does not judge {au(lacking[0]).column}")
    order = order_frames(scored.clip[of_clip], scored.frame[of_clip])
    shown = scored.take(of_clip[order.rows]).only(tuple(aus or scored.aus))
    figure = new_figure(9, 1.3 + 0.62 * len(shown.aus))
    panels = figure.subplots(len(shown.aus), 1, sharex=True, squeeze=False)[:, 0]
    for a, (number, axes) in enumerate(zip(shown.aus, panels, strict=True)):
        _strip(axes, shown.frame, order.position, shown.probability[:, a], shown.occurrence[:, a], threshold)
        axes.set_ylabel(au(number).column, rotation=0, ha="right", va="center")
    panels[-1].set_xlabel("frame")
    panels[-1].spines["bottom"].set_visible(True)
    panels[-1].tick_params(bottom=True)
    figure.legend(handles=_timeline_legend(), loc="outside upper right", ncols=5, frameon=False, fontsize=8)
    figure.suptitle(f"{clip} · {_title(scored)}", fontsize=11, x=0.01, ha="left")
    return figure


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write as .png or .svg, whole or not at all; the same figure gives the same bytes.

    Raises:
        UsageError: another suffix.
        OutputError: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        raise UsageError(f"{path}: a plot is written as .png or .svg, not as {kind or 'a file without suffix'}")
    from matplotlib import rc_context

    with whole_file(path) as scratch, rc_context({"svg.hashsalt": "openau"}):
        figure.savefig(scratch, dpi=dpi, facecolor="white", metadata={"Date": None} if kind == ".svg" else None)


def _curves(
    results: Sequence[Scored],
    curve: Callable[[Doubles, npt.NDArray[np.bool_]], tuple[Doubles, Doubles]],
    metric: Callable[[Doubles, Doubles], float],
    short: str,
    x: str,
    y: str,
    title: str,
) -> Figure:
    _require_some(results)
    aus = sorted({number for scored in results for number in scored.aus})
    about = _title(results[0]) if len(results) == 1 else " · ".join(dict.fromkeys(s.data for s in results))
    figure, panels = _panels(len(aus), f"{title}: {about}", 2.35)
    for number, axes in zip(aus, panels, strict=True):
        for index, scored in enumerate(results):
            if number in scored.aus:
                _curve(axes, scored, number, curve, metric, short, index)
        if curve is _roc:
            axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
        _square(axes, number)
        if axes.get_legend_handles_labels()[0]:
            place: Literal["lower right", "lower left"] = "lower right" if curve is _roc else "lower left"
            axes.legend(
                loc=place, fontsize=7, frameon=True, framealpha=0.85, edgecolor="none", handlelength=1.6, borderpad=0.2
            )
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)
    if len(results) > 1:
        from matplotlib.lines import Line2D

        lines = [
            Line2D([], [], color=COLOURS[i], linestyle=_STYLES[i], label=_legend_name(s)) for i, s in enumerate(results)
        ]
        # The title of the legend is the figure's: a layout does not keep a legend and a title apart.
        heading = f"{title}: {about}"
        figure.suptitle("")
        figure.legend(
            handles=lines, title=heading, title_fontsize=11, loc="outside upper center", ncols=4, frameon=False
        )
    return figure


def _curve(
    axes: Axes,
    scored: Scored,
    number: int,
    curve: Callable[[Doubles, npt.NDArray[np.bool_]], tuple[Doubles, Doubles]],
    metric: Callable[[Doubles, Doubles], float],
    short: str,
    index: int,
) -> None:
    a = scored.aus.index(number)
    known = ~(np.isnan(scored.probability[:, a]) | np.isnan(scored.occurrence[:, a]))
    said, shown = scored.probability[known, a].astype(np.float64), scored.occurrence[known, a] > 0.5
    if not shown.any() or shown.all():
        axes.text(
            0.5, 0.5, "one class only", ha="center", va="center", color=_GREY, fontsize=8, transform=axes.transAxes
        )
        return
    x, y = curve(said, shown)
    keep = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).astype(int))
    label = f"{short} {metric(said, shown.astype(np.float64)):.3f}"
    axes.plot(x[keep], y[keep], color=COLOURS[index], linestyle=_STYLES[index], linewidth=1.4, label=label)
    if curve is _precision_recall:
        axes.axhline(shown.mean(), color=_GREY, linewidth=0.8, linestyle=":")


def _roc(said: Doubles, shown: npt.NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    hits, alarms = _passing(said, shown)
    return np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]


def _precision_recall(said: Doubles, shown: npt.NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    hits, alarms = _passing(said, shown)
    precision = hits / (hits + alarms)
    return np.r_[0.0, hits / hits[-1]], np.r_[precision[0], precision]


def _passing(said: Doubles, shown: npt.NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Hits and false alarms at each falling threshold."""
    order = np.argsort(-said, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(said[order]) != 0, True])
    return np.cumsum(shown[order])[ends].astype(np.float64), np.cumsum(~shown[order])[ends].astype(np.float64)


def _strip(
    axes: Axes,
    frame: npt.NDArray[np.int64],
    position: npt.NDArray[np.int64],
    said: npt.NDArray[np.floating],
    coded: npt.NDArray[np.floating],
    threshold: float,
) -> None:
    step = float(np.median(np.diff(frame))) if len(frame) > 1 else 1.0

    def spans(flags: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
        events = find_events(flags, position)
        starts, stops = frame[events.start] - step / 2, frame[events.stop - 1] + step / 2
        return list(zip(starts.tolist(), (stops - starts).tolist(), strict=True))

    axes.broken_barh(spans(coded > 0.5), (0, 1), color="#F0C36D", linewidth=0)
    axes.broken_barh(spans(np.isnan(coded)), (0, 1), facecolor="none", edgecolor=_PALE, hatch="////", linewidth=0)
    axes.broken_barh(spans(said >= threshold), (1.06, 0.12), color=COLOURS[0], linewidth=0)
    axes.axhline(threshold, color=_GREY, linewidth=0.8, linestyle="--")
    gaps = np.flatnonzero(np.diff(position) != 1) + 1
    x, y = np.insert(frame.astype(np.float64), gaps, np.nan), np.insert(said.astype(np.float64), gaps, np.nan)
    axes.plot(x, y, color=COLOURS[0], linewidth=1.1)
    unseen = np.r_[True, np.isnan(y), True]
    alone = ~np.isnan(y) & unseen[:-2] & unseen[2:]  # a line needs two points
    axes.plot(x[alone], y[alone], color=COLOURS[0], linestyle="none", marker=".", markersize=3)
    axes.set_ylim(0, 1.2)
    axes.set_xlim(frame[0] - step / 2, frame[-1] + step / 2)
    axes.set_yticks([0, 1])
    axes.tick_params(labelsize=7, bottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _timeline_legend() -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color=COLOURS[0], linewidth=1.1, label="probability"),
        Patch(color=COLOURS[0], label="called (bar above)"),
        Patch(color="#F0C36D", label="coded"),
        Patch(facecolor="none", edgecolor=_PALE, hatch="////", label="not known"),
        Line2D([], [], color=_GREY, linewidth=0.8, linestyle="--", label="threshold"),
    ]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches whose parts keep out of each other's way.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plots need Matplotlib: pip install 'openau[plots]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.07)  # type: ignore[union-attr,call-arg]
    return figure


def _panels(count: int, title: str, size: float) -> tuple[Figure, list[Axes]]:
    """Small multiples, at most six in a row, as square as can be."""
    columns = max(1, min(6, math.ceil(math.sqrt(count * 1.3))))
    rows = max(1, math.ceil(count / columns))
    figure = new_figure(max(5.5, columns * size * 0.92 + 0.4), rows * size + 0.9)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for place, axes in enumerate(grid):
        if place >= count:
            axes.set_visible(False)
        elif place + columns >= count:
            axes.tick_params(labelbottom=True)
    figure.suptitle(title, fontsize=11)
    return figure, grid[:count]


def _square(axes: Axes, number: int, remark: str = "") -> None:
    axes.set_title(f"{au(number).column} {au(number).name}", fontsize=8.5)
    if remark:
        axes.text(0.03, 0.97, remark, ha="left", va="top", fontsize=7.5, transform=axes.transAxes)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    _plain(axes, grid="both")


def _plain(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#EBEBEB", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _title(scored: Scored) -> str:
    what = " · ".join(filter(None, (_legend_name(scored), scored.data)))
    return what + (f" · {scored.protocol}" if scored.protocol not in ("", scored.data) else "")


def _legend_name(scored: Scored | EvaluationTable) -> str:
    return f"{scored.model} (test-selected)" if scored.selection == "test-selected" else scored.model


def _require_some(items: Sequence[object]) -> None:
    if not 0 < len(items) <= len(COLOURS):
        raise UsageError(f"a plot shows 1 to {len(COLOURS)} models, not {len(items)}")
