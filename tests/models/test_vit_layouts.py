"""Published layouts against the libraries that publish them, or against a forward pass written another way."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openau.errors import WeightsError
from openau.models.backbones import load_backbone
from openau.models.vit import IMAGENET_MEAN, IMAGENET_STD, ViT, ViTConfig
from openau.models.vit_layouts import CLIP_MEAN, CLIP_STD, Facts, facts_of_config

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers", reason="transformers, of the extra dev, is not installed")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def shaken(model: nn.Module) -> nn.Module:
    """The model with every parameter moved off its initial value, so that none is 0 or 1 and none is like another."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def standardised(pixels: Tensor, mean: Any, std: Any) -> Tensor:
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def hidden_states(vit: ViT, pixels: Tensor) -> list[Tensor]:
    """Tokens before the first block and after each."""
    states = [vit.embed(pixels)]
    for block in vit:
        states.append(block(states[-1]))
    return states


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= TOLERANCE


# Hugging Face ---------------------------------------------------------------------------------------------------------

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}


@pytest.mark.parametrize(("width", "heads"), [(24, 4), (96, 12)])
@pytest.mark.parametrize("prefixed", [False, True])
def test_vit_of_hugging_face(transformers: ModuleType, tmp_path: Path, width: int, heads: int, prefixed: bool) -> None:
    sizes = SMALL | {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 3 * width}
    config = transformers.ViTConfig(**sizes, layer_norm_eps=1e-3)
    kind = transformers.ViTForImageClassification if prefixed else transformers.ViTModel
    model = shaken(kind(config))
    model.save_pretrained(tmp_path)
    assert any(name.startswith("vit.") for name in load_file(tmp_path / "model.safetensors")) == prefixed

    loaded = load_backbone(None, tmp_path / "model.safetensors")
    assert (loaded.vit.config.heads, loaded.vit.config.epsilon, loaded.vit.config.mlp_ratio) == (heads, 1e-3, 3.0)
    assert loaded.vit.config.size == 32

    pixels = torch.rand(2, 3, 32, 32)
    inner = model.vit if prefixed else model
    with torch.no_grad():
        theirs = inner(standardised(pixels, (0.5,) * 3, (0.5,) * 3), output_hidden_states=True)
        assert_same(loaded.vit(pixels), theirs.last_hidden_state)
        # All but the last, which is before the last norm here and behind it there.
        for ours, state in zip(hidden_states(loaded.vit, pixels)[:-1], theirs.hidden_states[:-1], strict=True):
            assert_same(ours, state)


def test_clip_of_hugging_face(transformers: ModuleType, tmp_path: Path) -> None:
    model = shaken(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL, intermediate_size=96)))
    model.save_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    vit = load_backbone(None, tmp_path).vit
    assert (vit.config.activation, vit.config.norm_before, vit.config.patch_bias) == ("quick_gelu", True, False)
    assert (vit.config.mean, vit.config.std, vit.config.epsilon) == (CLIP_MEAN, CLIP_STD, 1e-5)
    inner = getattr(model, "vision_model", model)
    with torch.no_grad():
        theirs = model(standardised(pixels, CLIP_MEAN, CLIP_STD))
        ours = vit(pixels)
        assert_same(ours[:, 0], theirs.pooler_output)
        assert_same(ours, inner.post_layernorm(theirs.last_hidden_state))


def test_the_vision_half_of_a_whole_clip(transformers: ModuleType, tmp_path: Path) -> None:
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 9,
    }
    vision = {**SMALL, "intermediate_size": 96, "hidden_act": "gelu"}
    model = shaken(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision)))
    model.save_pretrained(tmp_path)
    assert any(name.startswith("text_model.") for name in load_file(tmp_path / "model.safetensors"))
    vit = load_backbone(None, tmp_path).vit
    assert vit.config.activation == "gelu"
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        theirs = model.vision_model(standardised(pixels, CLIP_MEAN, CLIP_STD)).pooler_output
        assert_same(vit(pixels)[:, 0], theirs)


