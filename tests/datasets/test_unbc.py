from __future__ import annotations

from pathlib import Path

import facs_files
import numpy as np
import pytest
import unbc_tree

from openau.datasets.clips import NO_PICTURE, Clip, PictureFiles, Problem
from openau.datasets.unbc import READER, SUBJECTS
from openau.errors import InputError

FIRST = "042-ll042/ll042t1aaaff"
LABELS = Path("Frame_Labels") / "FACS" / FIRST


def read(root: Path) -> tuple[dict[str, Clip], list[Problem]]:
    problems: list[Problem] = []
    clips = READER.read(root, problems.append)
    return {clip.name: clip for clip in clips}, [one for one in problems if one.kind != "missing subject"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unbc_tree.make(tmp_path_factory.mktemp("unbc"))


def test_every_coded_frame_is_a_row(usual: Path) -> None:
    clips, problems = read(usual)
    assert not problems
    assert list(clips) == sorted(unbc_tree.SEQUENCES)
    for name, frames in unbc_tree.SEQUENCES.items():
        clip = clips[name]
        assert clip.subject == name.split("/")[0]
        assert clip.frame.tolist() == list(range(1, len(frames) + 1))
        assert isinstance(clip.media, PictureFiles)
        assert [clip.media.paths[at].stem for at in clip.position] == [
            f"{name.split('/')[1]}{frame:03d}" for frame in clip.frame
        ]


def test_labels_are_those_that_were_written(usual: Path) -> None:
    clips, _ = read(usual)
    for name, frames in unbc_tree.SEQUENCES.items():
        for au in READER.aus:
            wanted = [codes.get(au, 0) for codes in frames]
            assert clips[name].occurrence[au].tolist() == [float(value > 0) for value in wanted]
            if au in READER.intensity_aus:
                assert clips[name].intensity[au].tolist() == wanted
        assert clips[name].extra["pspi"] == [unbc_tree.pspi(codes) for codes in frames]
    assert 43 not in clips[FIRST].intensity  # closed eyes are coded as there or not


def test_parts_are_every_fifth_subject(usual: Path) -> None:
    clips, _ = read(usual)
    assert {clip.subject: clip.fold for clip in clips.values()} == {"042-ll042": 1, "043-jh043": 2, "052-dr052": 1}
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 25
    assert SUBJECTS[::5] == ("042-ll042", "052-dr052", "092-ch092", "103-jk103", "115-jy115")  # as OpenFace holds out


def test_pictures_and_labels_that_lack_each_other(tmp_path: Path) -> None:
    clips, problems = read(
        unbc_tree.make(tmp_path, without_picture=[(FIRST, 3)], without_label=[("043-jh043/jh043t1afaff", 2)])
    )
    assert clips[FIRST].position.tolist() == [0, 1, NO_PICTURE]
    assert clips["043-jh043/jh043t1afaff"].frame.tolist() == [1, 3]
    told = {problem.kind: problem for problem in problems}
    assert told["label without frame"].row == 3
    assert told["frame without label"].path.name == "jh043t1afaff002.png"


def test_missing_scores(tmp_path: Path) -> None:
    unbc_tree.make(tmp_path)
    next((tmp_path / "Frame_Labels" / "PSPI" / FIRST).glob("*002_facs.txt")).unlink()
    clips, problems = read(tmp_path)
    assert clips[FIRST].extra["pspi"] == [0, None, 12]
    assert [problem.kind for problem in problems] == ["missing labels"]
    clips, problems = read(unbc_tree.make(tmp_path / "other", scores=False))
    assert clips[FIRST].extra["pspi"] == [None] * 3
    assert {problem.kind for problem in problems} == {"missing folder"}


def test_values_out_of_range_are_unknown(tmp_path: Path) -> None:
    unbc_tree.make(tmp_path)
    path = facs_files.write(tmp_path / LABELS / "ll042t1aaaff002_facs.txt", [(4, 2, 0, 0), (6, 7, 0, 0)])
    facs_files.write(tmp_path / "Frame_Labels" / "PSPI" / FIRST / "ll042t1aaaff003_facs.txt", [(17,)])
    clips, problems = read(tmp_path)
    assert clips[FIRST].occurrence[4].tolist() == [0, 1, 1]
    assert np.isnan(clips[FIRST].occurrence[6]).tolist() == [False, True, False]
    assert np.isnan(clips[FIRST].intensity[6]).tolist() == [False, True, False]
    assert clips[FIRST].extra["pspi"] == [0, 5, None]
    assert [(one.path == path, one.row) for one in problems if "AU06" in one.reason] == [(True, 2)]
    assert {one.kind for one in problems} == {"value out of range"}


def test_a_garbled_line_makes_unnamed_aus_unknown(tmp_path: Path) -> None:
    unbc_tree.make(tmp_path)
    (tmp_path / LABELS / "ll042t1aaaff001_facs.txt").write_text("4.0 1.0 0 0\n\nx%&\n")
    clips, (problem,) = read(tmp_path)
    assert clips[FIRST].occurrence[4][0] == 1
    assert np.isnan(clips[FIRST].occurrence[12][0])
    assert (problem.kind, problem.row) == ("garbled line", 3)


def test_other_aus_are_counted_once(tmp_path: Path) -> None:
    sequences = {FIRST: ({1: 1, 50: 1}, {1: 2}, {})}
    clips, problems = read(unbc_tree.make(tmp_path, sequences=sequences))
    assert 1 not in clips[FIRST].occurrence
    assert [(one.kind, one.known) for one in problems] == [("AU without a column", True)] * 2
    assert "AU 1 is in 2 frames" in problems[0].reason


def test_a_sequence_without_pictures_and_one_without_labels(tmp_path: Path) -> None:
    unbc_tree.make(tmp_path)
    (tmp_path / "Images" / "042-ll042" / "ll042t1aaaff").rename(tmp_path / "Images" / "042-ll042" / "ll042t9aaaff")
    clips, problems = read(tmp_path)
    assert (clips[FIRST].position == NO_PICTURE).all()
    assert {problem.kind for problem in problems} == {"missing folder", "frame without label"}


def test_half_a_data_set_and_wrong_root(usual: Path, tmp_path: Path) -> None:
    problems: list[Problem] = []
    READER.read(usual, problems.append)
    assert "3 of 25 subjects" in problems[-1].reason
    (tmp_path / "Images").mkdir()
    with pytest.raises(
        InputError, match=r"does not hold UNBC.*: expected Images/.* and Frame_Labels/FACS/.*, found Images/"
    ):
        READER.read(tmp_path, lambda _: None)
