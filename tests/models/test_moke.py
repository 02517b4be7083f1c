"""Mixture-of-Knowledge Experts: the fused form against one module per expert, and both against the figure."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openau.models import moke, moke_operators, moke_reference
from openau.models.moke import MoKEConfig
from openau.models.vit import ViT, ViTConfig
from openau.training.onnx_file import session_of, to_onnx

BASE = MoKEConfig(dim=12, experts=3, sites=4, width=2)

SETTINGS: dict[str, tuple[MoKEConfig, tuple[int, int], int, int]] = {
    "default": (BASE, (4, 4), 1, 2),
    "window of 5": (dataclasses.replace(BASE, context=5), (6, 6), 1, 2),
    "window of 1": (dataclasses.replace(BASE, context=1), (3, 3), 1, 2),
    "window larger than the map": (dataclasses.replace(BASE, context=7), (2, 3), 1, 2),
    "full": (dataclasses.replace(BASE, context="full"), (3, 5), 1, 2),
    "no highway": (dataclasses.replace(BASE, highway=False), (4, 4), 1, 2),
    "no MRF": (dataclasses.replace(BASE, mrf=False), (4, 4), 1, 2),
    "no CA": (dataclasses.replace(BASE, ca=False), (4, 4), 1, 2),
    "neither": (dataclasses.replace(BASE, mrf=False, ca=False), (4, 4), 1, 2),
    "tokens before the patches left alone": (dataclasses.replace(BASE, class_token="skip"), (4, 4), 3, 2),
    "registers": (BASE, (4, 4), 5, 2),
    "no token before the patches": (BASE, (4, 4), 0, 2),
    "oblong": (BASE, (7, 3), 1, 2),
    "a row": (BASE, (1, 6), 1, 2),
    "one cell": (BASE, (1, 1), 1, 2),
    "one expert": (dataclasses.replace(BASE, experts=1), (4, 4), 1, 2),
    "one picture": (BASE, (4, 4), 1, 1),
    "odd sizes": (MoKEConfig(dim=7, experts=5, sites=3, width=3), (5, 6), 2, 3),
    "dilations reach across": (MoKEConfig(dim=4, experts=2, sites=2, width=4), (12, 13), 1, 1),
}


def pair(config: MoKEConfig, dtype: torch.dtype = torch.float64) -> tuple[moke_reference.MoKEs, moke.MoKEs]:
    """Both, with the same weights, none of them at its initial value."""
    torch.manual_seed(0)
    reference = moke_reference.MoKEs(config).to(dtype)
    with torch.no_grad():
        for parameter in reference.parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.normal_(std=inputs**-0.5)
    return reference, moke.MoKEs.from_reference(reference)


def run(experts: Any, tokens: Tensor, grid: tuple[int, int], prefix: int) -> tuple[Tensor, Tensor]:
    """All sites with something in between that depends on the updates, as the blocks of a ViT do."""
    highway, streams = None, []
    for index in range(experts.config.sites):
        update, highway = experts.site(index, tokens / tokens.std(), highway, grid, prefix)
        tokens = tokens + update
        streams.append(experts.streams(highway))
    return tokens, torch.cat(streams, dim=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_fused_form_equals_the_reference_with_all_gradients(name: str) -> None:
    config, grid, prefix, batch = SETTINGS[name]
    reference, fused = pair(config)
    pixels = torch.randn(batch, prefix + grid[0] * grid[1], config.dim, dtype=torch.float64)
    found = []
    for experts in (reference, fused):
        tokens = pixels.clone().requires_grad_()
        outputs = run(experts, tokens, grid, prefix)
        weights = [torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output) for output in outputs]
        torch.autograd.backward([(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)])
        assert tokens.grad is not None
        found.append((*(output.detach() for output in outputs), tokens.grad))
    for of_reference, of_fused in zip(*found, strict=True):
        assert (of_reference - of_fused).abs().max() <= 1e-10 * max(1, of_reference.abs().max())
    for key, of_reference in gradients(reference, config).items():
        of_fused = gradients_as_reference(fused)[key]
        assert (of_reference - of_fused).abs().max() <= 1e-10 * max(1, of_reference.abs().max()), key


def test_attention_in_portions_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    qkv = torch.randn(5, 4, 3, 6, dtype=torch.float64)
    found = []
    for most in (1, 9 * 4 * 3 * 2 * 2, 10**6):
        monkeypatch.setitem(moke_operators._PORTION, "cpu", most)
        maps = qkv.clone().requires_grad_()
        out = moke_operators.attend(maps, 3)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        assert maps.grad is not None
        found.append((out.detach(), maps.grad))
    for out, grad in found[1:]:
        # Sums of other shapes are added up in another order: the last bit may differ.
        torch.testing.assert_close(out, found[0][0], rtol=0, atol=1e-14)
        torch.testing.assert_close(grad, found[0][1], rtol=0, atol=1e-14)


def test_large_correlations_do_not_overflow() -> None:
    qkv = torch.tensor([300.0, 300.0, 1.0, -300.0, 300.0, 2.0]).view(1, 1, 2, 3).requires_grad_()
    out = moke_operators.attend(qkv, 3)
    out.sum().backward()
    assert out.flatten().tolist() == [1.5, 1.5]
    assert qkv.grad is not None
    assert qkv.grad.isfinite().all()


@pytest.mark.parametrize("name", ["default", "window of 5", "full", "no CA", "tokens before the patches left alone"])
def test_bfloat16_autocast_stays_near(name: str) -> None:
    config, grid, prefix, batch = SETTINGS[name]
    _, fused = pair(config, torch.float32)
    pixels = torch.randn(batch, prefix + grid[0] * grid[1], config.dim)
    found = []
    for mixed in (False, True):
        tokens = pixels.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            after, streams = run(fused, tokens, grid, prefix)
        (after.float().square().mean() + streams.float().square().mean()).backward()
        found.append(
            (after.float(), streams.float(), *(g for p in (tokens, *fused.parameters()) if (g := p.grad) is not None))
        )
        fused.zero_grad(set_to_none=True)
    exact, rounded = found
    # A product in bfloat16 is off by up to .4 %; a dozen of them lie one behind the other here.
    for ours, theirs in zip(exact[:3], rounded[:3], strict=True):
        assert (ours - theirs).norm() < 0.05 * ours.norm()
    assert len(exact) == len(rounded)
    for ours, theirs in zip(exact[3:], rounded[3:], strict=True):
        assert theirs.dtype == torch.float32
        assert (ours - theirs).norm() < 0.15 * ours.norm() + 1e-4


def gradients(reference: moke_reference.MoKEs, config: MoKEConfig) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in reference.named_parameters()
    }


def gradients_as_reference(fused: moke.MoKEs) -> dict[str, Tensor]:
    """The gradients, in the reference's layout: they are put where the parameters are and converted like them."""
    carrier = moke.MoKEs(fused.config).double()
    with torch.no_grad():
        for place, parameter in zip(carrier.parameters(), fused.parameters(), strict=True):
            place.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    return dict(carrier.to_reference().named_parameters())


