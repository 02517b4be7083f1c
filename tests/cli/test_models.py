from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from example_card import make_card

from openau.weights import store
from openau.weights.backbones import BackboneCard
from openau.weights.cards import Measure, ModelCard, Packaged
from openau.weights.extractors import ExtractorCard

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def own_model(empty_cache: Path) -> Path:
    """A user's model in the store; returns its ONNX file."""
    folder = store.user_models()
    folder.mkdir(parents=True)
    content = b"stands for a network" * 100_000
    card = make_card("tiny.mine")
    asset = replace(
        card.asset,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        sources=(Packaged("tiny.mine.onnx"),),
    )
    (folder / "tiny.mine.onnx").write_bytes(content)
    (folder / "tiny.mine.json").write_text(replace(card, asset=asset).to_json(), encoding="utf-8")
    return folder / "tiny.mine.onnx"


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


@pytest.mark.usefixtures("own_model")
def test_the_list_has_models_and_files(openau: Run) -> None:
    run = openau("models")
    assert run.returncode == 0, run.stderr
    assert row(run.stdout, "tiny.mine").split()[:4] == ["tiny.mine", "3", "–", "Apache-2.0"]
    assert "2.0 MB" in row(run.stdout, "tiny.mine")
    assert row(run.stdout, "tiny.mine").rstrip().endswith("yes")
    assert row(run.stdout, "face_mesh").rstrip().endswith("no")


@pytest.mark.usefixtures("own_model")
def test_the_list_as_json(openau: Run, empty_cache: Path) -> None:
    document = json.loads(openau("models", "--json").stdout)
    mine = next(model for model in document["models"] if model["name"] == "tiny.mine")
    assert mine == {
        "name": "tiny.mine", "default": False, "AUs": 3, "reads": "face_mesh", "learned": None, "licence": "Apache-2.0",
        "size": 2_000_000, "from": "this package", "here": True,
    }  # fmt: skip
    mesh = next(file for file in document["files"] if file["name"] == "face_mesh")
    assert (mesh["size"], mesh["here"]) == (1_242_398, False)
    assert document["cache"] == str(empty_cache)


@pytest.mark.usefixtures("own_model")
def test_a_card_says_everything_in_words(openau: Run) -> None:
    run = openau("models", "tiny.mine")
    assert run.returncode == 0, run.stderr
    words = " ".join(run.stdout.split())
    assert "AU01 inner brow raiser" in words
    assert "AU12 lip corner puller" in words
    assert words.index("AU01") < words.index("AU12") < words.index("AU25")
    for part in ("mesh192", "face_mesh", "12 renders", "0.25 to 0.3333", "openau evaluate x", "Not for decisions"):
        assert part in words


def test_a_card_by_path_as_json_is_the_card(openau: Run, own_model: Path) -> None:
    run = openau("models", str(own_model), "--json")
    assert ModelCard.from_json(run.stdout) == store.card("tiny.mine")


def test_an_extractor_is_listed_and_shown(openau: Run, own_model: Path) -> None:
    asset = replace(make_card("tiny.mine").asset, name="fan_tiny.mine", sources=(Packaged("fan_tiny.mine.onnx"),))
    card = ExtractorCard(
        "fan_tiny.mine", "fan_tiny", 68, 256, 24, 64, "fan256", asset, "CC0-1.0", "a test", "12 renders", "by hand",
        {"error": Measure(0.05, 0.04, 0.06, 12, "openau x")}, "knows nothing",
    )  # fmt: skip
    own_model.with_name("fan_tiny.mine.extractor.json").write_text(card.to_json(), encoding="utf-8")
    listed = openau("models")
    assert listed.returncode == 0, listed.stderr
    assert row(listed.stdout, "fan_tiny.mine").split()[1] == "fan256"
    assert row(listed.stdout, "fan_tiny.mine").rstrip().endswith("no")
    words = " ".join(openau("models", "fan_tiny.mine").stdout.split())
    for part in ("fan256, 256 × 256 pixels", "68 landmarks, features 24 × 64 × 64", "0.04 to 0.06", "knows nothing"):
        assert part in words
    assert ExtractorCard.from_json(openau("models", "fan_tiny.mine", "--json").stdout) == card


