"""Tables on disk: same content in every format, nothing lost by a kill, nothing half-written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from openau.errors import InputError, OutputError, UsageError
from openau.result import FACE_COLUMNS, AUColumns, Faces
from openau.sinks import OPENFACE_COLUMNS, TableSink
from openau.sinks import formats as formats_module

COLUMNS = AUColumns((6, 12, 43), (12,), (12,))
FORMATS = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}


def some_faces(source: str, frames: int, seed: int = 0, columns: AUColumns = COLUMNS) -> list[Faces]:
    """One table per frame; every fourth frame is without a face."""
    rng = np.random.default_rng([seed, frames])
    tables = []
    for index in range(frames):
        if index % 4 == 3:
            tables.append(Faces.no_face(columns, source, index, index / 25))
            continue
        n = 1 + index % 2
        values = rng.random((n, len(columns.names))).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        tables.append(
            Faces(
                columns=columns,
                source=np.full(n, source, object),
                frame=np.full(n, index),
                timestamp=np.full(n, index / 25),
                face_id=np.arange(n),
                score=rng.random(n).astype(np.float32),
                box=(rng.random((n, 4)) * 900 - 50).astype(np.float32),
                pose=rng.normal(0, 20, (n, 3)).astype(np.float32),
                values=values,
                landmarks=rng.random((n, 468, 3)).astype(np.float32),
            )
        )
    return tables


def write(path: Path, sources: dict[str, int], **options: object) -> Path:
    with TableSink(path, COLUMNS, **options) as sink:  # type: ignore[arg-type]
        for source, frames in sources.items():
            if sink.is_finished(source):
                continue
            for faces in some_faces(source, frames):
                sink.write(faces)
            sink.finish_source(source)
    return path


def read(path: Path) -> list[dict[str, object]]:
    """Rows with numbers as floats and None for empty."""
    if path.suffix == ".parquet":
        return [
            {k: float(v) if isinstance(v, int | float) else v for k, v in row.items()}
            for row in pq.read_table(path).to_pylist()
        ]
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        return [
            {k: float(v) if isinstance(v, int | float) else v for k, v in json.loads(line).items()} for line in lines
        ]
    with path.open(newline="") as file:
        return [
            {k: (v if k == "source" else float(v)) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def test_a_row_as_csv(tmp_path: Path) -> None:
    faces = Faces(
        columns=AUColumns((12,)),
        source=np.array(['a, "b".jpg'], object),
        frame=np.array([7]),
        timestamp=np.array([0.28]),
        face_id=np.array([0]),
        score=np.array([0.98768], np.float32),
        box=np.array([[1.005, -2.5, 30.25, 40]], np.float32),
        pose=np.array([[-0.001, 12.346, 0]], np.float32),
        values=np.array([[0.50004]], np.float32),
    )
    with TableSink(tmp_path / "t.csv", AUColumns((12,))) as sink:
        sink.write(faces)
        sink.write(Faces.no_face(AUColumns((12,)), "b.jpg"))
    header, row, empty = (tmp_path / "t.csv").read_text().splitlines()
    assert header == "source,frame,timestamp,face_id,score,x,y,width,height,pitch,yaw,roll,AU12"
    assert row == '"a, ""b"".jpg",7,0.280000,0,0.9877,1.00,-2.50,30.25,40.00,0.00,12.35,0.00,0.5000'
    assert empty == "b.jpg,0,0.000000,,,,,,,,,,"


def test_formats_hold_the_same(tmp_path: Path) -> None:
    tables = {name: read(write(tmp_path / f"t{suffix}", {"a.mp4": 30, "b.mp4": 9})) for name, suffix in FORMATS.items()}
    assert len(tables["csv"]) == sum(len(f) for n in (30, 9) for f in some_faces("", n))
    assert tuple(tables["csv"][0]) == (*FACE_COLUMNS, *COLUMNS.names)
    for name in ("jsonl", "parquet"):
        assert len(tables[name]) == len(tables["csv"])
        for ours, theirs in zip(tables["csv"], tables[name], strict=True):
            assert list(ours) == list(theirs)
            for column, value in ours.items():
                other = theirs[column]
                if isinstance(value, float):
                    assert other == pytest.approx(value, rel=1e-6, abs=1e-6), (name, column)
                else:
                    assert other == value


def test_numbers_survive_to_the_stated_decimals(tmp_path: Path) -> None:
    exact = Faces.concatenate(some_faces("a.mp4", 30))
    rows = read(write(tmp_path / "t.csv", {"a.mp4": 30}))
    for name, step in (("timestamp", 1e-6), ("x", 1e-2), ("yaw", 1e-2), ("score", 1e-4), ("AU12_L", 1e-4)):
        written = np.array([np.nan if row[name] is None else row[name] for row in rows], float)
        np.testing.assert_allclose(written, exact.column(name), atol=0.5001 * step + 1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_kill_at_any_moment_loses_nothing(name: str, tmp_path: Path) -> None:
    """Resuming from the files of any moment, even with half a row behind them, gives the bytes of an uninterrupted run."""
    suffix = FORMATS[name]
    plan = {"a.mp4": 12, "b.mp4": 5, "c.mp4": 7}
    whole = write(tmp_path / f"whole{suffix}", plan).read_bytes()
    path = tmp_path / f"killed{suffix}"
    partial, log = path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.resume")
    moments: list[tuple[bytes, bytes]] = []
    sink = TableSink(path, COLUMNS)
    for source, frames in plan.items():
        for index, faces in enumerate(some_faces(source, frames)):
            sink.write(faces)
            if index == frames // 2:
                sink._flush()
            moments.append((partial.read_bytes(), log.read_bytes()))
        sink.finish_source(source)
        moments.append((partial.read_bytes(), log.read_bytes()))
    sink.discard()
    assert not partial.exists()
    assert len(moments) > 20
    for rows, done in moments:
        for tail, torn in ((b"", b""), (b"half a r", b'{"sources":["x')):
            partial.write_bytes(rows + tail)
            log.write_bytes(done + torn)
            write(path, plan, resume=True)
            assert path.read_bytes() == whole
            assert [p.name for p in tmp_path.iterdir() if p.name.startswith(("killed", "."))] == [path.name]
            path.unlink()


def test_finished_sources_are_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    sink = TableSink(path, COLUMNS)
    for faces in some_faces("a.mp4", 3):
        sink.write(faces)
    sink.finish_source("a.mp4")
    sink.write(some_faces("b.mp4", 1)[0])
    sink.keep_partial()
    again = TableSink(path, COLUMNS, resume=True)
    assert again.is_finished("a.mp4")
    assert not again.is_finished("b.mp4")
    again.close()
    assert {row["source"] for row in read(path)} == {"a.mp4"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_read_in_part_is_read_again(name: str, tmp_path: Path) -> None:
    path, plan = tmp_path / f"t{FORMATS[name]}", {"a.mp4": 6, "b.mp4": 8, "c.mp4": 4}
    with TableSink(path, COLUMNS) as sink:
        for source, frames in plan.items():
            kept = 3 if source == "b.mp4" else frames
            for faces in some_faces(source, frames)[:kept]:
                sink.write(faces)
            sink.finish_source(source, complete=kept == frames)
    assert json.loads(path.with_name(f"{path.name}.incomplete").read_text()) == {"incomplete": ["b.mp4"]}
    write(path, plan, resume=True)
    assert not path.with_name(f"{path.name}.incomplete").exists()
    expected = {tuple(r.items()) for r in read(write(tmp_path / f"whole{FORMATS[name]}", plan))}
    assert {tuple(r.items()) for r in read(path)} == expected


@pytest.mark.parametrize("name", FORMATS)
def test_an_incomplete_source_redone_after_a_kill_keeps_its_place(name: str, tmp_path: Path) -> None:
    path, plan = tmp_path / f"t{FORMATS[name]}", {"a.mp4": 6, "b.mp4": 8, "c.mp4": 4}
    sink = TableSink(path, COLUMNS)
    for source, frames in plan.items():
        kept = 3 if source == "b.mp4" else frames
        for faces in some_faces(source, frames)[:kept]:
            sink.write(faces)
        sink.finish_source(source, complete=kept == frames)
    sink.keep_partial()
    write(path, plan, resume=True)
    assert path.read_bytes() == write(tmp_path / f"whole{FORMATS[name]}", plan).read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_a_finished_table_takes_new_sources(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t{FORMATS[name]}", {"a.mp4": 6})
    write(path, {"a.mp4": 6, "b.mp4": 5}, resume=True)
    assert path.read_bytes() == write(tmp_path / f"w{FORMATS[name]}", {"a.mp4": 6, "b.mp4": 5}).read_bytes()


def test_without_resume_a_table_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"old.mp4": 4})
    before = path.read_bytes()
    sink = TableSink(path, COLUMNS)
    sink.write(some_faces("new.mp4", 1)[0])
    sink.__exit__(RuntimeError, RuntimeError(), None)
    assert path.read_bytes() == before
    write(path, {"new.mp4": 2})
    assert {row["source"] for row in read(path)} == {"new.mp4"}


def test_other_settings_are_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    TableSink(path, COLUMNS, settings={"model": "a"}).keep_partial()
    with pytest.raises(UsageError, match="another model"):
        TableSink(path, COLUMNS, settings={"model": "b"}, resume=True)
    write(path, {"a.mp4": 2})
    with pytest.raises(UsageError, match="columns"):
        TableSink(path, AUColumns((1,)), resume=True)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no[/\\]t.csv: cannot be written, the folder .*no does not exist"):
        TableSink(tmp_path / "no" / "t.csv", COLUMNS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.csv.partial").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"t.csv: cannot be written: no space left on device"):
        TableSink(tmp_path / "t.csv", COLUMNS)
    assert not (tmp_path / "t.csv").exists()


def test_suffix_and_format_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="suffix says parquet"):
        TableSink(tmp_path / "t.parquet", COLUMNS, "csv")
    with pytest.raises(UsageError, match="cannot be told"):
        TableSink(tmp_path / "t.txt", COLUMNS)
    write(tmp_path / "t.txt", {"a.mp4": 1}, format="jsonl")
    assert json.loads((tmp_path / "t.txt").read_text().splitlines()[0])["source"] == "a.mp4"


def test_parquet_comes_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats_module, "ROW_GROUP", 10)
    path = write(tmp_path / "t.parquet", {"a.mp4": 30})
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert str(file.schema_arrow.field("AU12").type) == "float"
    assert sizes[:-1] == [10] * (len(sizes) - 1)
    assert sum(sizes) == sum(map(len, some_faces("a.mp4", 30)))


def test_openface_columns_stand_where_its_readers_expect_them() -> None:
    """Positions that scripts in the field rely on, e.g. `pose = table[:, 293:299]`."""
    assert len(OPENFACE_COLUMNS) == 714
    assert OPENFACE_COLUMNS[:5] == ("frame", "face_id", "timestamp", "confidence", "success")
    places = {
        "gaze_0_x": 5, "gaze_angle_y": 12, "eye_lmk_x_0": 13, "eye_lmk_X_0": 125, "eye_lmk_Z_55": 292, "pose_Tx": 293,
        "pose_Rz": 298, "x_0": 299, "y_67": 434, "X_0": 435, "Z_67": 638, "p_scale": 639, "p_33": 678, "AU01_r": 679,
        "AU45_r": 695, "AU01_c": 696, "AU28_c": 712, "AU45_c": 713,
    }  # fmt: skip
    assert {name: OPENFACE_COLUMNS.index(name) for name in places} == places


def test_openface_table(tmp_path: Path) -> None:
    columns = AUColumns((6, 12, 28, 43), (12, 43))
    faces = Faces(
        columns=columns,
        source=np.array(["a.mp4"], object),
        frame=np.array([0]),
        timestamp=np.array([0.0]),
        face_id=np.array([2]),
        score=np.array([0.98], np.float32),
        box=np.zeros((1, 4), np.float32),
        pose=np.array([[10, 20, 30]], np.float32),  # up, to the subject's left, towards the left shoulder
        values=np.array([[0.2, 0.5, 0.49994, 0.9, 3.25, 4]], np.float32),
    )
    with TableSink(tmp_path / "t.csv", columns, "openface") as sink:
        sink.write(faces)
        sink.write(Faces.no_face(columns, "a.mp4", 1, 0.04))
    with (tmp_path / "t.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert {k: first[k] for k in ("frame", "face_id", "timestamp", "confidence", "success")} == {
        "frame": "1", "face_id": "2", "timestamp": "0.000", "confidence": "0.98", "success": "1",
    }  # fmt: skip
    # OpenFace: pitch is negative when looking up, yaw negative when turning to the subject's left; radians.
    assert (first["pose_Rx"], first["pose_Ry"], first["pose_Rz"]) == ("-0.175", "-0.349", "0.524")
    assert [first[f"AU{n}_c"] for n in ("06", "12", "28", "45", "01")] == ["0.0", "1.0", "0.0", "1.0", ""]
    assert [first[f"AU{n}_r"] for n in ("06", "12", "45")] == ["", "3.25", "4.00"]
    assert (second["frame"], second["success"], second["confidence"], second["AU12_c"]) == ("2", "0", "0.00", "")


def test_odd_names_stay_one_row(tmp_path: Path) -> None:
    odd = "a\nb,c\udce9.mp4"
    for suffix in FORMATS.values():
        path = tmp_path / f"t{suffix}"
        with TableSink(path, COLUMNS) as sink:
            for faces in some_faces(odd, 3):
                sink.write(faces)
            sink.finish_source(odd)
            assert sink.is_finished(odd)
        assert {row["source"] for row in read(path)} == {"a\nb,c\ufffd.mp4"}
        assert TableSink(path, COLUMNS, resume=True).is_finished(odd)


def test_a_table_can_be_moved_into_place_over_one_being_read(tmp_path: Path) -> None:
    """A reader of the old table keeps it whole."""
    path = write(tmp_path / "t.csv", {"old.mp4": 40})
    copy = shutil.copy(path, tmp_path / "copy.csv")
    with path.open("rb") as reader:
        head = reader.read(100)
        write(path, {"new.mp4": 3})
        assert head + reader.read() == Path(copy).read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"\xff\xfe\x00"),
        ("t.csv", ",".join((*FACE_COLUMNS, *COLUMNS.names)).encode() + b"\n\n"),
        ("t.jsonl", b"{\n"),
        ("t.jsonl", b"[1, 2]\n"),
        ("t.parquet", b"PAR1 no"),
    ],
)
def test_a_damaged_table_is_told_and_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, UsageError), match=name):
        TableSink(tmp_path / name, COLUMNS, resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: content}


@pytest.mark.parametrize("log", [b"\0\0\0\n", b"[1]\n", b'{"header": 1}\n{"start": 1}\n'])
def test_a_damaged_log_is_told_and_nothing_lost(tmp_path: Path, log: bytes) -> None:
    (tmp_path / "t.csv.partial").write_bytes(b"rows")
    (tmp_path / "t.csv.resume").write_bytes(log)
    with pytest.raises(InputError, match=r"t\.csv\.resume: is damaged.*run without --resume"):
        TableSink(tmp_path / "t.csv", COLUMNS, resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"t.csv.partial": b"rows", "t.csv.resume": log}
