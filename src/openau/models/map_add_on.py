"""The add-on over feature maps: a small convolutional subnet, then one token per AU by learned attention over the cells that are left.

FAN-Trans' add-on is a small learnable convolutional subnet that turns the frozen network's features into one feature per AU [A]; its
layers are not known to us. This one follows the same authors' AU-Net [R]: a 1×1 convolution, then blocks of FAN's kind with max-pooling in
between. How a map becomes one feature per AU is open; here every AU has a query that weighs the cells [open].
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openau.models.add_on import AddOn, hide

_GROUPS = 4


class MapBlock(nn.Module):
    """FAN's convolution block with group instead of batch normalisation.

    Norm-ReLU-3×3 (W → W/2), Norm-ReLU-3×3 (→ W/4), Norm-ReLU-3×3 (→ W/4), concatenated, added to the input. A batch here holds several
    faces of a few people and is thus a poor sample, and a moving average of the weights would leave batch statistics behind; so
    statistics are a face's own [ours].

    Shape:
        (B, W, S, S) → the same
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, width // 2, width // 4)
        outputs = (width // 2, width // 4, width // 4)
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, inputs) for inputs in widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, made, 3, padding=1, bias=False) for inputs, made in zip(widths, outputs, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        parts, part = [], x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            part = convolution(F.relu(norm(part)))
            parts.append(part)
        return torch.cat(parts, dim=1) + x


class MapAddOn(AddOn):
    """One token per AU from the cells of a grid.

    Args:
        side: cells S of a row and a column, P = S².
        channels: length C of a cell's column.
        width: channels of the subnet, a multiple of 16. AU-Net has 256 on 768 [R]; ours is an option.
        blocks: convolution blocks. AU-Net has 4 [R].
        least: a block is followed by 2 × 2 max-pooling as long as that leaves at least so many cells a side; AU-Net pools after each.
        aus: AUs A.
        token_width: width W of a token.
        drop: probability that training hides a cell.
        dropout: of what an AU has gathered.

    Attributes:
        left: side of the map the AUs look at.

    Shape:
        hypercolumns (B, P, C) → tokens (B, A, W)
    """

    def __init__(
        self, side: int, channels: int, width: int, blocks: int, least: int, aus: int, token_width: int, drop: float, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(channels, width)
        self.side, self.left, self.drop = side, side, drop
        self.blocks = nn.ModuleList(MapBlock(width) for _ in range(blocks))
        self._halves: list[bool] = []
        for _ in range(blocks):
            self._halves.append(self.left // 2 >= least)
            self.left //= 1 + self._halves[-1]
        self.embedding = nn.Parameter(torch.randn(self.left**2, width) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(aus, width))
        self.dropout = nn.Dropout(dropout)
        self.token_weight = nn.Parameter(torch.randn(aus, width, token_width) * width**-0.5)
        self.token_bias = nn.Parameter(torch.zeros(aus, token_width))

    def finish(self, projected: Tensor) -> Tensor:
        """What follows the 1×1 convolution, (B, P, width) → (B, A, W)."""
        cells = self._convolve(projected)
        gathered = self.dropout(self._look(cells) @ cells)
        return torch.einsum("baw,awt->bat", gathered, self.token_weight) + self.token_bias

    def attention(self, hypercolumns: Tensor) -> Tensor:
        """(B, A, left, left) how much each AU looks at each cell of the subnet's last map; an AU's sum to 1."""
        look = self._look(self._convolve(self.projected(hypercolumns)))
        return look.reshape(*look.shape[:2], self.left, self.left)

    def _convolve(self, projected: Tensor) -> Tensor:
        """(B, P, width) → (B, left², width)."""
        if self.training and self.drop > 0:
            projected = hide(projected, self.drop)
        maps = projected.transpose(1, 2).reshape(-1, projected.shape[-1], self.side, self.side)
        for block, halves in zip(self.blocks, self._halves, strict=True):
            maps = F.max_pool2d(block(maps), 2) if halves else block(maps)
        return cast(Tensor, self.norm(maps.flatten(2).transpose(1, 2) + self.embedding))

    def _look(self, cells: Tensor) -> Tensor:
        """(B, A, left²) attention of each AU."""
        return torch.softmax(self.query @ cells.transpose(1, 2) * cells.shape[-1] ** -0.5, dim=-1)
