"""`openau synth`: wrong use is exit code 2, bad input one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow as pa
import pytest

from openau.datasets.manifest import write_manifest

Run = Callable[..., "CompletedProcess[str]"]


def one_sentence(done: CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("openau: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line


def test_a_rig_nobody_knows(openau: Run, tmp_path: Path) -> None:
    one_sentence(openau("synth", "-o", tmp_path / "x", "--rig", "flame"), 2, "'flame'", "ict", "anny", "both")
    assert not (tmp_path / "x").exists()
    one_sentence(openau("synth", "clip", tmp_path / "x.mp4", "--rig", "both"), 2, "'both'", "ict and anny")
    one_sentence(openau("bench", "synth", "--rig", "flame"), 2, "'flame'")


def test_no_output_folder(openau: Run) -> None:
    one_sentence(openau("synth", "--people", "3"), 2, "openau synth -o FOLDER")


def test_numbers_out_of_range_are_usage_errors(openau: Run, tmp_path: Path) -> None:
    for wrong in (("--people", "0"), ("--seed", "-1"), ("--size", "20"), ("--supersample", "9")):
        done = openau("synth", "-o", tmp_path / "x", *wrong)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_stats_of_a_missing_folder_and_of_another_data_set(openau: Run, tmp_path: Path) -> None:
    one_sentence(openau("synth", "stats", tmp_path / "nowhere"), 1, "nowhere", "no rendered data set")
    write_manifest(pa.table({"image": ["a.jpg"], "subject": ["s"], "AU12": [1]}), tmp_path / "manifest.parquet")
    one_sentence(openau("synth", "stats", tmp_path), 1, "manifest.parquet", "no column talking")


def test_a_missing_asset_folder(openau: Run, tmp_path: Path) -> None:
    done = openau("synth", "clip", tmp_path / "x.mp4", "--rig", "anny", "--assets", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "nowhere: there is no such asset folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.weights
def test_bench_prints_rates_stages_and_prices(openau: Run, tmp_path: Path) -> None:
    import json

    settings = ("--rig", "anny", "--people", "1", "--images", "2", "--size", "64", "--workers", "1")
    done = openau("bench", "synth", *settings, "--save", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "a.json").read_text())
    parts = [numbers[f"anny {stage}, ms"] for stage in ("identity", "shoot", "JPEG", "write")]
    assert numbers["anny sum, ms per picture"] == pytest.approx(parts[0] / 2 + sum(parts[1:]))
    assert numbers["anny shoot: with / neither"] == pytest.approx(parts[1] / numbers["anny shoot, neither, ms"])
    assert {"pictures/s, 1 worker", "pictures/s, 1 worker, no shadows", "pictures/s, 1 worker, neither"} <= set(numbers)
    # A worker does at least what the stages do, one after the other.
    assert 0.1 < numbers["pictures/s, 1 worker"] < 1.5 * 1000 / numbers["anny sum, ms per picture"]
    assert "1 identities (1 anny), 2 pictures of each, everything painted" in done.stdout
