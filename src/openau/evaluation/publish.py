"""Tables people publish: Markdown, LaTeX (booktabs) and CSV, of one model in full or of many beside each other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openau.errors import UsageError
from openau.evaluation.bootstrap import Estimate
from openau.evaluation.scored import Selection
from openau.evaluation.tables import EvaluationTable, title_of
from openau.evaluation.tally import INTENSITY_METRICS, METRICS
from openau.facs import au
from openau.outputs import whole_file


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of a cell, and whether it stands out."""

    text: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table before it takes a format.

    Attributes:
        title: caption.
        header: headings.
        rows: cells, each row as long as the header.
        rules: rows above which a line is drawn.
        notes: sentences below.
        records: what CSV holds: the same as plain columns, one value per cell.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rules: tuple[int, ...]
    notes: tuple[str, ...]
    records: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One model's line in a table of many.

    Attributes:
        name: of the model.
        values: AU → result, 0–1 or NaN.
        average: as published, since a paper may give it alone or round it otherwise; None = the mean over the table's columns, a dash
            where one of them is not known: a mean over other AUs cannot be compared.
        note: printed below the table, marked at the name: source of a published row, what differs …
        selection: "test-selected" is printed at the name.
    """

    name: str
    values: Mapping[int, float]
    average: float | None = None
    note: str = ""
    selection: Selection = "none"


def row_of(table: EvaluationTable, metric: str = "f1", note: str = "") -> Row:
    """A table's line, with the intervals of its means of `metric` and AUC in the note."""
    means = (
        f"{title_of(key, table.threshold)} {_percent_interval(table.mean[key])}"
        for key in dict.fromkeys((metric, "auc"))
    )
    notes = (note.rstrip("."), f"means over its AUs with 95 % intervals over people: {', '.join(means)}")
    values = {row.au: row[metric].value for row in table.rows}
    return Row(table.model, values, note="; ".join(filter(None, notes)), selection=table.selection)


def full_table(table: EvaluationTable) -> Grid:
    """Everything about one model: AUs as rows, metrics with their intervals as columns."""
    shown = table.defined()
    graded = tuple(INTENSITY_METRICS) if table.intensity else ()
    intensity = {row.au: row for row in table.intensity}
    titles = (*(title_of(key, table.threshold) for key in shown), *(INTENSITY_METRICS[key].title for key in graded))
    rows, records = [], []
    for row in table.rows:
        found = intensity.get(row.au)
        results = [row[key] for key in shown] + [found[key] if found else None for key in graded]
        rows.append((au(row.au).column, f"{row.positives:,}", f"{row.known:,}", *map(_interval, results)))
        counts = {
            "au": au(row.au).column,
            "positives": str(row.positives),
            "known": str(row.known),
            "missed": str(row.missed),
        }
        records.append(_record(table, counts, dict(zip((*shown, *graded), results, strict=True))))
    means = [table.mean[key] for key in shown] + [table.intensity_mean[key] for key in graded]
    rows.append(("mean", "", "", *map(_interval, means)))
    blank = {"au": "mean", "positives": "", "known": "", "missed": ""}
    records.append(_record(table, blank, dict(zip((*shown, *graded), means, strict=True))))
    return Grid(
        title=f"{table.title} ({table.size})",
        header=("AU", "positives", "of", *titles),
        rows=tuple(tuple(map(Cell, row)) for row in rows),
        rules=(len(rows) - 1,),
        notes=table.notes,
        records=tuple(records),
    )


def paper_table(
    rows: Sequence[Row], aus: Sequence[int], title: str, metric: str = "f1", notes: Sequence[str] = ()
) -> Grid:
    """Models as rows, AUs as columns, the average last, in percent; the best of each column is bold.

    A model that was chosen on the test part stands in the table, marked, but is never the best of it. A result that is not known is a dash
    and takes no part.

    Args:
        rows: models, ours and published ones.
        aus: columns.
        title: caption.
        metric: key of `METRICS` (all of `rows` hold it).
        notes: sentences below.
    """
    values = [[*(row.values.get(number, math.nan) for number in aus), _average(row, aus)] for row in rows]
    best = [_best(column, rows, metric) for column in zip(*values, strict=True)] if rows else []
    marks, foot = _footnotes(rows)
    cells = []
    for row, numbers, mark in zip(rows, values, marks, strict=True):
        texts = [_percent(value) for value in numbers]
        bold = [
            text == top and text != "–" and row.selection != "test-selected"
            for text, top in zip(texts, best, strict=True)
        ]
        cells.append((Cell(row.name + mark), *map(Cell, texts, bold)))
    columns = (*(au(number).column for number in aus), "average")
    records = [
        {"model": row.name, "metric": metric, "unit": "percent", **dict(zip(columns, map(_percent_or_empty, numbers), strict=True)),
         "selection": row.selection, "note": row.note}
        for row, numbers in zip(rows, values, strict=True)
    ]  # fmt: skip
    unit = f"{title_of(metric)} in percent."
    heading = ("AU", *(str(number) for number in aus), "Avg.")
    return Grid(title, heading, tuple(cells), (), (unit, *foot, *notes), tuple(records))


