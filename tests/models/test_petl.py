"""AUFormer's rivals against plain torch, `peft`, the ViT itself and counts by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from openau.models.petl import (
    METHODS,
    MOST_PROMPTS,
    Adapted,
    PETLConfig,
    learnable_parameters,
    petl_config,
    widths_for,
)
from openau.models.vit import ViT, ViTConfig

SMALL = ViTConfig(width=16, depth=3, heads=2, patch=4, size=16)
BASE = ViTConfig.named("vit_base_patch16_224")
CLIP = dataclasses.replace(SMALL, norm_before=True, patch_bias=False, activation="quick_gelu", mlp_ratio=2.5)
DINO = dataclasses.replace(SMALL, registers=2, layer_scale=0.5)
BARE = dataclasses.replace(SMALL, class_token=False)
FEW = {"lora": 3, "adapter": 5, "adaptformer": 5, "convpass": 4, "vpt_shallow": 3, "vpt_deep": 3}
SILENT = [method for method in METHODS if not method.startswith("vpt")]

VARIANTS = [petl_config(method, FEW.get(method, 0)) for method in METHODS] + [
    PETLConfig("lora", 2, layers=("qkv", "fc2")),
    PETLConfig("adapter", 8, sites=("attention", "mlp")),
    PETLConfig("convpass", 3, sites=("attention",)),
]
named = [f"{config.method}-{len(config.sites)}-{len(config.layers)}" for config in VARIANTS]


def vit(config: ViTConfig = SMALL, seed: int = 0) -> ViT:
    """A ViT in double precision none of whose parameters is zero."""
    torch.manual_seed(seed)
    made = ViT(config).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else nn.init.normal_(parameter, 0.5, 0.2)
    return made


def adapted(config: PETLConfig, backbone: ViTConfig = SMALL, loud: bool = True) -> Adapted:
    """What is learned is random where `loud`, else as it starts."""
    torch.manual_seed(1)
    made = Adapted(vit(backbone), config).double()
    if loud:
        for parameter in made.parameters():
            if parameter.requires_grad and config.method != "full":
                nn.init.normal_(parameter, std=0.3)
    return made


def pixels(batch: int = 2, height: int = 16, width: int = 16) -> Tensor:
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def learned(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


# What all of them promise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", [SMALL, CLIP, DINO, BARE], ids=["vit", "clip", "dino", "bare"])
@pytest.mark.parametrize("method", SILENT)
def test_training_starts_from_the_frozen_vit_exactly(method: str, backbone: ViTConfig) -> None:
    made = adapted(petl_config(method, FEW.get(method, 0)), backbone, loud=False)
    for picture in (pixels(), pixels(1, 8, 24)):
        assert torch.equal(made(picture), vit(backbone)(picture))


@pytest.mark.parametrize("config", VARIANTS, ids=named)
def test_only_what_is_declared_gets_gradients(config: PETLConfig) -> None:
    made = adapted(config)
    before = {name: parameter.clone() for name, parameter in vit().named_parameters()}
    if config.method == "linear":
        assert not made(pixels()).requires_grad
    else:
        weights = torch.randn(16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        (made(pixels()) * weights).sum().backward()
    frozen = dict(made.vit.named_parameters())
    assert before.keys() <= frozen.keys()  # LoRA keeps the backbone's names
    for name in before:
        assert torch.equal(frozen[name], before[name])
        assert (frozen[name].grad is not None) == (config.method == "full")
    for name, parameter in learned(made).items():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    if config.method != "full":
        assert not {f"vit.{name}" for name in before} & learned(made).keys()


@pytest.mark.parametrize("config", VARIANTS, ids=named)
def test_the_first_step_moves_what_was_silent(config: PETLConfig) -> None:
    if not learned(made := adapted(config, loud=False)):
        return
    optimizer = torch.optim.SGD(learned(made).values(), lr=1)
    start = made(pixels()).detach()
    (made(pixels()) * torch.linspace(-1, 1, 16).double()).sum().backward()
    optimizer.step()
    assert not torch.allclose(made(pixels()), start)


@pytest.mark.parametrize("backbone", [SMALL, CLIP, DINO, BARE, BASE], ids=["vit", "clip", "dino", "bare", "base"])
@pytest.mark.parametrize("config", VARIANTS, ids=named)
def test_counts_are_those_of_the_modules(config: PETLConfig, backbone: ViTConfig) -> None:
    with torch.device("meta"):
        made = Adapted(ViT(backbone), config)
    assert sum(parameter.numel() for parameter in learned(made).values()) == learnable_parameters(config, backbone)


def test_counts_by_hand() -> None:
    """On a ViT-B: D = 768, 12 blocks."""
    counts = {config.method: learnable_parameters(config, BASE) for config in map(petl_config, METHODS)}
    assert counts == {
        "linear": 0,
        "full": 85_798_656,  # the published 86,567,656 less a head of 769,000
        "lora": 12 * 8 * (4 + 2 + 5 + 5) * 768,
        "adapter": 12 * (2 * 768 * 64 + 64 + 768),
        "adaptformer": 12 * (2 * 768 * 64 + 64 + 768),
        "convpass": 12 * 2 * (2 * 768 * 8 + 8 + 768 + 9 * 8 * 8 + 8),
        "vpt_shallow": 50 * 768,
        "vpt_deep": 12 * 50 * 768,
    }
    houlsby = dataclasses.replace(petl_config("adapter"), sites=("attention", "mlp"))
    assert learnable_parameters(houlsby, BASE) == 2 * counts["adapter"]
    queries = dataclasses.replace(petl_config("lora"), layers=("qkv",))
    assert learnable_parameters(queries, BASE) == 12 * 8 * 4 * 768


@pytest.mark.parametrize("method", ["lora", "adapter", "adaptformer", "convpass", "vpt_deep", "vpt_shallow"])
@pytest.mark.parametrize("budget", [1, 40_000, 327_552, 1_000_001])
def test_the_width_nearest_to_a_budget(method: str, budget: int) -> None:
    """No neighbour is nearer, and a method's own count leads back to its width."""
    chosen = widths_for(method, BASE, budget)
    off = abs(learnable_parameters(chosen, BASE) - budget)
    for step in (-1, 1):
        if 1 <= chosen.width + step <= (MOST_PROMPTS if "vpt" in method else 10**6):
            other = dataclasses.replace(chosen, width=chosen.width + step)
            assert abs(learnable_parameters(other, BASE) - budget) >= off
    for width in (1, 7, 150):
        mine = petl_config(method, width)
        assert widths_for(method, BASE, learnable_parameters(mine, BASE)) == mine


