"""BP4D+: the layout is BP4D's (tested there); people, tasks and folds are its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import bp4d_plus_tree
import bp4d_tree
import pytest
from reading import read, told

from openau.datasets import bp4d, bp4d_plus
from openau.datasets.bp4d_plus import READER
from openau.datasets.clips import PictureFiles
from openau.errors import InputError

TINY = (32, 24)


def test_the_original_edition_counts_pictures_from_zero(tmp_path: Path) -> None:
    root = bp4d_plus_tree.make(tmp_path, only=["F001", "F082", "M058"], first_frame=1345, frames=2, size=TINY)
    clips, problems = read(READER, root)
    assert sorted(clips) == [f"{who}/{task}" for who in ("F001", "F082", "M058") for task in ("T1", "T6", "T7", "T8")]
    assert told(problems) == {("picture numbering", "2D+3D", None)}
    for clip in clips.values():
        assert isinstance(clip.media, PictureFiles)
        assert [int(clip.media.paths[at].stem) for at in clip.position] == [1344, 1345]
        assert clip.frame.tolist() == [1345, 1346]
        assert clip.fold is None


def test_140_people_of_their_own() -> None:
    assert len(READER.subjects) == 140
    assert (READER.subjects[0], READER.subjects[81], READER.subjects[82], READER.subjects[-1]) == (
        "F001",
        "F082",
        "M001",
        "M058",
    )
    assert READER.people != bp4d.READER.people


def test_tasks_that_are_not_coded_are_told(tmp_path: Path) -> None:
    """BP4D taken for BP4D+: T2–T5 cannot be."""
    root = bp4d_tree.make(tmp_path, only=["F001"], size=TINY)
    clips, problems = read(READER, root)
    assert sorted(clips) == ["F001/T1", "F001/T6", "F001/T7", "F001/T8"]
    assert told(problems) == {("unknown recording", f"F001_T{task}.csv", None) for task in (2, 3, 4, 5)}


def test_packed_pictures_are_named(tmp_path: Path) -> None:
    root = bp4d_plus_tree.make(tmp_path, only=["F001"], size=TINY)
    shutil.rmtree(root / "2D+3D" / "F001")
    (root / "2D+3D" / "F001.zip").touch()
    with pytest.raises(InputError, match=r"the archives in .*2D\+3D have to be unpacked first"):
        read(bp4d_plus.READER, root)
