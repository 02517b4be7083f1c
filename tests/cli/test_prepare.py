"""`openau prepare` as a user types it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import folder_tree
import pytest

from openau.datasets.registry import NAMES

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.weights
def test_problems_are_summed_up_and_end_in_exit_code_1(openau: Run, tmp_path: Path) -> None:
    def spoil(rows: folder_tree.Rows) -> None:
        for row in rows[:5]:
            row["AU12"] = 7

    root = folder_tree.make(tmp_path / "tree", spoil, missing=(3,))
    done = openau("prepare", "folder", "--root", root, "-o", tmp_path / "out", "--workers", "1")
    assert done.returncode == 1
    assert "20 labelled frames in 4 recordings of 4 people: 18 faces found, 2 without a picture" in done.stdout
    assert f"{tmp_path / 'out' / 'manifest.parquet'} (20 frames at " in done.stdout
    assert "openau: 5 × value out of range\n" in done.stderr
    assert "labels.csv:2: AU12 is '7', not 0, 1 or empty" in done.stderr
    assert "… and 2 more" in done.stderr
    assert "openau: 2 × no face (no reason to fail)" in done.stderr
    assert "problems.csv" in done.stderr
    strict = openau("prepare", "folder", "--root", root, "-o", tmp_path / "out", "--strict")
    assert strict.returncode == 1
    assert strict.stderr.count("\n") == 1
    assert strict.stderr.startswith("openau: ")
    assert "labels.csv:2" in strict.stderr
    assert not (tmp_path / "out" / "manifest.parquet").exists()


@pytest.mark.weights
def test_missed_faces_alone_are_exit_code_0(openau: Run, tmp_path: Path) -> None:
    root = folder_tree.make(tmp_path / "tree", missing=(3,))
    arguments = ("prepare", "folder", "--root", root, "-o", tmp_path / "out", "--on-miss", "previous")
    done = openau(*arguments)
    assert done.returncode == 0, done.stderr
    assert "18 faces found, 2 at the place of the last face" in done.stdout
    again = openau(*arguments)
    assert again.returncode == 0
    assert "frames/s" not in again.stdout


def test_wrong_usage_is_one_sentence(openau: Run, tmp_path: Path) -> None:
    for arguments, words, code in (
        (("bp5d", "--root", tmp_path, "-o", tmp_path), "no data set is called 'bp5d'; there are bp4d, ", 2),
        (("folder",), "openau prepare folder --root FOLDER --out FOLDER", 2),
        (("folder", "--root", tmp_path, "-o", tmp_path / "out"), "labels.csv: there is no such file", 1),
    ):
        done = openau("prepare", *arguments)
        assert done.returncode == code
        assert done.stderr.count("\n") == 1
        assert words in done.stderr


def test_help_and_list_teach_every_data_set(openau: Run) -> None:
    listed, helped = openau("prepare", "list"), openau("prepare", "--help")
    assert listed.returncode == helped.returncode == 0
    lines = listed.stdout.splitlines()
    for name in NAMES:
        assert any(line.startswith(f"{name}  ") for line in lines)
        assert f" {name} " in helped.stdout
    assert "http" in listed.stdout
