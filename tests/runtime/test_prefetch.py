"""Reading ahead in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from openau.runtime.prefetch import Prefetch, in_groups


def readers() -> int:
    return sum(thread.name == "openau-reader" for thread in threading.enumerate())


def test_items_arrive_in_order() -> None:
    with Prefetch(range(50), ahead=3) as ahead:
        assert list(ahead) == list(range(50))
    assert readers() == 0


def test_it_reads_ahead_but_not_further() -> None:
    read = []

    def source() -> Iterator[int]:
        for i in range(100):
            read.append(i)
            yield i

    with Prefetch(source(), ahead=3) as ahead:
        assert next(iter(ahead)) == 0
        deadline = time.monotonic() + 2
        while len(read) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        # One consumed, three in the queue, one waiting for room.
        assert len(read) == 5
    assert readers() == 0


def test_an_exception_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("the disk is gone")

    with Prefetch(source()) as ahead:
        items = iter(ahead)
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="disk is gone"):
            next(items)
    assert readers() == 0


def test_leaving_early_stops_the_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    with Prefetch(endless()) as ahead:
        assert next(iter(ahead)) == 1
        assert readers() == 1
    assert readers() == 0


def test_groups_hold_everything_in_order() -> None:
    assert list(in_groups(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_groups(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(in_groups([], 3)) == []


def test_what_was_read_before_a_failure_comes_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    groups = in_groups(source(), 3)
    assert [next(groups), next(groups)] == [[0, 1, 2], [3, 4]]
    with pytest.raises(OSError, match="disk is gone"):
        next(groups)
