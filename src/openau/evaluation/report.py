"""What an experiment leaves for readers: report.md with the table beside the published rows, the same tables for papers, and plots.

OUT/report.md          all of it
OUT/tables/…           beside-published and full, as .md, .tex and .csv; results.json
OUT/plots/…            where matplotlib is installed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from openau.errors import MissingExtraError
from openau.evaluation.publish import Grid, full_table, markdown, paper_table, row_of, write_grid
from openau.evaluation.published import published
from openau.evaluation.scored import Scored
from openau.evaluation.tables import EvaluationTable, Options, evaluate
from openau.outputs import make_folder, whole_file

REPORT = "report.md"


def write_report(
    scored: Scored, out: Path, differs: Sequence[str] = (), options: Options | None = None
) -> EvaluationTable:
    """Judge scored faces and write everything about them.

    Args:
        scored: every test face of an experiment.
        out: folder; made if needed.
        differs: sentences: what differs from the published work.
        options: how to judge.

    Returns:
        The table.

    Raises:
        OutputError: the folder cannot be written.
    """
    table = evaluate(scored, options)
    beside, full = beside_published(table), full_table(table)
    make_folder(out / "tables", parents=True)
    for name, grid in (("beside-published", beside), ("full", full)):
        for suffix in (".md", ".tex", ".csv"):
            write_grid(grid, out / "tables" / f"{name}{suffix}")
    with whole_file(out / "tables" / "results.json") as scratch:
        scratch.write_text(table.to_json() + "\n")
    pictures = _draw(scored, table, out / "plots")
    with whole_file(out / REPORT) as scratch:
        scratch.write_text(_text(table, beside, full, differs, pictures), encoding="utf-8")
    return table


def beside_published(table: EvaluationTable) -> Grid:
    """F1 per AU of this model, at 0.5 and at the thresholds validation chose, with the published rows of its protocol."""
    ours = [row_of(table), row_of(table, "f1_chosen")]
    names = (f"{table.model} (this run, at {table.threshold:g})", f"{table.model} (this run, thresholds of validation)")
    rows = [replace(row, name=name) for name, row in zip(names, ours, strict=True)]
    rows += [one.to_row() for one in published(table.protocol)]
    return paper_table(rows, [row.au for row in table.rows], f"{table.title} ({table.size})")


def _text(table: EvaluationTable, beside: Grid, full: Grid, differs: Sequence[str], pictures: Sequence[str]) -> str:
    parts = [
        f"# {table.title}",
        f"{table.size}. Results are the {_over(table)}; 95 % intervals come from drawing people.",
        markdown(beside),
    ]
    if differs:
        parts += ["## What differs from the published work", "\n".join(f"- {sentence}" for sentence in differs)]
    parts += ["## All metrics", markdown(full)]
    if table.by_part:
        keys = table.defined(("f1", "f1_chosen", "auc"))
        lines = ["| test part | " + " | ".join(keys) + " |", "| --- |" + " ---: |" * len(keys)]
        lines += [
            f"| {part} | " + " | ".join(f"{100 * values[key]:.1f}" for key in keys) + " |"
            for part, values in table.by_part.items()
        ]
        parts += ["## By test part", "Means over AUs in percent.", "\n".join(lines)]
    if pictures:
        parts += ["## Plots", "\n".join(f"![{Path(name).stem}]({name})" for name in pictures)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _over(table: EvaluationTable) -> str:
    return "mean over the test parts" if table.over == "parts" else "metrics of all test faces pooled"


def _draw(scored: Scored, table: EvaluationTable, out: Path) -> list[str]:
    """Draw what can be drawn; paths relative to the report. Nothing without matplotlib."""
    from openau.evaluation import plots

    try:
        figures = {
            "roc": plots.roc_curves([scored]),
            "precision-recall": plots.pr_curves([scored]),
            "f1-by-au": plots.au_bars([table], metric="f1"),
            "confusion": plots.confusion(scored),
            "reliability": plots.reliability(scored),
        }
    except MissingExtraError:
        return []
    make_folder(out)
    for name, figure in figures.items():
        plots.save(figure, out / f"{name}.png")
    return [f"plots/{name}.png" for name in figures]
