"""Which frames of a video are looked at: a part of it, every n-th frame, so many a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from openau.errors import UsageError

_GRAIN = 1e-6
"""Seconds by which a frame may come before its due time: times are sums of fractions."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Frames to look at; those left out keep their place in the count of frames, and times are those of the whole video.

    Attributes:
        start: seconds from the video's first frame; earlier frames are left out.
        end: seconds; this moment's frames and later ones are left out. None: up to the video's end.
        stride: look at every so many frames only, the first one of the part included.
        rate: look at so many frames a second at most: the first frame at or after each multiple of 1/rate from `start` on.

    Raises:
        UsageError: a value cannot be, or both a stride and a rate are given.
    """

    start: float = 0.0
    end: float | None = None
    stride: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise UsageError(f"a part of a video starts at 0 s or later, not at {self.start:g} s")
        if self.end is not None and self.end <= self.start:
            raise UsageError(f"a part of a video must end after its start; {self.start:g} s to {self.end:g} s is empty")
        if self.stride < 1:
            raise UsageError(f"the stride must be at least 1, not {self.stride}")
        if self.rate is not None and not self.rate > 0:
            raise UsageError(f"the frames per second must be more than 0, not {self.rate:g}")
        if self.rate is not None and self.stride != 1:
            raise UsageError("give either a stride or frames per second, not both")

    def picker(self) -> Callable[[float], bool]:
        """A function that is told the time of each frame in turn, seconds, and says whether to look at it."""
        seen, due = -1, -1

        def wanted(time: float) -> bool:
            nonlocal seen, due
            if time < self.start - _GRAIN:
                return False
            seen += 1
            if self.rate is None:
                return seen % self.stride == 0
            turn = int((time - self.start + _GRAIN) * self.rate)
            if turn <= due:
                return False
            due = turn
            return True

        return wanted

    def is_over(self, time: float) -> bool:
        """Whether a frame at this time, seconds, and all later ones are left out."""
        return self.end is not None and time >= self.end - _GRAIN

    def share(self, time: float, duration: float | None) -> float | None:
        """How much of the part lies before a time, 0–1; None if the end is not known."""
        end = duration if self.end is None else self.end if duration is None else min(self.end, duration)
        if not end or end <= self.start:
            return None
        return min(1.0, max(0.0, (time - self.start) / (end - self.start)))

    def __str__(self) -> str:
        """In words that tell two selections apart; part of what a resumed run is compared with."""
        end = "end" if self.end is None else f"{self.end:g}"
        often = f"{self.rate:g} a second" if self.rate is not None else f"every {self.stride}"
        return f"{self.start:g}-{end}, {often}"


WHOLE = Selection()
"""Every frame."""


def seconds_of(text: str) -> float:
    """Seconds of `90`, `1:30`, `1:30.5` or `0:01:30`.

    Raises:
        UsageError: it is no time.
    """
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    whole = all(part.isdigit() for part in parts[:-1])
    if not 1 <= len(values) <= 3 or not whole or any(not 0 <= v < 60 for v in values[1:]) or not 0 <= values[0] < 1e9:
        raise UsageError(f"{text!r} is no time in a video; write seconds (90, 7.5) or 1:30 or 0:01:30")
    return sum(value * 60.0**power for power, value in enumerate(reversed(values)))
