"""Other tools' tables, built by hand from their published headers, beside coders' labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from openau.datasets.manifest import read_manifest, write_manifest
from openau.errors import InputError
from openau.evaluation.matching import Match, Reading, match
from openau.evaluation.predictions import PICTURE, one_face_per_frame
from openau.evaluation.readers import read_predictions
from openau.result import AUColumns, Faces
from openau.sinks import open_sink

OPENFACE_R = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_C = (*OPENFACE_R[:-1], 28, 45)
GAZE = ["gaze_0_x", "gaze_0_y", "gaze_0_z", "gaze_1_x", "gaze_1_y", "gaze_1_z", "gaze_angle_x", "gaze_angle_y"]
LIBREFACE_C = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
LIBREFACE_R = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
PYFEAT = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(header), *(separator.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def openface_video(path: Path, decisions: Sequence[int], intensities: Sequence[float], **options: object) -> Path:
    """FeatureExtraction's table: the same decision and intensity for all AUs of a frame."""
    success = options.get("success") or [1] * len(decisions)
    header = ["frame", "face_id", "timestamp", "confidence", "success", *GAZE]
    header += [f"AU{n:02d}_r" for n in OPENFACE_R] + [f"AU{n:02d}_c" for n in OPENFACE_C]
    rows = [
        [i + 1, 0, f"{i / 25:.3f}", "0.98", ok, *["0.1"] * 8, *[f"{r:.2f}"] * 17, *[f"{c:.1f}"] * 18]
        for i, (c, r, ok) in enumerate(zip(decisions, intensities, success, strict=True))  # type: ignore[call-overload]
    ]
    return write(path, header, rows, ", ")


def openface_picture(path: Path, faces: Sequence[tuple[float, int]]) -> Path:
    """FaceLandmarkImg's table: a row per face, (confidence, decision)."""
    header = ["face", "confidence", *GAZE, *[f"AU{n:02d}_r" for n in OPENFACE_R], *[f"AU{n:02d}_c" for n in OPENFACE_C]]
    rows = [[i, c, *["0.1"] * 8, *["1.00"] * 17, *[f"{d:.1f}"] * 18] for i, (c, d) in enumerate(faces)]
    return write(path, header, rows, ", ")


def pyfeat(path: Path, rows: Sequence[tuple[str, int, float | None, float]]) -> Path:
    """A Fex table: (input, frame, side of the face box or None, probability of all AUs)."""
    header = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw"]
    header += [f"AU{n:02d}" for n in PYFEAT] + ["anger", "input", "frame", "FrameHeight", "FrameWidth"]
    cells = [
        [*([1.5, 2.5, side, side, 0.99, 0, 0, 0] if side else [""] * 8), *[p if side else ""] * 20, 0.1, name, frame, 480.0, 640.0]
        for name, frame, side, p in rows
    ]  # fmt: skip
    return write(path, header, [[i, *row] for i, row in enumerate(cells)] and cells)


def libreface(path: Path, rows: Sequence[tuple[int, int, float]]) -> Path:
    """A video's table: (frame, presence, intensity) of all AUs."""
    header = ["frame_idx", "frame_time_in_ms", "pitch", "yaw", "roll", "lm_mp_0_x"]
    header += [f"au_{n}" for n in LIBREFACE_C] + [f"au_{n}_intensity" for n in LIBREFACE_R] + ["facial_expression"]
    return write(path, header, [[f, f / 25, 1, 2, 3, 0.5, *[c] * 12, *[r] * 12, "Neutral"] for f, c, r in rows])


