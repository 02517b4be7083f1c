"""Backbones from files of ours: written, read again, refused where something is wrong; found by name and hub id."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from served import running
from tiny_vit import CONFIG, FACTS, tiny_vit, with_card

from openau.errors import OutputError, UsageError, WeightsError
from openau.models.backbones import card_of, load_backbone, save_backbone, write_card
from openau.models.vit import ViT, ViTConfig, interpolate_positions
from openau.weights import store
from openau.weights.backbones import BackboneCard, card_beside
from openau.weights.cards import HubFile


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAU_OFFLINE", raising=False)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def same(a: ViT, b: ViT) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Files of ours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"registers": 3, "layer_scale": 0.1, "patch": 4},
        {"norm_before": True, "patch_bias": False, "activation": "quick_gelu", "epsilon": 1e-5},
        {"class_token": False},
    ],
)
def test_a_file_of_ours_gives_back_the_network(tmp_path: Path, changes: dict[str, object]) -> None:
    vit = ViT(replace(CONFIG, **changes)).eval()
    file = tmp_path / "mini.safetensors"
    save_backbone(file, vit, {"template": "face224", "steps": "12"})
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {
            "format": "openau.vit/1", "config": vit.config.to_json(), "template": "face224", "steps": "12",
        }  # fmt: skip

    loaded = load_backbone(None, file)
    assert loaded.vit.config == vit.config
    assert same(loaded.vit, vit)
    assert (loaded.name, loaded.sha256, loaded.card) == ("mini.safetensors", digest(file), None)
    assert loaded.facts == {"template": "face224", "steps": "12"}
    pixels = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        assert torch.equal(loaded.vit(pixels), vit(pixels))


def test_a_loaded_network_can_learn_and_loading_draws_nothing(tmp_path: Path) -> None:
    save_backbone(tmp_path / "mini.safetensors", tiny_vit(), {})
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    vit = load_backbone(None, tmp_path / "mini.safetensors").vit
    assert torch.equal(before, torch.random.get_rng_state())
    assert not vit.training
    vit(torch.rand(1, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in vit.parameters())


def test_the_same_network_and_facts_give_the_same_bytes(tmp_path: Path) -> None:
    facts = {name: f"{name}, with ü" for name in ("steps", "data", "recipe", "template", "seed", "made by")}
    for name, order in (("a", list(facts)), ("b", list(reversed(facts)))):
        save_backbone(tmp_path / f"{name}.safetensors", tiny_vit(), {fact: facts[fact] for fact in order})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert load_backbone(None, tmp_path / "a.safetensors").facts == facts


def test_half_precision_halves_the_file_and_is_read_as_float32(tmp_path: Path) -> None:
    vit = tiny_vit()
    for name, dtype in (("whole", None), ("half", torch.float16)):
        save_backbone(tmp_path / f"{name}.safetensors", vit, {}, dtype)
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half"))
    numbers = sum(parameter.numel() for parameter in vit.parameters())
    assert (
        whole - half == 2 * numbers or abs(whole - half - 2 * numbers) < 200
    )  # the header's offsets have fewer digits
    loaded = load_backbone(None, tmp_path / "half.safetensors").vit
    assert all(torch.equal(a, b.half().float()) for a, b in zip(loaded.parameters(), vit.parameters(), strict=True))


def test_random_weights_follow_the_seed_and_have_no_hash() -> None:
    torch.manual_seed(5)
    loaded = load_backbone(CONFIG, False, size=16)
    torch.manual_seed(5)
    assert same(loaded.vit, ViT(replace(CONFIG, size=16)))
    assert (loaded.name, loaded.sha256, loaded.card) == ("random", "", None)
    with pytest.raises(UsageError, match="which network"):
        load_backbone(None, False)


def test_another_size_interpolates_the_positions_once(tmp_path: Path) -> None:
    vit = tiny_vit()
    save_backbone(tmp_path / "mini.safetensors", vit, {})
    by_size = load_backbone(None, tmp_path / "mini.safetensors", size=48).vit
    by_config = load_backbone(replace(CONFIG, size=48), tmp_path / "mini.safetensors").vit
    assert by_size.config == by_config.config == replace(CONFIG, size=48)
    assert torch.equal(by_size.pos_embed[:, :1], vit.pos_embed[:, :1])
    assert torch.equal(by_size.pos_embed[:, 1:], interpolate_positions(vit.pos_embed[:, 1:], 6, 6))
    pixels = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        assert torch.allclose(by_size(pixels), vit(pixels), atol=1e-6)
    with pytest.raises(UsageError, match="patches of 8 pixels do not divide a side of 50"):
        load_backbone(None, tmp_path / "mini.safetensors", size=50)


def test_a_network_of_another_size_is_not_what_was_wanted(tmp_path: Path) -> None:
    save_backbone(tmp_path / "mini.safetensors", tiny_vit(), {})
    for wanted, words in (
        (replace(CONFIG, depth=3), "2 blocks deep, but one of 3"),
        (replace(CONFIG, width=48), "24 wide, but one of 48"),
        (replace(CONFIG, heads=2), "4 heads, but one of 2"),
    ):
        with pytest.raises(UsageError, match=words):
            load_backbone(wanted, tmp_path / "mini.safetensors")


def test_facts_may_not_take_the_formats_own_keys_and_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'config'"):
        save_backbone(tmp_path / "mini.safetensors", tiny_vit(), {"config": "x"})
    with pytest.raises(OutputError, match="nowhere"):
        save_backbone(tmp_path / "nowhere" / "mini.safetensors", tiny_vit(), {})
    assert list(tmp_path.iterdir()) == []


# What cannot be read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "vit.pth", "innocent.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_by_its_content(tmp_path: Path, name: str, zipped: bool) -> None:
    file = tmp_path / name
    if zipped:
        torch.save(tiny_vit().state_dict(), file)
    else:
        file.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(WeightsError, match="is a pickled checkpoint") as refused:
        load_backbone(None, str(file))
    assert str(refused.value).startswith(f"{file}: ")


def test_a_safetensors_file_that_begins_like_a_pickle_is_none(tmp_path: Path) -> None:
    """The first eight bytes are a length; with 0x80 as its lowest they look like a pickle's beginning."""
    for padding in range(300):
        save_backbone(tmp_path / "mini.safetensors", tiny_vit(), {"padding": "x" * padding})
        if (tmp_path / "mini.safetensors").read_bytes()[0] == 0x80:
            break
    assert (tmp_path / "mini.safetensors").read_bytes()[0] == 0x80
    assert load_backbone(None, tmp_path / "mini.safetensors").vit.config == CONFIG


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_backbone(whole, tiny_vit(), {})
    cases = {
        "cut": (whole.read_bytes()[:-10], "cannot be read as safetensors"),
        "empty": (b"", "is no safetensors file"),
        "text": (b"<html>not found</html>", "is no safetensors file"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "pointer of Git LFS"),
    }
    for name, (content, words) in cases.items():
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=words) as refused:
            load_backbone(None, file)
        assert str(refused.value).startswith(f"{file}: ")
        assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match="there is no such backbone file"):
        load_backbone(None, tmp_path / "nowhere.safetensors")
    (tmp_path / "empty_folder").mkdir()
    with pytest.raises(WeightsError, match="there is no such backbone file"):
        load_backbone(None, tmp_path / "empty_folder")


