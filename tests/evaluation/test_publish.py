import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from scored_faces import made_up

from openau.errors import UsageError
from openau.evaluation.publish import Row, csv_text, full_table, latex, markdown, paper_table, row_of, write_grid
from openau.evaluation.tables import METRICS, Options, evaluate

FEW = Options(repetitions=40)
ROWS = (
    Row("ours_1", {1: 0.5004, 4: 0.61, 12: 0.9}),
    Row("A & B", {1: 0.5, 4: 0.62}, average=0.655, note="as published"),
    Row("chosen on test", {1: 0.99, 4: 0.99, 12: 0.99}, selection="test-selected"),
)


def lines(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def test_paper_table() -> None:
    header, ours, published, chosen = lines(markdown(paper_table(ROWS, (1, 4, 12), "F1 on look-alikes")))
    assert header == ["AU", "1", "4", "12", "Avg."]
    assert ours == ["ours_1", "**50.0**", "61.0", "**90.0**", "**67.0**"]
    assert published == ["A & B [1]", "**50.0**", "**62.0**", "–", "65.5"]
    assert chosen == ["chosen on test (test-selected) [2]", "99.0", "99.0", "99.0", "99.0"]


def test_average_needs_every_column() -> None:
    """A mean over other AUs cannot be compared, unless a paper states it."""
    partly = Row("partly", {1: 0.5, 4: math.nan})
    assert lines(markdown(paper_table([partly], (1, 4), "t")))[1] == ["partly", "**50.0**", "–", "–"]


def test_lower_is_better_where_it_is() -> None:
    grid = paper_table(ROWS[:2], (1, 4), "t", metric="false_alarms")
    assert lines(markdown(grid))[1][1:3] == ["**50.0**", "**61.0**"]
    assert lines(markdown(grid))[2][1:3] == ["**50.0**", "62.0"]


def test_latex_is_booktabs_and_escaped() -> None:
    text = latex(paper_table(ROWS, (1, 4, 12), "F1 of 50% & more_"))
    for expected in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\caption{F1 of 50\% \& more\_}",
        r"A \& B [1]",
        r"ours\_1 & \textbf{50.0}",
        "--",
    ):
        assert expected in text
    body = re.search(r"\\toprule(.*)\\bottomrule", text, re.DOTALL).group(1)
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {4}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_csv_of_many() -> None:
    found = list(csv.DictReader(io.StringIO(csv_text(paper_table(ROWS, (1, 4, 12), "t")))))
    assert [row["AU01"] for row in found] == ["50.04", "50.00", "99.00"]
    assert found[1]["AU12"] == ""
    assert [row["selection"] for row in found] == ["none", "none", "test-selected"]
    assert found[1]["note"] == "as published"


def test_full_table_holds_everything() -> None:
    table = evaluate(made_up(), FEW)
    grid = full_table(table)
    found = list(csv.DictReader(io.StringIO(csv_text(grid))))
    assert [row["au"] for row in found] == ["AU01", "AU04", "AU12", "mean"]
    for key in METRICS:
        estimate = table.rows[0][key]
        assert [float(found[0][name]) for name in (key, f"{key}_low", f"{key}_high")] == pytest.approx(
            [estimate.value, estimate.low, estimate.high], abs=1e-6
        )
        assert float(found[3][key]) == pytest.approx(table.mean[key].value, abs=1e-6)
    assert float(found[0]["icc"]) == pytest.approx(table.intensity[0]["icc"].value, abs=1e-6)
    assert found[1]["icc"] == ""
    shown = lines(markdown(grid))
    assert {len(row) for row in shown} == {3 + len(METRICS) + 4}
    auc = table.rows[0]["auc"]
    assert f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" in shown[1]
    assert latex(grid).count(r"\midrule") == 2


def test_test_selected_in_every_form() -> None:
    table = evaluate(replace(made_up(), selection="test-selected"), FEW)
    for grid in (full_table(table), paper_table([row_of(table)], (1, 4, 12), "t")):
        for form in (markdown, latex, csv_text):
            assert "test-selected" in form(grid).lower(), form


def test_row_of_a_table() -> None:
    table = evaluate(made_up(), FEW)
    row = row_of(table, note="ours.")
    cells = lines(markdown(paper_table([row], (1, 4, 12), "t")))[1]
    assert cells[-1] == f"**{100 * table.mean['f1'].value:.1f}**"
    assert row.note.startswith("ours; means")
    assert f"AUC {100 * table.mean['auc'].value:.1f} [" in row.note


def test_files(tmp_path: Path) -> None:
    grid = paper_table(ROWS, (1, 4, 12), "t")
    for suffix, form in ((".md", markdown), (".tex", latex), (".csv", csv_text)):
        write_grid(grid, tmp_path / f"t{suffix}")
        assert (tmp_path / f"t{suffix}").read_text(encoding="utf-8") == form(grid)
    with pytest.raises(UsageError, match=r"\.md, \.tex, \.csv, not as \.xlsx"):
        write_grid(grid, tmp_path / "t.xlsx")
