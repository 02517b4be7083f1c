"""`openau detect` with everything that looks at time: smoothing, events, summaries, quality, one person."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openau.faces.quality import COLUMNS
from openau.facs import parse_column
from openau.temporal import find_events

pytestmark = pytest.mark.weights


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def detect(folder: Path, model: Path, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "openau", "detect", *map(str, arguments), "--model", str(model)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def values(table: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name] or "nan") for row in table])


def test_events_and_summary_follow_from_the_table_beside_them(media: Path, model: Path, tmp_path: Path) -> None:
    detect(
        tmp_path,
        model,
        media / "two.mp4",
        "-o",
        "clip.csv",
        "--smooth",
        "--events",
        "--summary",
        "--same-person",
        "--quality",
    )
    table, events, summary = (rows(tmp_path / f"clip{kind}.csv") for kind in ("", ".events", ".summary"))
    assert len(table) == 20
    assert {row["face_id"] for row in table} == {"0", ""}
    times = values(table, "timestamp")
    for name in (name for name in table[0] if (parse_column(name) or (0, "no AU"))[1] is None):
        expected = [(round(e.onset, 6), round(e.offset, 6)) for e in find_events(times, values(table, name))]
        told = [(float(e["onset"]), float(e["offset"])) for e in events if e["AU"] == name]
        assert len(told) == len(expected), name
        np.testing.assert_allclose(
            np.reshape(sorted(told), (-1, 2)), np.reshape(expected, (-1, 2)), atol=1e-6, err_msg=name
        )
        assert float(summary[0][f"{name}_mean"]) == pytest.approx(np.nanmean(values(table, name)), abs=1e-3)
        assert int(summary[0][f"{name}_events"]) == len(expected)
    assert int(summary[0]["frames"]) == sum(row["face_id"] == "0" for row in table)
    assert list(table[0])[-len(COLUMNS) :] == list(COLUMNS)
    assert all((row["confidence"] == "") == (row["face_id"] == "") for row in table)


def test_smoothing_and_quality_also_work_in_two_passes_and_for_openface(
    media: Path, model: Path, tmp_path: Path
) -> None:
    detect(tmp_path, model, media / "one.mp4", "-o", "plain.csv", "--quality")
    options = ("--quality", "--smooth", "--calibrate", "--events")
    detect(tmp_path, model, media / "one.mp4", "-o", "twice.csv", *options)
    detect(tmp_path, model, media / "one.mp4", "-o", "openface.csv", "--format", "openface", "--quality")
    plain, twice, openface = (rows(tmp_path / name) for name in ("plain.csv", "twice.csv", "openface.csv"))
    assert [[row[name] for name in COLUMNS] for row in twice] == [[row[name] for name in COLUMNS] for row in plain]
    name = next(name for name in plain[0] if parse_column(name))
    raw, smooth = values(plain, name), values(twice, name)
    np.testing.assert_allclose(smooth[1:-1], raw[:-2] / 4 + raw[1:-1] / 2 + raw[2:] / 4, atol=2e-4)
    for ours, theirs in zip(plain, openface, strict=True):
        assert float(theirs["confidence"]) == pytest.approx(float(ours["confidence"]), abs=0.006)
    assert (tmp_path / "twice.events.csv").exists()