@pytest.mark.parametrize("registers", [0, 3])
def test_dinov2_of_hugging_face(transformers: ModuleType, tmp_path: Path, registers: int) -> None:
    model = shaken(dinov2(transformers, registers))
    model.save_pretrained(tmp_path)
    vit = load_backbone(None, tmp_path).vit
    assert (vit.config.registers, vit.config.prefix, vit.config.layer_scale) == (registers, 1 + registers, 1.0)
    pixels = torch.rand(2, 3, 70, 70)
    with torch.no_grad():
        theirs = model(standardised(pixels, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state
        assert_same(vit(pixels), theirs)


@pytest.mark.parametrize("size", [42, 112])
def test_positions_are_interpolated_as_dinov2_with_registers_does(
    transformers: ModuleType, tmp_path: Path, size: int
) -> None:
    model = shaken(dinov2(transformers, 3))
    model.save_pretrained(tmp_path)
    pixels = torch.rand(1, 3, size, size)
    as_trained, resized = load_backbone(None, tmp_path).vit, load_backbone(None, tmp_path, size=size).vit
    assert resized.pos_embed.shape == (1, 1 + (size // 14) ** 2, 24)
    assert resized.config.size == size
    with torch.no_grad():
        theirs = model(standardised(pixels, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state
        assert_same(as_trained(pixels), theirs)
        assert_same(resized(pixels), theirs)


def dinov2(transformers: ModuleType, registers: int) -> Any:
    sizes = SMALL | {"image_size": 70, "patch_size": 14, "layerscale_value": 0.7}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        return transformers.Dinov2WithRegistersModel(config)
    return transformers.Dinov2Model(transformers.Dinov2Config(**sizes))


@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "Dinov2WithRegisters", "CLIPVision"])
def test_the_modules_own_names_are_understood_like_those_saved(
    transformers: ModuleType, tmp_path: Path, kind: str
) -> None:
    model = shaken(getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**SMALL)))
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_bytes((tmp_path / "saved" / "config.json").read_bytes())
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        tmp_path / "own" / "model.safetensors",
    )
    saved, own = (load_backbone(None, tmp_path / folder).vit.state_dict() for folder in ("saved", "own"))
    assert saved.keys() == own.keys()
    assert all(torch.equal(saved[name], own[name]) for name in saved)


def test_other_networks_of_the_same_libraries_are_refused(transformers: ModuleType, tmp_path: Path) -> None:
    sizes = {**SMALL, "intermediate_size": 96}
    others = {
        "siglip": (transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes)), "not known here"),
        "swiglu": (transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, use_swiglu_ffn=True)), "mlp.fc1.weight"),
        "deit": (transformers.DeiTModel(transformers.DeiTConfig(**sizes)), "position embeddings"),
        "beit": (transformers.BeitModel(transformers.BeitConfig(**sizes)), "lacks the tensor"),
    }
    for name, (model, words) in others.items():
        model.save_pretrained(tmp_path / name)
        with pytest.raises(WeightsError, match=words) as refused:
            load_backbone(None, tmp_path / name)
        assert str(tmp_path / name) in str(refused.value)
    (tmp_path / "siglip" / "config.json").unlink()
    with pytest.raises(
        WeightsError, match=r"lacks the tensor embeddings\.class_embedding of Hugging Face's CLIP layout"
    ):
        load_backbone(None, tmp_path / "siglip")


# timm -----------------------------------------------------------------------------------------------------------------

WIDTH, HEADS, DEPTH, PATCH, GRID, HIDDEN = 24, 4, 2, 8, 4, 60
CONFIG = {"num_attention_heads": HEADS}
"""timm's own config.json says nothing of heads, but these networks are of no published width."""


def timm_tensors(registers: int = 0, positions: int = 1 + GRID**2, class_token: bool = True) -> dict[str, Tensor]:
    """Random weights under timm's published names."""
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, positions, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
        "head.weight": (10, WIDTH),
        "head.bias": (10,),
    }
    if class_token:
        shapes["cls_token"] = (1, 1, WIDTH)
    if registers:
        shapes["reg_token"] = (1, registers, WIDTH)
    for block in range(DEPTH):
        for module, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH), ("mlp.fc1", HIDDEN, WIDTH), ("mlp.fc2", WIDTH, HIDDEN),
        ):  # fmt: skip
            shapes[f"blocks.{block}.{module}.weight"] = (rows, columns)
            shapes[f"blocks.{block}.{module}.bias"] = (rows,)
        for norm in ("norm1", "norm2"):
            shapes[f"blocks.{block}.{norm}.weight"] = (WIDTH,)
            shapes[f"blocks.{block}.{norm}.bias"] = (WIDTH,)
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


