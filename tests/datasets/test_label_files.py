"""Label files: the fast way and the slow way agree, and what is wrong is told with its line."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from openau.datasets import label_files
from openau.datasets.clips import Problem

PATH = Path("labels.csv")


def parse(
    lines: list[str], columns: int = 1, separator: str | None = ","
) -> tuple[label_files.LabelFile, list[Problem]]:
    problems: list[Problem] = []
    return label_files.parse(lines, columns, PATH, problems.append, separator=separator), problems


@pytest.mark.parametrize("separator", [",", None])
def test_both_ways_of_reading_agree(separator: str | None) -> None:
    rng = np.random.default_rng(0)
    numbers = np.column_stack([np.arange(7, 207), rng.integers(0, 10, (200, 5))])
    lines = [(separator or "   ").join(map(str, row)) for row in numbers.tolist()]
    fast, problems = parse(lines, 5, separator)
    slow, told = parse([*lines, "oops"], 5, separator)  # one bad line sends the whole file the slow way
    assert not problems
    assert [problem.row for problem in told] == [201]
    for labels in (fast, slow):
        np.testing.assert_array_equal(labels.frame, numbers[:, 0])
        np.testing.assert_array_equal(labels.values, numbers[:, 1:])
        np.testing.assert_array_equal(labels.line, np.arange(1, 201))


@pytest.mark.parametrize(
    ("line", "frame", "value"),
    [
        ("x,1", None, None),
        ("2.5,1", None, None),
        ("-3,1", None, None),
        ("nan,1", None, None),
        ("2", 2, np.nan),
        ("2,", 2, np.nan),
        ("2,one", 2, np.nan),
        ("2,inf", 2, np.nan),
        ("2,1,1", 2, np.nan),
    ],
)
def test_garbled_line(line: str, frame: int | None, value: float | None) -> None:
    labels, problems = parse(["1,0", line, "3,1"])
    assert [(problem.kind, problem.row) for problem in problems] == [("garbled line", 2)]
    assert labels.frame.tolist() == [1, *([frame] if frame is not None else []), 3]
    np.testing.assert_array_equal(labels.values[:, 0], [0, *([value] if frame is not None else []), 1])


def test_lines_that_make_up_for_each_other_are_both_garbled() -> None:
    labels, problems = parse(["1,0,5", "2", "3,1"])
    assert [problem.row for problem in problems] == [1, 2]
    np.testing.assert_array_equal(labels.values[:, 0], [np.nan, np.nan, 1])


def test_blank_lines_are_no_problem_and_lines_keep_their_numbers() -> None:
    labels, problems = parse(["1,0", "", "2,x"])
    assert [problem.row for problem in problems] == [3]
    assert labels.line.tolist() == [1, 3]


def test_value_out_of_range_is_named() -> None:
    problems: list[Problem] = []
    labels, _ = parse(["1,0,9", "2,6,1", "3,0.5,-1"], 2)
    labels = label_files.checked(labels, 5, ["AU06", "AU12"], problems.append, unknown=9)
    np.testing.assert_array_equal(labels.values, np.array([[0, np.nan], [np.nan, 1], [np.nan, np.nan]], np.float32))
    assert [(problem.row, problem.reason.split()[0]) for problem in problems] == [(2, "AU06"), (3, "AU06"), (3, "AU12")]
    assert problems[0].reason == "AU06 is 6 in frame 2, allowed are 0–5 and 9 (unknown)"


def test_frames_are_sorted_and_duplicates_that_disagree_are_unknown() -> None:
    problems: list[Problem] = []
    labels, _ = parse(["3,1", "1,0", "2,1", "3,1", "1,1"])
    labels = label_files.in_order(labels, problems.append)
    assert labels.frame.tolist() == [1, 2, 3]
    assert labels.line.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(labels.values[:, 0], [np.nan, 1, 1])
    assert {(problem.kind, problem.row) for problem in problems} == {
        ("frames out of order", 2),
        ("duplicate frame", 4),
        ("duplicate frame", 5),
    }


def test_a_file_that_lacks_frames_is_told_and_nan() -> None:
    problems: list[Problem] = []
    one, _ = parse(["1,0", "2,1", "3,2"])
    other, _ = parse(["1,5", "3,4"])
    frame = label_files.time_axis([one, other], problems.append)
    assert frame.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(label_files.on_axis(frame, other), [5, np.nan, 4])
    (problem,) = problems
    assert problem.kind == "missing labels"
    assert "lacks 1 of 3 frames" in problem.reason
    assert "the first is 2" in problem.reason


def test_empty_and_missing_files_are_told(tmp_path: Path) -> None:
    problems: list[Problem] = []
    (tmp_path / "empty.csv").write_text("\n \n")
    assert label_files.read_lines(tmp_path / "empty.csv", problems.append) == []
    assert label_files.read_lines(tmp_path / "none.csv", problems.append) == []
    assert [(problem.kind, problem.path.name) for problem in problems] == [
        ("empty file", "empty.csv"),
        ("missing file", "none.csv"),
    ]


def test_a_whole_data_set_is_read_in_seconds() -> None:
    """DISFA has 27 × 12 files of 4,845 lines; a tenth of them must not take a tenth of a minute."""
    lines = [f"{frame},{frame % 6}" for frame in range(1, 4846)]
    start = time.perf_counter()
    for _ in range(32):
        parse(lines)
    assert time.perf_counter() - start < 3
