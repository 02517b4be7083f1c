"""`prepare` on small trees with real pictures: what is cropped and how, what is told, that runs go on where they stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import folder_tree
import numpy as np
import people
import pyarrow as pa
import pytest

from openau.datasets.crops import OnMiss
from openau.datasets.folder import READER
from openau.datasets.follow import Subject
from openau.datasets.manifest import read_manifest, template_of
from openau.datasets.prepare import Plan, Summary, manifest_path, prepare
from openau.errors import InputError, UsageError
from openau.faces import align
from openau.faces.finder import FaceFinder
from openau.media import open_video, read_image
from openau.training.features import locate

pytestmark = pytest.mark.weights

MISSING = (0, 3, 4)
"""Frames of the video and of the recording made of pictures that show no face."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_tree.make(tmp_path_factory.mktemp("tree"), missing=MISSING)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def run(root: Path, out: Path, on_miss: OnMiss = "skip", workers: int = 1, **options: object) -> Summary:
    return prepare(READER, Plan(root, out, on_miss, **options), workers)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("prepared") / "skip"
    return out, run(tree, out)


def column(out: Path, name: str, clip: str | None = None) -> list[object]:
    table = read_manifest(manifest_path(out))
    if clip is not None:
        table = table.filter(pa.compute.equal(table["clip"], clip))
    return table.column(name).to_pylist()


