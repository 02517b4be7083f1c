from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example_card import make_card

from openau.errors import WeightsError
from openau.weights.cards import Measure, ModelCard, Url


def test_a_card_survives_the_round_trip_exactly() -> None:
    card = make_card()
    again = ModelCard.from_json(card.to_json())
    assert again == card
    assert again.measured["AUC AU12"].value == 0.1 + 0.2
    assert again.to_json() == card.to_json()


@pytest.mark.parametrize("shape", [(3, 224), (1, 224, 224), (3, 224, 112), (224, 224, 3)])
def test_a_model_that_looks_at_pixels_sees_square_colour_crops(shape: tuple[int, ...]) -> None:
    card = replace(make_card(), extractor="pixels", input={"pixels": (3, 112, 112)}, template="face224")
    assert card.reads_pixels
    assert ModelCard.from_json(card.to_json()) == card
    with pytest.raises(ValueError, match=r"of shape \[3, S, S\]"):
        replace(card, input={"pixels": shape})


def test_the_json_is_plain_and_says_what_it_means() -> None:
    document = json.loads(make_card().to_json())
    assert document["aus"] == [1, 12, 25]
    assert document["input"]["hypercolumns"] == [150, 224]
    assert document["asset"]["sources"][1] == {
        "kind": "wheel_member",
        "project": "p",
        "version": "1.0",
        "member": "a/b",
    }


def edited(path: str, value: Any) -> str:
    """The card's JSON with one place changed; `...` removes it."""
    document = json.loads(make_card().to_json())
    *parents, last = path.split("/")
    place = document
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("surprise", 1, "unknown key 'surprise'"),
        ("limits", ..., "lacks the key 'limits'"),
        ("asset/sha256", ..., "asset lacks the key 'sha256'"),
        ("asset/sha256", "AB" * 32, "hexadecimal"),
        ("asset/size", "123", "asset.size must be a whole number"),
        ("asset/size", 123.0, "asset.size must be a whole number"),
        ("asset/size", True, "asset.size must be a whole number"),
        ("asset/size", 0, "positive"),
        ("asset/sources", [], "at least one source"),
        ("asset/sources/0/kind", "ftp", "kind must be one of"),
        ("asset/sources/0/kind", ["packaged"], "kind must be one of"),
        ("asset/sources/0/path", "../../etc/passwd", "beside its card"),
        ("asset/sources/0/path", "/etc/passwd", "beside its card"),
        ("asset/sources/0/path", "C:\\weights", "beside its card"),
        ("asset/sources/3/url", "http://example.org/x", "not an https address"),
        ("asset/sources/3/url", "file:///etc/passwd", "not an https address"),
        ("aus", [1, 12, 25, 99], "does not know"),
        ("aus", [1, 12, 12, 25], "twice"),
        ("aus", "AU12", "aus must be a list"),
        ("aus", [1, "12", 25], "whole number"),
        ("aus", [], "at least one AU"),
        ("intensity_aus", [6], "AUs that aus does not"),
        ("sided_aus", [2], "AUs that aus does not"),
        ("input", {}, "at least one input"),
        ("input/geometry", [0], "positive"),
        ("extractor", "pixels", "the one input 'pixels' of shape"),
        ("input/pixels", [3, 224, 224], "has the extractor 'pixels'"),
        ("name", "noarchitecture", "architecture.tag"),
        ("name", "other.test", "does not begin with 'tiny'"),
        ("name", "tiny./../x", "architecture.tag"),
        ("limits", "", "limits must not be empty"),
        ("limits", None, "limits must be text"),
        ("measured/AUC AU12/value", "0.3", "measured.AUC AU12.value must be a number"),
        ("measured/AUC AU12/value", 0.9, "lies outside"),
        ("measured/AUC AU12/n", 0, "n must be at least 1"),
        ("measured/AUC AU12/command", "", "command"),
        ("measured/AUC AU12/extra", 1, "unknown key 'extra'"),
        ("measured", [], "measured must be an object"),
    ],
)
def test_a_wrong_card_is_refused_with_its_file_and_reason(path: str, value: Any, reason: str) -> None:
    with pytest.raises(WeightsError) as caught:
        ModelCard.from_json(edited(path, value), "folder/tiny.test.json")
    assert str(caught.value).startswith("folder/tiny.test.json: not a valid model card: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"name": 1, "name": 2}',
        "[" * 100_000,
        "9" * 5000,
        make_card().to_json().replace("123", "1e999"),
    ],
)
def test_what_is_not_a_card_is_one_sentence(text: str) -> None:
    with pytest.raises(WeightsError, match="not a valid model card"):
        ModelCard.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_json_does_not_have_are_refused(number: str) -> None:
    with pytest.raises(WeightsError, match="is not a number"):
        ModelCard.from_json(make_card().to_json().replace("0.25", number))


def test_a_measure_must_lie_in_its_interval_and_be_finite() -> None:
    with pytest.raises(ValueError, match="outside"):
        Measure(0.5, 0.6, 0.7, 10, "x")
    with pytest.raises(ValueError, match="finite"):
        Measure(math.nan, 0, 1, 10, "x")


def test_a_mirror_on_this_machine_may_use_http() -> None:
    assert Url("http://127.0.0.1:8000/x").url == "http://127.0.0.1:8000/x"


def test_reading_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.test.json"
    with pytest.raises(WeightsError, match=r"tiny\.test\.json: cannot read"):
        ModelCard.read(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match=r"tiny\.test\.json: .*UTF-8"):
        ModelCard.read(file)
    file.write_text(replace(make_card(), limits="x").to_json(), encoding="utf-8")
    assert ModelCard.read(file).limits == "x"
