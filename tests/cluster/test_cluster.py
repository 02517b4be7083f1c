"""`--engine ray`: the same tables over a cluster, from and to any filesystem, whatever dies."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dying_detector
import pytest
from clips import write_clip
from detection import model
from kill_detect import compare, contents
from small_study import make_study

from openau.errors import InputError, OutputError, UsageError
from openau.sinks import IndexRow

__all__ = ["model"]

ray = pytest.importorskip("ray", reason="needs the extra cluster: pip install 'openau[cluster]'")

from openau.archive import Work  # noqa: E402
from openau.cluster import (  # noqa: E402
    Cluster,
    Ledger,
    Place,
    engine,
    expand_places,
    run_on_ray,
)
from openau.media import Source  # noqa: E402

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bucket() -> str:
    """An address of a filesystem in memory."""
    return f"memory://{uuid.uuid4().hex}"


class TestPlaces:
    def test_files_are_written_whole_and_read(self, bucket: str, tmp_path: Path) -> None:
        place = Place(bucket).child("out/table.csv")
        assert place.read() is None
        assert Place(f"{bucket}/out").names() == set()
        place.write(b"one")
        (tmp_path / "two").write_bytes(b"two")
        place.publish(tmp_path / "two")
        assert place.read() == b"two"
        assert Place(f"{bucket}/out").names() == {"table.csv"}  # and nothing temporary
        place.fetch(tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"two"
        place.remove()
        place.remove()
        assert place.read() is None

    def test_folders_are_searched(self, bucket: str) -> None:
        for name in ("b/two.mp4", "a.JPG", "notes.txt", ".hidden.png", "b/one.png"):
            Place(bucket).child(name).write(b"x")
        found = expand_places([bucket, f"{bucket}/a.JPG"])
        assert [source.name.removeprefix(bucket) for source in found] == ["/a.JPG", "/b/one.png", "/b/two.mp4"]
        assert [source.kind for source in found] == ["image", "image", "video"]

    def test_what_cannot_be_had_is_a_sentence(self, bucket: str, tmp_path: Path) -> None:
        (missing,) = expand_places([f"{bucket}/nothing"])
        assert "holds no images or videos" in str(missing.error)
        with pytest.raises(InputError, match="there is no such file"):
            Place(f"{bucket}/no.mp4").fetch(tmp_path / "x")
        with pytest.raises(UsageError, match="no filesystem is known"):
            Place("nosuch://x/y").read()
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            Place(f"{tmp_path}/file/below/table.csv").write(b"x")


class TestLedger:
    sources = (Source("d/b.mp4", "video"), Source("a.mp4", "video"), Source("c.mp4", "video"))

    def row(self, source: Source, ledger: Ledger, status: str = "ok") -> IndexRow:
        table = ledger.table(source)
        table.write(b"rows")
        return IndexRow(source.name, table.name, 3, 2, 0.5, status)

    def test_a_stopped_run_goes_on(self, bucket: str) -> None:
        first = Ledger(Place(bucket), self.sources, ".csv", resume=True)
        first.record(self.row(self.sources[2], first))
        first.record(self.row(self.sources[1], first, "incomplete"))
        first.save()
        second = Ledger(Place(bucket), self.sources, ".csv", resume=True)
        assert [second.is_finished(source) for source in self.sources] == [False, False, True]
        for source in self.sources[:2]:
            second.record(self.row(source, second))
        second.close()
        lines = (Place(bucket).child("index.csv").read() or b"").decode().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == ["d/b.mp4", "a.mp4", "c.mp4"]
        assert Place(bucket).names() == {"index.csv", "a.csv", "b.csv", "c.csv"}

    def test_a_table_without_its_line_keeps_its_name(self, bucket: str) -> None:
        """The run was killed between the two."""
        first = Ledger(Place(bucket), self.sources, ".csv", resume=False)
        first.table(self.sources[1]).write(b"rows")
        second = Ledger(Place(bucket), self.sources, ".csv", resume=True)
        assert not second.is_finished(self.sources[1])
        assert second.table(self.sources[1]).name == "a.csv"

    def test_a_table_that_is_gone_is_made_again(self, bucket: str) -> None:
        first = Ledger(Place(bucket), self.sources, ".csv", resume=False)
        first.record(self.row(self.sources[1], first))
        first.close()
        Place(bucket).child("a.csv").remove()
        assert not Ledger(Place(bucket), self.sources, ".csv", resume=True).is_finished(self.sources[1])

    def test_a_stranger_s_index_is_left_alone(self, bucket: str) -> None:
        Place(bucket).child("index.csv").write(b"name,age\nx,3\n")
        with pytest.raises(OutputError, match="not an index of OpenAU"):
            Ledger(Place(bucket), self.sources, ".csv", resume=False)


@pytest.mark.slow
@pytest.mark.weights
def test_a_cluster_writes_the_bytes_of_one_process_also_when_a_worker_is_killed(
    openau: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study", clips=1, frames=6)
    for name in ("fatal", "unlucky"):
        write_clip(study / f"{name}.mp4", frames=4)
    assert openau("detect", study, "-o", tmp_path / "one", "--model", model).returncode == 1
    one = contents(tmp_path / "one")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(dying_detector.__file__).parent), *sys.path]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        sources = expand_places([str(study)])
        ledger = Ledger(Place(str(tmp_path / "ray")), sources, ".csv", resume=False)
        work = Work(partial(dying_detector.make, str(model)))
        outcomes = {Path(o.source.name).name: o for o in run_on_ray(work, sources, ledger, Cluster(workers=2))}
        # The same from an address to an address; the names of the sources differ, the rest does not.
        for name in ("fatal", "unlucky"):
            (study / f"{name}.mp4").unlink()
        remote = expand_places([f"file://{study}"])
        other = Ledger(Place(f"file://{tmp_path}/remote"), remote, ".csv", resume=False)
        assert len(list(run_on_ray(work, remote, other, Cluster(workers=2)))) == len(sources) - 2
    finally:
        ray.shutdown()
    assert outcomes["unlucky.mp4"].status == "ok"
    assert outcomes["fatal.mp4"].status == "failed"
    assert "the process that read it died" in outcomes["fatal.mp4"].message
    assert outcomes["broken.mp4"].status == "failed"
    found, remotely = contents(tmp_path / "ray"), contents(tmp_path / "remote")
    assert compare(one, found) == ["columns.json", "fatal.csv", "index.csv"]
    assert found.keys() == remotely.keys() | {"unlucky.csv"}
    for name in remotely.keys() - {"index.csv"}:
        rows, others = (list(csv.DictReader(table[name].decode().splitlines())) for table in (found, remotely))
        assert [{**row, "source": ""} for row in rows] == [{**row, "source": ""} for row in others]
        assert all(row["source"].startswith("file://") for row in others)
    assert not list(Path(tmp_path).glob("**/.*.tmp"))


def test_wrong_usage_is_a_sentence(openau: Run, tmp_path: Path) -> None:
    for arguments, reason in (
        (("x.mp4", "--engine", "slurm", "-o", "out"), "there are local, ray"),
        (("x.mp4", "--address", "auto", "-o", "out"), "add --engine ray"),
        (("s3://bucket/x.mp4", "-o", "out"), "--engine ray"),
        (("x.mp4", "--engine", "ray"), "needs a folder as --out"),
        (("0", "--engine", "ray", "-o", tmp_path / "out"), "not cameras"),
    ):
        done = openau("detect", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_what_killed_tasks_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (f".{'0f' * 16}.tmp", ".hidden.tmp", "x.csv"):
        (out / name).write_text("half")
    Ledger(Place(f"file://{out}"), [], ".csv", resume=False).close()
    assert {file.name for file in out.iterdir()} == {".hidden.tmp", "x.csv", "index.csv"}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("openau-cluster-999999999-a", f"openau-cluster-{os.getpid()}-b", "openau-cluster-c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "face.jpg").write_text("a face")
    engine._remove_what_the_dead_left()
    assert {file.name for file in tmp_path.iterdir()} == {
        "out", f"openau-cluster-{os.getpid()}-b", "openau-cluster-c",
    }  # fmt: skip