def contents(out: Path) -> dict[str, bytes]:
    """Everything that must not depend on when and how a run was made."""
    files = [manifest_path(out), out / "problems.csv", *sorted((out / "images").rglob("*.jpg"))]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def problems(out: Path) -> list[dict[str, str]]:
    with (out / "problems.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_labelled_frame_is_a_row_with_its_labels(prepared: tuple[Path, Summary]) -> None:
    out, summary = prepared
    table = read_manifest(manifest_path(out))
    wanted = sorted(folder_tree.rows(), key=lambda row: (str(row["clip"] or row["file"]), row["frame"] or 0))
    assert table.num_rows == len(wanted) == summary.frames
    for name in ("AU01", "AU12", "AU12_i", "AU12_L", "mood"):
        cells = [None if row[name] == "" else row[name] for row in wanted]
        assert table.column(name).to_pylist() == cells, name
    assert table.column("fold").to_pylist() == [row["fold"] for row in wanted]
    assert set(table.column("subject").to_pylist()) == {"ann", "bob", "still0", "still1"}
    assert set(table.column("dataset").to_pylist()) == set(table.column("people").to_pylist()) == {"folder"}
    assert template_of(table) == "crop320"
    assert column(out, "frame", "ann/talk.mp4") == list(range(folder_tree.FRAMES))


def test_frames_without_a_face_are_rows_without_a_picture_counted_and_listed(prepared: tuple[Path, Summary]) -> None:
    out, summary = prepared
    for clip in ("ann/talk.mp4", "bob/walk"):
        for frame, image, how in zip(
            *(column(out, name, clip) for name in ("frame", "image", "alignment")), strict=True
        ):
            assert (image is None, how) == ((True, "none") if frame in MISSING else (False, "found"))
    assert summary.alignments == {"found": 14, "none": 6}
    assert not summary.failed
    told = problems(out)
    assert {problem["kind"] for problem in told} == {"no face"}
    assert [Path(problem["path"]).name for problem in told] == ["talk.mp4"] * 3 + ["000.jpg", "003.jpg", "004.jpg"]
    assert [int(problem["row"]) for problem in told] == [*MISSING, *MISSING]
    record = json.loads((out / "prepare.json").read_text())
    assert record["alignments"] == {"found": 14, "none": 6}
    assert record["last_run"]["frames_per_second"] > 0


def test_crops_are_those_of_detection(tree: Path, prepared: tuple[Path, Summary], finder: FaceFinder) -> None:
    """The picture's face, found in the whole picture, gives the same crop; and found in the crop, the same landmarks."""
    out, _ = prepared
    for number in (1, 2, 5):
        image = read_image(tree / "bob" / f"{number:03d}.jpg")
        whole = finder.find(image)[0]
        crop = read_image(out / "images" / "bob" / "walk" / f"{number:06d}.jpg")
        expected, matrix = align.align(image, whole.landmarks, "crop320")
        assert crop.shape == (320, 320, 3)
        assert np.abs(crop.astype(int) - expected).mean() < 6
        in_crop = locate(crop, "crop320", finder)
        assert in_crop is not None
        to_mesh = np.linalg.norm(whole.matrix[0, :2]) * 1.0
        back = align.apply(align.invert(matrix), in_crop.landmarks)
        distance = np.linalg.norm(back[:, :2] - whole.landmarks[:, :2], axis=1) * to_mesh
        assert distance.mean() < 0.8
        assert np.percentile(distance, 95) < 1.5
        five = column(out, "five_points", "bob/walk")[number]
        seen = align.five_points(in_crop.landmarks)
        assert np.abs(np.reshape(five, (5, 2)) - seen).max() < 4  # of 320 pixels


def test_previous_takes_the_place_of_the_last_face(tree: Path, tmp_path: Path, finder: FaceFinder) -> None:
    summary = run(tree, tmp_path / "out", "previous")
    assert summary.alignments == {"found": 14, "previous": 4, "none": 2}
    assert column(tmp_path / "out", "alignment", "bob/walk")[:5] == ["none", "found", "found", "previous", "previous"]
    last = finder.find(read_image(tree / "bob" / "002.jpg"))[0]
    matrix = align.TEMPLATES["crop320"].fit(last.landmarks)
    noise = read_image(tree / "bob" / "003.jpg")
    expected = align.warp(noise, matrix, 320).astype(int)
    crop = read_image(tmp_path / "out" / "images" / "bob" / "walk" / "000003.jpg").astype(int)
    shifted = np.roll(expected, 12, axis=1)
    assert np.abs(crop - expected).mean() < 0.75 * np.abs(crop - shifted).mean()


def test_full_frame_takes_the_middle_square(tree: Path, tmp_path: Path) -> None:
    summary = run(tree, tmp_path / "out", "full-frame")
    assert summary.alignments == {"found": 14, "full-frame": 6}
    noise = read_image(tree / "bob" / "003.jpg")
    crop = read_image(tmp_path / "out" / "images" / "bob" / "walk" / "000003.jpg")
    square = cv2.resize(noise[:, 40:280], (320, 320), interpolation=cv2.INTER_LINEAR)
    assert np.abs(crop.astype(int) - square).mean() < 12
    assert {problem["kind"] for problem in problems(tmp_path / "out")} == {"no face"}
    for alignment, five in zip(
        column(tmp_path / "out", "alignment"), column(tmp_path / "out", "five_points"), strict=True
    ):
        assert (five is None) == (alignment == "full-frame")


def test_two_workers_give_the_bytes_of_one(tree: Path, prepared: tuple[Path, Summary], tmp_path: Path) -> None:
    counted: list[int] = []
    summary = prepare(READER, Plan(tree, tmp_path / "out"), 2, on_frames=counted.append)
    assert summary.prepared == sum(counted) == 20
    assert contents(tmp_path / "out") == contents(prepared[0])


def test_a_stopped_run_goes_on_to_the_same_bytes(tree: Path, prepared: tuple[Path, Summary], tmp_path: Path) -> None:
    out = shutil.copytree(prepared[0], tmp_path / "out")
    manifest_path(out).unlink()
    (out / "parts" / "bob" / "walk.parquet").unlink()
    (out / "images" / "bob" / "walk" / "000001.jpg").write_bytes(b"cut")
    (out / "images" / "bob" / "walk" / "000099.jpg").write_bytes(b"left over")
    (out / "images" / "still0.png" / "000000.jpg").unlink()
    (out / "parts" / "still1.png.parquet").write_bytes(b"cut")
    untouched = (out / "images" / "ann" / "talk.mp4" / "000001.jpg").stat().st_mtime_ns
    started: list[tuple[int, int]] = []
    summary = prepare(READER, Plan(tree, out), 1, on_start=lambda done, total: started.append((done, total)))
    assert started == [(folder_tree.FRAMES, 20)]
    assert summary.prepared == 20 - folder_tree.FRAMES
    assert contents(out) == contents(prepared[0])
    assert (out / "images" / "ann" / "talk.mp4" / "000001.jpg").stat().st_mtime_ns == untouched


def test_corrected_labels_reach_the_manifest_without_cropping_again(
    tree: Path, prepared: tuple[Path, Summary], tmp_path: Path
) -> None:
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "out"
    run(root, out)
    table = folder_tree.rows()
    for row in table:
        row["AU12"] = 1 - int(str(row["AU12"]))
    folder_tree.write_table(root / "labels.csv", table)
    assert run(root, out).prepared == 0
    assert column(out, "AU12") == [1 - int(str(value)) for value in column(prepared[0], "AU12")]
    assert column(out, "image") == column(prepared[0], "image")


def test_a_recording_made_of_other_pictures_is_cropped_again(
    tree: Path, prepared: tuple[Path, Summary], tmp_path: Path
) -> None:
    """As where a data set turns out to count pictures from 0: the same frames and positions, but each one picture earlier."""
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "out"
    run(root, out)
    table = folder_tree.rows()
    for row in table:
        if row["clip"] == "bob/walk":
            row["file"] = f"bob/{folder_tree.PICTURES - 1 - int(str(row['frame'])):03d}.jpg"
    folder_tree.write_table(root / "labels.csv", table)
    assert run(root, out).prepared == folder_tree.PICTURES
    backwards = [frame for frame, how in enumerate(column(out, "alignment", "bob/walk")) if how == "none"]
    assert backwards == sorted(folder_tree.PICTURES - 1 - frame for frame in MISSING)


def test_a_recording_may_lie_in_the_folder_of_another(tmp_path: Path) -> None:
    for number, frame in enumerate(people.person_frames(5, 2)):
        people.write_picture(tmp_path / "bob" / f"{number}.jpg", frame)
    (tmp_path / "labels.csv").write_text("file,frame,clip,AU12\nbob/0.jpg,0,bob,1\nbob/1.jpg,,,0\n")
    assert run(tmp_path, tmp_path / "out").alignments == {"found": 2}
    assert sorted(map(str, column(tmp_path / "out", "image"))) == [
        "images/bob/000000.jpg",
        "images/bob/1.jpg/000000.jpg",
    ]
    shutil.rmtree(tmp_path / "out" / "parts")
    assert run(tmp_path, tmp_path / "out").alignments == {"found": 2}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_folder_whose_name_is_not_utf_8(tree: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tree, tmp_path / os.fsdecode(b"Ren\xe9"))
    (root / "bob" / "002.jpg").unlink()
    assert run(root, tmp_path / "out").failed
    assert run(root, tmp_path / "out").prepared == 0
    assert r"Ren\udce9" in (tmp_path / "out" / "problems.csv").read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_left_alone(tree: Path, prepared: tuple[Path, Summary], tmp_path: Path) -> None:
    out, _ = prepared
    before = contents(out)
    with pytest.raises(UsageError, match=r"on_miss = skip, not previous"):
        run(tree, out, "previous")
    with pytest.raises(UsageError, match=r"prepared with root = .*choose another folder"):
        run(shutil.copytree(tree, tmp_path / "tree"), out)
    assert contents(out) == before
    (tmp_path / "other").mkdir()
    shutil.copy(manifest_path(out), tmp_path / "other")
    with pytest.raises(UsageError, match="holds another data set"):
        run(tree, tmp_path / "other")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "prepare.json").write_text("{")
    with pytest.raises(UsageError, match=r"prepare\.json: cannot be read or is damaged"):
        run(tree, tmp_path / "damaged")