def test_a_damaged_file_of_ours_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_backbone(whole, tiny_vit(), {})
    tensors, header = load_file(whole), {"format": "openau.vit/1", "config": CONFIG.to_json()}
    other = {**json.loads(CONFIG.to_json()), "width": 25}
    cases = [
        ({k: t for k, t in tensors.items() if k != "norm.bias"}, header, "lacks the tensor norm.bias"),
        ({**tensors, "extra": torch.ones(1)}, header, "holds the tensor extra"),
        ({**tensors, "norm.bias": torch.ones(3)}, header, r"the tensor norm.bias is \(3,\)"),
        (tensors, {**header, "config": json.dumps(other)}, "4 heads do not divide the width 25"),
        (tensors, {**header, "config": json.dumps({"width": 1, "unknown": 2})}, "its configuration cannot be read"),
        (tensors, {"format": "openau.vit/1"}, "its configuration cannot be read"),
        (tensors, {"format": "openau.fan/1"}, r"a file of OpenAU's of another kind \(openau\.fan/1\)"),
    ]
    for number, (content, words, sentence) in enumerate(cases):
        file = tmp_path / f"{number}.safetensors"
        save_file(content, file, words)
        with pytest.raises(WeightsError, match=sentence):
            load_backbone(None, file)


# Cards ----------------------------------------------------------------------------------------------------------------


def test_a_card_beside_the_file_is_read_and_must_be_right(tmp_path: Path) -> None:
    file = with_card(tmp_path)
    loaded = load_backbone(CONFIG, file)
    assert loaded.card == BackboneCard.read(card_beside(file))
    assert (loaded.name, loaded.sha256) == ("vit_mini_face.test", digest(file))
    card = loaded.card
    assert card is not None
    assert (card.width, card.depth, card.heads, card.patch, card.size) == (24, 2, 4, 8, 32)
    assert (card.mean, card.std, card.template, card.network) == (
        CONFIG.mean,
        CONFIG.std,
        "face224",
        "vit_24x2_patch8_32",
    )

    card_beside(file).write_text(replace(card, std=(1.0, 1.0, 1.0)).to_json(), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"its std is \(0.2, 0.3, 0.4\), but its card vit_mini_face.test says"):
        load_backbone(None, file)
    card_beside(file).write_text(card.to_json(), encoding="utf-8")
    save_backbone(file, tiny_vit(seed=1), {"steps": "12"})
    with pytest.raises(WeightsError, match=r"not the backbone its card vit_mini_face\.test\.backbone\.json describes"):
        load_backbone(None, file)


