"""FAN, the face alignment network: stacked hourglasses that draw one heatmap per landmark.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017. FAN-Trans freezes such a network and
reads its features. Layer names and their order are those of the public `face-alignment` package [R], so that its state dicts, and those of
the ibug layout, fit as they are; code and comments are ours.

The layouts differ in what they pool with: `face-alignment` releases average, its first release and the original Torch7 code take the
maximum, ibug's 2dfan2 takes the maximum and its 2dfan4 the average. Weights do not show it, so it is an option.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["avg", "max"]

SIZE = 256
"""Side of the picture a FAN is trained on, pixels."""
SIDE = 64
"""Side of its heatmaps and features."""


class FANOutput(NamedTuple):
    """What a FAN computes for B pictures; S stacks, width W, K points.

    Attributes:
        features: X, (B, W, 64, 64): what enters the first hourglass.
        hourglasses: S maps (B, W, 64, 64). The last is what the last heatmaps are read from; those before have passed the 1×1 convolution
            (`bl`) that leads to the next hourglass, as in ibug's and AU-Net's code [R].
        heatmaps: S maps (B, K, 64, 64), of each stack in turn; the last are the answer.
    """

    features: Tensor
    hourglasses: tuple[Tensor, ...]
    heatmaps: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class FANConfig:
    """Everything needed to build the network again.

    Attributes:
        stacks: hourglasses S, 1–4.
        width: channels W of an hourglass; a multiple of 4.
        points: landmarks K.
        depth: times an hourglass halves its map, 1–6.
        pooling: how maps are halved, in the stem and in the hourglasses.
        stem: channels after the first convolution; twice as many follow. An even number; published networks have 64.

    Raises:
        ValueError: a value cannot be.
    """

    stacks: int = 2
    width: int = 256
    points: int = 68
    depth: int = 4
    pooling: Pooling = "avg"
    stem: int = 64

    def __post_init__(self) -> None:
        for name, least, most, step in (
            ("stacks", 1, 4, 1), ("width", 4, 1024, 4), ("points", 1, 1000, 1), ("depth", 1, 6, 1), ("stem", 2, 256, 2),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most or value % step:
                multiple = f", a multiple of {step}" if step > 1 else ""
                raise ValueError(f"{name} must be a whole number from {least} to {most}{multiple}, not {value!r}")
        if self.pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, not {self.pooling!r}")

    @property
    def channels(self) -> int:
        """Channels of the tapped feature: (1 + S) W."""
        return (1 + self.stacks) * self.width

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | str) -> FANConfig:
        """Read what `to_json` gives, or its text.

        Raises:
            ValueError: it is no configuration: a key is missing or unknown, or a value cannot be.
        """
        found: Any = json.loads(document) if isinstance(document, str) else document
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(found, Mapping) or set(found) != names:
            raise ValueError(f"a FAN's configuration has the keys {', '.join(sorted(names))}")
        return cls(**found)


class ConvBlock(nn.Module):
    """Three 3×3 convolutions whose outputs lie side by side, added to the input (pre-activation, hierarchical and multi-scale).

    BN-ReLU-3×3 (→ C/2), BN-ReLU-3×3 (→ C/4), BN-ReLU-3×3 (→ C/4), concatenated; where the widths differ, the input passes BN-ReLU-1×1.

    Shape:
        (B, inputs, H, W) → (B, outputs, H, W)
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample: nn.Sequential | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        around = x if self.downsample is None else self.downsample(x)
        return torch.cat((first, second, third), dim=1) + around