def test_strict_passes_over_missed_faces_and_stops_at_a_problem(tree: Path, tmp_path: Path) -> None:
    assert not run(tree, tmp_path / "fine", strict=True).failed
    root = shutil.copytree(tree, tmp_path / "tree")
    (root / "bob" / "002.jpg").write_bytes((root / "bob" / "002.jpg").read_bytes()[:4000])
    with pytest.raises(InputError, match=r"002\.jpg:2: .*truncated.*stopped by --strict"):
        run(root, tmp_path / "out", strict=True)
    assert not manifest_path(tmp_path / "out").exists()
    summary = run(root, tmp_path / "out")
    assert summary.failed
    assert manifest_path(tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"002\.jpg"):
        run(root, tmp_path / "out", strict=True)
    assert not manifest_path(tmp_path / "out").exists()


def test_a_cut_picture_and_a_cut_video_are_told_and_mended_by_the_next_run(
    tree: Path, prepared: tuple[Path, Summary], tmp_path: Path
) -> None:
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "out"
    whole = {path: path.read_bytes() for path in (root / "bob" / "002.jpg", root / "ann" / "talk.mp4")}
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
    summary = run(root, out)
    assert summary.failed
    assert summary.frames == 20
    told = {p["kind"]: p for p in problems(out) if p["known"] == "False"}
    assert told.keys() == {"unreadable picture", "unreadable video"}
    assert told["unreadable picture"]["row"] == "2"
    assert "truncated" in told["unreadable picture"]["reason"]
    assert told["unreadable video"]["path"].endswith("talk.mp4")
    assert told["unreadable video"]["row"] == "0"
    assert "12 labelled frames have no picture, the first is 0" in told["unreadable video"]["reason"]
    assert column(out, "image", "ann/talk.mp4") == [None] * 12
    for path, data in whole.items():
        path.write_bytes(data)
    assert not run(root, out).failed
    assert [column(out, name) for name in ("image", "alignment", "AU12")] == [
        column(prepared[0], name) for name in ("image", "alignment", "AU12")
    ]


