"""`openau evaluate`: what it prints, writes and refuses. Checkpoints are judged in tests/training/test_cli.py."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from clips import frame
from PIL import Image
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

from openau.cli import app
from openau.datasets.manifest import write_manifest
from openau.evaluation.scored import Scored, read_scored, write_scored

CLI = Callable[..., "subprocess.CompletedProcess[str]"]
FAST = ("--repetitions", "20")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], terminal_width=200)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two people, a clip each, 40 frames coded for AU 4, 12 and 27; OpenFace's tables of both; frames 3 and 4 of `anna` are lost."""
    rng = np.random.default_rng(3)
    rows: list[dict[str, object]] = []
    (tmp_path / "openface").mkdir()
    for person in ("anna", "ben"):
        label = rng.integers(0, 2, (40, 2))
        said = np.where(rng.random((40, 2)) < 0.8, label, 1 - label)
        grade = np.round(np.where(said == 1, 1 + 4 * rng.random((40, 2)), rng.random((40, 2))), 2)
        rows += [
            {"subject": person, "clip": f"{person}/talk", "frame": i, "camera": person[0], "AU04": int(a), "AU12": int(b), "AU27": int(a)}
            for i, (a, b) in enumerate(label)
        ]  # fmt: skip
        lines = ["frame, face_id, timestamp, confidence, success, AU04_r, AU12_r, AU04_c, AU12_c, AU45_c"]
        lines += [
            f"{i + 1}, 0, {i / 25:.3f}, 0.9, {int(person != 'anna' or i not in (3, 4))}, {r[0]}, {r[1]}, {s[0]}.0, {s[1]}.0, 0.0"
            for i, (s, r) in enumerate(zip(said, grade, strict=True))
        ]
        (tmp_path / "openface" / f"{person}_talk.csv").write_text("\n".join(lines) + "\n")
    table = pa.Table.from_pylist(rows).append_column("image", pa.nulls(len(rows), pa.string()))
    write_manifest(table, tmp_path / "manifest.parquet")
    return tmp_path


def test_the_table_says_what_sklearn_says(study: Path) -> None:
    judged, table = study / "judged.parquet", study / "table.json"
    result = invoke("--predictions", study / "openface", "--truth", study, "-o", judged, "-o", table, *FAST)
    assert result.exit_code == 0, result.output
    scored = read_scored(judged)
    assert (scored.model, scored.aus, len(scored)) == ("OpenFace 2", (4, 12), 80)
    (shown,) = json.loads(table.read_text())
    found = ~np.isnan(scored.probability[:, 0])
    assert found.sum() == 78
    for a in range(2):
        label, value = scored.occurrence[found, a], scored.probability[found, a].astype(float)
        results = shown["rows"][a]["results"]
        assert results["f1"]["value"] == pytest.approx(f1_score(label, value >= 0.5))
        assert results["auc"]["value"] == pytest.approx(roc_auc_score(label, value))
    assert "AUs coded but not told by OpenFace 2, not counted: AU27." in result.stdout
    assert "AUs told but not coded: AU45." in result.stdout
    assert "78 of 80 coded frames judged; no face found in 2" in result.stdout
    assert "own 0 or 1 (the AUC ranks by decision, then intensity)" in result.stdout


def test_missed_faces_cost_only_where_asked(study: Path) -> None:
    values = {}
    for missed in ("exclude", "negative"):
        out = study / f"{missed}.json"
        result = invoke("--predictions", study / "openface", "--truth", study, "--missed", missed, "-o", out, *FAST)
        assert result.exit_code == 0, result.output
        values[missed] = json.loads(out.read_text())[0]["rows"]
    judged = study / "judged.parquet"
    invoke("--predictions", study / "openface", "--truth", study, "-o", judged, *FAST)
    scored = read_scored(judged)
    for a in range(2):
        expected = f1_score(scored.occurrence[:, a], np.nan_to_num(scored.probability[:, a]) >= 0.5)
        assert values["negative"][a]["results"]["f1"]["value"] == pytest.approx(expected)
        assert values["exclude"][a]["missed"] == 2


