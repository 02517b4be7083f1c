"""The two operators of Mixture-of-Knowledge Experts on maps of all experts at once: convolutions of three dilations, local attention."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

DILATIONS = (1, 3, 5)
"""Of MRF's three convolutions [F]."""

Context = int | Literal["full"]
"""Side of CA's window, odd, or all of the map."""


def spread(m: Tensor, kernels: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """The sum of convolutions of M, one for each dilation.

    Shape:
        m (B, C, rows, columns), kernels (3, C, C / groups, 3, 3), bias (C,) → (B, C, rows, columns)
    """
    device = m.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        m, kernels, bias = m.to(dtype), kernels.to(dtype), None if bias is None else bias.to(dtype)
    if torch.is_grad_enabled():
        out: Tensor = _Spread.apply(m, kernels, bias, groups)  # type: ignore[no-untyped-call]
        return out
    return _spread(m, kernels, bias, groups)


def _spread(m: Tensor, kernels: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    first, *others = zip(kernels, DILATIONS, strict=True)
    out = F.conv2d(m, first[0], bias, padding=first[1], dilation=first[1], groups=groups)
    for kernel, dilation in others:
        out = out + F.conv2d(m, kernel, None, padding=dilation, dilation=dilation, groups=groups)
    return out


class _Spread(torch.autograd.Function):
    """`spread`, with a backward that does not stumble over kernels wider than the map.

    For those oneDNN has no fast gradient of the weights (7 × 7 cells, dilation 5: ten times as long); with the margin copied in it has one.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, kernels: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        ctx.groups, ctx.bias = groups, bias is not None
        ctx.save_for_backward(m, kernels)
        with torch.autocast(m.device.type, enabled=False):
            return _spread(m, kernels, bias, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        m, kernels = ctx.saved_tensors
        of_m, of_kernels = torch.zeros((), dtype=m.dtype, device=m.device), torch.empty_like(kernels)
        for index, (kernel, dilation) in enumerate(zip(kernels, DILATIONS, strict=True)):
            back = partial(_convolution_backward, grad, kernel=kernel, dilation=dilation, groups=ctx.groups)
            part = back(m, padding=dilation, wanted=[True, False, False])[0]
            of_m = part if index == 0 else of_m.add_(part)
            wide = 2 * dilation + 1 > min(m.shape[2:])
            padded = _with_margin(m, dilation) if wide else m
            of_kernels[index] = back(padded, padding=0 if wide else dilation, wanted=[False, True, False])[1]
        return of_m, of_kernels, grad.sum(dim=(0, 2, 3)) if ctx.bias else None, None


def _with_margin(maps: Tensor, margin: int) -> Tensor:
    """(B, C, rows, columns) with zeros around, channels last in memory."""
    return F.pad(maps.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin)).permute(0, 3, 1, 2)


def _convolution_backward(
    grad: Tensor, m: Tensor, *, kernel: Tensor, padding: int, dilation: int, groups: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a convolution's input, kernel and bias, those wanted."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, m, kernel, None, [1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], groups, wanted
    )
    return found


def attend(qkv: Tensor, context: Context) -> Tensor:
    """CA: Σ_o softmax_o(Q[p] · K[o]) · V[o] in each channel, over the places o around p that lie on the map.

    Shape:
        (B, rows, columns, 3 C) → (B, rows, columns, C)
    """
    out: Tensor = _Attention.apply(qkv, context)  # type: ignore[no-untyped-call]
    return out


def attend_at_once(q: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
    """`attend` as a graph for export: a handful of operations on all places, whatever the batch; (B, rows, columns, C) each."""
    _, rows, columns, _ = q.shape
    queries, keys, values = (x.flatten(1, 2) for x in (q, k, v))
    if context == "full":
        correlation = queries.unsqueeze(1) * keys.unsqueeze(2)
        values = values.unsqueeze(2)
    else:
        places, outside = _places(rows, columns, context, q)
        around = (q.shape[0], context**2, rows * columns, q.shape[3])
        keys, values = (x.index_select(1, places).view(around) for x in (keys, values))
        correlation = queries.unsqueeze(1) * keys + outside
    weights = (correlation - correlation.amax(dim=1, keepdim=True)).exp()
    attended: Tensor = (weights * values).sum(dim=1) / weights.sum(dim=1)
    return attended.view(q.shape)


def _places(rows: int, columns: int, context: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """For each place of the window and each of the map: the number of the place it looks at (its own if outside), and −∞ there, else 0.

    Shape:
        (context² · rows · columns,), (context², rows · columns, 1)
    """
    reach = context // 2
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    numbers, outside = [], []
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            inside = (y + down >= 0) & (y + down < rows) & (x + right >= 0) & (x + right < columns)
            numbers.append(torch.where(inside, (y + down) * columns + x + right, y * columns + x).flatten())
            outside.append(torch.where(inside, 0.0, -torch.inf).flatten())
    masks = torch.stack(outside).unsqueeze(2).to(like)
    return torch.cat(numbers).to(like.device), masks


class _Attention(torch.autograd.Function):
    """`attend`, with a backward of its own.

    Correlations take the memory of a map for each place of the window. So they are made for a few pictures at a time, few enough to stay in
    a processor's cache, and made again in the backward instead of being kept. Half-precision maps are attended in float32.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, context: Context) -> Tensor:
        out = qkv.new_empty((*qkv.shape[:3], qkv.shape[3] // 3))
        for part in _portions(qkv, context):
            q, keys, values = _windows(qkv[part], context)
            out[part] = _weights(q, keys, context).mul_(values).sum(dim=(0, 1))
        ctx.context = context
        ctx.save_for_backward(qkv, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        qkv, out = ctx.saved_tensors
        found = torch.empty_like(qkv)
        for part in _portions(qkv, ctx.context):
            q, keys, values = _windows(qkv[part], ctx.context)
            of_q, of_k, of_v = found[part].chunk(3, dim=3)
            weights = _weights(q, keys, ctx.context)
            shares = weights * grad[part].to(q.dtype)
            of_v.copy_(_gather(shares, ctx.context))
            pull = torch.sub(values, out[part], out=weights).mul_(shares)
            of_q.copy_(torch.mul(pull, keys, out=shares).sum(dim=(0, 1)))
            of_k.copy_(_gather(pull.mul_(q), ctx.context))
        return found, None


_PORTION = {"cpu": 600_000}
"""Correlations made at a time: about a megabyte in float32, a core's second-level cache."""


def _portions(qkv: Tensor, context: Context) -> Iterator[slice]:
    """Slices of a batch whose correlations are made at a time."""
    batch, rows, columns, channels = qkv.shape
    places = rows * columns if context == "full" else context**2
    most = _PORTION.get(qkv.device.type, 30_000_000)
    step = max(1, most // (places * rows * columns * channels // 3))
    yield from (slice(start, start + step) for start in range(0, batch, step))


def _windows(qkv: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Q (B, rows, columns, C); K and V around each place, (y, x, B, rows or 1, columns or 1, C), zero where that is outside the map."""
    q, k, v = (qkv.float() if qkv.dtype in (torch.bfloat16, torch.float16) else qkv).chunk(3, dim=3)
    return q, _around(k, context), _around(v, context)


def _around(maps: Tensor, context: Context) -> Tensor:
    if context == "full":
        return maps.permute(1, 2, 0, 3)[:, :, :, None, None]
    rows, columns = maps.shape[1:3]
    reach = context // 2
    padded = F.pad(maps, (0, 0, reach, reach, reach, reach))
    return padded.unfold(1, rows, 1).unfold(2, columns, 1).permute(1, 2, 0, 4, 5, 3)


def _weights(q: Tensor, keys: Tensor, context: Context) -> Tensor:
    """CA's softmax, (y, x, B, rows, columns, C)."""
    correlation = torch.mul(q, keys, out=q.new_empty((*keys.shape[:2], *q.shape)))
    if context != "full":
        reach, rows, columns = context // 2, q.shape[1], q.shape[2]
        for far in range(1, reach + 1):
            correlation[reach - far, :, :, :far] = -torch.inf
            correlation[reach + far, :, :, max(0, rows - far) :] = -torch.inf
            correlation[:, reach - far, :, :, :far] = -torch.inf
            correlation[:, reach + far, :, :, max(0, columns - far) :] = -torch.inf
    return correlation.flatten(0, 1).softmax(dim=0).view_as(correlation)


def _gather(shares: Tensor, context: Context) -> Tensor:
    """The transpose of `_windows`: (y, x, B, rows, columns, C) summed where they came from, (B, rows, columns, C)."""
    if context == "full":
        return shares.sum(dim=(3, 4)).permute(2, 0, 1, 3)
    batch, rows, columns, channels = shares.shape[2:]
    reach = context // 2
    padded = shares.new_zeros(batch, rows + 2 * reach, columns + 2 * reach, channels)
    for y in range(context):
        for x in range(context):
            padded[:, y : y + rows, x : x + columns] += shares[y, x]
    return padded[:, reach : reach + rows, reach : reach + columns]
