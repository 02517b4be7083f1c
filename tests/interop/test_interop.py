"""Tables of other programs read and written; AU events in their files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from long_tables import COLUMNS, recording
from typer.testing import CliRunner

from openau.cli import app
from openau.errors import InputError, UsageError
from openau.interop import BORIS_COLUMNS, convert, read_faces, write_boris, write_eaf
from openau.result import NO_FACE, AUColumns, Faces
from openau.sinks import open_sink
from openau.sinks.sidecar import explain, read_origin, sidecar_path, write_sidecar


def example(columns: AUColumns = COLUMNS) -> Faces:
    """Two people, a frame without a face in the middle."""
    one = recording([(12, 2, 3), (6, 2.2, 2.8)], seconds=5, columns=columns)
    two = recording([(1, 1, 2)], seconds=3, face_id=1, columns=columns, seed=1)
    both = Faces.concatenate([one[:124], two, Faces.no_face(columns, "clip.mp4", 124, 124 / 25)])
    return both[np.lexsort((both.face_id, both.frame))]


def write(faces: Faces, path: Path, format: str | None = None) -> Path:
    with open_sink(path, faces.columns, format) as sink:  # type: ignore[arg-type]
        sink.write(faces)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_our_own_tables_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    columns = AUColumns((1, 6, 12, 26), (6, 12), (12,), ("blurred",))
    faces = example(columns)
    back = read_faces(write(faces, tmp_path / f"t{suffix}"))
    assert back.columns == columns
    for name in faces.column_names:
        ours, theirs = faces.column(name), back.column(name)
        if name == "source":
            assert ours.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(theirs.astype(float), ours.astype(float), atol=6e-3 if name in "xy" else 6e-5)
    assert (back.face_id == NO_FACE).sum() == 1


def test_openface_there_and_back(tmp_path: Path) -> None:
    columns = AUColumns((6, 12, 43), (6, 12))
    faces = recording([(12, 2, 3)], seconds=5, columns=columns)
    faces.pose[:] = (10, -20, 5)
    back = read_faces(write(faces, tmp_path / "clip.csv", "openface"))
    assert set(back.source) == {"clip"}
    assert back.frame.tolist() == faces.frame.tolist()
    np.testing.assert_allclose(back.timestamp, faces.timestamp, atol=5e-4)
    np.testing.assert_allclose(back.pose, faces.pose, atol=0.03)
    assert (back.column("AU12") == (faces.column("AU12") >= 0.5)).all()
    np.testing.assert_allclose(back.column("AU12_i"), faces.column("AU12_i"), atol=6e-3)
    assert "AU45" in back.columns.names  # OpenFace's name for closed eyes
    again = read_faces(write(back, tmp_path / "again.csv", "openface"))
    assert again.columns.names == back.columns.names


def test_openface_s_lost_frames_and_landmarks(tmp_path: Path) -> None:
    points = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    header = ["frame", "face_id", "timestamp", "confidence", "success", *points, "AU12_r", "AU12_c"]
    cells = [*range(100, 168), *range(200, 268)]
    rows = [[1, 0, 0.0, 0.9, 1, *cells, 2.5, 1], [2, 0, 0.04, 0.1, 0, *cells, 2.5, 1]]
    path = tmp_path / "of.csv"
    path.write_text("\n".join(", ".join(map(str, row)) for row in [header, *rows]) + "\n")
    faces = read_faces(path)
    assert faces.box[0].tolist() == [100, 200, 67, 67]
    assert faces.has_face.tolist() == [True, False]
    assert np.isnan(faces.values[1]).all()
    assert faces.column("AU12")[0] == 1


def test_pyfeat_there_and_back(tmp_path: Path) -> None:
    faces = example()
    path = write(faces, tmp_path / "fex.csv", "pyfeat")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][name] for name in ("input", "frame", "Identity", "AU11")] == ["clip.mp4", "0", "Person_0", ""]
    back = read_faces(path)
    assert back.columns.occurrence == faces.columns.occurrence
    assert back.face_id.tolist() == faces.face_id.tolist()
    np.testing.assert_allclose(back.timestamp, faces.timestamp, atol=1e-6)
    np.testing.assert_allclose(back.box, faces.box, atol=6e-3)
    np.testing.assert_allclose(back.column("AU12"), faces.column("AU12"), atol=6e-5)


def test_a_table_without_times_needs_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "fex.csv"
    lines = ["FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU12,input,frame"]
    lines += [f"1,2,30,40,0.9,{0.9 if 10 <= i < 20 else 0.1},clip.mp4,{i}" for i in range(50)]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match="--rate"):
        write_eaf(read_faces(path), tmp_path / "a.eaf")
    (event,) = write_eaf(read_faces(path, rate=10), tmp_path / "a.eaf")
    assert (event.onset, event.offset) == (1.0, 2.0)


def test_a_folder_of_tables_is_one_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(recording([], seconds=1, source=f"{name}.mp4"), tmp_path / f"{name}.csv")
    (tmp_path / "index.csv").write_text("source,output\n")
    (tmp_path / "a.events.csv").write_text("source,face_id,AU\n")
    (tmp_path / "a.summary.csv").write_text("source,face_id\n")
    assert dict.fromkeys(read_faces(tmp_path).source) == {"a.mp4": None, "b.mp4": None}
    write(recording([], seconds=1, columns=AUColumns((1,))), tmp_path / "c.csv")
    with pytest.raises(InputError, match=r"c\.csv: has other columns than"):
        read_faces(tmp_path)


def test_an_eaf_holds_the_events_in_the_schema_s_order(tmp_path: Path) -> None:
    path = tmp_path / "clip.eaf"
    events = write_eaf(example(), path)
    root = ET.parse(path).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    order = [child.tag for child in root]
    assert order == ["HEADER", "TIME_ORDER", "TIER", "TIER", "TIER", "LINGUISTIC_TYPE"]
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE") or -1) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    ids = [a.get("ANNOTATION_ID") for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids)) == len(ids) == len(events) == 3
    types = {t.get("LINGUISTIC_TYPE_ID") for t in root.iter("LINGUISTIC_TYPE")}
    assert {t.get("LINGUISTIC_TYPE_REF") for t in root.iter("TIER")} == types


def test_elan_s_reader_finds_the_same_events(tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi").Elan
    path = tmp_path / "clip.eaf"
    write_eaf(example(), path, media=Path("clip.mp4"))
    document = elan.Eaf(str(path))
    tiers = {name: document.get_annotation_data_for_tier(name) for name in document.get_tier_names()}
    assert tiers == {
        "face 0 AU06 cheek raiser": [(2200, 2800, "AU06 0.90 4.0")],
        "face 0 AU12 lip corner puller": [(2000, 3000, "AU12 0.90 4.0")],
        "face 1 AU01 inner brow raiser": [(1000, 2000, "AU01 0.90")],
    }
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./clip.mp4"


def test_names_that_xml_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "odd.eaf"
    write_eaf(recording([(12, 1, 2)], source='a\x01<b>&"\udce9.mp4'), path)
    ET.parse(path)


def test_boris_events(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    write_boris(example(), path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == BORIS_COLUMNS
    told = {(r["Subject"], r["Behavior"], r["Start (s)"], r["Stop (s)"], r["Behavior type"]) for r in rows}
    assert told == {
        ("face 1", "AU01 inner brow raiser", "1.000", "2.000", "STATE"),
        ("face 0", "AU12 lip corner puller", "2.000", "3.000", "STATE"),
        ("face 0", "AU06 cheek raiser", "2.200", "2.800", "STATE"),
    }
    starts = [float(r["Start (s)"]) for r in rows]
    assert starts == sorted(starts)
    assert {r["FPS (frame/s)"] for r in rows} == {"25.000"}
    assert {r["Media duration (s)"] for r in rows} == {"5.000"}


def test_one_file_per_recording_in_a_folder(tmp_path: Path) -> None:
    faces = Faces.concatenate([recording([(12, 1, 2)], source=f"{n}.mp4") for n in "ab"])
    with pytest.raises(UsageError, match="name a folder"):
        convert(faces, tmp_path / "both.eaf")
    written = convert(faces, tmp_path / "tiers", "elan")
    assert [p.name for p in written] == ["a.eaf", "b.eaf"]


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(example(), Path("clip.csv"))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["convert", *arguments])
        return done.exit_code, done.output

    assert run("clip.csv", "-o", "clip.eaf") == (0, "199 rows → clip.eaf\n".replace("199", "200"))
    first = Path("clip.eaf").read_bytes()
    assert run("clip.csv", "-o", "clip.eaf")[0] == 0
    assert Path("clip.eaf").read_bytes() == first
    assert run("clip.csv", "-o", "fex.csv", "--to", "pyfeat")[0] == 0
    assert run("fex.csv", "-o", "back.csv")[0] == 0
    assert Path("back.json").is_file()
    for arguments, code, words in (
        (("gone.csv", "-o", "x.csv"), 1, "gone.csv: no such file"),
        (("clip.csv", "-o", "clip.csv"), 2, "this is the input"),
        (("clip.csv", "-o", "x.txt"), 2, "cannot be told"),
        (("clip.csv", "-o", "x.csv", "--to", "elan"), 2, ".eaf"),
        (("clip.csv", "-o", "x.csv", "--to", "praat"), 2, "no such kind"),
    ):
        assert run(*arguments)[0] == code
        assert words in run(*arguments)[1]


def test_a_sidecar_explains_every_column_and_says_who_wrote_it(tmp_path: Path) -> None:
    columns = AUColumns((12, 43), (12,), (12,), ("blurred",))
    path = write_sidecar(tmp_path / "clip.csv", columns, settings={"model": "m.x"})
    assert path == tmp_path / "clip.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    table = recording([], columns=columns)
    assert [name for name in content if name != "GeneratedBy"] == list(table.column_names)
    assert content["AU12_i"] | {"Description": ""} == {
        "LongName": "AU12 intensity", "Description": "", "Minimum": 0, "Maximum": 5,
    }  # fmt: skip
    assert content["yaw"]["Units"] == "degrees"
    assert "subject's left" in content["AU12_L"]["Description"]
    assert "zygomaticus major" in content["AU12"]["Description"]
    origin = read_origin(tmp_path / "clip.csv")
    assert origin is not None
    assert origin.settings == {"model": "m.x"}
    first = path.read_bytes()
    write_sidecar(tmp_path / "clip.csv", columns, settings={"model": "m.x"})
    assert path.read_bytes() == first


def test_a_continued_table_tells_both_models(tmp_path: Path) -> None:
    for model, continued in (("a", False), ("b", True), ("b", True)):
        path = write_sidecar(tmp_path / "t.csv", COLUMNS, settings={"model": model}, continued=continued)
    assert path
    assert [made["Settings"]["model"] for made in json.loads(path.read_text())["GeneratedBy"]] == ["a", "b"]
    write_sidecar(tmp_path / "t.csv", COLUMNS, settings={"model": "c"})
    assert [made["Settings"]["model"] for made in json.loads(path.read_text())["GeneratedBy"]] == ["c"]


@pytest.mark.parametrize("format", ["openface", "pyfeat"])
def test_sidecars_of_other_formats_explain_columns_that_are_there(tmp_path: Path, format: str) -> None:
    path = write(example(), tmp_path / "t.csv", format)
    header = path.read_text().splitlines()[0].split(",")
    told = explain(COLUMNS, format)  # type: ignore[arg-type]
    assert set(told) <= set(header)
    assert {"AU12_c", "AU12_r"} <= set(told) if format == "openface" else "AU12" in told


def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path: Path) -> None:
    for content in ('{"architecture": "fan"}', "not json", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}', "[]", '"x"'):
        (tmp_path / "clip.json").write_text(content)
        path = write_sidecar(tmp_path / "clip.csv", COLUMNS, settings={"model": "a"})
        assert path == tmp_path / "clip.csv.json"
        assert (tmp_path / "clip.json").read_text() == content
    origin = read_origin(tmp_path / "clip.csv")
    assert origin is not None
    assert origin.settings == {"model": "a"}
    (tmp_path / "clip.csv.json").write_text("mine")
    assert write_sidecar(tmp_path / "clip.csv", COLUMNS) is None
    assert (tmp_path / "clip.csv.json").read_text() == "mine"
    assert sidecar_path(tmp_path) == tmp_path / "columns.json"
