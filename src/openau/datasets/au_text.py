"""What coders write into one cell: "4+7", "R4", "4+L12+?", "AU12A or AU14".

The notation is FACS': AUs joined by "+"; before a number L or R for one side of the face, U for one side that is not told, T or B for the
top or bottom; after it a letter A–E for intensity. Beyond FACS, spreadsheets say "or" between AUs the coder could not decide between,
"?" after an AU that is not certain, and "?" alone where more happens than could be named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import nan
from types import MappingProxyType

from openau.facs import AUS, Side

INTENSITY: Mapping[str, int] = MappingProxyType({"A": 1, "B": 2, "C": 3, "D": 4, "E": 5})
"""FACS' intensity letters as numbers."""

_JOINED = re.compile(r"[+,;&\s]+")
_EITHER = re.compile(r"\s*(?:/|\bor\b)\s*", re.IGNORECASE)
_PREFIX = re.compile(r"\bAU\s*(?=\d)", re.IGNORECASE)
_ONE = re.compile(
    r"(?P<before>[LRUTB])?(?P<number>\d{1,2})(?P<letter>[A-E])?(?P<after>[LR])?(?P<doubt>\?)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class CodedAUs:
    """The AUs of one cell.

    Attributes:
        present: named with certainty.
        uncertain: named, but with "?" or as one of several ("or").
        sides: of those present that are on one side only, which: "L", "R", or None where the coder wrote U.
        intensity: of those with a letter, 1–5.
        more: the coder wrote "?": AUs that are not named may be there too.
        others: numbers that are no AU of `openau.facs` (head and eye movements, rare AUs).
        unread: parts of the text that could not be understood; AUs that are not named may hide in them.
    """

    present: frozenset[int]
    uncertain: frozenset[int]
    sides: Mapping[int, Side | None]
    intensity: Mapping[int, int]
    more: bool
    others: frozenset[int]
    unread: tuple[str, ...]

    def occurrence(self, au: int) -> float:
        """1, 0 or NaN (not known) for an AU of the whole face."""
        if au in self.present:
            return 1.0
        return nan if au in self.uncertain or self.more or self.unread else 0.0

    def side(self, au: int, side: Side) -> float:
        """1, 0 or NaN for one side; an AU without a side letter is on both."""
        if au not in self.sides:
            return self.occurrence(au)
        where = self.sides[au]
        return nan if where is None else float(where == side)


def parse_aus(text: str) -> CodedAUs:
    """Read a cell; whatever it holds, nothing is raised: what is not understood is in `unread`."""
    present: set[int] = set()
    uncertain: set[int] = set()
    others: set[int] = set()
    sides: dict[int, set[Side | None]] = {}
    intensity: dict[int, int] = {}
    unread: list[str] = []
    more = False
    for part, alone in _parts(text):
        if part.strip("?") == "":
            more = True
            continue
        found = _ONE.fullmatch(part)
        if found is None:
            unread.append(part)
            continue
        number = int(found["number"])
        if number not in AUS:
            others.add(number)
        elif found["doubt"] or not alone:
            uncertain.add(number)
        else:
            present.add(number)
            sides.setdefault(number, set()).update(_sides(found))
            if found["letter"]:
                intensity[number] = max(intensity.get(number, 0), INTENSITY[found["letter"].upper()])
    return CodedAUs(
        present=frozenset(present),
        uncertain=frozenset(uncertain - present),
        sides=_one_sided(sides),
        intensity=intensity,
        more=more or (not present and not uncertain and not others and not unread),
        others=frozenset(others),
        unread=tuple(unread),
    )


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The names in a cell, each with whether it stands alone (not as one of several alternatives)."""
    joined = _EITHER.sub("|", _PREFIX.sub("", text).strip())
    for group in _JOINED.split(joined):
        for name in group.split("|"):
            if name:
                yield name, "|" not in group


def _sides(found: re.Match[str]) -> set[Side | None]:
    """The sides one name speaks of; both for a name without a letter, None for U."""
    letters = {(found[group] or "").upper() for group in ("before", "after")}
    if "U" in letters:
        return {None}
    named: set[Side | None] = {side for side in ("L", "R") if side in letters}
    return named or {"L", "R"}


def _one_sided(sides: Mapping[int, set[Side | None]]) -> dict[int, Side | None]:
    """Of AUs that were named with sides, those that are on one side only."""
    return {au: next(iter(where)) for au, where in sides.items() if len(where) == 1}