def test_rivals_at_auformers_budget() -> None:
    """4,555,008 parameters of twelve experts of width 8 in 24 sites of a ViT-B."""
    budget = 4_555_008
    for method in ("lora", "adapter", "adaptformer", "convpass"):
        assert learnable_parameters(widths_for(method, BASE, budget), BASE) == pytest.approx(budget, rel=0.02)
    assert widths_for("vpt_deep", BASE, budget).width == MOST_PROMPTS
    assert widths_for("linear", BASE, budget) == PETLConfig("linear")
    assert widths_for("full", BASE, budget) == PETLConfig("full")


def test_what_is_frozen_stays_in_evaluation_mode() -> None:
    made = adapted(petl_config("adaptformer", 2)).train()
    assert made.training
    assert made.bypasses.training
    assert not made.vit.training
    assert adapted(petl_config("full")).train().vit.training


# One by one -----------------------------------------------------------------------------------------------------------


def test_lora_is_the_vit_with_the_product_added_to_its_weights() -> None:
    config = PETLConfig("lora", 3, scale=0.7, layers=("qkv", "proj", "fc1", "fc2"))
    made, merged = adapted(config), vit()
    with torch.no_grad():
        for block, plain in zip(made.vit, merged, strict=True):
            for learning, layer in (
                (block.attn.qkv, plain.attn.qkv), (block.attn.proj, plain.attn.proj),
                (block.mlp.fc1, plain.mlp.fc1), (block.mlp.fc2, plain.mlp.fc2),
            ):  # fmt: skip
                layer.weight += 0.7 * learning.up @ learning.down  # type: ignore[operator]
    assert torch.allclose(made(pixels()), merged(pixels()), rtol=1e-10, atol=1e-12)