def test_parameters_are_the_papers_count_of_modules() -> None:
    config = MoKEConfig(dim=768, experts=12, sites=24)
    d, dim = 8, 768
    convolution, operators = 9 * d * d + d, 3 * (9 * d * d + d) + (3 * d * d + d) + 3 * (d * d + d)
    expert = (dim * d + d) + convolution + operators + (d * dim + dim)
    assert expert == 15_816
    for kind in (moke.MoKEs, moke_reference.MoKEs):
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in kind(config).parameters()) == 12 * 24 * expert == 4_555_008


def test_parts_left_out_take_their_parameters_along() -> None:
    def count(**changes: Any) -> int:
        return sum(p.numel() for p in moke_reference.MoKE(dataclasses.replace(BASE, **changes)).parameters())

    d = BASE.width
    assert count() - count(mrf=False) == 3 * (9 * d * d + d) + 3 * d * d + d
    assert count() - count(ca=False) == 3 * (d * d + d)


@pytest.mark.parametrize("kind", [moke.MoKEs, moke_reference.MoKEs])
def test_training_starts_from_the_frozen_network(kind: Any) -> None:
    torch.manual_seed(1)
    experts = kind(BASE)
    tokens = torch.randn(2, 17, BASE.dim)
    after, streams = run(experts, tokens, (4, 4), 1)
    assert torch.equal(after, tokens)
    assert streams.shape == (2, BASE.sites * BASE.experts, BASE.dim)
    assert not streams.any()