class Hourglass(nn.Module):
    """Halve a map `depth` times, and on the way back add what each size had to say.

    Level `depth` works at the full size, level 1 at the smallest but one. `b1` is a level's way around, `b2` and `b3` lie before and after
    the next level, `b2_plus` is the innermost block.

    Shape:
        (B, W, H, H) → the same; H is a multiple of 2^depth.
    """

    def __init__(self, config: FANConfig) -> None:
        super().__init__()
        self.depth, self.pooling = config.depth, config.pooling
        for level in range(config.depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(config.width, config.width))
            self.add_module(f"b2_{level}", ConvBlock(config.width, config.width))
        self.add_module("b2_plus_1", ConvBlock(config.width, config.width))
        for level in range(1, config.depth + 1):
            self.add_module(f"b3_{level}", ConvBlock(config.width, config.width))

    def forward(self, x: Tensor) -> Tensor:
        """The hourglass' map."""
        return self._level(self.depth, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        around = self._block(f"b1_{level}", x)
        below = self._block(f"b2_{level}", halve(x, self.pooling))
        below = self._level(level - 1, below) if level > 1 else self._block("b2_plus_1", below)
        below = self._block(f"b3_{level}", below)
        return around + F.interpolate(below, scale_factor=2.0, mode="nearest")

    def _block(self, name: str, x: Tensor) -> Tensor:
        found: Tensor = self.get_submodule(name)(x)
        return found


class FAN(nn.Module):
    """The face alignment network.

    Shape:
        image (B, 3, 256, 256), RGB in [0, 1] → `FANOutput`. Any side that is a multiple of 4 · 2^depth works; the maps' is a quarter of it.
    """

    def __init__(self, config: FANConfig) -> None:
        super().__init__()
        self.config = config
        stem, width, points = config.stem, config.width, config.points
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = ConvBlock(stem, 2 * stem)
        self.conv3 = ConvBlock(2 * stem, 2 * stem)
        self.conv4 = ConvBlock(2 * stem, width)
        for stack in range(config.stacks):
            self.add_module(f"m{stack}", Hourglass(config))
            self.add_module(f"top_m_{stack}", ConvBlock(width, width))
            self.add_module(f"conv_last{stack}", nn.Conv2d(width, width, 1))
            self.add_module(f"bn_end{stack}", nn.BatchNorm2d(width))
            self.add_module(f"l{stack}", nn.Conv2d(width, points, 1))
            if stack < config.stacks - 1:
                self.add_module(f"bl{stack}", nn.Conv2d(width, width, 1))
                self.add_module(f"al{stack}", nn.Conv2d(points, width, 1))

    def forward(self, image: Tensor) -> FANOutput:
        """Features, hourglasses and heatmaps."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = halve(self.conv2(x), self.config.pooling)
        features = self.conv4(self.conv3(x))
        previous, hourglasses, heatmaps = features, [], []
        for stack in range(self.config.stacks):
            top = self._layer(f"top_m_{stack}", self._layer(f"m{stack}", previous))
            top = F.relu(self._layer(f"bn_end{stack}", self._layer(f"conv_last{stack}", top)))
            drawn = self._layer(f"l{stack}", top)
            if stack < self.config.stacks - 1:
                top = self._layer(f"bl{stack}", top)
                previous = previous + top + self._layer(f"al{stack}", drawn)
            hourglasses.append(top)
            heatmaps.append(drawn)
        return FANOutput(features, tuple(hourglasses), tuple(heatmaps))

    def _layer(self, name: str, x: Tensor) -> Tensor:
        found: Tensor = self.get_submodule(name)(x)
        return found


def halve(x: Tensor, pooling: Pooling) -> Tensor:
    """(B, C, H, W) → (B, C, H/2, W/2)."""
    return F.avg_pool2d(x, 2) if pooling == "avg" else F.max_pool2d(x, 2)


def tapped(output: FANOutput) -> Tensor:
    """The feature FAN-Trans' authors' sibling code reads: cat(X, [H1; …; HS] · Σ_k heatmap_k).

    The heatmaps summed are the last stack's, unclipped, as in AU-Net's and ibug's code [R]. Two stacks of width 256 give 768 × 64 × 64.

    Shape:
        → (B, (1 + S) W, 64, 64)
    """
    where = output.heatmaps[-1].sum(dim=1, keepdim=True)
    return torch.cat((output.features, torch.cat(output.hourglasses, dim=1) * where), dim=1)