def manifest(path: Path, rows: Sequence[dict[str, object]]) -> pa.Table:
    """A manifest of these rows, written and read again."""
    names = sorted({name for row in rows for name in row})
    types = {"frame": pa.int64(), "image": pa.string(), "clip": pa.string(), "subject": pa.string()}
    table = pa.table({name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names})
    if "image" not in names:
        table = table.append_column("image", pa.nulls(len(rows), pa.string()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(table, path)
    return read_manifest(path)


def clip_rows(
    clip: str, first: int, labels: Sequence[int | None], aus: Sequence[int] = (1, 12), **more: object
) -> list[dict[str, object]]:
    """Rows of a clip whose frames count from `first`."""
    return [
        {"subject": clip[:4], "clip": clip, "frame": first + i, **{f"AU{n:02d}": label for n in aus}, **more}
        for i, label in enumerate(labels)
    ]


def judged(path: Path, truth: pa.Table, **reading: object) -> Match:
    return match(read_predictions(path), truth, "bp4d", Reading(**reading))  # type: ignore[arg-type]


# --- reading -------------------------------------------------------------------------------------------------------------------


def test_openface_counts_from_one_and_its_failed_frames_are_missed(tmp_path: Path) -> None:
    said = read_predictions(openface_video(tmp_path / "F001_T1.csv", [0, 1, 1], [0.4, 2.5, 5], success=[1, 1, 0]))
    assert said.tool == "OpenFace 2"
    assert said.frame.tolist() == [0, 1, 2]
    assert said.found.tolist() == [True, True, False]
    assert said.aus == tuple(sorted(OPENFACE_C))
    assert said.intensity_aus == OPENFACE_R
    assert said.decision[:2, 0].tolist() == [0, 1]
    assert said.intensity[:2, 0].tolist() == pytest.approx([0.4, 2.5])


def test_openface_files_without_blanks_and_with_windows_nan_are_read_alike(tmp_path: Path) -> None:
    blanks = openface_video(tmp_path / "a.csv", [0, 1], [0.4, 2.5])
    plain = tmp_path / "b.csv"
    plain.write_text(blanks.read_text().replace(", ", ",").replace("0.1,0.1", "-nan(ind),nan"))
    one, other = read_predictions(blanks), read_predictions(plain)
    np.testing.assert_array_equal(one.decision, other.decision)
    np.testing.assert_array_equal(one.intensity, other.intensity)


def test_a_picture_without_a_face_is_a_table_without_rows(tmp_path: Path) -> None:
    openface_picture(tmp_path / "out" / "p1.csv", [(0.9, 1)])
    openface_picture(tmp_path / "out" / "p2.csv", [])
    said = read_predictions(tmp_path / "out")
    assert dict(zip(said.source.tolist(), said.found.tolist(), strict=True)) == {"p1": True, "p2": False}
    assert set(said.frame.tolist()) == {PICTURE}


def test_pyfeat_rows_without_a_box_are_missed_whatever_their_aus_say(tmp_path: Path) -> None:
    path = pyfeat(tmp_path / "fex.csv", [("v/F001_T1.mp4", 0, 50, 0.7), ("v/F001_T1.mp4", 1, None, 0.7)])
    text = path.read_text().splitlines()
    cells = text[2].split(",")
    cells[8:28] = ["0.9"] * 20  # some versions of 2.x judge a black picture
    path.write_text("\n".join([*text[:2], ",".join(cells)]))
    said = read_predictions(path)
    assert said.tool == "Py-Feat"
    assert said.found.tolist() == [True, False]
    assert said.frame.tolist() == [0, 1]
    assert said.aus == PYFEAT
    assert np.isnan(said.decision).all()


def test_libreface_has_presence_and_intensity_of_different_aus(tmp_path: Path) -> None:
    said = read_predictions(libreface(tmp_path / "x.csv", [(0, 1, 2.5), (1, 0, 0.5)]))
    assert said.tool == "LibreFace"
    assert (said.aus, said.intensity_aus) == (LIBREFACE_C, LIBREFACE_R)
    assert said.decision[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_our_own_tables_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    columns = AUColumns((1, 12), (12,))
    nan = np.nan
    faces = Faces(
        columns,
        source=np.array(["a.mp4", "a.mp4", "b.png"], object),
        frame=np.array([0, 1, 0]),
        timestamp=np.array([0, 0.04, 0]),
        face_id=np.array([0, -1, 0]),
        score=np.array([0.9, nan, 0.8], np.float32),
        box=np.array([[1, 2, 30, 40], [nan] * 4, [0, 0, 10, 10]], np.float32),
        pose=np.full((3, 3), nan, np.float32),
        values=np.array([[0.25, 0.75, 2.5], [nan] * 3, [0.5, 0.125, 0]], np.float32),
    )
    path = tmp_path / f"table.{suffix}"
    with open_sink(path, columns) as sink:
        sink.write(faces)
    said = read_predictions(path)
    assert said.tool == "OpenAU"
    assert said.found.tolist() == [True, False, True]
    assert said.frame.tolist() == [0, 1, PICTURE]
    np.testing.assert_array_equal(said.probability, faces.values[:, :2])
    np.testing.assert_array_equal(said.intensity, faces.values[:, 2:])
    assert said.area[0] == 1200


def test_our_openface_table_tells_only_the_aus_it_has(tmp_path: Path) -> None:
    columns = AUColumns((1, 43), ())
    faces = Faces(
        columns,
        source=np.array(["a.mp4"] * 2, object),
        frame=np.arange(2),
        timestamp=np.arange(2.0),
        face_id=np.array([0, 0]),
        score=np.ones(2, np.float32),
        box=np.ones((2, 4), np.float32),
        pose=np.zeros((2, 3), np.float32),
        values=np.array([[0.4, 0.6], [0.6, 0.4]], np.float32),
    )
    with open_sink(tmp_path / "a.csv", columns, "openface") as sink:
        sink.write(faces)
    said = read_predictions(tmp_path / "a.csv")
    assert (said.aus, said.intensity_aus) == ((1, 45), ())
    assert said.frame.tolist() == [0, 1]
    assert said.decision.tolist() == [[0, 1], [1, 0]]


# --- several faces --------------------------------------------------------------------------------------------------------------


def test_the_person_seen_most_is_kept_then_the_largest_box(tmp_path: Path) -> None:
    header = ["source", "frame", "timestamp", "face_id", "score", "x", "y", "width", "height", "AU01"]
    rows = [
        ["a.mp4", 0, 0, 0, 0.9, 0, 0, 90, 90, 0.1],  # a larger face, but a passer-by
        ["a.mp4", 0, 0, 1, 0.9, 0, 0, 50, 50, 0.2],
        ["a.mp4", 1, 1, 1, 0.9, 0, 0, 50, 50, 0.3],
        ["b.png", 0, 0, 1, 0.9, 0, 0, 20, 20, 0.4],
        ["b.png", 0, 0, 0, 0.8, 0, 0, 60, 60, 0.5],
    ]
    chosen, crowded = one_face_per_frame(read_predictions(write(tmp_path / "t.csv", header, rows)))
    assert chosen.probability[:, 0].tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert crowded == 2


def test_of_faces_alike_the_surer_one_is_kept(tmp_path: Path) -> None:
    said = read_predictions(openface_picture(tmp_path / "p.csv", [(0.4, 0), (0.9, 1)]))
    chosen, crowded = one_face_per_frame(said)
    assert (chosen.decision[0, 0], len(chosen), crowded) == (1, 1, 1)


# --- matching -------------------------------------------------------------------------------------------------------------------


def test_frames_meet_with_the_data_set_s_own_numbers(tmp_path: Path) -> None:
    """OpenFace's frame 1, LibreFace's frame 0 and DISFA's label 1 are the same picture."""
    labels = [0, 1, 1, 0]
    truth = manifest(tmp_path / "m.parquet", clip_rows("SN001", 1, labels, dataset="disfa"))
    for path in (
        openface_video(tmp_path / "openface" / "LeftVideoSN001_comp.csv", labels, [0.0] * 4),
        libreface(tmp_path / "libreface" / "SN001.csv", [(i, label, 0) for i, label in enumerate(labels)]),
    ):
        result = judged(path, truth)
        assert result.judged == 4
        np.testing.assert_array_equal(result.scored.probability[:, 0] >= 0.5, np.array(labels) == 1)
    shifted = judged(tmp_path / "libreface" / "SN001.csv", truth, frame_offset=0)
    assert (shifted.judged, shifted.without_row, shifted.unused) == (3, 1, 1)


@pytest.mark.parametrize("name", ["F001/T1", "sub/F001/T1", "F001_T1", "f001-t1", "vid_F001_T1_left"])
def test_recordings_are_found_by_name(tmp_path: Path, name: str) -> None:
    rows = clip_rows("F001/T1", 0, [0, 1]) + clip_rows("F001/T11", 0, [1, 0]) + clip_rows("F002/T1", 0, [1, 0])
    openface_video(tmp_path / "out" / f"{name}.csv", [0, 1], [0, 0])
    result = judged(tmp_path / "out", manifest(tmp_path / "m.parquet", rows))
    assert (result.judged, result.unseen) == (2, 4)
    assert set(result.scored.clip.tolist()) == {"F001/T1"}


def test_prepared_pictures_are_found_by_path(tmp_path: Path) -> None:
    rows = [
        {"image": f"images/{clip}/{i:06d}.jpg", **row}
        for clip in ("F001/T1", "F002/T1")
        for i, row in enumerate(clip_rows(clip, 0, [0, 1]))
    ]
    truth = manifest(tmp_path / "m.parquet", rows)
    crops = [(f"/data/bp4d/{row['image']}", 7, 50.0, 0.1 + 0.8 * int(str(row["AU01"]))) for row in rows]
    assert judged(pyfeat(tmp_path / "fex.csv", crops), truth).judged == 4
    for row in rows:
        name = str(row["image"]).removeprefix("images/").replace(".jpg", ".csv")
        openface_picture(tmp_path / "out" / name, [(0.9, int(str(row["AU01"])))])
    result = judged(tmp_path / "out", truth)
    assert result.judged == 4
    np.testing.assert_array_equal(result.scored.probability[:, 0] >= 0.5, result.scored.occurrence[:, 0] == 1)


def test_original_pictures_are_found_by_folder_and_number(tmp_path: Path) -> None:
    truth = manifest(tmp_path / "m.parquet", clip_rows("F001/T1", 2440, [0, 1]))
    rows = [("BP4D/F001/T1/2441.jpg", 0, 50.0, 0.9), ("BP4D/F001/T1/2440.jpg", 1, 50.0, 0.1)]
    result = judged(pyfeat(tmp_path / "fex.csv", rows), truth)
    assert result.scored.probability[:, 0].tolist() == pytest.approx([0.1, 0.9])
    from_zero = [("BP4D/F001/T1/2440.jpg", 0, 50.0, 0.9), ("BP4D/F001/T1/2439.jpg", 1, 50.0, 0.1)]
    result = judged(pyfeat(tmp_path / "fex.csv", from_zero), truth, frame_offset=1)
    assert result.scored.probability[:, 0].tolist() == pytest.approx([0.1, 0.9])


def test_missed_faces_are_counted_and_stay_out(tmp_path: Path) -> None:
    rows = clip_rows("a", 0, [0, 1, 1, 0, 1]) + clip_rows("b", 0, [1, 1])
    path = openface_video(tmp_path / "a.csv", [0, 1, 1, 0], [0] * 4, success=[1, 1, 0, 1])
    result = judged(path, manifest(tmp_path / "m.parquet", rows))
    assert (result.judged, result.missed, result.without_row, result.unseen) == (3, 1, 1, 2)
    assert np.isnan(result.scored.probability).all(axis=1).tolist() == [False, False, True, False, True]
    assert len(result.scored) == 5
    assert (
        "no face found in 1; 1 without a prediction; 2 coded frames of other recordings left out"
        in result.scored.notes[1]
    )


def test_intensities_are_beside_the_coders(tmp_path: Path) -> None:
    rows = [{**row, "AU12_i": float(i)} for i, row in enumerate(clip_rows("a", 0, [0, 0, 1]))]
    result = judged(
        openface_video(tmp_path / "a.csv", [0, 0, 1], [0.5, 1.5, 2.5]), manifest(tmp_path / "m.parquet", rows)
    )
    assert result.scored.intensity_aus == (12,)
    assert result.scored.intensity[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert result.scored.intensity_labels[:, 0].tolist() == [0, 1, 2]


# --- what a number means ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.3, 2.5, 4.99, 5.0]), st.integers(0, 1)),
        min_size=4,
        max_size=30,
    )
)
def test_own_decisions_give_f1_and_intensity_breaks_ties(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float, int]]
) -> None:
    decision, intensity, label = (list(column) for column in zip(*rows, strict=True))
    folder = tmp_path_factory.mktemp("ranked")
    truth = manifest(folder / "m.parquet", clip_rows("a", 0, label))
    score = judged(openface_video(folder / "a.csv", decision, intensity), truth).scored.probability[:, 0]
    np.testing.assert_array_equal(score >= 0.5, np.array(decision) == 1)
    assert f1_score(label, score >= 0.5, zero_division=0) == f1_score(label, decision, zero_division=0)
    if 0 < sum(label) < len(label):
        order = [10 * d + r for d, r in zip(decision, intensity, strict=True)]
        assert roc_auc_score(label, score.astype(float)) == pytest.approx(roc_auc_score(label, order))


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40))
def test_another_threshold_moves_decisions_not_the_order(
    tmp_path_factory: pytest.TempPathFactory, threshold: float, values: list[float]
) -> None:
    from openau.evaluation.matching import _centred

    given_, moved = np.array(values, np.float32), _centred(np.array(values, np.float32), threshold)
    np.testing.assert_array_equal(moved >= 0.5, given_ >= threshold)
    order = np.argsort(given_, kind="stable")
    assert (np.diff(moved[order]) >= 0).all()
    assert ((moved >= 0) & (moved <= 1)).all()


