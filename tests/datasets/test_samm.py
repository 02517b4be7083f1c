from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import samm_tree
from samm_tree import Row

from openau.datasets.clips import Clip, PictureFiles, Problem
from openau.datasets.samm import READER
from openau.errors import InputError


def read(root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    problems: list[Problem] = []
    clips = READER.read(root, problems.append)
    return {clip.name: clip for clip in clips}, [one for one in problems if one.kind != "missing subject"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samm_tree.make(tmp_path_factory.mktemp("samm"))


def test_rows_and_pictures(usual: Path) -> None:
    clips, problems = read(usual)
    assert list(clips) == ["006/006_1_2", "006/006_1_4", "028/028_4_1", "037/037_3_1"]
    assert [clip.subject for clip in clips.values()] == ["006", "006", "028", "037"]  # 6 and "006" are one person
    clip = clips["006/006_1_2"]
    assert clip.frame.tolist() == [5562, 5563, 5564, 5565, 5566]
    assert isinstance(clip.media, PictureFiles)
    assert clip.media.paths[clip.position[2]].name == "006_05564.jpg"
    assert clip.extra["phase"][2] == "apex"
    assert {problem.kind for problem in problems} == {"frames out of order"}


def test_labels(usual: Path) -> None:
    clips, _ = read(usual)
    either = clips["006/006_1_2"]
    assert np.isnan(either.occurrence[12]).all()  # "AU12A or AU14"; AU14 gets no column, as nobody shows it for certain
    assert 14 not in either.occurrence
    assert (either.occurrence[4] == 0).all()
    assert (clips["006/006_1_4"].occurrence[7] == 1).all()
    assert (clips["028/028_4_1"].sides[12, "R"] == 0).all()


def test_classes(usual: Path) -> None:
    clips, _ = read(usual)
    found = [
        (clip.extra["emotion"][0], clip.extra["composite"][0], clip.extra["objective_class"][0])
        for clip in clips.values()
    ]
    assert found == [
        ("happiness", "positive", "I"),
        ("anger", "negative", "III"),
        ("contempt", "negative", "I"),
        ("other", None, "VII"),
    ]


def test_the_known_wrong_apex(usual: Path) -> None:
    clips, (problem,) = read(usual)
    assert problem.known
    assert problem.row == 17  # 13 rows of prose, the header, the third clip
    assert "apex" not in clips["028/028_4_1"].extra["phase"]


def test_a_wrong_apex_elsewhere_is_no_known_defect(tmp_path: Path) -> None:
    _, (problem,) = read(samm_tree.make(tmp_path, rows=[Row(7, "007_3_1", 5, 20, 8, "4", "Fear")]))
    assert not problem.known


@pytest.mark.parametrize("prose", [0, 5, 20])
def test_the_header_is_found_wherever_it_is(tmp_path: Path, prose: int) -> None:
    clips, _ = read(samm_tree.make(tmp_path, prose=prose))
    assert len(clips) == 4


def test_pictures_may_be_beside_the_spreadsheet(tmp_path: Path) -> None:
    clips, _ = read(samm_tree.make(tmp_path, folder="."))
    assert all((clip.position >= 0).all() for clip in clips.values())


def test_objective_classes_are_optional(tmp_path: Path) -> None:
    columns = [name for name in samm_tree.COLUMNS if name != "Objective Classes"]
    clips, _ = read(samm_tree.make(tmp_path, columns=columns))
    assert set(clips["006/006_1_2"].extra["objective_class"]) == {None}


def test_missing_column_and_wrong_root(tmp_path: Path) -> None:
    columns = [name for name in samm_tree.COLUMNS if name != "Apex Frame"]
    with pytest.raises(InputError, match="has no column 'Apex Frame'"):
        READER.read(samm_tree.make(tmp_path / "a", columns=columns), lambda _: None)
    (tmp_path / "b").mkdir()
    with pytest.raises(
        InputError, match=r"does not hold SAMM: expected SAMM_Micro_FACS_Codes_v2.xlsx .*, found an empty folder"
    ):
        READER.read(tmp_path / "b", lambda _: None)
