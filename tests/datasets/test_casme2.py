from __future__ import annotations

from math import isnan
from pathlib import Path

import casme2_tree
import numpy as np
import pytest
from casme2_tree import Row

from openau.datasets.casme2 import READER
from openau.datasets.clips import NO_PICTURE, Clip, PictureFiles, Problem
from openau.errors import InputError


def read(root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    problems: list[Problem] = []
    clips = READER.read(root, problems.append)
    assert [clip.name for clip in clips] == sorted(clip.name for clip in clips)
    return {clip.name: clip for clip in clips}, [one for one in problems if one.kind != "missing subject"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return casme2_tree.make(tmp_path_factory.mktemp("casme2"), cropped=True)


def test_rows_are_the_frames_from_onset_to_offset(usual: Path) -> None:
    clips, problems = read(usual)
    assert set(clips) == {"sub01/EP02_01f", "sub01/EP19_05f", "sub02/EP01_11f", "sub26/EP18_51"}
    clip = clips["sub01/EP02_01f"]
    assert clip.subject == "sub01"
    assert clip.frame.tolist() == [46, 47, 48, 49, 50]
    assert clip.extra["phase"] == ["onset", "between", "apex", "between", "offset"]
    assert isinstance(clip.media, PictureFiles)
    names = [clip.media.paths[position].name for position in clip.position]
    assert names == [f"img{number}.jpg" for number in range(46, 51)]
    assert clip.media.paths[0].parent == usual / "CASME2-RAW" / "sub01" / "EP02_01f"  # not Cropped
    assert [problem.kind for problem in problems] == ["no apex"]


def test_labels(usual: Path) -> None:
    clips, _ = read(usual)
    happy, torn, pressed = clips["sub01/EP02_01f"], clips["sub01/EP19_05f"], clips["sub02/EP01_11f"]
    assert (happy.occurrence[12] == 1).all()
    assert (happy.occurrence[4] == 0).all()
    assert (torn.occurrence[4] == 1).all()
    assert np.isnan(torn.occurrence[1]).all()  # "?"
    assert (torn.sides[12, "L"] == 1).all()
    assert (torn.sides[12, "R"] == 0).all()
    assert (pressed.sides[4, "R"] == 1).all()
    assert (pressed.sides[4, "L"] == 0).all()
    assert torn.extra["action_units"] == ["4+L12+?"] * 4
    assert not happy.intensity


def test_emotion_and_the_three_classes(usual: Path) -> None:
    clips, _ = read(usual)
    found = {clip.extra["emotion"][0]: clip.extra["composite"][0] for clip in clips.values()}
    assert found == {"happiness": "positive", "disgust": "negative", "repression": "negative", "surprise": "surprise"}


@pytest.mark.parametrize("emotion", ["others", "sadness", "fear"])
def test_other_emotions_have_no_class(tmp_path: Path, emotion: str) -> None:
    clips, _ = read(casme2_tree.make(tmp_path, rows=casme2_tree.changed(0, emotion=emotion)))
    assert set(clips["sub01/EP02_01f"].extra["composite"]) == {None}


def test_an_apex_that_is_not_coded_is_a_known_defect(usual: Path) -> None:
    clips, (problem,) = read(usual)
    assert problem.known
    assert problem.row == 4
    assert "'/'" in problem.reason
    assert clips["sub02/EP01_11f"].extra["phase"] == ["onset", "between", "between", "offset"]


@pytest.mark.parametrize("raw", ["CASME2_RAW_selected/CASME2_RAW_selected", "Cropped2", "frames"])
def test_folders_may_be_called_otherwise(tmp_path: Path, raw: str) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, raw=raw))
    assert all((clip.position >= 0).all() for clip in clips.values())
    assert {problem.kind for problem in problems} == {"no apex"}


def test_only_cropped_pictures(tmp_path: Path) -> None:
    casme2_tree.make(tmp_path, cropped=True)
    (tmp_path / "CASME2-RAW").rename(tmp_path / ".hidden")
    clips, _ = read(tmp_path)
    media = clips["sub01/EP02_01f"].media
    assert isinstance(media, PictureFiles)
    assert media.paths[0].name == "reg_img46.jpg"


def test_subjects_written_in_several_ways_are_one_person(tmp_path: Path) -> None:
    rows = (
        Row("01", "EP02_01f", 1, 2, 3, 4, "disgust"),
        Row("sub01", "EP03_02 ", 1, 2, 3, "12", "others"),
        Row(1.0, "EP04_03", 1, 1, 3, "1", "surprise"),
    )
    casme2_tree.make(
        tmp_path,
        rows=(Row(1, "EP02_01f", 1, 2, 3, 4, ""), Row(1, "EP03_02", 1, 2, 3, 4, ""), Row(1, "EP04_03", 1, 1, 3, 4, "")),
    )
    casme2_tree.write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", rows)
    clips, problems = read(tmp_path)
    assert {clip.subject for clip in clips.values()} == {"sub01"}
    assert len(clips) == 3
    assert not problems
    assert clips["sub01/EP04_03"].extra["phase"] == ["apex", "between", "offset"]


