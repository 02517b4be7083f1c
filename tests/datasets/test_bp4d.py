"""BP4D in its published layouts: what is read is what stands in the files, and each quirk and defect is handled as documented."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import bp4d_tree
import numpy as np
import pytest
from reading import edit, read, told

from openau.datasets.bp4d import BP4D, READER
from openau.datasets.clips import NO_PICTURE, Clip, PictureFiles
from openau.errors import InputError

ONLY = ("F001", "M015")
TINY = (32, 24)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bp4d_tree.make(tmp_path_factory.mktemp("made"), only=ONLY, frames=3, size=TINY)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(made, tmp_path / "BP4D")


def occurrence_file(root: Path, name: str = "F001_T1") -> Path:
    return root / "AUCoding" / "AU_OCC" / f"{name}.csv"


def intensity_file(root: Path, number: int = 6, name: str = "F001_T1") -> Path:
    return root / "AUCoding" / "AU_INT" / f"AU{number:02d}" / f"{name}_AU{number:02d}.csv"


def shown(clip: Clip) -> list[Path | None]:
    """The picture of each coded frame."""
    assert isinstance(clip.media, PictureFiles)
    return [None if at == NO_PICTURE else clip.media.paths[at] for at in clip.position]


def test_labels_are_those_of_the_files(root: Path) -> None:
    clips, problems = read(READER, root)
    assert sorted(clips) == [f"{subject}/T{task}" for subject in ONLY for task in range(1, 9)]
    assert told(problems) == set()
    for name, clip in clips.items():
        rows = list(csv.reader(occurrence_file(root, name.replace("/", "_")).open()))
        for column, number in enumerate(map(int, rows[0])):
            if number in clip.occurrence:
                np.testing.assert_array_equal(clip.occurrence[number], [float(row[column]) for row in rows[1:]])
        assert clip.frame.tolist() == [int(row[0]) for row in rows[1:]]
        assert set(READER.usual_aus) <= set(clip.occurrence) <= set(READER.aus)
        assert set(bp4d_tree.NEVER_CODED) & set(clip.occurrence) == set()
        for number in READER.intensity_aus:
            lines = intensity_file(root, number, name.replace("/", "_")).read_text().split()
            np.testing.assert_array_equal(clip.intensity[number], [float(line.split(",")[1]) for line in lines])
        assert clip.extra["task"] == [name[-2:]] * 3


def test_folds_are_the_published_parts(tmp_path: Path) -> None:
    root = bp4d_tree.make(tmp_path, pictures=False)
    (tmp_path / "F001" / "T1").mkdir(parents=True)
    (tmp_path / "F001" / "T1" / "0101.jpg").touch()
    clips, problems = read(READER, root)
    parts = {clip.subject: clip.fold for clip in clips.values()}
    assert not [problem for problem in problems if problem.kind == "missing subject"]
    assert len(clips) == 41 * 8
    assert [list(parts.values()).count(part) for part in (1, 2, 3)] == [14, 14, 13]
    assert (parts["F001"], parts["F003"], parts["M015"], parts["F023"], parts["M018"]) == (1, 2, 3, 1, 2)


def test_nine_is_not_known(tmp_path: Path) -> None:
    clips, problems = read(READER, bp4d_tree.make(tmp_path, only=["F001"], frames=3, unknown=True, size=TINY))
    for clip in clips.values():
        assert np.isnan(clip.occurrence[1][-1])
        assert np.isnan(clip.intensity[6][-1])
        assert not np.isnan(clip.occurrence[2]).any()
    assert told(problems) == set()


@pytest.mark.parametrize("digits", [1, 3, 4, 6])
def test_pictures_are_found_by_number_whatever_their_leading_zeros(tmp_path: Path, digits: int) -> None:
    root = bp4d_tree.make(tmp_path, only=["F001"], first_frame=99, frames=3, digits=digits, size=TINY)
    clips, problems = read(READER, root)
    assert told(problems) == set()
    for clip in clips.values():
        assert [int(path.stem) for path in shown(clip) if path] == clip.frame.tolist() == [99, 100, 101]


def test_pictures_that_count_from_zero(tmp_path: Path) -> None:
    root = bp4d_tree.make(tmp_path, only=["F001"], first_picture=0, frames=2, spare=2, size=TINY)
    clips, problems = read(READER, root)
    assert [(problem.kind, problem.known) for problem in problems if problem.kind != "missing subject"] == [
        ("picture numbering", True)
    ]
    for clip in clips.values():
        assert [int(path.stem) + 1 for path in shown(clip) if path] == clip.frame.tolist() == [101, 102]
    same, _ = read(BP4D(first_picture=1), root)
    assert [int(path.stem) for path in shown(same["F001/T1"]) if path] == [101, 102]


def test_label_without_picture_and_picture_without_label(tmp_path: Path) -> None:
    root = bp4d_tree.make(tmp_path, only=["F001"], frames=4, spare=1, digits=4, missing=[("F001_T1", 102)], size=TINY)
    edit(occurrence_file(root, "F001_T2"), 3, None)
    for number in READER.intensity_aus:
        edit(intensity_file(root, number, "F001_T2"), 2, None)
    clips, problems = read(READER, root)
    assert clips["F001/T1"].frame.tolist() == [101, 102, 103, 104]
    assert clips["F001/T1"].position[1] == NO_PICTURE
    assert clips["F001/T2"].frame.tolist() == [101, 103, 104]
    assert told(problems) == {("label without frame", "F001_T1.csv", 3), ("frame without label", "0102.jpg", 102)}


def test_a_recording_without_pictures_keeps_its_rows(root: Path) -> None:
    shutil.rmtree(root / "Sequences" / "F001" / "T3")
    clips, problems = read(READER, root)
    assert clips["F001/T3"].position.tolist() == [NO_PICTURE] * 3
    assert told(problems) == {("missing file", "T3", None)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: edit(occurrence_file(root), 3, "102,1"), ("garbled line", "F001_T1.csv", 3)),
        (lambda root: edit(occurrence_file(root), 2, "x" + ",0" * 34), ("garbled line", "F001_T1.csv", 2)),
        (lambda root: edit(occurrence_file(root), 3, "102" + ",7" + ",0" * (len(bp4d_tree.COLUMNS) - 1)),
         ("value out of range", "F001_T1.csv", 3)),
        (lambda root: edit(intensity_file(root), 3, "102,6"), ("value out of range", "F001_T1_AU06.csv", 3)),
        (lambda root: edit(intensity_file(root), 3, None), ("missing labels", "F001_T1_AU06.csv", None)),
        (lambda root: edit(intensity_file(root), 3, "101,0"), ("duplicate frame", "F001_T1_AU06.csv", 3)),
        (lambda root: intensity_file(root).unlink(), ("missing file", "F001_T1_AU06.csv", None)),
        (lambda root: intensity_file(root).write_text(""), ("empty file", "F001_T1_AU06.csv", None)),
        (lambda root: occurrence_file(root).unlink(), ("missing file", "F001_T1.csv", None)),
        (lambda root: occurrence_file(root).write_text("0,1,2\n"), ("empty file", "F001_T1.csv", None)),
        (lambda root: edit(occurrence_file(root), 1, "0,99" + ",".join(map(str, ("", *bp4d_tree.COLUMNS[1:])))),
         ("missing column", "F001_T1.csv", 1)),
        (lambda root: shutil.rmtree(root / "AUCoding" / "AU_INT"), ("missing file", "AU_OCC", None)),
        (lambda root: shutil.copy(occurrence_file(root), occurrence_file(root, "F001_T1 (1)")),
         ("duplicate recording", "F001_T1 (1).csv", None)),
        (lambda root: shutil.copy(occurrence_file(root), occurrence_file(root, "f001_t1")),
         ("duplicate recording", "f001_t1.csv", None)),
        (lambda root: shutil.copy(occurrence_file(root), occurrence_file(root, "F082_T1")),
         ("unknown recording", "F082_T1.csv", None)),
        (lambda root: shutil.copytree(root / "Sequences" / "F001", root / "Sequences" / "F001 copy"),
         ("duplicate subject", "F001 copy", None)),
        (lambda root: shutil.copy(root / "Sequences/F001/T1/0101.jpg", root / "Sequences/F001/T1/101.jpg"),
         ("duplicate picture", "101.jpg", 101)),
    ],
)  # fmt: skip
def test_defect_is_told_with_file_and_row(
    root: Path, change: Callable[[Path], object], expected: tuple[str, str, int | None]
) -> None:
    change(root)
    clips, problems = read(READER, root)
    assert expected in told(problems)
    assert all(not problem.known for problem in problems)
    assert "M015/T8" in clips


def test_garbled_codes_are_unknown_not_absent(root: Path) -> None:
    edit(occurrence_file(root), 3, "102,1")
    clip = read(READER, root)[0]["F001/T1"]
    assert clip.frame.tolist() == [101, 102, 103]
    assert all(np.isnan(values[1]) for values in clip.occurrence.values())


def test_missing_column_is_unknown(root: Path) -> None:
    numbers = [9999 if number == 12 else number for number in bp4d_tree.COLUMNS]
    edit(occurrence_file(root), 1, ",".join(map(str, (0, *numbers))))
    clips, problems = read(READER, root)
    assert 12 not in clips["F001/T1"].occurrence
    assert 12 in clips["F001/T2"].occurrence
    assert told(problems) == {("missing column", "F001_T1.csv", 1)}


def test_missing_people_are_told(root: Path) -> None:
    _, problems = read(READER, root)
    (missing,) = problems
    assert missing.kind == "missing subject"
    assert missing.reason.startswith("has labels of 2 of 41 subjects, without F002, F003")


def test_a_file_that_lists_every_number(root: Path) -> None:
    """The FERA edition has a column for each number; those nobody coded are 9."""
    path = occurrence_file(root)
    rows = list(csv.DictReader(path.open()))
    head = ["0", *map(str, range(1, 100))]
    lines = [",".join(row.get(name, "9") for name in head) for row in rows]
    before = read(READER, root)[0]["F001/T1"]
    path.write_text("\n".join([",".join(head), *lines]) + "\n")
    clips, problems = read(READER, root)
    assert told(problems) == set()
    assert set(clips["F001/T1"].occurrence) == set(before.occurrence)
    for number, values in before.occurrence.items():
        np.testing.assert_array_equal(clips["F001/T1"].occurrence[number], values)


def rename(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


@pytest.mark.parametrize(
    "moves",
    [
        [("Sequences", "Sequences(2D+3D)")],
        [("Sequences", "2D+3D")],
        [("Sequences", "release/BP4D-training")],
        [("Sequences/F001", "F001"), ("Sequences/M015", "M015"), ("Sequences", "unused")],
        [("Sequences/F001", "new/F001/F001"), ("Sequences/M015", "new/M015/M015"), ("Sequences", "unused")],
        [("AUCoding/AU_OCC", "AUCoding/AU-OCC"), ("AUCoding/AU_INT", "AUCoding/au int")],
        [("AUCoding", "labels/AUCoding")],
        [("AUCoding/AU_OCC", "occurrence"), ("AUCoding/AU_INT", "intensity")],
        [("AUCoding/AU_OCC", "FERA"), ("AUCoding/AU_INT/AU06", "AUCoding/AU_INT/AU6")],
    ],
)
def test_layouts_that_are_around(root: Path, moves: list[tuple[str, str]]) -> None:
    before, _ = read(READER, root)
    for old, new in moves:
        rename(root, old, new)
    clips, problems = read(READER, root)
    assert told(problems) == set()
    assert list(clips) == list(before)
    for name, clip in clips.items():
        assert [path and path.name for path in shown(clip)] == [path and path.name for path in shown(before[name])]
        assert set(clip.intensity) == set(READER.intensity_aus)


def test_wrong_root_says_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputError, match=r"expected AUCoding/AU_OCC/F001_T1.csv …, found holiday/"):
        read(READER, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read(READER, tmp_path / "nowhere")


def test_half_a_data_set(tmp_path: Path) -> None:
    root = bp4d_tree.make(tmp_path, only=ONLY, pictures=False)
    with pytest.raises(InputError, match=r"holds labels of BP4D-Spontaneous, but no pictures"):
        read(READER, root)
    (root / "2D+3D").mkdir()
    (root / "2D+3D" / "F001.zip").touch()
    with pytest.raises(InputError, match="have to be unpacked first"):
        read(READER, root)
