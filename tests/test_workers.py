"""Work spread over processes, or done by this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from openau.errors import InputError, OutputError
from openau.workers import run, step


def square(number: int) -> tuple[int, int]:
    step(number)
    if number == 7:
        raise InputError("seven: is not wanted")
    if number == 9:
        os._exit(1)
    return number * number, os.getpid()


def jobs(*numbers: int) -> list[tuple[int]]:
    return [(number,) for number in numbers]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once_and_its_steps_are_counted(workers: int) -> None:
    told: list[int] = []
    results = list(run(square, jobs(1, 2, 3, 4), Path("out"), workers, told.append))
    assert sorted(value for value, _ in results) == [1, 4, 9, 16]
    assert sum(told) == 10
    assert ({where for _, where in results} == {os.getpid()}) == (workers == 1)


def test_no_jobs() -> None:
    assert list(run(square, [], Path("out"))) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_job_is_raised(workers: int) -> None:
    with pytest.raises(InputError, match="seven: is not wanted"):
        list(run(square, jobs(7, 1), Path("out"), workers))


def test_a_worker_that_dies_is_one_sentence() -> None:
    with pytest.raises(OutputError, match="out: a worker process was killed"):
        list(run(square, jobs(1, 9), Path("out"), 2))


def test_steps_of_one_run_are_not_those_of_the_next() -> None:
    def counted(told: list[int]) -> Iterator[tuple[int, int]]:
        return run(square, jobs(2, 3), Path("out"), 1, told.append)

    first: list[int] = []
    second: list[int] = []
    one, other = counted(first), counted(second)
    next(one)
    next(other)
    list(one)
    step(100)
    assert (first, second) == ([2, 3], [2])
