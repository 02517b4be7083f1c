"""DISFA+: trials of people who are in DISFA, too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import disfa_plus_tree
import numpy as np
import pytest
from reading import edit, read, told

from openau.datasets import disfa
from openau.datasets.clips import NO_PICTURE, PictureFiles
from openau.datasets.disfa_plus import READER, DISFAPlus
from openau.errors import InputError

ONLY = ("SN003", "SN025")
TRIAL = "A1_AU1_TrailNo_1"
TINY = (32, 24)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disfa_plus_tree.make(tmp_path_factory.mktemp("made"), subjects=ONLY, size=TINY)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(made, tmp_path / "DISFA+")


def label_file(root: Path, number: int = 12) -> Path:
    return root / "Labels" / "SN003" / TRIAL / f"AU{number}.txt"


def test_labels_are_those_of_the_files(root: Path) -> None:
    clips, problems = read(READER, root)
    assert told(problems) == set()
    assert list(clips) == [f"{subject}/{trial}" for subject in ONLY for trial in disfa_plus_tree.TRIALS]
    clip = clips[f"SN003/{TRIAL}"]
    assert isinstance(clip.media, PictureFiles)
    assert [clip.media.paths[at].name for at in clip.position] == ["000.jpg", "001.jpg", "002.jpg", "003.jpg"]
    for number in READER.aus:
        written = [int(line.split()[1]) for line in label_file(root, number).read_text().splitlines()[2:]]
        assert clip.intensity[number].tolist() == written
        assert clip.occurrence[number].tolist() == [float(code >= 2) for code in written]
    assert clip.extra["trial"] == [TRIAL] * 4


def test_threshold_is_an_option(root: Path) -> None:
    edit(label_file(root), 3, "000.jpg     1")
    assert read(READER, root)[0][f"SN003/{TRIAL}"].occurrence[12][0] == 0
    assert read(DISFAPlus(threshold=1), root)[0][f"SN003/{TRIAL}"].occurrence[12][0] == 1


def test_its_people_are_disfas(tmp_path: Path) -> None:
    """The same namespace, and the part a person has in DISFA, so that nobody can be on both sides."""
    clips, problems = read(READER, disfa_plus_tree.make(tmp_path, frames=1, size=TINY))
    assert problems == []
    assert READER.people == disfa.READER.people
    assert set(READER.subjects) < set(disfa.READER.subjects)
    parts = {clip.subject: clip.fold for clip in clips.values()}
    assert parts == {
        "SN001": 1, "SN003": 3, "SN004": 3, "SN007": 3, "SN009": 1, "SN010": 1, "SN013": 2, "SN025": 3, "SN027": 1
    }  # fmt: skip


@pytest.mark.parametrize("options", [{"doubled": True}, {"header": False}])
def test_layouts_that_are_around(tmp_path: Path, options: dict[str, bool]) -> None:
    clips, problems = read(READER, disfa_plus_tree.make(tmp_path, subjects=ONLY, size=TINY, **options))
    assert told(problems) == set()
    assert len(clips) == 4
    assert all((clip.position == np.arange(4)).all() for clip in clips.values())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: edit(label_file(root), 4, "001.jpg     7"), ("value out of range", "AU12.txt", 4)),
        (lambda root: edit(label_file(root), 4, "001.jpg"), ("garbled line", "AU12.txt", 4)),
        (lambda root: edit(label_file(root), 4, "what?     1"), ("garbled line", "AU12.txt", 4)),
        (lambda root: edit(label_file(root), 4, None), ("missing labels", "AU12.txt", None)),
        (lambda root: label_file(root).write_text("# only\n# a header\n"), ("empty file", "AU12.txt", None)),
        (lambda root: label_file(root).unlink(), ("missing file", "AU12.txt", None)),
        (lambda root: shutil.rmtree(root / "Images" / "SN003" / TRIAL), ("missing file", TRIAL, None)),
        (lambda root: (root / "Images/SN003" / TRIAL / "002.jpg").unlink(), ("label without frame", "AU1.txt", 5)),
        (lambda root: shutil.copytree(root / "Labels/SN003", root / "Labels/SN003 copy"),
         ("duplicate subject", "SN003 copy", None)),
        (lambda root: shutil.copytree(root / "Labels/SN003", root / "Labels/SN002"), ("unknown subject", "SN002", None)),
    ],
)  # fmt: skip
def test_defect_is_told_with_file_and_row(
    root: Path, change: Callable[[Path], object], expected: tuple[str, str, int | None]
) -> None:
    change(root)
    clips, problems = read(READER, root)
    assert expected in told(problems)
    assert all(not problem.known for problem in problems)
    assert len(clips) == 4


def test_missing_picture_keeps_its_row(root: Path) -> None:
    (root / "Images/SN003" / TRIAL / "002.jpg").unlink()
    assert read(READER, root)[0][f"SN003/{TRIAL}"].position.tolist() == [0, 1, NO_PICTURE, 2]


def test_wrong_root_and_half_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected Labels/SN001/A1_AU1_TrailNo_1/AU1.txt …, found an empty folder"):
        read(READER, tmp_path)
    root = disfa_plus_tree.make(tmp_path, subjects=ONLY, size=TINY)
    shutil.rmtree(root / "Images")
    with pytest.raises(InputError, match="but no pictures"):
        read(READER, root)
