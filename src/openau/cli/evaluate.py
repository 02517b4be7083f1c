"""`openau evaluate`: how good a model, or another tool, is on labelled faces, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from openau.cli.judged import SCORED, Judged, Sources
from openau.errors import UsageError
from openau.outputs import make_folder, require_folder, whole_file

if TYPE_CHECKING:
    from openau.evaluation.scored import Scored
    from openau.evaluation.tables import EvaluationTable, Options

Index = npt.NDArray[np.intp]

_TOOLS, _RESULT = "Other tools", "What is shown and kept"
_HALF = 0.5
_TABLES, _JSON = (".md", ".tex", ".csv"), ".json"


class Missed(StrEnum):
    """What becomes of a coded face that was not found."""

    EXCLUDE = "exclude"
    NEGATIVE = "negative"


class Thresholds(StrEnum):
    """Which F1 is shown."""

    HALF = "0.5"
    VALIDATION = "validation"
    BOTH = "both"


class Format(StrEnum):
    """How tables are printed."""

    TEXT = "text"
    MARKDOWN = "md"
    LATEX = "tex"
    CSV = "csv"
    JSON = "json"


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model's name or FILE.onnx; folders of runs or checkpoints, judged as their mean; "
            "or judged faces, FILE.parquet, as `-o` here and `openau train --protocol` write them."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled faces: a data set's folder (manifest.parquet), or a feature store."),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(help="Judge only these faces: subjects=0.2, fold=3, rig=anny. Default: all unseen subjects."),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(help="Views whose mean was calibrated (`openau export --views`); for checkpoints."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Table of OpenFace 2, Py-Feat, LibreFace or `openau detect`, or a folder of them, one per recording.",
            rich_help_panel=_TOOLS,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The coders' labels: manifest.parquet, or its folder.", rich_help_panel=_TOOLS),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Probability that counts as present, where a tool does not decide itself.",
            rich_help_panel=_TOOLS,
        ),
    ] = _HALF,
    intensity_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=5,
            help="Intensity that counts as present, for AUs of which a tool tells nothing else.",
            rich_help_panel=_TOOLS,
        ),
    ] = None,
    frame_offset: Annotated[
        int | None,
        typer.Option(
            help="Number the labels give to a recording's first frame. Default: 1 for BP4D, BP4D+, DISFA, else 0.",
            rich_help_panel=_TOOLS,
        ),
    ] = None,
    count_missing_aus: Annotated[
        bool,
        typer.Option(
            "--count-missing-aus",
            help="Count coded AUs that a tool lacks as absent on every face.",
            rich_help_panel=_TOOLS,
        ),
    ] = False,
    missed: Annotated[
        Missed,
        typer.Option(
            help="Coded faces that were not found: left out (but told), or counted as without any AU.",
            rich_help_panel=_RESULT,
        ),
    ] = Missed.EXCLUDE,
    thresholds: Annotated[
        Thresholds,
        typer.Option(
            help="F1 at 0.5, at thresholds chosen on validation subjects (where there are any), or both.",
            rich_help_panel=_RESULT,
        ),
    ] = Thresholds.BOTH,
    against: Annotated[
        str | None,
        typer.Option(
            help="Another of the same kind, or judged faces: a paired comparison on the faces both judged.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    redraw: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Also how far the mean moves if the subjects' parts are drawn anew so often.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Also a table for each value of this column of the data. Default: rig, where there is one.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="How the tables are printed.", rich_help_panel=_RESULT)
    ] = Format.TEXT,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=_RESULT)
    ] = False,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--out",
            help="Write here: .md .tex .csv .json the tables, .parquet the judged faces. May be given several times.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            help="Folder for plots: ROC, precision and recall, F1 per AU, confusion, reliability.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option(help="With --plots: also this clip's prediction against its coding.", rich_help_panel=_RESULT),
    ] = None,
    repetitions: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples of people for the intervals.", rich_help_panel=_RESULT)
    ] = 200,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that look at pictures; default one per CPU.")
    ] = None,
) -> None:
    """Judge a model, or another tool's predictions, on labelled faces: a table per AU with 95 % intervals over people.

    Checkpoints know whom they have seen: only other subjects are judged, after calibration on the validation
    subjects. A finished model does not know; give it data it was not trained on, or name the hold-out of its runs.

    Other tools are compared on the AUs that both they and the coders have; what a decision is and what became of
    faces that were not found stands below the table.

    For example:

      openau evaluate default --data bp4d

      openau evaluate runs/0 --data faces/features

      openau evaluate --predictions openface/ --truth disfa/manifest.parquet

      openau evaluate a.parquet --against b.parquet -o table.md
    """  # fmt: skip
    from openau.evaluation.compare import compare
    from openau.evaluation.spread import redraw as draw_again
    from openau.evaluation.tables import Options

    _require_one_subject(models, predictions, truth)
    _require_no_other(
        predictions,
        {"--data": data, "--hold-out": hold_out, "--views": views},
        {
            "--truth": truth,
            "--threshold": None if threshold == _HALF else threshold,
            "--intensity-threshold": intensity_threshold,
            "--frame-offset": frame_offset,
            "--count-missing-aus": count_missing_aus or None,
        },
    )
    if timeline is not None and plots is None:
        raise UsageError("--timeline is a plot; name a folder with --plots, too")
    for path in out or []:
        _require_known_suffix(path)
    reading = {
        "threshold": threshold, "intensity_threshold": intensity_threshold, "count_missing_aus": count_missing_aus,
        "frame_offset": frame_offset,
    }  # fmt: skip
    sources = Sources(data, truth, hold_out, views, workers, by, reading)
    judged = sources.tool(predictions) if predictions is not None else sources.models(models or [])
    rival = None if against is None else sources.other(against, predictions is not None)
    options = Options(missed=missed.value, repetitions=repetitions, data_aus=judged.coded)
    tables = _tables(judged, options)
    shown = Format.JSON if as_json else format_
    _show(tables, _metrics(thresholds, judged.scored), shown)
    if rival is not None:
        _show_extra(compare(judged.scored, rival.scored, options), shown)
    if redraw is not None:
        _show_extra(draw_again(judged.scored, draws=redraw, options=options), shown)
    for path in out or []:
        _write(path, judged.scored, tables)
    if plots is not None:
        _plot(plots, judged.scored, tables[0], timeline)


def _require_one_subject(models: list[str] | None, predictions: Path | None, truth: Path | None) -> None:
    """What is judged must be named once, with its labels."""
    if bool(models) == (predictions is not None):
        raise UsageError("name either a model to judge or another tool's --predictions")
    if predictions is not None and truth is None:
        raise UsageError(f"{predictions}: say what coders saw, with --truth manifest.parquet")


def _require_no_other(predictions: Path | None, of_models: dict[str, Any], of_tools: dict[str, Any]) -> None:
    """Options that mean nothing for what is judged are mistakes, not to be passed over."""
    named = [name for name, value in (of_models if predictions is not None else of_tools).items() if value is not None]
    if named:
        kind = "another tool's --predictions" if predictions is not None else "a model"
        raise UsageError(f"{named[0]} means nothing when {kind} is judged")


def _require_known_suffix(path: Path) -> None:
    known = (*_TABLES, _JSON, SCORED)
    if path.suffix.lower() not in known:
        raise UsageError(f"{path}: the suffix says what to write; use {', '.join(known)}")
    require_folder(path)


def _tables(judged: Judged, options: Options) -> list[EvaluationTable]:
    """The table of all faces, then those of the parts."""
    from openau.evaluation.tables import evaluate

    parts = [
        replace(part := judged.scored.take(chosen), data=f"{part.data}, {name}", notes=())
        for name, chosen in judged.parts
    ]
    return [evaluate(scored, options) for scored in (judged.scored, *parts)]


def _metrics(thresholds: Thresholds, scored: Scored) -> tuple[str, ...]:
    """Columns of the printed table."""
    from openau.evaluation.tables import SHOWN

    if thresholds is Thresholds.VALIDATION and not scored.thresholds:
        raise UsageError(
            "--thresholds validation: no thresholds were chosen on validation subjects for these predictions"
        )
    hidden = {Thresholds.HALF: "f1_chosen", Thresholds.VALIDATION: "f1", Thresholds.BOTH: ""}[thresholds]
    return tuple(name for name in SHOWN if name != hidden)


def _console() -> Console:
    return Console(width=None if Console().is_terminal else 160)


def _show(tables: Sequence[EvaluationTable], metrics: tuple[str, ...], format_: Format) -> None:
    from openau.evaluation.publish import csv_text, full_table, latex, markdown

    writers: dict[Format, Callable[[Any], str]] = {
        Format.MARKDOWN: markdown, Format.LATEX: latex, Format.CSV: csv_text,
    }  # fmt: skip
    if format_ is Format.TEXT:
        for table in tables:
            _console().print(table.to_rich(metrics=metrics))
    elif format_ is Format.JSON:
        typer.echo(_json(tables))
    else:
        typer.echo("\n\n".join(writers[format_](full_table(table)) for table in tables))


def _show_extra(result: Any, format_: Format) -> None:
    """A comparison or a spread: as JSON where tables are, else as text."""
    if format_ is Format.JSON:
        typer.echo(result.to_json())
    else:
        _console().print(result.to_rich())


def _write(path: Path, scored: Scored, tables: Sequence[EvaluationTable]) -> None:
    from openau.evaluation.publish import full_table, write_grid
    from openau.evaluation.scored import write_scored

    suffix = path.suffix.lower()
    if suffix == SCORED:
        write_scored(scored, path)
    elif suffix == _JSON:
        with whole_file(path) as scratch:
            scratch.write_text(_json(tables) + "\n", encoding="utf-8")
    else:
        write_grid(full_table(tables[0]), path)


def _json(tables: Sequence[EvaluationTable]) -> str:
    return "[\n" + ",\n".join(table.to_json() for table in tables) + "\n]"


def _plot(folder: Path, scored: Scored, table: EvaluationTable, clip: str | None) -> None:
    from openau.evaluation import plots

    make_folder(folder, parents=True)
    figures: dict[str, Callable[[], Any]] = {
        "roc": lambda: plots.roc_curves([scored]),
        "precision-recall": lambda: plots.pr_curves([scored]),
        "f1": lambda: plots.au_bars([table], metric="f1"),
        "confusion": lambda: plots.confusion(scored),
        "reliability": lambda: plots.reliability(scored),
    }
    if clip is not None:
        figures["timeline"] = lambda: plots.timeline(scored, clip)
    for name, draw in figures.items():
        plots.save(draw(), folder / f"{name}.png")
