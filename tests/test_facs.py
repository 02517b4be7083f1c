"""The AU vocabulary: column names go both ways, and the sets are the published ones."""

from __future__ import annotations

import pytest

from openau import facs
from openau.facs import AUS, DATASET_AUS, EMOTION_PROTOTYPES, parse_column


@pytest.mark.parametrize("number", sorted(AUS))
def test_columns_parse_to_what_they_were_made_of(number: int) -> None:
    assert parse_column(facs.occurrence_column(number)) == (number, None)
    assert parse_column(facs.intensity_column(number)) == (number, "i")
    assert parse_column(facs.occurrence_column(number, "L")) == (number, "L")
    assert parse_column(facs.occurrence_column(number, "R")) == (number, "R")


def test_columns_have_two_digits() -> None:
    assert facs.occurrence_column(1) == "AU01"
    assert facs.occurrence_column(12, "L") == "AU12_L"
    assert facs.intensity_column(4) == "AU04_i"


@pytest.mark.parametrize(
    "column", ["AU1", "AU012", "AU12_", "AU12_l", "AU12_iL", "AU99", "AU", "AU²", "AU１２", "au12", "AU12 ", "yaw", ""]
)
def test_other_names_and_other_spellings_are_no_au_columns(column: str) -> None:
    assert parse_column(column) is None


def test_names_and_muscles_of_the_manual() -> None:
    """Spot checks against the table of FACS' units (Ekman, Friesen & Hager 2002)."""
    table = {
        1: ("inner brow raiser", "frontalis"),
        4: ("brow lowerer", "corrugator"),
        6: ("cheek raiser", "orbicularis oculi"),
        9: ("nose wrinkler", "levator labii superioris alaeque nasi"),
        12: ("lip corner puller", "zygomaticus major"),
        15: ("lip corner depressor", "depressor anguli oris"),
        17: ("chin raiser", "mentalis"),
        20: ("lip stretcher", "risorius"),
        26: ("jaw drop", "masseter"),
        43: ("eyes closed", "levator palpebrae superioris"),
    }
    for number, (name, muscle) in table.items():
        assert facs.au(number).name == name
        assert muscle in facs.au(number).muscle
    assert all(number == unit.number for number, unit in AUS.items())
    assert len({unit.name for unit in AUS.values()}) == len(AUS)


def test_data_sets_score_the_published_aus() -> None:
    """BP4D's 12, DISFA's 12, and the 8 and 5 of them that papers compare on (e.g. JAA-Net, ME-GraphAU)."""
    assert DATASET_AUS["bp4d"] == (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    assert DATASET_AUS["disfa12"] == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    assert DATASET_AUS["disfa"] == (1, 2, 4, 6, 9, 12, 25, 26)
    assert set(DATASET_AUS["disfa"]) < set(DATASET_AUS["disfa12"])
    assert set(DATASET_AUS["bp4d+disfa"]) == set(DATASET_AUS["bp4d"]) & set(DATASET_AUS["disfa"])


def test_every_named_set_is_known_and_in_order() -> None:
    for numbers in (*DATASET_AUS.values(), *EMOTION_PROTOTYPES.values()):
        assert list(numbers) == sorted(set(numbers))
        assert set(numbers) <= set(AUS)


def test_an_unknown_au_is_named() -> None:
    for broken in (facs.au, facs.occurrence_column, facs.intensity_column):
        with pytest.raises(KeyError, match="AU3 is not an Action Unit OpenAU knows"):
            broken(3)


def test_describe() -> None:
    assert facs.describe([6, 12]) == "AU06 cheek raiser, AU12 lip corner puller"
    assert facs.describe([]) == ""
