"""The text files that CK+ and UNBC-McMaster share: one file per coded frame, one line per AU, `AU intensity …` in floating point.

    1.0000000e+00   3.0000000e+00

An AU that has no line is absent; an empty file is a face at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

from openau.datasets.clips import Problem, Report
from openau.errors import InputError
from openau.facs import AUS

HIGHEST = 5


@dataclass(frozen=True, slots=True)
class FacsFile:
    """One coded frame.

    Attributes:
        codes: AU → the number beside it, 0–5; NaN if it is none of these.
        others: AUs that `openau.facs` does not name.
        whole: whether every line could be read; if not, AUs without a line are not known.
    """

    codes: Mapping[int, float]
    others: frozenset[int]
    whole: bool

    def code(self, au: int, absent: float = 0.0) -> float:
        """The number beside an AU, `absent` if it has no line, NaN if not known."""
        return self.codes.get(au, absent if self.whole else nan)


def read_facs(path: Path, report: Report) -> FacsFile:
    """Read one file; what is wrong with it is reported with its line.

    Raises:
        InputError: it cannot be read at all.
    """
    codes: dict[int, float] = {}
    others: set[int] = set()
    whole = True
    for row, line in enumerate(_lines(path), 1):
        if not line.split():
            continue
        pair = _pair(line)
        if pair is None:
            whole = False
            reason = f"{line.strip()!r} is no AU and intensity; AUs that are not named are taken as unknown"
            report(Problem("garbled line", path, reason, row))
            continue
        au, value = pair
        if au not in AUS:
            others.add(au)
            continue
        if not 0 <= value <= HIGHEST:
            report(
                Problem("value out of range", path, f"AU{au:02d} has intensity {value:g}, allowed are 0–{HIGHEST}", row)
            )
            value = nan
        if au in codes and codes[au] != value:
            report(
                Problem(
                    "duplicate AU",
                    path,
                    f"AU{au:02d} is here again with another intensity; it is taken as unknown",
                    row,
                )
            )
            value = nan
        codes[au] = value
    return FacsFile(codes, frozenset(others), whole)


def read_number(path: Path, lowest: float, highest: float, report: Report) -> float | None:
    """The one number of a file (an emotion, a PSPI score), or None and a problem.

    Raises:
        InputError: it cannot be read at all.
    """
    cells = " ".join(_lines(path)).split()
    try:
        (value,) = map(float, cells)
    except ValueError:
        report(Problem("garbled line", path, f"{' '.join(cells)[:40]!r} is not one number; it is taken as unknown", 1))
        return None
    if not lowest <= value <= highest:
        report(
            Problem(
                "value out of range", path, f"{value:g} is not in {lowest:g}–{highest:g}; it is taken as unknown", 1
            )
        )
        return None
    return value


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _pair(line: str) -> tuple[int, float] | None:
    """AU and intensity, the first two numbers of a line."""
    try:
        au, value = (float(cell) for cell in line.split()[:2])
    except ValueError:
        return None
    return (int(au), value) if au.is_integer() and 0 < au < 100 and value == value else None