def test_a_backbone_is_listed_and_shown(openau: Run, own_model: Path) -> None:
    asset = replace(
        make_card("tiny.mine").asset, name="vit_tiny.mine", sources=(Packaged("vit_tiny.mine.safetensors"),)
    )
    card = BackboneCard(
        name="vit_tiny.mine", architecture="vit_tiny", network="vit_tiny_patch16_112", width=192, depth=12, heads=3, patch=16, size=112,
        epsilon=1e-6, activation="gelu", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), template="face224", asset=asset, licence="CC0-1.0",
        origin="a test", trained_on="12 renders", recipe="by hand", measured={"loss": Measure(0.05, 0.04, 0.06, 12, "openau x")},
        limits="knows nothing",
    )  # fmt: skip
    own_model.with_name("vit_tiny.mine.backbone.json").write_text(card.to_json(), encoding="utf-8")
    listed = openau("models")
    assert listed.returncode == 0, listed.stderr
    assert row(listed.stdout, "vit_tiny.mine").split()[1] == "face224"
    assert row(listed.stdout, "vit_tiny.mine").rstrip().endswith("no")
    assert any(entry["name"] == "vit_tiny.mine" for entry in json.loads(openau("models", "--json").stdout)["backbones"])
    words = " ".join(openau("models", "vit_tiny.mine").stdout.split())
    for part in (
        "12 blocks, 192 wide, 3 heads",
        "112 × 112 pixels",
        "s.d. 0.25 0.25 0.25",
        "0.04 to 0.06",
        "knows nothing",
    ):
        assert part in words
    assert BackboneCard.from_json(openau("models", "vit_tiny.mine", "--json").stdout) == card
    missing = openau("models", str(own_model.with_name("vit_tiny.mine.safetensors")))
    assert missing.returncode == 1
    assert "there is no such backbone file" in missing.stderr


def test_a_file_of_the_store_can_be_shown(openau: Run) -> None:
    run = openau("models", "face_mesh")
    assert "mediapipe 0.10.21" in " ".join(run.stdout.split())
    assert json.loads(openau("models", "face_mesh", "--json").stdout)["size"] == 1_242_398


@pytest.mark.usefixtures("own_model")
def test_a_broken_card_does_not_hide_the_others(openau: Run) -> None:
    (store.user_models() / "tiny.broken.json").write_text("{}")
    run = openau("models")
    assert run.returncode == 1
    assert "tiny.mine" in run.stdout
    assert run.stderr.startswith("openau: ")
    assert "tiny.broken.json: not a valid model card" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.usefixtures("own_model")
def test_an_unknown_model_lists_the_known(openau: Run) -> None:
    run = openau("models", "tiny.nine")
    assert run.returncode == 2
    assert "tiny.mine" in run.stderr


def test_a_changed_file_is_refused(openau: Run, own_model: Path) -> None:
    own_model.write_bytes(b"something else")
    run = openau("models", str(own_model))
    assert run.returncode == 1
    assert "not the model its card tiny.mine.json describes" in run.stderr


def test_brackets_in_a_card_are_text(openau: Run, own_model: Path) -> None:
    card = own_model.with_suffix(".json")
    card.write_text(card.read_text(encoding="utf-8").replace('"Apache-2.0"', '"[/b]"'), encoding="utf-8")
    done = openau("models")
    assert done.returncode == 0, done.stderr
    assert "[/b]" in row(done.stdout, "tiny.mine")


def test_parameters_of_an_architecture(openau: Run) -> None:
    """The arithmetic of AUFormer on a ViT-B: 12 AUs, 24 sites, 15,816 weights an expert; head and expert classifiers on top."""
    told = openau("models", "auformer_vit_base_patch16_224", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["learned"] == 12 * 24 * 15_816 + 2 * 12 * 769
    wrong = openau("models", "soup_vit_base_patch16_224")
    assert wrong.returncode == 2
    assert "names no model" in wrong.stderr
