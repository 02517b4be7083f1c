"""Cards of backbones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from openau.errors import UsageError, WeightsError
from openau.weights import store
from openau.weights.backbones import BackboneCard, hub_file
from openau.weights.cards import Asset, HubFile, Measure

CARD = BackboneCard(
    name="vit_mini_face.test", architecture="vit_mini_face", network="vit_tiny",
    width=192, depth=12, heads=3, patch=16, size=224,
    epsilon=1e-6, activation="gelu", mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5), template="face224",
    asset=Asset("vit_mini_face.test", "0" * 64, 3, "MIT", "a test", (HubFile("a/b", "main", "x.safetensors"),)),
    licence="CC0-1.0", origin="a test", trained_on="12 renders", recipe="", measured={"loss": Measure(0.5, 0.4, 0.6, 12, "openau x")},
    limits="knows nothing",
)  # fmt: skip


PUBLISHED = {
    "vit_tiny_patch16_224.augreg": lambda width: 1000 * (width + 1),  # the classifier
    "vit_small_patch16_224.augreg": lambda width: 1000 * (width + 1),
    "vit_base_patch16_224.in21k": lambda width: width * (width + 1),  # the pooler
    "vit_small_patch14_518.dinov2": lambda width: width,  # the token that stands for masked patches
    "vit_base_patch14_518.dinov2": lambda width: width,
}
"""Cards of published files → numbers in them beyond the backbone's, given its width."""


def test_a_card_survives_json() -> None:
    assert BackboneCard.from_json(CARD.to_json()) == CARD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 5}, "5 heads do not divide the width 192"),
        ({"patch": 14, "size": 220}, "patches of 14 pixels do not divide a side of 220"),
        ({"depth": 0}, "depth must be positive"),
        ({"depth": 1.5}, "depth must be a whole number"),
        ({"epsilon": 0}, "epsilon must lie between 0 and 1"),
        ({"activation": "relu"}, "activation must be one of gelu, quick_gelu"),
        ({"std": [0.5, 0, 0.5]}, "std must be positive"),
        ({"mean": [0.5, 0.5]}, "mean must be a list of three numbers"),
        ({"name": "vit_other.test"}, "'vit_other.test' does not begin with 'vit_mini_face'"),
        ({"licence": ""}, "licence must not be empty"),
        ({"colour": "red"}, "the unknown key 'colour'"),
    ],
)
def test_a_card_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    document = {**json.loads(CARD.to_json()), **change}
    with pytest.raises(WeightsError, match=f"here.json: not a valid backbone card: .*{words}"):
        BackboneCard.from_json(json.dumps(document), "here.json")


def test_hub_ids() -> None:
    assert hub_file("hub:a/b-c@0f/d/e.safetensors") == HubFile("a/b-c", "0f", "d/e.safetensors")
    with pytest.raises(UsageError, match=r"like hub:owner/name@revision/model\.safetensors"):
        hub_file("hub:a/b")


def test_shipped_cards_are_pinned_to_a_commit_and_state_a_licence() -> None:
    names = store.shipped_backbones()
    assert "vit_base_patch16_224.in21k" in names
    for name in names:
        card = store.backbone(name)
        assert card.asset.licence == card.licence == "Apache-2.0"
        for source in card.asset.sources:
            if isinstance(source, HubFile):
                assert len(source.revision) == 40
                assert int(source.revision, 16)
                assert hub_file(f"hub:{source.repo}@{source.revision}/{source.filename}") == source


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_shipped_sizes_are_those_of_such_a_network(name: str) -> None:
    """Four bytes a parameter, and a header of some ten thousand bytes."""
    card = store.backbone(name)
    width, tokens = card.width, (card.size // card.patch) ** 2 + 1
    block = 12 * width**2 + (3 + 1 + 4 + 1 + 4 + 2 * (".dinov2" in name)) * width
    parameters = card.depth * block + (3 * card.patch**2 + 1 + tokens + 1 + 2) * width
    assert 10_000 < card.asset.size - 4 * (parameters + PUBLISHED[name](width)) < 40_000


def test_a_card_called_unlike_its_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_CACHE", str(tmp_path))
    store.user_models().mkdir(parents=True, exist_ok=True)
    other = replace(CARD, name="vit_mini_face.other")
    (store.user_models() / "vit_mini_face.test.backbone.json").write_text(other.to_json(), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"the card is called 'vit_mini_face\.other', not like its file"):
        store.backbone("vit_mini_face.test")