def test_both_start_with_the_same_spread_of_weights() -> None:
    torch.manual_seed(2)
    config = MoKEConfig(dim=64, experts=6, sites=4, width=8)
    ours, theirs = moke.MoKEs(config).to_reference().state_dict(), moke_reference.MoKEs(config).state_dict()
    for name, value in ours.items():
        if ".conv." in name or ".up." in name or name.endswith("bias"):
            assert torch.equal(value, theirs[name]), name
        else:
            assert float(value.abs().max()) == pytest.approx(float(theirs[name].abs().max()), rel=0.2), name


@pytest.mark.parametrize(("context", "grid"), [(1, (2, 3)), (3, (3, 4)), (5, (4, 4)), ("full", (3, 2))])
def test_attention_is_the_formula(context: moke_operators.Context, grid: tuple[int, int]) -> None:
    torch.manual_seed(3)
    operator = moke_reference.CA(2, context).double().requires_grad_(False)
    m = torch.randn(1, 2, *grid, dtype=torch.float64)
    q, k, v = (convolution(m)[0] for convolution in (operator.q, operator.k, operator.v))
    found = operator(m)[0]
    fused = moke_operators.attend(torch.cat([q, k, v])[None].permute(0, 2, 3, 1), context)[0].permute(2, 0, 1)
    reach = max(grid) if context == "full" else context // 2
    for c, row, column in itertools.product(range(2), range(grid[0]), range(grid[1])):
        places = [
            (y, x)
            for y, x in itertools.product(range(grid[0]), range(grid[1]))
            if abs(y - row) <= reach and abs(x - column) <= reach
        ]
        weights = [torch.exp(q[c, row, column] * k[c, y, x]) for y, x in places]
        expected = sum(weight * v[c, y, x] for weight, (y, x) in zip(weights, places, strict=True)) / sum(weights)
        assert found[c, row, column] == pytest.approx(float(expected), abs=1e-12)
        assert fused[c, row, column] == pytest.approx(float(expected), abs=1e-12)