def markdown(grid: Grid) -> str:
    """GitHub's Markdown."""
    lines = [f"**{_markdown_text(grid.title)}**", "", _markdown_line(grid.header)]
    lines.append("|" + "|".join([":--", *["--:"] * (len(grid.header) - 1)]) + "|")
    lines += [_markdown_line([f"**{cell.text}**" if cell.bold else cell.text for cell in row]) for row in grid.rows]
    lines += [line for note in grid.notes for line in ("", _markdown_text(note))]
    return "\n".join(lines) + "\n"


def latex(grid: Grid) -> str:
    r"""LaTeX for `\usepackage{booktabs}`; special characters are escaped."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex_text(grid.title)}}}"]
    lines += [
        rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
        r"\toprule",
        _latex_line(grid.header),
        r"\midrule",
    ]
    for place, row in enumerate(grid.rows):
        if place in grid.rules:
            lines.append(r"\midrule")
        cells = [_latex_text(cell.text) for cell in row]
        lines.append(" & ".join(rf"\textbf{{{t}}}" if c.bold else t for t, c in zip(cells, row, strict=True)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {_latex_text(note)}" for note in grid.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def csv_text(grid: Grid) -> str:
    """CSV with one value per cell, empty where it is not defined; `selection` says how the model was chosen."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for record in grid.records for name in record))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(grid.records)
    return out.getvalue()


FORMATS = {".md": markdown, ".tex": latex, ".csv": csv_text}


def write_grid(grid: Grid, path: Path) -> None:
    """Write in the format of the suffix: .md, .tex or .csv.

    Raises:
        UsageError: another suffix.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path}: a table is written as {', '.join(FORMATS)}, not as {path.suffix or 'a file without suffix'}"
        )
    text = FORMATS[path.suffix.lower()](grid)
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _record(table: EvaluationTable, start: Mapping[str, str], results: Mapping[str, Estimate | None]) -> dict[str, str]:
    record = {"model": table.model, "data": table.data, "protocol": table.protocol, "selection": table.selection}
    record |= {"over": table.over, **start}
    for key, result in results.items():
        for suffix in ("value", "low", "high"):
            number = getattr(result, suffix) if result else math.nan
            record[key if suffix == "value" else f"{key}_{suffix}"] = "" if math.isnan(number) else f"{number:.6f}"
    return record


def _average(row: Row, aus: Sequence[int]) -> float:
    if row.average is not None:
        return row.average
    known = [value for value in (row.values.get(number, math.nan) for number in aus) if not math.isnan(value)]
    return sum(known) / len(known) if len(known) == len(aus) else math.nan


def _best(column: Sequence[float], rows: Sequence[Row], metric: str) -> str:
    """Text of the best value, so that what reads equal is bold together; "–" if there is none."""
    honest = [v for v, row in zip(column, rows, strict=True) if row.selection != "test-selected" and not math.isnan(v)]
    if not honest:
        return "–"
    return _percent(max(honest) if METRICS[metric].higher_is_better else min(honest))


def _footnotes(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Marks at the names, and the notes they point to."""
    marks, notes = [], []
    for row in rows:
        sentence = row.note.rstrip(".") + "." if row.note else ""
        if row.selection == "test-selected":
            sentence = " ".join(filter(None, ("test-selected: chosen on the test part.", sentence)))
        if sentence and sentence not in notes:
            notes.append(sentence)
        marks.append(f" [{notes.index(sentence) + 1}]" if sentence else "")
        if row.selection == "test-selected":
            marks[-1] = f" (test-selected){marks[-1]}"
    return marks, [f"[{place}] {note}" for place, note in enumerate(notes, 1)]


def _interval(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "–"
    text = f"{estimate.value:.3f}"
    return text if math.isnan(estimate.low) else f"{text} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _percent_interval(estimate: Estimate) -> str:
    interval = "" if math.isnan(estimate.low) else f" [{_percent(estimate.low)}, {_percent(estimate.high)}]"
    return _percent(estimate.value) + interval


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _percent_or_empty(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.2f}"


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown_text, cells)) + " |"


def _markdown_text(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "→": r"$\rightarrow$", "≥": r"$\geq$",
        "·": r"$\cdot$", "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}", "…": r"\dots{}", "\n": " ",
    }
)  # fmt: skip


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_text, cells)) + r" \\"
