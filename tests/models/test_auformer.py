"""AUFormer and its rivals: what learns, what a checkpoint holds, and that training starts from the frozen ViT."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from openau.errors import InputError
from openau.models import create_model
from openau.models.au_vit import AUViT, AUViTConfig, count_parameters
from openau.models.auformer import AUFormer
from openau.models.backbones import save_backbone
from openau.models.create import METHODS, build, configure, create_again, parse
from openau.models.vit import ViT, ViTConfig
from openau.training.export_pixels import settled

AUS = (1, 4, 12)
TINY = ViTConfig(width=24, depth=3, heads=3, patch=8, size=32)


def tiny(method: str = "auformer", vit: ViTConfig = TINY, **options: object) -> AUViT:
    torch.manual_seed(0)
    return build(
        AUViTConfig(AUS, vit, method=method, width=0 if method in ("linear", "full") else 4, **options), ViT(vit)
    )  # type: ignore[arg-type]


def pixels(size: int = 32, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_parameters_equal_the_arithmetic_of_the_paper_s_size() -> None:
    """15,816 per expert at d = 8 and D = 768; 24 sites, 12 AUs; heads and expert classifiers apart."""
    with torch.device("meta"):
        vit = ViT(ViTConfig.named("vit_base_patch16_224"))
        model = AUFormer(AUViTConfig((1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), vit.config, width=8), vit)
    assert sum(weight.numel() for weight in model.mokes.parameters()) == 15_816 * 12 * 24 == 4_555_008
    learnable, everything = count_parameters(model)
    assert learnable == 4_555_008 + 12 * 769 + 12 * 769
    assert everything - learnable == 85_798_656  # ViT-B/16 without its classifier


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_of_it_has_a_free_batch_axis(method: str) -> None:
    """Traced without Dynamo: `len(tensor)` or a loop over the batch would fix its size, or take the exporter minutes."""
    model = settled(tiny(method, dataclasses.replace(TINY, depth=1)))
    free = ({0: torch.export.Dim.DYNAMIC},)
    graph = torch.export.export(model, (pixels(),), dynamic_shapes=free, strict=False).module()
    torch.testing.assert_close(graph(pixels(count=5)), model(pixels(count=5)), atol=1e-5, rtol=1e-5)


def test_training_starts_from_the_frozen_vit() -> None:
    model = tiny()
    assert isinstance(model, AUFormer)
    tokens, experts = model.encode(pixels())
    torch.testing.assert_close(tokens, model.backbone(pixels()))
    assert experts is not None
    assert experts.shape == (2, 1, 3)


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_learnable_gets_gradients_and_is_kept(method: str) -> None:
    model = tiny(method)
    logits, experts = model.judge(pixels())
    assert logits.shape == (2, 3)
    assert (experts is not None) == (method == "auformer")
    (logits.square().sum() + (0 if experts is None else experts.square().sum())).backward()
    for name, weight in model.named_parameters():
        assert weight.requires_grad or weight.grad is None, name
        # a class token's position and others that a head does not see may get none, but nothing frozen may get one
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert (not frozen) == (method == "full")
    everything = dict(model.named_parameters())
    head = {"head.mean", "head.std"}
    assert model.kept().keys() == everything.keys() | head  # a random backbone is found nowhere again
    named = build(dataclasses.replace(model.config, backbone="x", backbone_sha256="0" * 64), ViT(TINY))
    assert named.kept().keys() == everything.keys() - frozen | head


def test_a_step_of_the_optimiser_moves_experts_and_head_only() -> None:
    model = tiny()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 0.1)
    for _ in range(2):  # at the first step only the zero up-projections get a gradient
        optimizer.zero_grad()
        logits, experts = model.judge(pixels())
        (logits.square().sum() + experts.square().sum()).backward()
        optimizer.step()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert not any(name.startswith("backbone.") for name in moved)
    assert {name.split(".")[0] for name in moved} == {"mokes", "experts", "head"}
    assert any("conv" in name for name in moved)


def test_every_block_can_be_supervised() -> None:
    model = tiny(supervised="every")
    assert model.judge(pixels())[1].shape == (2, 3, 3)  # type: ignore[union-attr]


def test_pooling_and_hidden_head() -> None:
    bare = dataclasses.replace(TINY, class_token=False)
    with pytest.raises(ValueError, match="no class token"):
        AUViTConfig(AUS, bare)
    model = tiny(vit=bare, pool="mean", hidden=5)
    tokens = model.encode(pixels())[0]
    first, _, last = model.head.layers
    by_hand = torch.nn.functional.gelu(tokens.mean(1) @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(model(pixels()), by_hand)
    classes = tiny()
    torch.testing.assert_close(classes(pixels()), classes.head.layers(classes.encode(pixels())[0][:, 0]))


def test_another_size_of_pictures_is_judged() -> None:
    assert tiny()(pixels(48)).shape == (2, 3)


def test_names() -> None:
    method, vit = parse("auformer_vit_base_patch16_224")
    assert (method, vit.width, vit.depth, vit.patch, vit.size) == ("auformer", 768, 12, 16, 224)
    assert parse("vpt_deep_vit_tiny_patch8_112")[0] == "vpt_deep"
    for name in ("auformer", "soup_vit_tiny_patch16_224", "auformer_vit_tiny_patch15_224", "auformer_vit_huge_patch16"):
        with pytest.raises(ValueError, match="names"):
            parse(name)
    with pytest.raises(ValueError, match="no option 'depth'"):
        create_model("auformer_vit_tiny_patch16_224", aus=AUS, depth=3)
    with pytest.raises(ValueError, match="different AUs"):
        create_model("auformer_vit_tiny_patch16_32", aus=[1, 1])


def test_public_call_of_the_issue() -> None:
    model = create_model("auformer_vit_tiny_patch16_32", aus=[1, 2, 4], pretrained=False)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 3)


def test_a_model_is_made_again_on_the_very_same_backbone(tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    save_backbone(file, ViT(ViTConfig.named("vit_tiny_patch16_32")), {})
    config, vit = configure("auformer_vit_tiny_patch16_32", AUS, file, width=2)
    model = build(config, vit)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.05)
    again = create_again(AUViTConfig.from_json(config.to_json()))
    assert again.config == config
    again.load_kept(model.kept())
    assert torch.equal(again(pixels()), model(pixels()))
    with pytest.raises(ValueError, match="on one side only"):
        again.load_kept({})
    save_backbone(file, ViT(ViTConfig.named("vit_tiny_patch16_32")), {})
    with pytest.raises(InputError, match="another backbone"):
        create_again(config)


def test_prepared_it_says_the_rates_and_reads_standardised_features() -> None:
    faces, rates = pixels(count=40), torch.tensor([0.05, 0.3, 0.0])
    for pool in ("class", "mean"):
        model = tiny(pool=pool)
        model.prepare(faces, rates)
        seen = []
        model.head.layers.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        logits, experts = model.judge(faces)
        torch.testing.assert_close(seen[0].mean(0), torch.zeros(24), atol=1e-4, rtol=0)
        pooled = model.head.pooled(model.encode(faces)[0])
        torch.testing.assert_close(seen[0], (pooled - pooled.mean(0)) / (pooled.std(0) + 0.02), atol=1e-4, rtol=1e-4)
        expected = torch.logit(torch.tensor([0.05, 0.3, 0.01]))
        assert (logits.mean(0) - expected).abs().max() < 0.05
        torch.testing.assert_close(experts[:, 0].mean(0), expected)  # type: ignore[index]