def test_receptive_fields_are_of_three_sizes() -> None:
    torch.manual_seed(4)
    operator = moke_reference.MRF(1)
    for parameter in operator.parameters():
        nn.init.ones_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    spot = torch.zeros(1, 1, 13, 13)
    spot[0, 0, 6, 6] = 1
    seen = {(int(y) - 6, int(x) - 6) for y, x in operator(spot)[0, 0].nonzero()}
    assert seen == {(y * step, x * step) for step in (1, 3, 5) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert operator(spot)[0, 0, 6, 6] == 3


def test_an_expert_hears_only_its_own_past() -> None:
    reference, fused = pair(BASE)
    tokens = torch.randn(1, 17, BASE.dim, dtype=torch.float64)
    for experts in (reference, fused):
        _, highway = experts.site(0, tokens, None, (4, 4), 1)
        before = experts.streams(experts.site(3, tokens, highway, (4, 4), 1)[1])
        if isinstance(highway, moke.Highway):
            changed: Any = highway._replace(hidden=highway.hidden.clone())
            changed.hidden[..., : BASE.width] += 1
        else:
            changed = highway._replace(outputs=[highway.outputs[0] + 1, *highway.outputs[1:]])
        after = experts.streams(experts.site(3, tokens, changed, (4, 4), 1)[1])
        moved = (after - before).abs().amax(dim=(0, 2))
        assert moved[0] > 0
        assert not moved[1:].any()


@pytest.mark.parametrize(
    "name", ["default", "full", "no highway", "neither", "tokens before the patches left alone", "odd sizes"]
)
def test_settled_experts_say_the_same(name: str) -> None:
    config, grid, prefix, batch = SETTINGS[name]
    _, fused = pair(config)
    tokens = torch.randn(batch, prefix + grid[0] * grid[1], config.dim, dtype=torch.float64)
    settled = fused.settle()
    assert not list(settled.parameters())
    for ours, theirs in zip(run(settled, tokens, grid, prefix), run(fused, tokens, grid, prefix), strict=True):
        assert (ours - theirs).abs().max() < 1e-10


class Adapted(nn.Module):
    """A small ViT with experts, as AUFormer has them."""

    def __init__(self, vit: ViT, experts: nn.Module) -> None:
        super().__init__()
        self.vit, self.experts = vit, experts

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens, highway, grid = self.vit.embed(pixels), None, (self.vit.config.grid,) * 2
        site: Any = self.experts.site
        for number, block in enumerate(self.vit):
            normed = block.norm1(tokens)
            update, highway = site(2 * number, normed, highway, grid, self.vit.config.prefix)
            tokens = tokens + block.attend(normed) + update
            normed = block.norm2(tokens)
            update, highway = site(2 * number + 1, normed, highway, grid, self.vit.config.prefix)
            tokens = tokens + block.think(normed) + update
        streams: Any = self.experts.streams
        return self.vit.norm(tokens), streams(highway)


@pytest.mark.parametrize("changes", [{}, {"context": "full", "class_token": "skip"}])
def test_onnx_runtime_says_the_same_whatever_the_batch(changes: dict[str, Any]) -> None:
    torch.manual_seed(7)
    config = ViTConfig(24, 2, 2, patch=8, size=32, registers=1)
    _, fused = pair(dataclasses.replace(BASE, dim=24, **changes), torch.float32)
    network = Adapted(ViT(config), fused.settle()).eval().requires_grad_(False)
    graph = to_onnx(network, {"pixels": torch.rand(2, 3, 32, 32)}, ("tokens", "streams"))
    session = session_of(graph.SerializeToString())
    for batch in (1, 2, 5):
        pixels = torch.rand(batch, 3, 32, 32)
        for found, expected in zip(session.run(None, {"pixels": pixels.numpy()}), network(pixels), strict=True):
            assert found.shape == expected.shape
            assert (torch.from_numpy(found) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("context", [1, 3, 5, "full"])
def test_the_exported_attention_is_the_same(context: moke_operators.Context) -> None:
    torch.manual_seed(8)
    qkv = torch.randn(2, 4, 5, 9, dtype=torch.float64)
    q, k, v = qkv.chunk(3, dim=3)
    gap = moke_operators.attend(qkv, context) - moke_operators.attend_at_once(q, k, v, context)
    assert gap.abs().max() < 1e-14


def test_weights_go_to_the_reference_and_back() -> None:
    reference, fused = pair(BASE, torch.float32)
    back = fused.to_reference().state_dict()
    assert all(torch.equal(value, back[key]) for key, value in reference.state_dict().items())


def test_a_configuration_survives_json() -> None:
    for context in (5, "full"):
        config = MoKEConfig(dim=192, experts=23, sites=24, width=4, context=context, class_token="skip", mrf=False)
        assert MoKEConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("changes", "said"), [({"context": 4}, "odd"), ({"experts": 0}, "positive"), ({"class_token": "x"}, "class_token")]
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(BASE, **changes)
