"""The Action Unit vocabulary: the one place that knows what an AU is called, which muscle drives it, and how columns are named.

Names and muscles follow the Facial Action Coding System (Ekman, Friesen & Hager, 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Region = Literal["brow", "eye", "cheek", "nose", "mouth", "chin", "jaw"]
Side = Literal["L", "R"]
"""The *subject's* left or right: the subject's left is on the right of an unmirrored picture."""


@dataclass(frozen=True, slots=True)
class AU:
    """One Action Unit.

    Attributes:
        number: FACS number.
        name: FACS name, in lower case.
        muscle: the muscle (or its part) that produces it.
        region: the part of the face where it shows.
    """

    number: int
    name: str
    muscle: str
    region: Region

    @property
    def column(self) -> str:
        """Name of this AU's occurrence column, `AU06`."""
        return f"AU{self.number:02d}"


AUS: Mapping[int, AU] = MappingProxyType(
    {
        au.number: au
        for au in (
            AU(1, "inner brow raiser", "frontalis, pars medialis", "brow"),
            AU(2, "outer brow raiser", "frontalis, pars lateralis", "brow"),
            AU(4, "brow lowerer", "corrugator supercilii, depressor supercilii, procerus", "brow"),
            AU(5, "upper lid raiser", "levator palpebrae superioris", "eye"),
            AU(6, "cheek raiser", "orbicularis oculi, pars orbitalis", "cheek"),
            AU(7, "lid tightener", "orbicularis oculi, pars palpebralis", "eye"),
            AU(9, "nose wrinkler", "levator labii superioris alaeque nasi", "nose"),
            AU(10, "upper lip raiser", "levator labii superioris", "mouth"),
            AU(11, "nasolabial deepener", "zygomaticus minor", "mouth"),
            AU(12, "lip corner puller", "zygomaticus major", "mouth"),
            AU(13, "sharp lip puller", "levator anguli oris", "mouth"),
            AU(14, "dimpler", "buccinator", "mouth"),
            AU(15, "lip corner depressor", "depressor anguli oris", "mouth"),
            AU(16, "lower lip depressor", "depressor labii inferioris", "mouth"),
            AU(17, "chin raiser", "mentalis", "chin"),
            AU(18, "lip pucker", "incisivii labii", "mouth"),
            AU(20, "lip stretcher", "risorius", "mouth"),
            AU(22, "lip funneler", "orbicularis oris", "mouth"),
            AU(23, "lip tightener", "orbicularis oris", "mouth"),
            AU(24, "lip pressor", "orbicularis oris", "mouth"),
            AU(25, "lips part", "depressor labii inferioris, relaxed mentalis or orbicularis oris", "mouth"),
            AU(26, "jaw drop", "masseter, relaxed temporalis and internal pterygoid", "jaw"),
            AU(27, "mouth stretch", "pterygoids, digastric", "jaw"),
            AU(28, "lip suck", "orbicularis oris", "mouth"),
            AU(43, "eyes closed", "relaxed levator palpebrae superioris, orbicularis oculi", "eye"),
            AU(45, "blink", "relaxed levator palpebrae superioris, orbicularis oculi", "eye"),
        )
    }
)
"""Every AU this package can name, by number."""

DATASET_AUS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "bp4d": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
        "disfa": (1, 2, 4, 6, 9, 12, 25, 26),
        "disfa12": (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26),
        "bp4d+disfa": (1, 2, 4, 6, 12),
    }
)
"""AUs scored on each data set in the literature (BP4D: Zhang et al. 2014; DISFA: Mavadati et al. 2013)."""

EMOTION_PROTOTYPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "happiness": (6, 12),
        "surprise": (1, 2, 5, 26),
        "anger": (4, 7, 23, 24),
        "disgust": (9, 10),
        "sadness": (1, 4, 15, 17),
        "fear": (1, 2, 4, 5, 20, 26),
    }
)
"""AUs of the prototypical emotion displays (after EMFACS); an aid for evaluation, not a claim about feelings."""


def au(number: int) -> AU:
    """Return the AU with this FACS number.

    Raises:
        KeyError: the number is not an AU this package knows.
    """
    try:
        return AUS[number]
    except KeyError:
        raise KeyError(f"AU{number} is not an Action Unit OpenAU knows; known: {sorted(AUS)}") from None


def occurrence_column(number: int, side: Side | None = None) -> str:
    """Name of an occurrence column: `AU12`, or `AU12_L` / `AU12_R` for one side."""
    column = au(number).column
    return column if side is None else f"{column}_{side}"


def intensity_column(number: int) -> str:
    """Name of an intensity column: `AU12_i` (0–5)."""
    return f"{au(number).column}_i"


_SUFFIXES: tuple[tuple[str, Side | Literal["i"] | None], ...] = (("", None), ("_L", "L"), ("_R", "R"), ("_i", "i"))
_PARSED: Mapping[str, tuple[int, Side | Literal["i"] | None]] = MappingProxyType(
    {f"{known.column}{suffix}": (known.number, kind) for known in AUS.values() for suffix, kind in _SUFFIXES}
)


def parse_column(column: str) -> tuple[int, Side | Literal["i"] | None] | None:
    """Inverse of the column names: `AU12_L` → (12, "L"), `AU12_i` → (12, "i"), `AU12` → (12, None).

    None for other columns, also for other spellings of an AU (`AU1`, `AU012`): no reader would find them under that name.
    """
    return _PARSED.get(column)


def describe(numbers: Iterable[int]) -> str:
    """Readable list of AUs: `AU06 cheek raiser, AU12 lip corner puller`."""
    return ", ".join(f"{au(n).column} {au(n).name}" for n in numbers)
