from __future__ import annotations

from pathlib import Path

import ck_plus_tree
import facs_files
import numpy as np
import pytest
from ck_plus_tree import Coded

from openau.datasets.ck_plus import READER, CKPlus
from openau.datasets.clips import NO_PICTURE, Clip, PictureFiles, Problem
from openau.errors import InputError


def read(root: Path, reader: CKPlus = READER) -> tuple[dict[str, Clip], list[Problem]]:
    problems: list[Problem] = []
    clips = reader.read(root, problems.append)
    return {clip.name: clip for clip in clips}, [one for one in problems if one.kind != "missing subject"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ck_plus_tree.make(tmp_path_factory.mktemp("ck"))


def test_a_neutral_face_and_the_peak(usual: Path) -> None:
    clips, problems = read(usual)
    assert not problems
    assert list(clips) == ["S005/001", "S010/002", "S010/006", "S999/001"]
    clip = clips["S005/001"]
    assert clip.frame.tolist() == [1, 5]
    assert clip.extra["phase"] == ["neutral", "peak"]
    assert isinstance(clip.media, PictureFiles)
    assert [clip.media.paths[at].name for at in clip.position] == ["S005_001_00000001.png", "S005_001_00000005.png"]


def test_codes(usual: Path) -> None:
    clip = read(usual)[0]["S005/001"]
    assert clip.occurrence[9].tolist() == [0, 1]
    assert clip.intensity[9].tolist() == [0, 4]
    assert clip.occurrence[17].tolist() == [0, 1]  # "17 0": there, strength not coded
    assert clip.intensity[17][0] == 0
    assert np.isnan(clip.intensity[17][1])
    assert clip.occurrence[12].tolist() == clip.intensity[12].tolist() == [0, 0]


def test_emotions(usual: Path) -> None:
    clips, _ = read(usual)
    assert [clip.extra["emotion"] for clip in clips.values()] == [
        ["neutral", "disgust"],
        ["neutral", "surprise"],
        ["neutral", None],
        ["neutral", "anger"],
    ]


def test_options(usual: Path) -> None:
    clips, _ = read(usual, CKPlus(last=3, neutral=False))
    assert clips["S005/001"].frame.tolist() == [3, 4, 5]
    assert clips["S005/001"].occurrence[9].tolist() == [1, 1, 1]
    clips, _ = read(usual, CKPlus(last=3))
    assert clips["S010/006"].frame.tolist() == [1, 2, 3]  # no picture is left that could be neutral
    assert clips["S010/006"].extra["phase"] == ["peak"] * 3


def test_folders_named_after_the_archives(tmp_path: Path) -> None:
    clips, problems = read(ck_plus_tree.make(tmp_path, labels=("FACS_labels", "Emotion_labels")))
    assert not problems
    assert clips["S010/002"].extra["emotion"] == ["neutral", "surprise"]


def test_a_sequence_without_codes_is_told(tmp_path: Path) -> None:
    sequences = {**ck_plus_tree.SEQUENCES, "S011/003": Coded(3, None, 5)}
    clips, (problem,) = read(ck_plus_tree.make(tmp_path, sequences=sequences))
    assert "S011/003" not in clips
    assert problem.kind == "frame without label"
    assert problem.path == tmp_path / "cohn-kanade-images" / "S011" / "003"


def test_codes_without_pictures(tmp_path: Path) -> None:
    clips, problems = read(ck_plus_tree.make(tmp_path, without_pictures=["S005/001"], without_peak=["S999/001"]))
    assert clips["S005/001"].position.tolist() == [NO_PICTURE]
    assert clips["S005/001"].extra["phase"] == ["peak"]
    assert clips["S999/001"].frame.tolist() == [1, 4]
    assert clips["S999/001"].position.tolist() == [0, NO_PICTURE]
    assert {problem.kind for problem in problems} == {"missing folder", "label without frame"}


def test_no_emotions_at_all(tmp_path: Path) -> None:
    clips, (problem,) = read(ck_plus_tree.make(tmp_path, emotions=False))
    assert clips["S005/001"].extra["emotion"] == ["neutral", None]
    assert problem.kind == "missing folder"


def test_bad_values(tmp_path: Path) -> None:
    ck_plus_tree.make(tmp_path)
    facs_files.write(
        tmp_path / "FACS" / "S005" / "001" / "S005_001_00000005_facs.txt", [(9, 6), (12, 1), (12, 3), (38, 2)]
    )
    facs_files.write(tmp_path / "Emotion" / "S005" / "001" / "S005_001_00000005_emotion.txt", [(8,)])
    clips, problems = read(tmp_path)
    clip = clips["S005/001"]
    for au in (9, 12):
        assert np.isnan(clip.occurrence[au][1])
        assert np.isnan(clip.intensity[au][1])
        assert clip.occurrence[au][0] == 0
    assert clip.extra["emotion"] == ["neutral", None]
    told = {problem.kind: problem.known for problem in problems}
    assert told == {"value out of range": False, "duplicate AU": False, "AU without a column": True}


def test_a_second_label_file(tmp_path: Path) -> None:
    ck_plus_tree.make(tmp_path)
    facs_files.write(tmp_path / "FACS" / "S005" / "001" / "S005_001_00000004_facs.txt", [(1, 1)])
    clips, (problem,) = read(tmp_path)
    assert clips["S005/001"].occurrence[9].tolist() == [0, 1]
    assert problem.kind == "duplicate label file"


def test_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the folder cohn-kanade-images, found an empty folder"):
        READER.read(tmp_path, lambda _: None)
    (tmp_path / "cohn-kanade-images").mkdir()
    with pytest.raises(InputError, match=r"expected the folder FACS or FACS_labels, found cohn-kanade-images/"):
        READER.read(tmp_path, lambda _: None)
