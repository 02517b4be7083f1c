"""The user's own folder: what its table may say, and what is told about what it may not."""

from __future__ import annotations

from pathlib import Path

import folder_tree
import numpy as np
import people
import pytest

from openau.datasets.clips import NO_PICTURE, Clip, PictureFiles, Problem, VideoFile
from openau.datasets.folder import READER
from openau.errors import InputError


def read(root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    told: list[Problem] = []
    return {clip.name: clip for clip in READER.read(root, told.append)}, told


def write(root: Path, *lines: str) -> tuple[dict[str, Clip], list[Problem]]:
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return read(root)


def test_videos_pictures_and_stills(tmp_path: Path) -> None:
    clips, told = read(folder_tree.make(tmp_path))
    assert told == []
    assert list(clips) == ["ann/talk.mp4", "bob/walk", "still0.png", "still1.png"]
    talk, walk, still = clips["ann/talk.mp4"], clips["bob/walk"], clips["still1.png"]
    assert talk.media == VideoFile(tmp_path / "ann" / "talk.mp4")
    assert talk.frame.tolist() == talk.position.tolist() == list(range(folder_tree.FRAMES))
    assert isinstance(walk.media, PictureFiles)
    assert [path.name for path in walk.media.paths] == [f"{index:03d}.jpg" for index in range(folder_tree.PICTURES)]
    assert [clip.subject for clip in clips.values()] == ["ann", "bob", "still0", "still1"]
    assert [clip.fold for clip in clips.values()] == [1, 2, 2, 2]
    np.testing.assert_array_equal(walk.occurrence[12], [0, 1] * 3)
    np.testing.assert_array_equal(walk.intensity[12], [0, 2.5] * 3)
    np.testing.assert_array_equal(walk.sides[12, "L"], [0, 1] * 3)
    assert np.isnan(still.occurrence[1]).all()
    assert walk.extra["mood"] == [None, "glad"] * 3


def test_a_table_of_another_name_is_its_own_root(tmp_path: Path) -> None:
    folder_tree.make(tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "second.csv")
    clips, told = read(tmp_path / "second.csv")
    assert len(clips) == 4
    assert told == []


def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """A byte-order mark, blanks, frames like 3.0, empty cells and short lines, as spreadsheets write them."""
    people.write_picture(tmp_path / "a.png", people.noise())
    (tmp_path / "labels.csv").write_bytes(
        "\ufefffile, clip ,frame,AU12,AU06\na.png,x,3.0, 1 ,\na.png,x,5.0,0\n".encode()
    )
    clips, told = read(tmp_path)
    assert told == []
    assert clips["x"].frame.tolist() == [3, 5]
    np.testing.assert_array_equal(clips["x"].occurrence[12], [1, 0])
    assert np.isnan(clips["x"].occurrence[6]).all()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("picture,AU12", r"the column `file` is missing; there are picture, AU12"),
        ("file,frame", r"there is no AU column"),
        ("file,AU1", r"AU1 names no AU OpenAU knows"),
        ("file,AU12,AU99", r"AU99 names no AU"),
        ("file,AU12,AU12", r"the column AU12 appears twice"),
        ("file,AU12,people", r"the column people is one that `openau prepare` fills itself"),
        ("", r"the column `file` is missing; there are no columns"),
    ],
)
def test_broken_headers_are_refused(tmp_path: Path, header: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"labels\.csv: {words}"):
        write(tmp_path, header)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (",,,1", "names no file"),
        ("../x.png,,,1", "../x.png is not below the table's folder"),
        ("/x.png,,,1", "/x.png is not below the table's folder"),
        ("a.mp4,,,1", "a row of a video needs the number of its frame, from 0"),
        ("a.mp4,two,,1", "a row of a video needs the number of its frame, from 0"),
        ("a.mp4,-2,,1", "frame is '-2', not a whole number from 0"),
        ("a.png,1.5,,1", "frame is '1.5', not a whole number from 0"),
        ("a.png,,b,1", "fold is 'b', not a whole number"),
        ("a.png,,,2,5", "has more cells than the table has columns, '5' at its end (a decimal comma?)"),
        ("ann,,,1", "ann is a folder, not a picture or video"),
    ],
)
def test_rows_that_cannot_be_used_are_told_with_their_number(tmp_path: Path, cells: str, words: str) -> None:
    people.write_picture(tmp_path / "good.png", people.noise())
    (tmp_path / "ann").mkdir()
    clips, told = write(tmp_path, "file,frame,fold,AU12", "good.png,,,1,,", cells)
    assert list(clips) == ["good.png"]
    assert [str(problem) for problem in told] == [f"{tmp_path / 'labels.csv'}:3: {words}; the row is left out"]


def test_values_out_of_range_become_unknown(tmp_path: Path) -> None:
    people.write_picture(tmp_path / "a.png", people.noise())
    clips, told = write(tmp_path, "file,AU12,AU06,AU06_i,AU01", "a.png,9,yes,5.5,nan")
    clip = clips["a.png"]
    assert np.isnan([clip.occurrence[12][0], clip.occurrence[6][0], clip.intensity[6][0], clip.occurrence[1][0]]).all()
    assert [(problem.kind, problem.row) for problem in told] == [("value out of range", 2)] * 3
    assert "AU06_i is '5.5', not a number from 0 to 5" in told[2].reason


def test_files_that_are_not_there_are_rows_without_a_picture(tmp_path: Path) -> None:
    people.write_picture(tmp_path / "a.png", people.noise())
    clips, told = write(
        tmp_path, "file,frame,clip,AU12", "a.png,0,x,1", "b.png,1,x,0", "gone.mp4,0,,1", "gone.mp4,1,,1"
    )
    assert clips["x"].position.tolist() == [0, NO_PICTURE]
    assert clips["gone.mp4"].position.tolist() == [NO_PICTURE] * 2
    assert [(problem.kind, problem.path.name) for problem in told] == [
        ("missing file", "gone.mp4"),
        ("missing file", "b.png"),
    ]


def test_a_recording_is_one_person_in_one_fold_and_one_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        people.write_video(tmp_path / name, people.person_frames(0, 2), 25)
    clips, told = write(
        tmp_path, "file,frame,subject,fold,clip,AU12", "a.mp4,0,ann,1,x,1", "a.mp4,1,bob,2,x,1", "b.mp4,2,ann,1,x,1"
    )
    assert (clips["x"].subject, clips["x"].fold, len(clips["x"].frame)) == ("ann", 1, 2)
    assert [(problem.kind, problem.row) for problem in told] == [
        ("mixed recording", 4),
        ("subject changes", 3),
        ("fold changes", 3),
    ]
