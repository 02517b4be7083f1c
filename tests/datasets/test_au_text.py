from __future__ import annotations

from math import isnan

import pytest

from openau.datasets.au_text import parse_aus


@pytest.mark.parametrize(
    ("text", "present"),
    [
        ("4", {4}),
        ("4+7", {4, 7}),
        (" 4 + 7 ", {4, 7}),
        ("AU4+AU7", {4, 7}),
        ("AU 4 + AU 7", {4, 7}),
        ("1,2;5", {1, 2, 5}),
        ("L12+R14", {12, 14}),
        ("4+7+", {4, 7}),
        ("12B+25C", {12, 25}),
        ("B23+T24", {23, 24}),
    ],
)
def test_certain_aus(text: str, present: set[int]) -> None:
    coded = parse_aus(text)
    assert coded.present == present
    assert not coded.uncertain
    assert not coded.unread
    assert not coded.more
    assert coded.occurrence(9) == 0


def test_sides() -> None:
    coded = parse_aus("4+L12+R2+U14+L10+R10")
    assert (coded.side(12, "L"), coded.side(12, "R")) == (1, 0)
    assert (coded.side(2, "L"), coded.side(2, "R")) == (0, 1)
    assert (coded.side(4, "L"), coded.side(4, "R")) == (1, 1)  # no letter: both sides
    assert (coded.side(10, "L"), coded.side(10, "R")) == (1, 1)
    assert isnan(coded.side(14, "L"))
    assert isnan(coded.side(14, "R"))
    assert coded.occurrence(14) == 1
    assert coded.side(6, "L") == 0


def test_an_au_named_with_and_without_a_side_is_on_both() -> None:
    coded = parse_aus("L12+12")
    assert coded.side(12, "R") == 1
    assert not coded.sides


@pytest.mark.parametrize("text", ["4+L12+?", "4 + ? + L12", "?+4+L12"])
def test_question_mark_makes_unnamed_aus_unknown(text: str) -> None:
    coded = parse_aus(text)
    assert coded.occurrence(4) == coded.occurrence(12) == 1
    assert isnan(coded.occurrence(1))
    assert isnan(coded.side(1, "L"))
    assert coded.side(12, "R") == 0  # what is coded stays known


@pytest.mark.parametrize("text", ["AU12A or AU14", "12 or 14", "12/14", "12? + 14?", "12 OR 14"])
def test_alternatives_are_unknown_and_the_rest_is_absent(text: str) -> None:
    coded = parse_aus(text)
    assert coded.uncertain == {12, 14}
    assert isnan(coded.occurrence(12))
    assert isnan(coded.occurrence(14))
    assert coded.occurrence(4) == 0


def test_or_binds_closer_than_plus() -> None:
    coded = parse_aus("4+12 or 14")
    assert coded.present == {4}
    assert coded.uncertain == {12, 14}


def test_an_alternative_that_is_named_for_certain_too_is_present() -> None:
    coded = parse_aus("12+12 or 14")
    assert coded.present == {12}
    assert coded.uncertain == {14}


def test_intensity_letters() -> None:
    coded = parse_aus("12B+L14E+4+12C")
    assert coded.intensity == {12: 3, 14: 5}


def test_aus_without_a_column_are_kept_apart() -> None:
    coded = parse_aus("4+54+38")
    assert coded.present == {4}
    assert coded.others == {54, 38}
    assert coded.occurrence(1) == 0


@pytest.mark.parametrize("text", ["4+frown", "4+123", "4+1.5", "4+2014-05-08 00:00:00", "4+-7", "4+L"])
def test_what_cannot_be_read_makes_unnamed_aus_unknown(text: str) -> None:
    coded = parse_aus(text)
    assert coded.unread
    assert coded.occurrence(4) == 1
    assert isnan(coded.occurrence(9))


@pytest.mark.parametrize("text", ["", " ", "/", "?", "??"])
def test_nothing_is_not_neutral(text: str) -> None:
    coded = parse_aus(text)
    assert not coded.present
    assert isnan(coded.occurrence(4))