def test_intensity_alone_is_no_decision_unless_a_threshold_is_given(tmp_path: Path) -> None:
    truth = manifest(tmp_path / "m.parquet", clip_rows("a", 0, [0, 1, 1], aus=(1, 25)))
    path = libreface(tmp_path / "a.csv", [(0, 0, 0.5), (1, 1, 2.0), (2, 1, 1.9)])
    without = judged(path, truth)
    assert (without.scored.aus, without.only_intensity) == ((1,), (25,))
    assert "AU25 have an intensity, which no threshold was given for" in " ".join(without.scored.notes)
    with_ = judged(path, truth, intensity_threshold=2.0)
    assert with_.scored.aus == (1, 25)
    assert (with_.scored.probability[:, 1] >= 0.5).tolist() == [False, True, False]


# --- the AUs a tool lacks ---------------------------------------------------------------------------------------------------------


def mean_f1(result: Match) -> float:
    scored = result.scored
    return float(
        np.mean(
            [
                f1_score(scored.occurrence[:, a], np.nan_to_num(scored.probability[:, a]) >= 0.5, zero_division=0)
                for a in range(len(scored.aus))
            ]
        )
    )


def test_the_widely_shown_table(tmp_path: Path) -> None:
    """0.488 over all coded AUs is 0.732 over those the tool has: 8 of 12 AUs, F1 0.732 each, and four it lacks counted as errors."""
    coded = (1, 2, 4, 6, 7, 10, 12, 14, 11, 16, 18, 22)  # OpenFace has the first eight
    hits, wrong, missed = 183, 67, 67  # F1 = 2 · 183 / (2 · 183 + 67 + 67) = 0.732
    decision = [1] * hits + [1] * wrong + [0] * missed + [0] * 83
    label = [1] * hits + [0] * wrong + [1] * missed + [0] * 83
    truth = manifest(tmp_path / "m.parquet", clip_rows("a", 0, label, aus=coded))
    path = openface_video(tmp_path / "a.csv", decision, [0] * 400)
    fair, misleading = judged(path, truth), judged(path, truth, count_missing_aus=True)
    assert mean_f1(fair) == pytest.approx(0.732)
    assert mean_f1(misleading) == pytest.approx(0.488)
    assert fair.only_truth == (11, 16, 18, 22)
    assert "not counted: AU11, AU16, AU18, AU22" in " ".join(fair.scored.notes)
    assert "counted as absent on every face, as asked" in " ".join(misleading.scored.notes)


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from(LIBREFACE_C), min_size=1),
    st.sets(st.sampled_from([11, 13, 16, 18, 22, 27, 28]), max_size=4),
)
def test_lacking_an_au_never_costs_anything_unless_asked(
    tmp_path_factory: pytest.TempPathFactory, shared: set[int], lacking: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("lacking")
    label = [0, 1, 1, 0, 1]
    path = libreface(folder / "a.csv", [(i, value, 0) for i, value in enumerate([0, 1, 0, 0, 1])])
    results = [
        judged(path, manifest(folder / f"{len(aus)}.parquet", clip_rows("a", 0, label, aus=sorted(aus))))
        for aus in (shared, shared | lacking)
    ]
    assert mean_f1(results[0]) == mean_f1(results[1])
    assert set(results[1].scored.aus) == shared
    assert set(results[1].only_truth) == lacking


# --- bad input --------------------------------------------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_bad_tables_are_named_with_line_and_reason(tmp_path: Path) -> None:
    good = openface_video(tmp_path / "good.csv", [0, 1], [0, 0]).read_text()
    header, first, second = good.splitlines()
    fex = pyfeat(tmp_path / "fex.csv", [("a.mp4", 0, 50, 0.5)]).read_text()
    cases: dict[str, tuple[str, tuple[str, ...]]] = {
        "cut.csv": (f"{header}\n{first}\n{second[:80]}", ("line 3", "cells, expected")),
        "word.csv": (good.replace("0.98", "good", 1), ("line 2", "'good'")),
        "half.csv": (good.replace("\n2, ", "\n2.5, "), ("line 3 has 2.5 in frame, expected a whole number from 1",)),
        "yes.csv": (good[:-4] + "2.0\n", ("line 3 has 2 in AU45_c, expected 0 to 1",)),
        "percent.csv": (fex.replace(",0.5,", ",50,"), ("line 2 has 50 in AU", "expected 0 to 1")),
        "other.csv": ("time,smile\n0,1\n", ("columns time, smile", "OpenFace 2, Py-Feat, LibreFace and OpenAU")),
        "empty.csv": ("", ("is empty",)),
        "bytes.parquet": ("no parquet", ("not a readable table",)),
        "list.jsonl": ("{nonsense", ("not a readable table",)),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as error:
            read_predictions(tmp_path / name)
        one_sentence(error, name, *words)
    with pytest.raises(InputError) as error:
        read_predictions(tmp_path / "nowhere.csv")
    one_sentence(error, "nowhere.csv: no such file")


def test_folders_of_nothing_and_of_two_tools_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError) as error:
        read_predictions(tmp_path / "none")
    one_sentence(error, "none: holds no tables")
    openface_video(tmp_path / "two" / "a.csv", [0], [0])
    libreface(tmp_path / "two" / "b.csv", [(0, 1, 1)])
    with pytest.raises(InputError) as error:
        read_predictions(tmp_path / "two")
    one_sentence(error, "two: holds tables of", "one tool at a time")


def test_what_does_not_belong_together_shows_both_sides(tmp_path: Path) -> None:
    truth = manifest(tmp_path / "m.parquet", clip_rows("F001/T1", 5, [0, 1]) + clip_rows("F001/T2", 5, [0, 1]))
    with pytest.raises(InputError) as error:
        judged(openface_video(tmp_path / "holiday.csv", [0], [0]), truth)
    one_sentence(error, "holiday, frame 0", "clip F001/T1, frame 5 (position 5)")
    openface_video(tmp_path / "both" / "F001_T1.csv", [0] * 9, [0] * 9)
    openface_video(tmp_path / "both" / "again" / "F001_T1.csv", [0] * 9, [0] * 9)
    with pytest.raises(InputError) as error:
        judged(tmp_path / "both", truth)
    one_sentence(error, "F001_T1 and again/F001_T1 are both taken for the same coded face")
    foreign = manifest(tmp_path / "n.parquet", clip_rows("F001/T1", 0, [0, 1], aus=(16, 18)))
    with pytest.raises(InputError) as error:
        judged(openface_video(tmp_path / "F001_T1.csv", [0, 0], [0, 0]), foreign)
    one_sentence(error, "codes AU16, AU18: there is no AU in common")


def test_headers_of_the_sinks_are_ours(tmp_path: Path) -> None:
    """A JSON Lines table with nulls, as detection writes it, needs no schema."""
    rows = [
        {"source": "a.mp4", "frame": 0, "timestamp": 0.0, "face_id": None, "score": None, "AU01": None},
        {"source": "a.mp4", "frame": 1, "timestamp": 0.1, "face_id": 0, "score": 0.5, "AU01": 1},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_predictions(tmp_path / "t.jsonl").probability[1, 0] == 1
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert read_predictions(tmp_path / "t.parquet").found.tolist() == [False, True]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert read_predictions(tmp_path / "t.csv").found.tolist() == [False, True]
