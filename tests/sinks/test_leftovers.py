"""What killed runs left is removed by the next one, and nothing else."""

from __future__ import annotations

from pathlib import Path

from openau.batch import Overlays
from openau.media import Source
from openau.outputs import remove_scratch, scratch_beside
from openau.result import AUColumns
from openau.sinks import FolderSink, IndexRow

LEFT = (".x.4242.tmp.csv", ".x.csv.4242.tmp.resume", ".x.csv.4242.tmp.incomplete", ".index.csv.4242.tmp.partial",
        "x.csv.partial", "x.csv.resume")  # fmt: skip
KEPT = (".stranger.4242.tmp.csv", ".x.tmp.csv", ".x.4242.tmp.png", "done.csv", ".done.4242.tmp.csv", "z.csv.partial")


def test_a_folder_of_tables(tmp_path: Path) -> None:
    with FolderSink(tmp_path, AUColumns((12,))) as sink:
        (tmp_path / "done.csv").write_text("")
        sink.record(IndexRow("done.mp4", "done.csv", 1, 0, 0.0, "ok"))
    for name in (*LEFT, *KEPT):
        (tmp_path / name).write_text("left")
    sink = FolderSink(tmp_path, AUColumns((12,)), resume=True)
    sink.plan(["x.mp4", "done.mp4"])
    assert {file.name for file in tmp_path.iterdir()} == {*KEPT, "index.csv", "index.csv.partial"}


def test_the_name_that_is_given_is_the_name_that_is_found(tmp_path: Path) -> None:
    for target in ("clip.mp4", "n" * 100 + ".parquet", "a.b.csv.resume", "no suffix", "x.1.tmp.csv"):
        scratch = scratch_beside(tmp_path / target)
        scratch.write_text("left")
        remove_scratch([tmp_path / "another.csv"])
        assert scratch.exists()
        remove_scratch([tmp_path / target])
        assert not scratch.exists()


def test_overlays(tmp_path: Path) -> None:
    for name in (".x_overlay.4242.tmp.mp4", ".y_overlay.4242.tmp.mp4"):
        (tmp_path / name).write_text("left")
    Overlays(tmp_path, True, [Source("in/x.mp4", "video")])
    assert [file.name for file in tmp_path.iterdir()] == [".y_overlay.4242.tmp.mp4"]
