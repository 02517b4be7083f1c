"""Read ahead in a thread, a few items at most, so that decoding and detection overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Frames decoded ahead; more only costs memory."""
_POLL = 0.05
"""Seconds after which a reader that waits for room looks whether it should stop."""


class Prefetch(Generic[T]):
    """Iterate over `items` while a thread reads ahead; a context manager whose end stops the thread.

    An exception of the reader arrives at the consumer, after the items read before it.

    Args:
        items: read in the thread, from its first item to its last.
        ahead: items read ahead at most.
    """

    def __init__(self, items: Iterable[T], ahead: int = AHEAD) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="openau-reader", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def _next(self) -> tuple[T] | BaseException | None:
        while True:
            try:
                return self._queue.get(timeout=_POLL)  # without a timeout Ctrl-C is not heard on Windows
            except queue.Empty:
                continue

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        """Wait for room; False if nobody waits for the item any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in groups of `size`, the last one perhaps smaller. Where reading fails, the group read until then comes first."""
    reading, failed = iter(items), None
    while failed is None:
        group: list[T] = []
        try:
            for item in islice(reading, size):
                group.append(item)
        except Exception as error:
            failed = error
        if group:
            yield group
        if failed is None and len(group) < size:
            return
    raise failed