def test_lora_is_that_of_peft() -> None:
    """The same outputs and gradients as `peft` on the same layers, from the same matrices."""
    peft = pytest.importorskip("peft")
    rank, alpha = 3, 6
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["attn.qkv", "attn.proj", "mlp.fc2"])
    theirs = peft.inject_adapter_in_model(settings, vit())
    ours = adapted(PETLConfig("lora", rank, scale=alpha / rank, layers=("qkv", "proj", "fc2")))
    pairs = []
    for name, module in ours.vit.named_modules():
        if hasattr(module, "down"):
            other = theirs.get_submodule(name)
            a, b = other.lora_A["default"].weight, other.lora_B["default"].weight
            assert not b.any()  # theirs starts silent too
            with torch.no_grad():
                a.copy_(module.down)
                b.copy_(module.up)
            pairs += [(module.down, a), (module.up, b)]
    theirs.double()
    assert len(pairs) == 2 * 3 * SMALL.depth
    assert len(learned(theirs)) == len(pairs) == len(learned(ours))
    for model in (ours, theirs):
        (model(pixels()) * torch.linspace(-1, 1, 16).double()).square().sum().backward()
    assert torch.allclose(ours(pixels()), theirs(pixels()), rtol=1e-10, atol=1e-12)
    for mine, other in pairs:
        assert torch.allclose(mine.grad, other.grad, rtol=1e-10, atol=1e-12)


def bottleneck(module: nn.Module, tokens: Tensor) -> Tensor:
    hidden = (tokens @ module.down.weight.T + module.down.bias).clamp(min=0)  # type: ignore[union-attr, operator]
    return hidden @ module.up.weight.T + module.up.bias  # type: ignore[union-attr, operator, no-any-return]


def test_adaptformer_runs_beside_the_mlp() -> None:
    made = adapted(PETLConfig("adaptformer", 5, scale=0.1), DINO)
    tokens = made.vit.embed(pixels())
    for block, beside in zip(made.vit, made.bypasses["mlp"], strict=True):  # type: ignore[arg-type]
        tokens = tokens + block.attend(block.norm1(tokens))
        normed = block.norm2(tokens)
        tokens = tokens + block.think(normed) + 0.1 * bottleneck(beside, normed)
    assert torch.allclose(made(pixels()), made.vit.norm(tokens), rtol=1e-10)


@pytest.mark.parametrize("sites", [("mlp",), ("attention", "mlp")], ids=["pfeiffer", "houlsby"])
def test_adapters_read_what_their_branch_says(sites: tuple[str, ...]) -> None:
    made = adapted(PETLConfig("adapter", 5, sites=sites))  # type: ignore[arg-type]
    tokens = made.vit.embed(pixels())
    for number, block in enumerate(made.vit):
        said = block.attend(block.norm1(tokens))
        if "attention" in sites:
            said = said + bottleneck(made.bypasses["attention"][number], said)  # type: ignore[index]
        tokens = tokens + said
        said = block.think(block.norm2(tokens))
        tokens = tokens + said + bottleneck(made.bypasses["mlp"][number], said)  # type: ignore[index]
    assert torch.allclose(made(pixels()), made.vit.norm(tokens), rtol=1e-10)


