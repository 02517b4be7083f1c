from __future__ import annotations

from pathlib import Path

import gft_tree
import numpy as np
import pytest

from openau.datasets.clips import NO_PICTURE, Clip, Problem, VideoFile
from openau.datasets.gft import READER
from openau.errors import InputError


def read(root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    problems: list[Problem] = []
    clips = READER.read(root, problems.append)
    return {clip.name: clip for clip in clips}, [one for one in problems if one.kind != "missing subject"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gft_tree.make(tmp_path_factory.mktemp("gft"))


def test_codes_videos_parts_and_groups(usual: Path) -> None:
    clips, problems = read(usual)
    assert not problems
    for name, count in (("001A", 5), ("002B", 4), ("003C", 4)):
        clip = clips[name]
        assert clip.media == VideoFile(usual / "Videos" / f"{name}.mp4")
        assert clip.frame.tolist() == list(range(1, count + 1))
        assert clip.position.tolist() == list(range(count))
        codes = gft_tree.codes(name, count)
        for column, au in enumerate(gft_tree.AUS):
            wanted = np.where(codes[:, column] == 9, np.nan, codes[:, column])
            np.testing.assert_array_equal(clip.occurrence[au], wanted.astype(np.float32))
        assert set(clip.extra["group"]) == {name[:3]}
    assert {name: clip.fold for name, clip in clips.items()} == {"001A": 1, "002B": 1, "003C": 2}


def test_frames_from_zero(tmp_path: Path) -> None:
    clips, _ = read(gft_tree.make(tmp_path, first=0))
    assert clips["001A"].frame.tolist() == clips["001A"].position.tolist() == [0, 1, 2, 3, 4]


def test_a_person_in_two_parts_is_in_none(tmp_path: Path) -> None:
    clips, (problem,) = read(gft_tree.make(tmp_path, train=["001A", "002B"], test=["2b", "3C", "nobody"][:2]))
    assert {name: clip.fold for name, clip in clips.items()} == {"001A": 1, "002B": None, "003C": 2}
    assert problem.kind == "subject in two folds"


def test_no_partition(tmp_path: Path) -> None:
    clips, problems = read(gft_tree.make(tmp_path, train=None, test=None))
    assert {clip.fold for clip in clips.values()} == {None}
    assert not problems


def test_tables_and_videos_that_lack_each_other(tmp_path: Path) -> None:
    clips, problems = read(gft_tree.make(tmp_path, without_video=["001A"], without_table=["002B"]))
    assert set(clips) == {"001A", "003C"}
    assert (clips["001A"].position == NO_PICTURE).all()
    assert {problem.kind: problem.path.name for problem in problems} == {
        "missing file": "001A.csv",
        "frame without label": "002B.mp4",
    }


def test_intensities_unknowns_and_bad_values(tmp_path: Path) -> None:
    gft_tree.make(tmp_path)
    table = tmp_path / "AU_annotations" / "001A.csv"
    table.write_text("Frame,note,AU12,AU12_int,AU4\n1,a,1,5,0\n2,,,NaN,9\n3,b,2,6,x\n")
    clips, problems = read(tmp_path)
    clip = clips["001A"]
    np.testing.assert_array_equal(clip.occurrence[12], np.array([1, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(clip.intensity[12], np.array([5, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(clip.occurrence[4], np.array([0, np.nan, np.nan], np.float32))
    assert {(problem.kind, problem.row) for problem in problems} == {("value out of range", 4), ("garbled line", 4)}
    assert all(problem.path == table for problem in problems)


@pytest.mark.parametrize("header", ["AU01,AU02", "frame,happy", "frame,AU99"])
def test_missing_columns(tmp_path: Path, header: str) -> None:
    gft_tree.make(tmp_path)
    (tmp_path / "AU_annotations" / "001A.csv").write_text(f"{header}\n1,0\n")
    clips, problems = read(tmp_path)
    assert set(clips) == {"002B", "003C"}
    assert ("missing column", 1) in {(problem.kind, problem.row) for problem in problems}


def test_duplicates(tmp_path: Path) -> None:
    gft_tree.make(tmp_path)
    copy = tmp_path / "AU_annotations" / "001A_copy.csv"
    copy.write_text((tmp_path / "AU_annotations" / "001A.csv").read_text())
    clips, (problem,) = read(tmp_path)
    assert len(clips) == 3
    assert (problem.kind, problem.path) == ("duplicate label file", copy)


def test_wrong_root(tmp_path: Path) -> None:
    (tmp_path / "shopping.csv").write_text("frame,AU01\n1,0\n")
    with pytest.raises(
        InputError, match=r"does not hold Sayette .* expected CSV files like 001A.csv .*, found shopping.csv"
    ):
        READER.read(tmp_path, lambda _: None)
