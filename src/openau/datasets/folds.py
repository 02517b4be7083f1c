"""The published subject-exclusive parts of BP4D and DISFA.

Identical in the public code of JAA-Net, ME-GraphAU, AU-Net, FG-Net, AUNCE and FMAE-IAT. Which part is called "fold 1" differs between
them (ME-GraphAU's fold k tests part 4 − k, FG-Net's fold 0 tests part 1), so OpenAU always names the part that is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Parts = Mapping[int, tuple[str, ...]]
"""Part number, from 1 → subjects."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BP4D: Parts = MappingProxyType(
    {
        1: _names("F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014"),
        2: _names("F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018"),
        3: _names("F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015"),
    }
)

DISFA: Parts = MappingProxyType(
    {
        1: _names("SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032"),
        2: _names("SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031"),
        3: _names("SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029"),
    }
)


def part_of(subject: str, parts: Parts) -> int | None:
    """The part a subject belongs to, or None."""
    return next((number for number, subjects in parts.items() if subject in subjects), None)