def test_a_repeated_row_is_left_out_and_a_second_clip_of_a_recording_is_kept(tmp_path: Path) -> None:
    first = casme2_tree.ROWS[0]
    rows = (first, first, Row(1, "EP02_01f", 60, 61, 62, "4", "disgust"))
    clips, problems = read(casme2_tree.make(tmp_path, rows=rows))
    assert set(clips) == {"sub01/EP02_01f", "sub01/EP02_01f@60"}
    assert clips["sub01/EP02_01f@60"].frame.tolist() == [60, 61, 62]
    (problem,) = problems
    assert (problem.kind, problem.row, problem.known) == ("repeated row", 3, False)


def test_missing_frames_are_rows_without_pictures(tmp_path: Path) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, missing=[("EP02_01f", 47), ("EP02_01f", 50)]))
    clip = clips["sub01/EP02_01f"]
    assert clip.position.tolist() == [0, NO_PICTURE, 1, 2, NO_PICTURE]
    assert isinstance(clip.media, PictureFiles)
    assert [path.name for path in clip.media.paths] == ["img46.jpg", "img48.jpg", "img49.jpg"]
    (problem,) = [one for one in problems if one.kind == "label without frame"]
    assert problem.row == 47
    assert "2 of the 5 frames" in problem.reason


def test_a_clip_without_folder_and_a_folder_without_clip(tmp_path: Path) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, without_folder=["EP19_05f"], extra_folders=["sub05/EP03_07"]))
    assert (clips["sub01/EP19_05f"].position == NO_PICTURE).all()
    told = {problem.kind: problem for problem in problems}
    assert told["missing folder"].row == 3
    assert told["missing folder"].path.suffix == ".xlsx"
    assert told["frame without label"].path == tmp_path / "CASME2-RAW" / "sub05" / "EP03_07"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"offset": 3}, "onset 46 and offset 3 are out of order"),
        ({"onset": "x"}, "OnsetFrame 'x'"),
        ({"offset": 10**7}, "cannot be"),
        ({"subject": "nobody"}, "'nobody'"),
        ({"clip": "../../etc"}, "do not name a subject and a folder"),
    ],
)
def test_rows_that_name_no_frames_are_told_and_left_out(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    casme2_tree.make(tmp_path)
    casme2_tree.write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", casme2_tree.changed(0, **values))
    clips, problems = read(tmp_path)
    assert "sub01/EP02_01f" not in clips
    (problem,) = [one for one in problems if one.kind == "unusable row"]
    assert problem.row == 2
    assert reason in problem.reason
    assert not problem.known


@pytest.mark.parametrize("apex", [12, 99, "?"])
def test_an_impossible_apex_is_unknown_and_no_known_defect(tmp_path: Path, apex: object) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, rows=casme2_tree.changed(0, apex=apex)))
    assert "apex" not in clips["sub01/EP02_01f"].extra["phase"]
    (problem,) = [one for one in problems if one.row == 2]
    assert not problem.known


def test_unreadable_aus_are_unknown(tmp_path: Path) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, rows=casme2_tree.changed(0, aus="12+smile")))
    clip = clips["sub01/EP02_01f"]
    assert (clip.occurrence[12] == 1).all()
    assert np.isnan(clip.occurrence[4]).all()
    (problem,) = [one for one in problems if one.kind == "unreadable AUs"]
    assert problem.row == 2
    assert "'smile'" in problem.reason


def test_an_empty_au_cell_is_unknown(tmp_path: Path) -> None:
    clips, problems = read(casme2_tree.make(tmp_path, rows=casme2_tree.changed(0, aus=None)))
    assert all(isnan(value) for value in clips["sub01/EP02_01f"].occurrence[12])
    assert "no AUs" in {problem.kind for problem in problems}


def test_half_a_data_set_is_told(usual: Path) -> None:
    problems: list[Problem] = []
    READER.read(usual, problems.append)
    assert [str(one.reason) for one in problems if one.kind == "missing subject"] == [
        "has labels of 3 of the 26 subjects of the published data set"
    ]


def test_wrong_root(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(
        InputError, match=r"does not hold CASME II: expected CASME2-coding-20140508.xlsx .* found holiday/"
    ):
        READER.read(tmp_path, lambda _: None)
    with pytest.raises(InputError, match="no such folder"):
        READER.read(tmp_path / "nothing", lambda _: None)


def test_pictures_are_not_there(tmp_path: Path) -> None:
    casme2_tree.write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", casme2_tree.ROWS)
    with pytest.raises(InputError, match="does not hold CASME II"):
        READER.read(tmp_path, lambda _: None)


def test_missing_column(tmp_path: Path) -> None:
    columns = [name for name in casme2_tree.COLUMNS if name != "Action Units"]
    with pytest.raises(InputError, match="has no column 'Action Units'"):
        READER.read(casme2_tree.make(tmp_path, columns=columns), lambda _: None)
