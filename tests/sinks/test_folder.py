"""A table per source, and the index."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from openau.errors import OutputError
from openau.result import AUColumns, Faces
from openau.sinks import FolderSink, IndexRow, Names

COLUMNS = AUColumns((12,))


def put(sink: FolderSink, source: str, status: str = "ok") -> None:
    if sink.is_finished(source):
        return
    with sink.open(source) as table:
        table.write(Faces.no_face(COLUMNS, source, timestamp=1.25))
        output = table.path.name
    sink.record(IndexRow(source, output, 1, 0, 1.25, status, "" if status == "ok" else "cut, at 1 s"))


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_same_stems_do_not_overwrite_each_other(tmp_path: Path) -> None:
    sources = ["mon/x.jpg", "mon/x.png", "tue/x.jpg", "tue/X.JPG", "wed/x.jpg", "other/wed/x.jpg", "index.mp4"]
    with FolderSink(tmp_path / "out", COLUMNS) as sink:
        for source in sources:
            put(sink, source)
    rows = index(tmp_path / "out")
    assert [row["source"] for row in rows] == sources
    assert len({row["output"].casefold() for row in rows}) == len(sources)
    assert [row["output"] for row in rows][:3] == ["x.csv", "x_png.csv", "x_jpg.csv"]
    for row in rows:
        with (tmp_path / "out" / row["output"]).open(newline="") as file:
            assert next(csv.DictReader(file))["source"] == row["source"]


def test_resume_does_failed_sources_again_under_their_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with FolderSink(out, COLUMNS) as sink:
        put(sink, "b/x.mp4")
        put(sink, "c/x.mp4", "incomplete")
        put(sink, "d.mp4")
    (out / "d.csv").unlink()
    with FolderSink(out, COLUMNS, resume=True) as sink:
        assert [sink.is_finished(s) for s in ("b/x.mp4", "c/x.mp4", "d.mp4")] == [True, False, False]
        for source in ("a/x.mp4", "b/x.mp4", "c/x.mp4", "d.mp4"):
            put(sink, source)
    rows = {row["source"]: row for row in index(out)}
    assert {s: row["output"] for s, row in rows.items()} == {
        "b/x.mp4": "x.csv", "c/x.mp4": "x_mp4.csv", "d.mp4": "d.csv", "a/x.mp4": "a_x.csv",
    }  # fmt: skip
    assert {row["status"] for row in rows.values()} == {"ok"}


def test_resume_after_a_kill_reads_the_growing_index(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sink = FolderSink(out, COLUMNS)
    put(sink, "a.mp4")
    put(sink, "b.mp4")
    partial = out / "index.csv.partial"
    partial.write_bytes(partial.read_bytes()[:-4])  # the last line was being written
    assert not (out / "index.csv").exists()
    with FolderSink(out, COLUMNS, resume=True) as again:
        assert again.is_finished("a.mp4")
        assert not again.is_finished("b.mp4")
        put(again, "b.mp4")
    assert [row["source"] for row in index(out)] == ["a.mp4", "b.mp4"]
    assert not partial.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_foreign_index_is_not_touched(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "index.csv").write_text("my,own,file\n1,2,3\n")
    with pytest.raises(OutputError, match="not an index of OpenAU"):
        FolderSink(tmp_path, COLUMNS, resume=resume)
    assert (tmp_path / "index.csv").read_text() == "my,own,file\n1,2,3\n"


def test_folder_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        FolderSink(tmp_path / "no" / "out", COLUMNS)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        FolderSink(tmp_path / "file", COLUMNS)


def test_names_are_stable_and_unique_for_many_sources() -> None:
    rng = np.random.default_rng(3)
    sources = [
        f"{rng.choice(list('ab'))}/{rng.choice(list('xXy'))}.{rng.choice(['jpg', 'JPG'])}/{i}.png" for i in range(50)
    ]
    sources += [f"{folder}/same.png" for folder in "abcdefgh" for _ in range(3)]
    names = Names()
    given = {source: names.name(source, ".csv") for source in sources}
    assert len({name.casefold() for name in given.values()}) == len(set(sources))
    assert {source: names.name(source, ".csv") for source in reversed(sources)} == given


def test_names_that_are_not_utf8_or_very_long(tmp_path: Path) -> None:
    sources = ["caf\udce9.png", "a" * 250 + ".png", "a" * 249 + "b.png", "\u00e4" * 120 + ".mp4"]
    for resume in (False, True):
        with FolderSink(tmp_path / "out", COLUMNS, resume=resume) as sink:
            assert [sink.is_finished(source) for source in sources] == [resume] * len(sources)
            for source in sources:
                put(sink, source)
    rows = index(tmp_path / "out")
    assert rows[0]["source"] == "caf\ufffd.png"
    assert len({row["output"] for row in rows}) == len(sources)
    assert all((tmp_path / "out" / row["output"]).is_file() for row in rows)


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "P01.csv").write_text("coded,by,hand\n")
    for _ in range(2):
        with FolderSink(tmp_path, COLUMNS) as sink:
            put(sink, "P01.mp4")
        assert [row["output"] for row in index(tmp_path)] == ["P01_mp4.csv"]
    assert (tmp_path / "P01.csv").read_text() == "coded,by,hand\n"


def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    with FolderSink(tmp_path, COLUMNS) as sink:
        put(sink, "a.png")
    content = (tmp_path / "index.csv").read_text().replace(",1,0,", ",one,none,")
    (tmp_path / "index.csv").write_text(content)
    with pytest.raises(OutputError, match=r"index\.csv: .*damaged"):
        FolderSink(tmp_path, COLUMNS, resume=True)
    assert (tmp_path / "index.csv").read_text() == content