def test_lacking_aus_count_only_where_asked(study: Path) -> None:
    means = []
    for extra in ((), ("--count-missing-aus",)):
        out = study / "t.json"
        assert invoke("--predictions", study / "openface", "--truth", study, "-o", out, *extra, *FAST).exit_code == 0
        means.append(json.loads(out.read_text())[0]["mean"]["f1"]["value"])
    assert means[1] == pytest.approx(means[0] * 2 / 3)


@pytest.mark.slow
def test_every_form_of_the_table_holds_the_same_numbers(study: Path) -> None:
    files = [study / f"t.{suffix}" for suffix in ("md", "tex", "csv", "json")]
    plots = study / "plots"
    arguments: list[object] = [word for file in files for word in ("-o", file)]
    arguments += ["--plots", plots, "--timeline", "anna/talk"]
    result = invoke("--predictions", study / "openface", "--truth", study / "manifest.parquet", *arguments, *FAST)
    assert result.exit_code == 0, result.output
    value = json.loads(files[3].read_text())[0]["rows"][1]["results"]["auc"]["value"]
    assert f"{value:.3f}" in files[0].read_text()
    assert r"\begin{tabular}" in files[1].read_text()
    with files[2].open(newline="") as file:
        assert any(f"{value:.3f}"[:4] in "".join(row) for row in csv.reader(file))
    assert {file.name for file in plots.iterdir()} == {
        "roc.png", "precision-recall.png", "f1.png", "confusion.png", "reliability.png", "timeline.png",
    }  # fmt: skip
    printed = invoke("--predictions", study / "openface", "--truth", study, "--json", *FAST)
    assert json.loads(printed.stdout)[0]["rows"][1]["results"]["auc"]["value"] == value


def scored(model: str, quality: float, **changes: Any) -> Scored:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, (120, 2)).astype(np.float32)
    fields: dict[str, Any] = {
        "model": model, "data": "study", "protocol": "study-2fold", "aus": (4, 12), "occurrence": label,
        "probability": np.clip(quality * label + (1 - quality) * rng.random((120, 2)), 0, 1).astype(np.float32),
        "subject": np.repeat([f"s{i}" for i in range(12)], 10), "clip": np.repeat([f"c{i}" for i in range(12)], 10),
        "frame": np.tile(np.arange(10), 12), "part": np.repeat(["part 1", "part 2"], 60),
        "thresholds": {"part 1": np.array([0.4, 0.6], np.float32), "part 2": np.array([0.5, 0.5], np.float32)},
        "selection": "validation",
    }  # fmt: skip
    return Scored(**{**fields, **changes})


def test_judged_faces_are_shown_compared_and_redrawn(tmp_path: Path) -> None:
    write_scored(scored("good", 0.9), tmp_path / "good.parquet")
    write_scored(scored("poor", 0.1, selection="test-selected"), tmp_path / "poor.parquet")
    result = invoke(tmp_path / "good.parquet", "--against", tmp_path / "poor.parquet", "--redraw", 5, *FAST)
    assert result.exit_code == 0, result.output
    for words in ("study-2fold", "F1, chosen", "good", "poor", "120 faces matched", "parts re-drawn"):
        assert words.lower() in result.stdout.lower(), words
    half = invoke(tmp_path / "good.parquet", "--thresholds", "0.5", *FAST)
    assert "chosen threshold" not in half.stdout.lower().split("intervals")[0]
    for format_ in ("text", "md", "tex", "csv"):
        marked = invoke(tmp_path / "poor.parquet", "--format", format_, *FAST)
        assert marked.exit_code == 0, marked.output
        assert "test-selected" in marked.stdout.lower(), format_


def test_tools_are_compared_with_each_other(study: Path) -> None:
    other = study / "other"
    other.mkdir()
    for file in (study / "openface").iterdir():
        (other / file.name).write_text(file.read_text().replace(", 1.0, 1.0, 0.0", ", 0.0, 0.0, 0.0"))
    result = invoke("--predictions", study / "openface", "--truth", study, "--against", other, "--by", "camera", *FAST)
    assert result.exit_code == 0, result.output
    assert "camera a" in result.stdout
    assert "80 faces matched" in result.stdout