def labelled_video(root: Path, name: str, labels: range) -> None:
    """A table that labels these frames of a video."""
    lines = ["file,frame,AU12", *(f"{name},{index},{index % 2}" for index in labels)]
    (root / "labels.csv").write_text("\n".join(lines))


def write_mjpeg(path: Path, frames: list[np.ndarray]) -> Path:
    """A video whose frames stand for themselves, so that what happens to one is no matter to the others."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *people.SIZE, "yuvj420p"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def test_a_video_that_breaks_off_keeps_the_frames_before(tmp_path: Path) -> None:
    video = write_mjpeg(tmp_path / "clip.avi", people.person_frames(5, 50))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    labelled_video(tmp_path, "clip.avi", range(50))
    summary = run(tmp_path, tmp_path / "out")
    images = column(tmp_path / "out", "image")
    there = [image is not None for image in images]
    first = there.index(False)
    assert 5 < first < 45
    assert there == [True] * first + [False] * (50 - first)
    (problem,) = summary.problems
    assert (problem.kind, problem.row) == ("unreadable video", first)
    assert "truncated file" in problem.reason
    assert f"{50 - first} labelled frames have no picture, the first is {first}" in problem.reason


def test_labels_beyond_the_end_of_a_video_are_told(tmp_path: Path) -> None:
    people.write_video(tmp_path / "clip.mp4", people.person_frames(5, 10), 25)
    labelled_video(tmp_path, "clip.mp4", range(6, 14))
    (problem,) = run(tmp_path, tmp_path / "out").problems
    assert (problem.kind, problem.row, problem.known) == ("label without frame", 10, False)
    assert "the video has 10 frames" in problem.reason
    assert [image is not None for image in column(tmp_path / "out", "image")] == [True] * 4 + [False] * 4


def test_frames_after_a_damaged_part_keep_their_labels(tmp_path: Path, finder: FaceFinder) -> None:
    """Two frames that cannot be decoded do not shift the labels of those behind them."""
    frames = people.person_frames(1, 16)
    video = write_mjpeg(tmp_path / "clip.avi", frames)
    data = bytearray(video.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 16
    for index in (6, 7):
        end = starts[index + 1] - 8  # the next chunk's name and length
        data[starts[index] : end] = bytes(end - starts[index])
    video.write_bytes(data)
    labelled_video(tmp_path, "clip.avi", range(16))
    (problem,) = run(tmp_path, tmp_path / "out").problems
    assert (problem.kind, problem.row) == ("label without frame", 6)
    assert "2 labelled frames" in problem.reason
    images = column(tmp_path / "out", "image")
    assert [index for index, image in enumerate(images) if image is None] == [6, 7]
    for index in (5, 8, 15):
        crop = read_image(tmp_path / "out" / str(images[index])).astype(int)
        expected, _ = align.align(frames[index], finder.find(frames[index])[0].landmarks, "crop320")
        assert np.abs(crop - expected).mean() < 8


def test_unlabelled_frames_are_passed_over(tmp_path: Path) -> None:
    people.write_video(tmp_path / "clip.mp4", people.person_frames(5, 40), 25)
    labelled_video(tmp_path, "clip.mp4", range(3, 40, 9))
    summary = run(tmp_path, tmp_path / "out")
    assert summary.alignments == {"found": 5}
    assert [p.name for p in sorted((tmp_path / "out" / "images" / "clip.mp4").iterdir())] == [
        f"{index:06d}.jpg" for index in range(3, 40, 9)
    ]


def test_the_first_recordings_only(tree: Path, prepared: tuple[Path, Summary], tmp_path: Path) -> None:
    """A try with a few, from which a run without a limit goes on."""
    summary = run(tree, tmp_path / "out", limit=2)
    assert (summary.recordings, summary.frames) == (2, folder_tree.FRAMES + folder_tree.PICTURES)
    assert len(column(tmp_path / "out", "image")) == summary.frames
    assert run(tree, tmp_path / "out").prepared == 2
    assert contents(tmp_path / "out") == contents(prepared[0])


def test_the_wrong_root_is_a_sentence_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.csv: there is no such file"):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "labels.csv").write_text("file,frame,AU12\n")
    with pytest.raises(InputError, match="holds no labelled recording"):
        run(tmp_path, tmp_path / "out")


def pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.concatenate([left, right], axis=1)


def test_of_two_faces_the_followed_one_is_kept(finder: FaceFinder) -> None:
    """The left person is larger at first, and so the subject; later, after a gap, the right one is a little larger."""
    first = people.person_frames(1, 3)
    second = people.person_frames(2, 3)
    shrunk = [
        cv2.copyMakeBorder(cv2.resize(f, (240, 180)), 30, 30, 40, 40, cv2.BORDER_REPLICATE) for f in first + second
    ]
    subject = Subject(finder)
    for index in range(3):
        face = subject.find(pair(first[index], shrunk[3 + index]), index)
        assert face is not None
        assert face.box[0] < 320
        assert subject.company == 1
    face = subject.find(pair(shrunk[0], second[0]), 500)
    assert face is not None
    assert face.box[0] < 320
    alone = Subject(finder).find(pair(shrunk[0], second[0]), 0)
    assert alone is not None
    assert alone.box[0] > 320


def test_a_person_behind_gives_way_to_the_subject(finder: FaceFinder) -> None:
    """Somebody small is followed while nobody else is there; within a few pictures of coming, the one in front is taken."""
    behind = cv2.copyMakeBorder(
        cv2.resize(people.person_frames(2, 1)[0], (120, 90)), 75, 75, 100, 100, cv2.BORDER_REPLICATE
    )
    front = people.person_frames(1, 12)
    subject = Subject(finder)
    for index in range(2):
        face = subject.find(pair(people.noise(), behind), index)
        assert face is not None
        assert face.box[0] > 320
    boxes = [subject.find(pair(front[index], behind), 2 + index).box[0] for index in range(12)]  # type: ignore[union-attr]
    assert boxes[-1] < 320


def test_videos_and_pictures_of_the_same_frames_give_the_same_crops(tmp_path: Path) -> None:
    """A lossless check that positions of a video are its frames: crops of a video are those of its own decoded frames."""
    video = people.write_video(tmp_path / "v" / "clip.mp4", people.person_frames(6, 8), 25)
    labelled_video(tmp_path / "v", "clip.mp4", range(8))
    (tmp_path / "p").mkdir()
    with open_video(video) as opened:
        for frame in opened:
            people.write_picture(tmp_path / "p" / f"{frame.index}.png", frame.image)
    lines = ["file,frame,clip,subject,AU12", *(f"{i}.png,{i},clip.mp4,clip,{i % 2}" for i in range(8))]
    (tmp_path / "p" / "labels.csv").write_text("\n".join(lines))
    for name in "vp":
        run(tmp_path / name, tmp_path / f"{name}_out")
    assert contents(tmp_path / "v_out") == contents(tmp_path / "p_out")