def encoded(tokens: Tensor, tensors: dict[str, Tensor], epsilon: float, activation: Any = "gelu") -> Tensor:
    """The blocks and the last norm, by PyTorch's own encoder; layer scale is folded into the projections."""
    for block in range(DEPTH):
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, dropout=0.0, activation=activation, layer_norm_eps=epsilon, batch_first=True, norm_first=True
        )  # fmt: skip
        names = {
            "self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2.",
            "norm1.": "norm1.", "norm2.": "norm2.",
        }  # fmt: skip
        state = {}
        for theirs, ours in names.items():
            for kind in ("weight", "bias"):
                state[theirs + kind] = tensors[f"blocks.{block}.{ours}{kind}"]
        for scale, module in (("ls1", "self_attn.out_proj"), ("ls2", "linear2")):
            gamma = tensors.get(f"blocks.{block}.{scale}.gamma", torch.ones(WIDTH))
            state[f"{module}.weight"] = gamma[:, None] * state[f"{module}.weight"]
            state[f"{module}.bias"] = gamma * state[f"{module}.bias"]
        layer.load_state_dict(state)
        tokens = layer.eval()(tokens)
    return F.layer_norm(tokens, (WIDTH,), tensors["norm.weight"], tensors["norm.bias"], epsilon)


def patched(pixels: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Patches (B, N, D) by unfolding and one product."""
    columns = F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2)
    kernel = tensors["patch_embed.proj.weight"].flatten(1)
    return columns @ kernel.T + tensors.get("patch_embed.proj.bias", torch.zeros(WIDTH))


def write(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def test_timms_layout(tmp_path: Path) -> None:
    tensors = timm_tensors()
    vit = load_backbone(None, write(tmp_path, tensors, CONFIG)).vit
    assert (vit.config.epsilon, vit.config.mean, vit.config.size) == (1e-6, (0.5, 0.5, 0.5), GRID * PATCH)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        patches = patched(2 * pixels - 1, tensors)
        tokens = torch.cat([tensors["cls_token"].expand(2, -1, -1), patches], dim=1) + tensors["pos_embed"]
        assert_same(vit(pixels), encoded(tokens, tensors, 1e-6))


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("embedded", ["patches", "class", "all"])
def test_registers_of_timm(tmp_path: Path, class_token: bool, embedded: str) -> None:
    """`no_embed_class`: positions for the patches alone; otherwise for class token and registers as well."""
    before = {"patches": 0, "class": int(class_token), "all": int(class_token) + 4}[embedded]
    tensors = timm_tensors(4, before + GRID**2, class_token)
    vit = load_backbone(None, write(tmp_path, tensors, CONFIG)).vit
    assert (vit.config.registers, vit.config.class_token) == (4, class_token)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first = [tensors["cls_token"]] if class_token else []
        tokens = torch.cat([*first, tensors["reg_token"], torch.zeros(1, GRID**2, WIDTH)], dim=1).repeat(2, 1, 1)
        tokens[:, -(GRID**2) :] = patched(2 * pixels - 1, tensors) + tensors["pos_embed"][:, before:]
        tokens[:, :before] += tensors["pos_embed"][:, :before]
        assert_same(vit(pixels), encoded(tokens, tensors, 1e-6))


def test_layer_scale_of_timm(tmp_path: Path) -> None:
    tensors = timm_tensors()
    for block in range(DEPTH):
        tensors |= {f"blocks.{block}.ls{branch}.gamma": torch.rand(WIDTH) for branch in (1, 2)}
    vit = load_backbone(None, write(tmp_path, tensors, CONFIG)).vit
    assert vit.config.mean == IMAGENET_MEAN
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        patches = patched(standardised(pixels, IMAGENET_MEAN, IMAGENET_STD), tensors)
        tokens = torch.cat([tensors["cls_token"], patches], dim=1) + tensors["pos_embed"]
        assert_same(vit(pixels), encoded(tokens, tensors, 1e-6))


@pytest.mark.parametrize(
    ("architecture", "quick"), [("vit_base_patch16_clip_224", False), ("vit_base_patch16_clip_quickgelu_224", True)]
)
def test_clip_of_timm_needs_to_be_told_its_activation(tmp_path: Path, architecture: str, quick: bool) -> None:
    tensors = timm_tensors() | {"norm_pre.weight": torch.rand(WIDTH), "norm_pre.bias": torch.rand(WIDTH)}
    del tensors["patch_embed.proj.bias"]
    file = write(tmp_path, tensors)
    with pytest.raises(WeightsError, match="quick GELU, which the tensors do not tell"):
        load_backbone(None, file)
    config = {"architecture": architecture, "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"does not tell how many heads its attention has \(24 wide\)"):
        load_backbone(None, file)
    vit = load_backbone(ViTConfig(WIDTH, DEPTH, HEADS, PATCH, 32), file).vit
    assert (vit.config.mean, vit.config.epsilon) == ((0.4, 0.5, 0.6), 1e-5)
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        patches = patched(standardised(pixels, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)), tensors)
        tokens = torch.cat([tensors["cls_token"], patches], dim=1) + tensors["pos_embed"]
        tokens = F.layer_norm(tokens, (WIDTH,), tensors["norm_pre.weight"], tensors["norm_pre.bias"], 1e-5)
        activation = (lambda x: x * torch.sigmoid(1.702 * x)) if quick else "gelu"
        assert_same(vit(pixels), encoded(tokens, tensors, 1e-5, activation))


def test_half_precision_and_a_prefix_make_no_difference(tmp_path: Path) -> None:
    tensors = timm_tensors()
    halved = {f"backbone.{name}": tensor.half() for name, tensor in tensors.items()}
    a = load_backbone(None, write(tmp_path / "a", {**halved, "other.weight": torch.ones(2)}, CONFIG)).vit.state_dict()
    b = load_backbone(None, write(tmp_path / "b", tensors, CONFIG)).vit.state_dict()
    assert all(a[name].dtype == torch.float32 and torch.equal(a[name], b[name].half().float()) for name in b)


# What cannot be -------------------------------------------------------------------------------------------------------


def spoilt(name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    tensors = timm_tensors()
    tensors.pop(name, None)
    return tensors if tensor is None else {**tensors, name: tensor}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (spoilt("blocks.1.attn.qkv.bias", None), "lacks the tensor blocks.1.attn.qkv.bias of timm's layout"),
        (spoilt("norm.weight", None), "lacks the tensor norm.weight"),
        (spoilt("blocks.0.norm1.weight", None), "lacks the tensor blocks.0.norm1.weight"),
        (spoilt("pos_embed", None), "lacks the tensor pos_embed"),
        (spoilt("blocks.0.attn.q_norm.weight", torch.ones(6)), "holds the tensor blocks.0.attn.q_norm.weight, which no"),
        (spoilt("attn_pool.latent", torch.ones(1, 1, WIDTH)), "holds the tensor attn_pool.latent"),
        (spoilt("blocks.0.mlp.fc2.weight", torch.ones(WIDTH, 30)), r"blocks.0.mlp.fc2.weight has the shape \(24, 30\)"),
        (spoilt("norm.bias", torch.full((WIDTH,), torch.nan)), "norm.bias holds numbers that are not finite"),
        (spoilt("norm.bias", torch.ones(WIDTH, dtype=torch.int32)), "norm.bias holds torch.int32"),
        (spoilt("pos_embed", torch.ones(1, 14, WIDTH)), "its 14 position embeddings form no square"),
        (spoilt("pos_embed", torch.ones(1, 17, 20)), "pos_embed has the shape"),
        (spoilt("patch_embed.proj.weight", torch.ones(WIDTH, 1, 8, 8)), r"\(width, 3, patch, patch\) is needed"),
        ({"a.patch_embed.proj.weight": torch.ones(1), "b.patch_embed.proj.weight": torch.ones(1)}, "holds several ViTs"),
        ({"conv1.weight": torch.ones(1)}, "not the tensors of a ViT in a layout that is known"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_tensors_is_said(tmp_path: Path, tensors: dict[str, Tensor], words: str) -> None:
    file = write(tmp_path, tensors, CONFIG)
    with pytest.raises(WeightsError, match=words) as refused:
        load_backbone(None, file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_act": "gelu_new"}, "the activation 'gelu_new' is not known here"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a positive whole number, not 0"),
        ({"num_attention_heads": 7}, "7 heads do not divide the width 24"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps must be a positive number"),
        ({"vision_config": 3}, "vision_config is no object"),
        ({"architecture": "vit_base_patch16_siglip_224"}, "an activation that is not known here"),
        ({"architecture": "x", "pretrained_cfg": {"std": [1, 0, 1]}}, "std must be positive"),
        ([], "is no JSON object"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said(tmp_path: Path, config: Any, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load_backbone(None, write(tmp_path, timm_tensors(), config))


def test_the_preprocessors_statistics_win() -> None:
    mae = {"model_type": "vit_mae", "num_attention_heads": 12, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    assert facts_of_config(mae) == Facts(12, 1e-12, "gelu", IMAGENET_MEAN, IMAGENET_STD)
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    assert facts_of_config(mae, own) == Facts(12, 1e-12, "gelu", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    raw = facts_of_config(mae, own | {"do_normalize": False})
    assert (raw.mean, raw.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="image_mean must be three numbers"):
        facts_of_config({}, {"image_mean": [0.5]})
