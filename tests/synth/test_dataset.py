"""A data set of renders: same bytes for the same seed, resumable, labels in the manifest's format."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from openau.datasets.manifest import find_problem, sided_intensity_column
from openau.errors import InputError, OutputError, UsageError, WeightsError
from openau.facs import intensity_column, occurrence_column
from openau.synth import dataset
from openau.synth.dataset import manifest_path, render, render_person
from openau.synth.labels import SIDED_AUS
from openau.synth.parameters import RENDERED_AUS
from openau.synth.plan import FOLDS, Plan

PLAN = Plan(people=2, images=2, seed=7, rigs={"anny": 1.0}, size=96)


def content(folder: Path) -> dict[str, bytes]:
    """Everything in a data set's folder, by name."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan, rendered by one worker."""
    out = tmp_path_factory.mktemp("renders") / "one"
    assert sum(render(PLAN, out, workers=1)) == 4
    return out


@pytest.mark.weights
@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one(rendered: Path, tmp_path: Path) -> None:
    assert sum(render(PLAN, tmp_path / "two", workers=2)) == 4
    one, two = content(rendered), content(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


@pytest.mark.weights
def test_a_killed_run_goes_on_to_the_same_manifest(rendered: Path, tmp_path: Path) -> None:
    """Person 1 was under way: one picture cut short on disk, one missing, no part of the manifest, no manifest."""
    out = tmp_path / "killed"
    before = content(rendered)
    for name, data in before.items():
        if name in ("manifest.parquet", "parts/00001.parquet", "images/00001/001.jpg"):
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data[:100] if name == "images/00001/000.jpg" else data)
    (out / "parts" / "00001.partial").write_bytes(b"cut")
    assert list(render(PLAN, out, workers=1)) == [2, 2]
    assert content(out) == before


@pytest.mark.weights
def test_a_finished_run_renders_nothing_again(rendered: Path) -> None:
    times = {file: file.stat().st_mtime_ns for file in (rendered / "images").rglob("*.jpg")}
    assert list(render(PLAN, rendered, workers=1)) == [4]
    assert times == {file: file.stat().st_mtime_ns for file in (rendered / "images").rglob("*.jpg")}


@pytest.mark.weights
def test_manifest_has_labels_pose_and_landmarks(rendered: Path) -> None:
    table = pq.read_table(manifest_path(rendered))
    assert find_problem(table) is None
    assert table.num_rows == 4
    for number in RENDERED_AUS:
        assert occurrence_column(number) in table.column_names
        assert intensity_column(number) in table.column_names
    for number in SIDED_AUS:
        for side in ("L", "R"):
            assert occurrence_column(number, side) in table.column_names
            assert sided_intensity_column(number, side) in table.column_names
    rows = table.to_pylist()
    assert [row["subject"] for row in rows] == ["anny-00000"] * 2 + ["anny-00001"] * 2
    assert all(1 <= row["fold"] <= FOLDS for row in rows)
    for row in rows:
        picture = cv2.imread(str(rendered / row["image"]))
        assert picture.shape == (96, 96, 3)
        assert picture.std() > 10
        landmarks = np.array(row["landmarks"]).reshape(68, 2)
        eyes, chin = landmarks[36:48].mean(axis=0), landmarks[8]
        assert 0 < eyes[0] < 96
        assert 0 < eyes[1] < chin[1] < 96 * 1.2


@pytest.mark.weights
def test_more_people_extend_a_data_set_and_fewer_are_refused(rendered: Path, tmp_path: Path) -> None:
    out = shutil.copytree(rendered, tmp_path / "more")
    before = content(out)
    assert list(render(replace(PLAN, people=3, images=2), out, workers=1)) == [4, 2]
    after = content(out)
    kept = [name for name in before if name.startswith(("images/", "parts/"))]
    assert [name for name in kept if after[name] != before[name]] == []
    assert pq.read_table(manifest_path(out)).num_rows == 6
    assert pq.read_table(manifest_path(out)).slice(0, 4).equals(pq.read_table(manifest_path(rendered)))
    with pytest.raises(UsageError, match="other settings"):
        next(render(PLAN, out, workers=1))


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    """Refused before anything is rendered: no rig is needed."""
    out = tmp_path / "set"
    (out / "parts").mkdir(parents=True)
    first = {"people": 2, "images": 2, "seed": 7, "rigs": {"anny": 1.0}, "size": 96, "supersample": 2, "shadows": True}
    (out / "dataset.json").write_text(json.dumps(first | {"assets": False}))
    for other in (replace(PLAN, seed=8), replace(PLAN, shadows=False), replace(PLAN, rigs=None)):
        with pytest.raises(UsageError, match="other settings"):
            next(render(other, out, workers=1))


@pytest.mark.weights
def test_a_damaged_record_and_a_file_in_the_way_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json: .*damaged"):
        next(render(PLAN, tmp_path, workers=1))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(OutputError, match="file: cannot be written"):
        next(render(PLAN, in_the_way, workers=1))


@pytest.mark.weights
def test_an_image_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(OutputError, match="images/00000: cannot be written"):
        render_person(PLAN, tmp_path, 0)


def test_rigs_are_dealt_in_their_shares_whatever_the_size_of_the_set() -> None:
    plan = Plan(people=3000, seed=3)
    rigs = [plan.rig_of(number) for number in range(plan.people)]
    assert rigs.count("ict") / plan.people == pytest.approx(2 / 3, abs=0.03)
    assert [replace(plan, people=50).rig_of(number) for number in range(50)] == rigs[:50]
    assert {replace(plan, rigs={"anny": 1.0}).rig_of(number) for number in range(20)} == {"anny"}


def test_a_missing_rig_is_told_before_anything_is_written(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the folder would belong to a plan that can never be rendered."""
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    monkeypatch.delenv("OPENAU_SYNTH_ASSETS", raising=False)
    dataset._assets.cache_clear()  # an earlier test may have found the rig where this variable pointed
    with pytest.raises(WeightsError, match=r"`ict` rig is not at hand.*--rig anny"):
        next(render(replace(PLAN, rigs={"ict": 1.0}), tmp_path / "out", workers=1))
    assert not (tmp_path / "out").exists()