def test_mistakes_are_one_sentence(study: Path) -> None:
    judged = study / "judged.parquet"
    write_scored(scored("good", 0.9, thresholds={}), judged)
    tool = ("--predictions", study / "openface")
    cases: list[tuple[tuple[object, ...], int, str]] = [
        ((), 2, "name either a model to judge or another tool's --predictions"),
        (("default", *tool), 2, "name either a model"),
        (tool, 2, "say what coders saw, with --truth"),
        (("default",), 2, "say which labelled faces to judge it on, with --data"),
        (("default", "--data", study / "openface"), 1, "neither a feature store (meta.json) nor a data set"),
        (("default", "--data", study), 1, "none of its rows has a picture"),
        (("default", "other", "--data", study), 2, "other: finished models are judged one at a time"),
        (("default", "--data", study, "--views", "0"), 2, "--views is for checkpoints"),
        ((*tool, "--truth", study / "nothing.parquet"), 1, "nothing.parquet: no such file"),
        (("--predictions", study / "x.csv", "--truth", study), 1, "x.csv: no such file"),
        ((*tool, "--truth", study, "-o", study / "t.xlsx"), 2, "t.xlsx: the suffix says what to write"),
        ((*tool, "--truth", study, "-o", study / "no" / "t.md"), 1, "no does not exist"),
        ((*tool, "--truth", study, "--by", "weather"), 2, "--by weather: the data has no such column"),
        ((*tool, "--truth", study, "--timeline", "anna/talk"), 2, "--timeline is a plot"),
        ((*tool, "--truth", study, "--frame-offset", "99"), 1, "no prediction is about a coded face"),
        ((judged, "--thresholds", "validation"), 2, "no thresholds were chosen"),
        ((judged, "--by", "camera"), 2, "choose among labelled data"),
        ((judged, "--against", study / "gone.parquet"), 1, "gone.parquet: no such file"),
        ((study / "manifest.parquet",), 1, "manifest.parquet: is not a file of scored faces"),
    ]
    for arguments, code, words in cases:
        result = invoke(*arguments, *FAST)
        assert result.exit_code == code, (arguments, result.output)
        assert words in result.stderr, (arguments, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr


@pytest.mark.weights
@pytest.mark.slow
def test_a_model_is_judged_on_pictures_as_detection_judges_them(model: Path, openau: CLI, tmp_path: Path) -> None:
    data = tmp_path / "faces"
    (data / "images").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for i in range(6):
        Image.fromarray(frame(i, faces=0 if i == 2 else 1)).save(data / "images" / f"{i}.png")
        rows.append(
            {"image": f"images/{i}.png", "subject": f"s{i % 3}", "AU01": i % 2, "AU12": (i // 2) % 2, "AU11": 0}
        )
    rows.append({"image": None, "subject": "s0", "AU01": 1, "AU12": 0, "AU11": 0})
    write_manifest(pa.Table.from_pylist(rows), data / "manifest.parquet")
    out = tmp_path / "judged.parquet"
    result = openau("evaluate", model, "--data", data, "-o", out, "--workers", "1", *FAST)
    assert result.returncode == 0, result.stderr
    assert "5 of 7 coded frames judged; no face found in 1; 1 without a prediction" in " ".join(result.stdout.split())
    judged = read_scored(out)
    assert judged.model == "linear.random"
    assert judged.aus == (1, 12)

    assert openau("detect", data / "images", "-o", tmp_path / "t.csv", "--model", model).returncode == 0
    table = tmp_path / "again.parquet"
    again = invoke("--predictions", tmp_path / "t.csv", "--truth", data, "-o", table, *FAST)
    assert again.exit_code == 0, again.output
    np.testing.assert_allclose(read_scored(table).probability, judged.probability, atol=1e-4)


def test_help_needs_no_torch() -> None:
    code = "import sys, openau.cli.evaluate; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
