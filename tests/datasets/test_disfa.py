"""DISFA: labels, the frame a label belongs to, the camera, the known defect, and what is wrong with a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import disfa_tree
import numpy as np
import pytest
from reading import edit, read, told

from openau.datasets.clips import NO_PICTURE, PictureFiles, VideoFile
from openau.datasets.disfa import DISFA, READER
from openau.errors import InputError
from openau.media import open_video

ONLY = ("SN001", "SN032")
TINY = (32, 24)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disfa_tree.make(tmp_path_factory.mktemp("made"), subjects=ONLY, frames=6, size=TINY)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(made, tmp_path / "DISFA")


def label_file(root: Path, number: int = 12, subject: str = "SN001") -> Path:
    return root / "ActionUnit_Labels" / subject / f"{subject}_au{number}.txt"


def test_labels_are_those_of_the_files(root: Path) -> None:
    clips, problems = read(READER, root)
    assert list(clips) == list(ONLY)
    assert told(problems) == set()
    for subject, clip in clips.items():
        assert clip.frame.tolist() == [1, 2, 3, 4, 5, 6]
        assert set(clip.occurrence) == set(clip.intensity) == {1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26}
        for number, values in clip.intensity.items():
            written = [int(line.split(",")[1]) for line in label_file(root, number, subject).read_text().split()]
            assert values.tolist() == written
            assert clip.occurrence[number].tolist() == [float(intensity >= 2) for intensity in written]


def test_threshold_is_an_option(root: Path) -> None:
    edit(label_file(root), 1, "1,1")
    assert read(READER, root)[0]["SN001"].occurrence[12][0] == 0
    assert read(DISFA(threshold=1), root)[0]["SN001"].occurrence[12][0] == 1


def test_label_frame_1_is_the_first_frame_of_the_video(root: Path) -> None:
    """No label falls off either end of a video that has as many frames as there are labels."""
    clip = read(READER, root)[0]["SN001"]
    assert isinstance(clip.media, VideoFile)
    assert clip.media.path.name == "LeftVideoSN001_comp.avi"
    with open_video(clip.media.path) as video:
        indices = [frame.index for frame in video]
    assert clip.position.tolist() == indices == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("start", [0, 1])
def test_extracted_frames_instead_of_videos(tmp_path: Path, start: int) -> None:
    root = disfa_tree.make(tmp_path, subjects=ONLY, frames=4, pictures_from=start, size=TINY)
    clips, problems = read(READER, root)
    assert told(problems) == ({("picture numbering", tmp_path.name, None)} if start == 0 else set())
    for clip in clips.values():
        assert isinstance(clip.media, PictureFiles)
        assert [int(clip.media.paths[at].stem) for at in clip.position] == [start + n for n in range(4)]


def test_missing_extracted_frame(tmp_path: Path) -> None:
    root = disfa_tree.make(tmp_path, subjects=ONLY, frames=4, pictures_from=1, size=TINY)
    (root / "frames" / "LeftVideoSN001_comp" / "00003.jpg").unlink()
    clips, problems = read(READER, root)
    assert clips["SN001"].position.tolist() == [0, 1, NO_PICTURE, 2]
    assert told(problems) == {("label without frame", "SN001_au1.txt", 3)}


def test_only_the_left_camera_is_read(tmp_path: Path) -> None:
    root = disfa_tree.make(tmp_path, subjects=ONLY, right=True, frames=2, size=TINY)
    clips, problems = read(READER, root)
    assert told(problems) == set()
    for clip in clips.values():
        assert isinstance(clip.media, VideoFile)
        assert "Left" in clip.media.path.name
    shutil.rmtree(root / "Videos_LeftCamera")
    with pytest.raises(InputError, match="no videos of the left camera"):
        read(READER, root)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Videos_LeftCamera", "Video_LeftCamera"),
        ("Videos_LeftCamera", "raw/videos_left"),
        ("Videos_LeftCamera/LeftVideoSN001_comp.avi", "Videos_LeftCamera/leftVideoSN001_Comp.avi"),
        ("ActionUnit_Labels", "Labels/ActionUnit_Labels"),
        ("ActionUnit_Labels/SN001", "ActionUnit_Labels/sn001"),
        ("ActionUnit_Labels/SN001/SN001_au12.txt", "ActionUnit_Labels/SN001/SN001_AU12.TXT"),
    ],
)
def test_layouts_that_are_around(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)
    clips, problems = read(READER, root)
    assert told(problems) == set()
    assert list(clips) == list(ONLY)
    assert all(isinstance(clip.media, VideoFile) and len(clip.intensity) == 12 for clip in clips.values())


def test_known_bad_range_of_sn029_is_marked_told_and_no_failure(tmp_path: Path) -> None:
    root = disfa_tree.make(
        tmp_path, subjects=["SN028", "SN029"], frames=211, first_frame=4328, video_frames=2, size=TINY
    )
    clips, problems = read(READER, root)
    marks = np.array(clips["SN029"].extra["known_defect"])
    assert clips["SN029"].frame[marks].tolist() == list(range(4330, 4537))
    assert not any(clips["SN028"].extra["known_defect"])
    assert not np.isnan(clips["SN029"].intensity[1]).any()
    (defect,) = [problem for problem in problems if problem.known]
    assert (defect.kind, defect.path.name, defect.row) == ("known defect", "SN029", 4330)


def test_folds_are_the_published_parts(tmp_path: Path) -> None:
    root = disfa_tree.make(tmp_path, frames=1, size=TINY)
    clips, problems = read(READER, root)
    assert problems == []
    parts = [clip.fold for clip in clips.values()]
    assert [parts.count(part) for part in (1, 2, 3)] == [9, 9, 9]
    assert [clips[who].fold for who in ("SN001", "SN006", "SN029", "SN032", "SN031")] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: edit(label_file(root), 4, "4;0"), ("garbled line", "SN001_au12.txt", 4)),
        (lambda root: edit(label_file(root), 4, "4,6"), ("value out of range", "SN001_au12.txt", 4)),
        (lambda root: edit(label_file(root), 4, "4,-1"), ("value out of range", "SN001_au12.txt", 4)),
        (lambda root: edit(label_file(root), 1, "0,0"), ("garbled line", "SN001_au12.txt", 1)),
        (lambda root: edit(label_file(root), 6, None), ("missing labels", "SN001_au12.txt", None)),
        (lambda root: edit(label_file(root), 4, "3,0"), ("duplicate frame", "SN001_au12.txt", 4)),
        (lambda root: edit(label_file(root), 2, "9,0"), ("frames out of order", "SN001_au12.txt", 3)),
        (lambda root: label_file(root).write_text(""), ("empty file", "SN001_au12.txt", None)),
        (lambda root: label_file(root).unlink(), ("missing file", "SN001_au12.txt", None)),
        (lambda root: (root / "Videos_LeftCamera/LeftVideoSN001_comp.avi").unlink(), ("missing file", "SN001", None)),
        (lambda root: shutil.copytree(label_file(root).parent, root / "ActionUnit_Labels/sn001 copy"),
         ("duplicate subject", "sn001 copy", None)),
        (lambda root: shutil.copytree(label_file(root).parent, root / "ActionUnit_Labels/SN001 2"),
         ("duplicate subject", "SN001 2", None)),
        (lambda root: shutil.copytree(label_file(root).parent, root / "ActionUnit_Labels/SN014"),
         ("unknown subject", "SN014", None)),
        (lambda root: shutil.copy(root / "Videos_LeftCamera/LeftVideoSN001_comp.avi", root / "leftSN001.avi"),
         ("duplicate subject", "LeftVideoSN001_comp.avi", None)),
    ],
)  # fmt: skip
def test_defect_is_told_with_file_and_row(
    root: Path, change: Callable[[Path], object], expected: tuple[str, str, int | None]
) -> None:
    change(root)
    clips, problems = read(READER, root)
    assert expected in told(problems)
    assert all(not problem.known for problem in problems)
    assert list(clips) == list(ONLY)


def test_an_au_without_its_file_is_unknown_and_the_others_are_not(root: Path) -> None:
    label_file(root).unlink()
    clip = read(READER, root)[0]["SN001"]
    assert 12 not in clip.occurrence
    assert not np.isnan(clip.occurrence[1]).any()


def test_wrong_root_says_what_was_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected ActionUnit_Labels/SN001/SN001_au1.txt …, found an empty folder"):
        read(READER, tmp_path)