def test_a_backbone_in_the_users_folder_is_found_by_name(tmp_path: Path) -> None:
    store.user_models().mkdir(parents=True)
    file = with_card(store.user_models())
    assert store.resolve_backbone("vit_mini_face.test") == (BackboneCard.read(card_beside(file)), file)
    assert store.path("vit_mini_face.test") == file
    assert "vit_mini_face.test" not in store.card_files()
    assert same(load_backbone(None, "vit_mini_face.test").vit, tiny_vit())
    with pytest.raises(UsageError, match=r"no backbone is called 'vit_mini_fase.test'; known: .*vit_mini_face.test"):
        load_backbone(None, "vit_mini_fase.test")


def test_facts_that_cannot_be_are_refused(tmp_path: Path) -> None:
    save_backbone(tmp_path / "mini.safetensors", tiny_vit(), {})
    with pytest.raises(UsageError, match=r"architecture\.tag"):
        write_card(tmp_path / "mini.safetensors", replace(FACTS, name="mini"))
    assert not card_beside(tmp_path / "mini.safetensors").exists()


def test_true_takes_the_shipped_backbone_of_that_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"vit_small_patch14_518\.dinov2 is not in the weight cache"):
        load_backbone(ViTConfig.named("vit_small_patch14_224"), True)
    with pytest.raises(UsageError, match=r"no shipped backbone fits; there are: .*vit_base_patch16_224\.in21k"):
        load_backbone(ViTConfig.named("vit_tiny_patch8"), True)


# Hub ids --------------------------------------------------------------------------------------------------------------

HUB = HubFile("someone/vit-mini", "0123abc", "weights/model.safetensors")
IDENTITY = "hub:someone/vit-mini@0123abc/weights/model.safetensors"
PAGE = "/someone/vit-mini/resolve/0123abc/weights/model.safetensors"


def test_a_hub_id_is_fetched_if_a_card_pins_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.user_models().mkdir(parents=True)
    file = with_card(tmp_path, HUB)
    shutil.copy(card_beside(file), store.user_models())
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.serve(PAGE, file.read_bytes())
        loaded = load_backbone(None, IDENTITY)
        assert (loaded.name, loaded.sha256) == ("vit_mini_face.test", digest(file))
        assert same(loaded.vit, tiny_vit())
        load_backbone(None, IDENTITY)
        load_backbone(None, "vit_mini_face.test")
        assert hub.requests == [PAGE]


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.user_models().mkdir(parents=True)
    shutil.copy(card_beside(with_card(tmp_path, HUB)), store.user_models())
    save_backbone(tmp_path / "other.safetensors", tiny_vit(seed=1), {"steps": "12"})
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.serve(PAGE, (tmp_path / "other.safetensors").read_bytes())
        with pytest.raises(WeightsError, match=r"the file received is not vit_mini_face\.test"):
            load_backbone(None, IDENTITY)


def test_a_hub_id_that_no_card_pins_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(UsageError, match="no card says which bytes this must be") as refused:
            load_backbone(None, IDENTITY)
        assert "write_card" in str(refused.value)
        assert hub.requests == []
    for wrong in ("hub:someone@1/x", "hub:a/b/model.safetensors", "hub:a/b@main", "hub:a/b@main/../x"):
        with pytest.raises(UsageError, match="is no hub id"):
            load_backbone(None, wrong)


def test_a_published_file_in_the_store_takes_its_facts_from_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config.json it was published with stays on the hub; the card says what it said."""
    vit = tiny_vit()
    tensors = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    save_file({**tensors, "head.weight": torch.ones(3, 24)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "hidden_act": "gelu"}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]})
    )
    card = card_of(tmp_path / "model.safetensors", replace(FACTS, name="vit_mini.hub", sources=(HUB,)))
    assert (card.heads, card.mean, card.epsilon) == (4, CONFIG.mean, 1e-6)
    store.user_models().mkdir(parents=True)
    (store.user_models() / "vit_mini.hub.backbone.json").write_text(card.to_json(), encoding="utf-8")
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.serve(PAGE, (tmp_path / "model.safetensors").read_bytes())
        loaded = load_backbone(None, "vit_mini.hub")
    assert loaded.vit.config == replace(CONFIG, mlp_ratio=2.0)
    assert same(loaded.vit, vit)
