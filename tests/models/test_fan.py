"""The face alignment network: its layout, its size, what is tapped from it, and that learning reaches all of it."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from openau.models.fan import FAN, ConvBlock, FANConfig, FANOutput, halve, tapped

SMALL = FANConfig(stacks=2, width=8, points=5, depth=2, stem=2)


def test_the_paper_s_network_has_as_many_weights_as_published() -> None:
    # 4 stacks: 23.82 million, as torchinfo counts face-alignment's FAN(4); one hourglass less is 6 million less.
    with torch.device("meta"):
        counts = [sum(p.numel() for p in FAN(FANConfig(stacks=s)).parameters()) for s in (1, 2, 3, 4)]
    assert counts[3] == 23_820_176
    assert len({b - a for a, b in itertools.pairwise(counts)}) == 1


def test_two_wide_stacks_give_768_channels() -> None:
    with torch.device("meta"):
        output = FAN(FANConfig(stacks=2))(torch.empty(1, 3, 256, 256))
        assert output.features.shape == (1, 256, 64, 64)
        assert [h.shape for h in output.heatmaps] == [(1, 68, 64, 64)] * 2
        assert tapped(output).shape == (1, FANConfig(stacks=2).channels, 64, 64) == (1, 768, 64, 64)


def test_tapped_is_the_formula() -> None:
    x, first, second = (torch.randn(2, 3, 4, 4) for _ in range(3))
    heatmaps = tuple(torch.randn(2, 5, 4, 4) for _ in range(2))
    found = tapped(FANOutput(x, (first, second), heatmaps))
    for channel in range(3):
        for row in range(4):
            where = sum(heatmaps[1][1, k, row, 2] for k in range(5))
            assert found[1, channel, row, 2] == x[1, channel, row, 2]
            torch.testing.assert_close(found[1, 3 + channel, row, 2], first[1, channel, row, 2] * where)
            torch.testing.assert_close(found[1, 6 + channel, row, 2], second[1, channel, row, 2] * where)


def test_a_block_by_hand() -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, 8).eval()
    x = torch.randn(1, 3, 5, 5)
    outputs = []
    now = x
    for number in (1, 2, 3):
        norm, conv = block.get_submodule(f"bn{number}"), block.get_submodule(f"conv{number}")
        now = F.conv2d(F.relu(now / (1 + norm.eps) ** 0.5), conv.weight, padding=1)
        outputs.append(now)
    around = F.conv2d(F.relu(x / (1 + 1e-5) ** 0.5), block.downsample[2].weight)
    torch.testing.assert_close(block(x), torch.cat(outputs, 1) + around)
    assert [o.shape[1] for o in outputs] == [4, 2, 2]


def test_pooling_is_what_the_configuration_says() -> None:
    x = torch.tensor([[[[1.0, 2], [3, 6]]]])
    assert halve(x, "avg").item() == 3
    assert halve(x, "max").item() == 6
    torch.manual_seed(0)
    fans = [FAN(FANConfig(**{**SMALL.to_json(), "pooling": pooling})).eval() for pooling in ("avg", "max")]
    fans[1].load_state_dict(fans[0].state_dict())
    picture = torch.rand(1, 3, 64, 64)
    assert (fans[0](picture).heatmaps[-1] - fans[1](picture).heatmaps[-1]).abs().max() > 1e-3


def test_gradients_reach_every_weight_when_every_stack_is_judged() -> None:
    torch.manual_seed(0)
    fan = FAN(SMALL)
    sum(heatmap.square().sum() for heatmap in fan(torch.rand(2, 3, 64, 64)).heatmaps).backward()
    still = [name for name, p in fan.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # What the last stack's heatmaps are not read from feeds nothing.
    assert still == []


def test_the_last_heatmaps_see_the_first_stack_s() -> None:
    torch.manual_seed(0)
    fan = FAN(SMALL).eval()
    fan(torch.rand(1, 3, 64, 64)).heatmaps[-1].sum().backward()
    assert fan.get_submodule("l0").weight.grad.abs().sum() > 0


def test_configuration_round_trip_and_refusals() -> None:
    assert FANConfig.from_json(SMALL.to_json()) == SMALL
    for wrong in ({"stacks": 5}, {"stacks": 0}, {"width": 30}, {"pooling": "mean"}, {"depth": True}, {"stem": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FANConfig(**wrong)
    with pytest.raises(ValueError, match="has the keys"):
        FANConfig.from_json({"stacks": 2})
