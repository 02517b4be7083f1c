"""What is checked across recordings, whoever reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openau.datasets import folds
from openau.datasets.checks import repaired, tell_absent_aus, tell_empty_parts
from openau.datasets.clips import Clip, Floats, Problem, VideoFile


def clip(name: str, subject: str = "s", fold: int | None = 1, **changes: object) -> Clip:
    given = {
        "frame": np.arange(3),
        "position": np.arange(3),
        "occurrence": {12: labels(0, 1, np.nan)},
        "extra": {"mood": ["a", "b", "c"]},
        **changes,
    }
    return Clip(subject=subject, name=name, media=VideoFile(Path(f"{name}.mp4")), fold=fold, **given)  # type: ignore[arg-type]


def labels(*values: float) -> Floats:
    return np.array(values, np.float32)


def test_sound_clips_pass_unchanged() -> None:
    told: list[Problem] = []
    clips = [clip("a"), clip("b", "t", 2), clip("c", "s", 1)]
    assert [kept.name for kept in repaired(clips, told.append)] == ["a", "b", "c"]
    assert told == []


def test_somebody_in_two_folds_is_in_none() -> None:
    told: list[Problem] = []
    kept = repaired([clip("a", "s", 1), clip("b", "t", 2), clip("c", "s", 2), clip("d", "u", None)], told.append)
    assert [(k.name, k.fold) for k in kept] == [("a", None), ("b", 2), ("c", None), ("d", None)]
    assert [problem.kind for problem in told] == ["subject in two folds"]
    assert "s is in folds 1 and 2" in told[0].reason


def test_repeats_are_left_out_and_told() -> None:
    told: list[Problem] = []
    twice = clip("a", frame=np.array([4, 4, 5]), position=np.array([3, 7, 8]))
    (kept,) = repaired([twice, clip("a", "t")], told.append)
    assert kept.frame.tolist() == [4, 5]
    assert kept.position.tolist() == [3, 8]
    np.testing.assert_array_equal(kept.occurrence[12], [0, np.nan])
    assert kept.extra["mood"] == ["a", "c"]
    assert [(problem.kind, problem.row) for problem in told] == [("duplicate frame", 4), ("duplicate recording", None)]


def test_impossible_values_become_unknown() -> None:
    told: list[Problem] = []
    odd = clip(
        "a",
        occurrence={12: labels(0, 9, 1)},
        intensity={12: labels(-1, 5, 6)},
        sides={(12, "L"): labels(0.5, np.nan, 1)},
    )
    (kept,) = repaired([odd], told.append)
    np.testing.assert_array_equal(kept.occurrence[12], [0, np.nan, 1])
    np.testing.assert_array_equal(kept.intensity[12], [np.nan, 5, np.nan])
    np.testing.assert_array_equal(kept.sides[12, "L"], [np.nan, np.nan, 1])
    assert [(problem.row, problem.reason.split(";")[0]) for problem in told] == [
        (1, "AU12 is 9"),
        (0, "AU12_i is -1"),
        (2, "AU12_i is 6"),
        (0, "AU12_L is 0.5"),
    ]
    assert {problem.kind for problem in told} == {"value out of range"}


@pytest.mark.parametrize(("expected", "known"), [((), True), ((6, 12), False), ((6,), True)])
def test_an_au_that_is_never_present_in_a_fold_is_told(expected: tuple[int, ...], known: bool) -> None:
    """It is a failure only where the published data have some."""
    told: list[Problem] = []
    clips = [
        clip("a", "s", 1, occurrence={12: labels(0, 0, 0), 6: labels(np.nan, np.nan, np.nan)}),
        clip("b", "t", 2, occurrence={12: labels(0, 1, 0), 6: labels(0, 0, 0)}),
        clip("c", "u", 2, occurrence={6: labels(0, 1, 0)}),
    ]
    tell_absent_aus(clips, expected, Path("root"), told.append)
    assert [(problem.kind, problem.known) for problem in told] == [("no positives", known)]
    assert "AU12 is coded, but never present in fold 1" in told[0].reason


def test_a_published_part_nobody_of_whom_is_there_is_told() -> None:
    everybody = [subject for part in folds.DISFA.values() for subject in part]
    for gone, expected in ((folds.DISFA[2], 1), (folds.DISFA[2][1:], 0)):
        told: list[Problem] = []
        tell_empty_parts("disfa", [clip(s, s) for s in everybody if s not in gone], Path("root"), told.append)
        assert [problem.kind for problem in told] == ["empty fold"] * expected
        assert all("part 2" in problem.reason for problem in told)
    told = []
    tell_empty_parts("folder", [], Path("root"), told.append)
    assert told == []
