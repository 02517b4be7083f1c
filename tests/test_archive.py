"""Many inputs over several processes: the bytes of one process, whatever dies."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dying_detector
import pytest
from clips import write_clip
from detection import model
from kill_detect import compare, contents, kill_and_resume
from small_study import make_study

from openau.archive import Archive, Work
from openau.batch import InFolder
from openau.media import expand
from openau.runtime import Detector
from openau.sinks import FolderSink

__all__ = ["model"]

pytestmark = pytest.mark.weights

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("archive") / "study", clips=2, frames=8)


def test_several_processes_write_the_bytes_of_one(openau: Run, model: Path, study: Path, tmp_path: Path) -> None:
    options = (
        "--model",
        model,
        "--max-faces",
        "1",
        "--overlay",
        tmp_path / "seen",
        "--events",
        "--summary",
        "--smooth",
    )
    for workers in (1, 2):
        done = openau("detect", study, "-o", tmp_path / f"out{workers}", "--workers", str(workers), *options)
        assert done.returncode == 1, done.stderr  # broken.mp4
        assert "broken.mp4" in done.stderr
        assert "5 of 6 inputs done; 1 failed" in done.stderr
    one, two = contents(tmp_path / "out1"), contents(tmp_path / "out2")
    assert compare(one, two) == []
    assert {"clip0.csv", "clip1.csv", "one.csv", "index.csv"} <= one.keys()
    assert len(one) == 5 + 2 + 2 * 3  # tables, the index, what the columns mean, events and faces of three videos
    assert len(list((tmp_path / "seen").glob("*_overlay.*"))) == 5
    again = openau("detect", study, "-o", tmp_path / "out2", "--workers", "2", "--resume", *options)
    assert "5 finished before" in again.stderr
    assert compare(one, contents(tmp_path / "out2")) == []


def test_a_worker_that_dies_is_replaced_and_its_file_skipped(model: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in ("a", "fatal", "unlucky", "z"):
        write_clip(inputs / f"{name}.mp4", frames=4)
    sources = expand([str(inputs)])
    columns = Detector(model).columns
    destination = InFolder(FolderSink(tmp_path / "out", columns), sources)
    archive = Archive(Work(partial(dying_detector.make, str(model))), destination, workers=2)
    with destination:
        outcomes = {Path(outcome.source.name).stem: outcome for outcome in archive.run(sources)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "a": "ok", "fatal": "failed", "unlucky": "ok", "z": "ok",
    }  # fmt: skip
    assert "the process that read it died, 2 times" in outcomes["fatal"].message
    found = contents(tmp_path / "out")
    assert sorted(found) == ["a.csv", "index.csv", "unlucky.csv", "z.csv"]
    index = found["index.csv"].decode().splitlines()[1:]
    assert [Path(line.split(",")[0]).stem for line in index] == ["a", "fatal", "unlucky", "z"]


def test_a_table_without_its_line_keeps_its_name(model: Path, tmp_path: Path) -> None:
    """A run that is killed after a table is made and before the index says so; found by tests/robustness/kill_detect.py."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in ("a", "b"):
        write_clip(inputs / f"{name}.mp4", frames=3)
    sources, columns = expand([str(inputs)]), Detector(model).columns
    InFolder(FolderSink(tmp_path / "out", columns), sources)
    (tmp_path / "out" / "a.csv").write_text("rows of the killed run")
    again = InFolder(FolderSink(tmp_path / "out", columns, resume=True), sources)
    assert [again.is_finished(source) for source in sources] == [False, False]
    assert [again.table(source).name for source in sources] == ["a.csv", "b.csv"]
    (tmp_path / "out" / "index.csv.partial").unlink()
    stranger = InFolder(FolderSink(tmp_path / "out", columns, resume=True), sources)
    assert [stranger.table(source).name for source in sources] == ["a_mp4.csv", "b.csv"]


def test_several_at_a_time_need_a_folder(openau: Run, model: Path, study: Path, tmp_path: Path) -> None:
    for out in ((), ("-o", tmp_path / "all.csv")):
        done = openau("detect", study, *out, "--workers", "2", "--model", model)
        assert done.returncode == 2
        assert "need a folder as --out" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["run", "worker"])
def test_kill_9_at_any_moment_loses_and_doubles_nothing(model: Path, study: Path, tmp_path: Path, victims: str) -> None:
    """A sample; `python tests/robustness/kill_detect.py` kills twenty times."""
    counts = kill_and_resume(study, tmp_path, 2, 2, seed=11, options=["--model", str(model)], victims=victims)
    assert counts.kills == 2
    assert counts.differences == []
    assert counts.orphans == 0
