"""The add-on over maps: who sees which cell, attention, standardisation, and the whole network on a grid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from openau.faces.extractors import FACE_MESH, Grid, Layout
from openau.models.fantrans import AUOutput, FANTrans, FANTransConfig, build
from openau.models.map_add_on import MapAddOn, MapBlock
from openau.models.transfer import start_from

AUS = (1, 4, 12, 25)
CHANNELS, GEOMETRY = 12, 136


def layout(side: int = 8) -> Layout:
    return Layout("fan_tiny.random", "0" * 64, "fan256", GEOMETRY, Grid(side), CHANNELS)


def config(side: int = 8, **options: object) -> FANTransConfig:
    chosen = {"add_on": "maps", "geometry": "none", "map_width": 16, "map_cells": 4} | options
    return FANTransConfig.of_layout(AUS, AUS[:2], (12,), layout(side), **chosen)


def model(seed: int = 0, side: int = 8, **options: object) -> FANTrans:
    torch.manual_seed(seed)
    return build(config(side, **options))


def inputs(batch: int, side: int = 8, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, GEOMETRY), (batch, side**2, CHANNELS))
    geometry, hypercolumns = (torch.randn(shape, generator=generator) for shape in shapes)
    return geometry, hypercolumns


def add_on(**options: int | float) -> MapAddOn:
    torch.manual_seed(0)
    chosen = {
        "side": 8,
        "channels": CHANNELS,
        "width": 16,
        "blocks": 2,
        "least": 4,
        "aus": 3,
        "token_width": 10,
    } | options
    return MapAddOn(**chosen, drop=0.1, dropout=0.1).eval()  # type: ignore[arg-type]


def total(output: AUOutput) -> torch.Tensor:
    return sum((part * torch.arange(1, part.shape[1] + 1)).square().mean() for part in output if part.numel())


@pytest.mark.parametrize(
    ("side", "blocks", "least", "left"),
    [(16, 2, 8, 8), (16, 2, 4, 4), (64, 4, 8, 8), (64, 4, 1, 4), (8, 0, 1, 8), (7, 2, 3, 3)],
)
def test_maps_are_halved_as_long_as_enough_cells_are_left(side: int, blocks: int, least: int, left: int) -> None:
    net = add_on(side=side, blocks=blocks, least=least)
    assert net.left == left
    columns = torch.randn(2, side**2, CHANNELS)
    assert net(columns).shape == (2, 3, 10)
    assert net.attention(columns).shape == (2, 3, left, left)


def test_an_aus_attention_sums_to_one_and_tells_what_its_token_is_made_of() -> None:
    net = add_on()
    net.query.data *= 3
    columns = inputs(3)[1]
    attention = net.attention(columns)
    torch.testing.assert_close(attention.sum(dim=(2, 3)), torch.ones(3, 3))
    assert not torch.allclose(attention[:, 0], attention[:, 1], atol=1e-3)
    # The token by hand: cells after the subnet, weighed, through the AU's own map.
    cells = net._convolve(net.projected(columns))
    for number in range(3):
        gathered = (attention[:, number].flatten(1)[..., None] * cells).sum(dim=1)
        token = gathered @ net.token_weight[number] + net.token_bias[number]
        torch.testing.assert_close(net(columns)[:, number], token, atol=1e-5, rtol=1e-5)


def test_a_token_changes_when_the_cells_its_au_looks_at_change() -> None:
    """Without convolution blocks a cell is only itself: a query that sees one cell alone makes a token of that cell alone."""
    net = add_on(blocks=0)
    columns = inputs(1)[1]
    cells = net._convolve(net.projected(columns))[0]
    looked, elsewhere = 9, 50
    net.query.data[0] = 200 * (cells[looked] - cells.mean(dim=0)).detach()
    assert net.attention(columns)[0, 0].argmax() == looked
    moved = {}
    for place in (looked, elsewhere):
        changed = columns.clone()
        changed[0, place] *= 1.05
        moved[place] = (net(changed) - net(columns))[0, 0].abs().max().item()
    assert moved[looked] > 1e-2
    assert moved[elsewhere] < 1e-5


def test_a_block_is_fans_but_for_its_normalisation() -> None:
    """Three convolutions side by side, added to the input: put together here by hand."""
    torch.manual_seed(0)
    block, x = MapBlock(16), torch.randn(2, 16, 6, 6)
    parts, part = [], x
    for norm, convolution in zip(block.norms, block.convolutions, strict=True):
        groups = part.reshape(2, 4, -1)
        standard = (groups - groups.mean(-1, keepdim=True)) / (
            groups.var(-1, correction=0, keepdim=True) + norm.eps
        ).sqrt()
        part = F.conv2d(standard.reshape(part.shape).clamp(min=0), convolution.weight, padding=1)
        parts.append(part)
    assert [part.shape[1] for part in parts] == [8, 4, 4]
    torch.testing.assert_close(block(x), torch.cat(parts, dim=1) + x, atol=1e-5, rtol=1e-5)


def test_cells_are_hidden_in_training_only() -> None:
    net = add_on()
    columns = inputs(2)[1]
    assert torch.equal(net(columns), net(columns))
    net.train()
    assert not torch.equal(net(columns), net(columns))


@pytest.mark.parametrize(
    "options", [{}, {"geometry": "token"}, {"geometry": "late"}, {"hypercolumns": False, "geometry": "token"}], ids=str
)
def test_forward_and_backward(options: dict[str, object]) -> None:
    net = model(**options)
    output = net(*inputs(3))
    assert [tuple(part.shape) for part in output] == [(3, 4), (3, 2), (3, 1), (3, 1)]
    total(output).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_standardisation_is_what_it_says_and_folds_exactly() -> None:
    net = model().eval()
    geometry, columns = inputs(5)
    mean, std = torch.randn(CHANNELS), torch.rand(CHANNELS) + 0.5
    outside = net(geometry, (columns - mean) / std)
    net.set_statistics(torch.zeros(GEOMETRY), torch.ones(GEOMETRY), mean, std)
    inside = net(geometry, columns)
    net.fold_standardisation()
    folded = net(geometry, columns)
    for a, b, c in zip(outside, inside, folded, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(b, c, atol=2e-5, rtol=1e-4)
    assert torch.equal(net.add_on.mean, torch.zeros(CHANNELS))


def test_outputs_stay_with_their_aus() -> None:
    """Without a transformer and a classifier over all AUs, an AU's outputs hang on its own query and on no other."""
    net = model(depth=0, rank=0).eval()
    geometry, columns = inputs(2)
    before = net(geometry, columns)
    net.add_on.query.data[AUS.index(12)] += torch.arange(16.0)
    after = net(geometry, columns)
    assert ((after.occurrence - before.occurrence).abs() > 1e-6).all(dim=0).tolist() == [number == 12 for number in AUS]
    assert ((after.left - before.left).abs() > 1e-6).all()
    torch.testing.assert_close(after.intensity, before.intensity)  # of AUs 1 and 4