@pytest.mark.parametrize("backbone", [SMALL, DINO, BARE], ids=["class token", "registers", "bare"])
def test_convpass_by_plain_convolutions(backbone: ViTConfig) -> None:
    """Each token before the patches is a map of 1×1, the patches one of 2×6, all through the same three convolutions."""
    made = adapted(PETLConfig("convpass", 4, scale=2, sites=("attention", "mlp")), backbone)

    def convolve(beside: nn.Module, images: Tensor) -> Tensor:
        kernels = [beside.down.weight[..., None, None], beside.conv.weight, beside.up.weight[..., None, None]]  # type: ignore[union-attr, index]
        hidden = functional.gelu(functional.conv2d(images, kernels[0], beside.down.bias))  # type: ignore[arg-type, union-attr]
        hidden = functional.gelu(functional.conv2d(hidden, kernels[1], beside.conv.bias, padding=1))  # type: ignore[arg-type, union-attr]
        return functional.conv2d(hidden, kernels[2], beside.up.bias)  # type: ignore[arg-type, union-attr]

    def beside(module: nn.Module, normed: Tensor) -> Tensor:
        maps = [normed[:, i].reshape(-1, 16, 1, 1) for i in range(backbone.prefix)]
        maps.append(normed[:, backbone.prefix :].transpose(1, 2).reshape(-1, 16, 2, 6))
        return torch.cat([convolve(module, one).flatten(2).transpose(1, 2) for one in maps], dim=1)

    picture = pixels(2, 8, 24)
    tokens = made.vit.embed(picture)
    for number, block in enumerate(made.vit):
        normed = block.norm1(tokens)
        tokens = tokens + block.attend(normed) + 2 * beside(made.bypasses["attention"][number], normed)  # type: ignore[index]
        normed = block.norm2(tokens)
        tokens = tokens + block.think(normed) + 2 * beside(made.bypasses["mlp"][number], normed)  # type: ignore[index]
    assert torch.allclose(made(picture), made.vit.norm(tokens), rtol=1e-10, atol=1e-12)


def test_shallow_prompts_are_registers() -> None:
    """Learned tokens without a position, between class token and patches, whose outputs nobody reads: DINOv2's registers."""
    made = adapted(petl_config("vpt_shallow", 3))
    other = ViT(dataclasses.replace(SMALL, registers=3)).double()
    other.load_state_dict(vit().state_dict() | {"reg_token": made.prompts})  # type: ignore[dict-item]
    tokens = other(pixels())
    assert torch.allclose(made(pixels()), torch.cat([tokens[:, :1], tokens[:, 4:]], dim=1), rtol=1e-10)


@pytest.mark.parametrize("backbone", [SMALL, DINO, BARE], ids=["class token", "registers", "bare"])
def test_deep_prompts_are_exchanged_before_every_block_and_dropped_behind_the_last(backbone: ViTConfig) -> None:
    made = adapted(petl_config("vpt_deep", 3), backbone)
    assert made.prompts is not None
    read: list[Tensor] = []
    said: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        read.append(inputs[0])
        said.append(output)

    for block in made.vit:
        block.register_forward_hook(note)
    tokens = made(pixels())
    first, own = backbone.prefix, slice(backbone.prefix, backbone.prefix + 3)

    def others(sequence: Tensor) -> Tensor:
        return torch.cat([sequence[:, :first], sequence[:, first + 3 :]], dim=1)

    before = made.vit.embed(pixels())
    for number in range(backbone.depth):
        assert torch.equal(read[number][:, own], made.prompts[number].expand(2, -1, -1))
        assert torch.equal(others(read[number]), before)
        before = others(said[number])
    assert torch.equal(tokens, made.vit.norm(before))


def test_prompts_start_within_vpts_bound() -> None:
    prompts = adapted(petl_config("vpt_deep", 50), loud=False).prompts
    assert prompts is not None
    bound = (6 / (3 * 4 * 4 + 16)) ** 0.5
    assert 0.98 * bound < prompts.abs().max() <= bound


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: petl_config("prefix"), "no method 'prefix'; there are linear, full, lora"),
        (lambda: PETLConfig("prefix", 3), "no method"),  # type: ignore[arg-type]
        (lambda: petl_config("linear", 3), "linear has no width"),
        (lambda: PETLConfig("lora"), "width of lora must be positive"),
        (lambda: petl_config("convpass", -1), "must be positive"),
        (lambda: PETLConfig("adapter", 8, sites=()), "sites must be among"),
        (lambda: PETLConfig("lora", 3, layers=("head",)), "layers must be among"),  # type: ignore[arg-type]
        (lambda: widths_for("lora", BASE, 0), "budget must be positive"),
    ],
)
def test_what_means_nothing_is_refused(make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        make()