def test_peers_together_say_what_each_says_alone() -> None:
    peers = [model(seed).eval() for seed in range(3)]
    geometry, columns = inputs(4)
    for peer, (output, tokens) in zip(peers, FANTrans.judge_together(peers, geometry, columns), strict=True):
        alone, own = peer.judge(geometry, columns)
        torch.testing.assert_close(tokens, own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.occurrence, alone.occurrence, atol=1e-5, rtol=1e-5)


def test_a_model_of_other_aus_starts_with_what_both_have() -> None:
    source = model(seed=0)
    torch.manual_seed(1)
    options = {"add_on": "maps", "geometry": "none", "map_width": 16, "map_cells": 4}
    target = build(FANTransConfig.of_layout((12, 9, 1), (12,), (12,), layout(), **options))
    fresh = target.add_on.query.detach().clone()
    assert start_from(target, source) == (12, 1)
    for name in ("query", "token_weight", "token_bias"):
        taken, given = getattr(target.add_on, name), getattr(source.add_on, name)
        assert torch.equal(taken[0], given[AUS.index(12)])
        assert torch.equal(taken[2], given[AUS.index(1)])
    assert torch.equal(target.add_on.query[1], fresh[1])
    assert torch.equal(target.add_on.blocks[0].convolutions[1].weight, source.add_on.blocks[0].convolutions[1].weight)


def test_attention_is_for_those_who_ask() -> None:
    columns = inputs(2)[1]
    assert model().cell_attention(columns).shape == (2, len(AUS), 4, 4)
    assert model(hypercolumns=False, geometry="token").cell_attention(columns) is None


def test_configuration_survives_json_and_knows_its_extractor() -> None:
    made = config(geometry="late")
    assert FANTransConfig.from_json(made.to_json()) == made
    assert (made.grid, made.points, made.extractor, made.extractor_sha256) == (8, 64, "fan_tiny.random", "0" * 64)
    mesh = FANTransConfig.of_layout(AUS, (), (), FACE_MESH)
    assert (mesh.grid, mesh.points, mesh.extractor) == (0, 149, "face_mesh")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"add_on": "landmarks"},
            "cells of a 8×8 grid, which the add-on `landmarks` cannot read; set model.add_on to maps",
        ),
        ({"map_width": 24}, "multiple of 16"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**options)
    with pytest.raises(ValueError, match="columns under landmarks, which the add-on `maps` cannot read"):
        FANTransConfig.of_layout(AUS, (), (), FACE_MESH, add_on="maps")
