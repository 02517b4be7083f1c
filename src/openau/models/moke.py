"""Mixture-of-Knowledge Experts (AUFormer, figure 2), all experts of a site at once.

Equal to `openau.models.moke_reference`, which is the one to read beside the figure; this is exact algebra on it:

- An expert's output, D channels wide, is never made. What it hands on (its highway) stays in the d channels before its last convolution,
  because down(x + up(h)) = down(x) + (down · up) h + down · b_up, a d × d product per expert; and the mean of all outputs is one product.
- What the experts of a site read from the tokens is one product for all of them.
- MRF's dilated convolutions and the 1×1 after them are linear: they fold into three kernels, and the identity is a tap of the first.
- A map of one cell, as class tokens are, sees centre taps only, and CA gives its value back: one product from GELU to GELU.
- Experts are channels: maps are (B, N · d, rows, columns), channels last in memory, as the products leave and take them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openau.models.moke_operators import DILATIONS, Context, attend, attend_at_once, spread

if TYPE_CHECKING:
    from openau.models import moke_reference

ClassToken = Literal["conv", "skip"]


@dataclass(frozen=True, slots=True)
class MoKEConfig:
    """Everything needed to build the experts of a network again.

    Attributes:
        dim: width D of the ViT's tokens.
        experts: N of each site, one per AU [F].
        sites: groups in the network, 2 L: before attention and before the MLP of each of L blocks [F].
        width: bottleneck d of each expert. Not published; 8 is our default [open].
        context: side of CA's window, odd, or "full". The figure leaves it open; 3 is our default [open].
        class_token: "conv": each token before the patches goes through the same convolutions as a map of 1×1, as in Convpass [R]; "skip":
            the experts neither read nor change those tokens [open].
        highway: an expert also reads what it said at the site before [F]; without, the normalised tokens only (ablation).
        mrf, ca: the experts have these operators [F]; without, nor their parameters (ablations).

    Raises:
        ValueError: a size is not positive, the window is not odd, or a choice is unknown.
    """

    dim: int
    experts: int
    sites: int
    width: int = 8
    context: Context = 3
    class_token: ClassToken = "conv"
    highway: bool = True
    mrf: bool = True
    ca: bool = True

    def __post_init__(self) -> None:
        if min(self.dim, self.experts, self.sites, self.width) < 1:
            raise ValueError("sizes of experts must be positive")
        if self.context != "full" and (not isinstance(self.context, int) or self.context < 1 or not self.context % 2):
            raise ValueError(f"the window of the context-aware operator must be odd or 'full', not {self.context!r}")
        if self.class_token not in ("conv", "skip"):
            raise ValueError(f"class_token must be 'conv' or 'skip', not {self.class_token!r}")

    def to_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> MoKEConfig:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


class Highway(NamedTuple):
    """What the experts of a site hand to those of the next: the d channels before their last convolution.

    Attributes:
        hidden: (B, T, N · d), expert by expert; of the patches only if the experts skip the tokens before them. Settled experts may have
            silent channels at the end.
        prefix: tokens before the patches in `hidden`.
        site: whose it is.
    """

    hidden: Tensor
    prefix: int
    site: int


class Folded(NamedTuple):
    """The weights of one site as they are multiplied. C = N · d channels, expert by expert.

    Attributes:
        down: (C, D). down_bias: (C,).
        mix: (C, C), what the highway adds; None at the first site and without highway.
        conv: (C, d, 3, 3). conv_bias: (C,).
        spread: (3, C, d, 3, 3), MRF and identity, a kernel for each dilation; None without MRF. spread_bias: (C,), or None.
        qkv: (3 C, C), CA's three 1×1 convolutions; None without CA. qkv_bias: (3 C,), or None.
        token: (C, C), everything between the GELUs for a map of one cell. token_bias: (C,).
        up: (C, D), each expert's share of the mean. up_bias: (D,), their mean. own_bias: (N, D), of each expert's own output.
    """

    down: Tensor
    down_bias: Tensor
    mix: Tensor | None
    conv: Tensor
    conv_bias: Tensor
    spread: Tensor | None
    spread_bias: Tensor | None
    qkv: Tensor | None
    qkv_bias: Tensor | None
    token: Tensor
    token_bias: Tensor
    up: Tensor
    up_bias: Tensor
    own_bias: Tensor


class Experts(nn.Module):
    """The parameters of one site's experts, a first axis of N over those of `moke_reference.MoKE`.

    The last convolution starts at zero, weight and bias, and the 3×3 as the identity, so that training starts from the frozen ViT exactly;
    other weights start Xavier-uniform, other biases at zero: Convpass' choices [R], open in the paper.
    """

    def __init__(self, config: MoKEConfig) -> None:
        super().__init__()
        n, d, dim = config.experts, config.width, config.dim
        branches = len(DILATIONS)
        self.down_weight = _xavier(dim, d, (n, d, dim))
        self.down_bias = _zeros(n, d)
        identity = torch.zeros(n, d, d, 3, 3)
        identity[:, :, :, 1, 1] = torch.eye(d)
        self.conv_weight = nn.Parameter(identity)
        self.conv_bias = _zeros(n, d)
        self.branch_weight = _xavier(9 * d, 9 * d, (n, branches, d, d, 3, 3)) if config.mrf else None
        self.branch_bias = _zeros(n, branches, d) if config.mrf else None
        self.merge_weight = _xavier(branches * d, d, (n, d, branches, d)) if config.mrf else None
        self.merge_bias = _zeros(n, d) if config.mrf else None
        self.qkv_weight = _xavier(d, d, (n, 3, d, d)) if config.ca else None
        self.qkv_bias = _zeros(n, 3, d) if config.ca else None
        self.up_weight = _zeros(n, d, dim)
        self.up_bias = _zeros(n, dim)

    def fold(self, before: Experts | None) -> Folded:
        """The weights as they are multiplied; `before`: the experts whose highway these read."""
        n, d, dim = self.down_weight.shape
        down_bias: Tensor = self.down_bias
        mix: Tensor | None = None
        if before is not None:
            mix = _block_diagonal(self.down_weight @ before.up_weight.mT)
            down_bias = down_bias + (self.down_weight @ before.up_bias.unsqueeze(2)).squeeze(2)
        here = torch.eye(d, dtype=self.down_weight.dtype, device=self.down_weight.device).expand(n, d, d)
        here_bias = torch.zeros_like(self.conv_bias)
        spread = spread_bias = qkv = qkv_bias = None
        if self.branch_weight is not None and self.branch_bias is not None:
            assert self.merge_weight is not None
            assert self.merge_bias is not None
            merge = self.merge_weight.transpose(1, 2)
            kernels = (merge @ self.branch_weight.flatten(3)).view_as(self.branch_weight).transpose(0, 1)
            centre = F.pad(here[..., None, None], (1, 1, 1, 1))
            kernels = torch.cat([kernels[:1] + centre, kernels[1:]])
            spread_bias = self.merge_bias + (merge @ self.branch_bias.unsqueeze(3)).sum(dim=1).squeeze(2)
            here, here_bias = kernels[..., 1, 1].sum(dim=0), spread_bias
            spread, spread_bias = kernels.flatten(1, 2), spread_bias.flatten()
        if self.qkv_weight is not None and self.qkv_bias is not None:
            qkv = torch.cat([_block_diagonal(weight) for weight in self.qkv_weight.unbind(dim=1)])
            qkv_bias = self.qkv_bias.transpose(0, 1).flatten()
            here, here_bias = here + self.qkv_weight[:, 2], here_bias + self.qkv_bias[:, 2]
        token_bias = here_bias + (here @ self.conv_bias.unsqueeze(2)).squeeze(2)
        return Folded(
            down=self.down_weight.view(n * d, dim),
            down_bias=down_bias.flatten(),
            mix=mix,
            conv=self.conv_weight.view(n * d, d, 3, 3),
            conv_bias=self.conv_bias.flatten(),
            spread=spread,
            spread_bias=spread_bias,
            qkv=qkv,
            qkv_bias=qkv_bias,
            token=_block_diagonal(here @ self.conv_weight[..., 1, 1]),
            token_bias=token_bias.flatten(),
            up=self.up_weight.view(n * d, dim) / n,
            up_bias=self.up_bias.mean(dim=0),
            own_bias=self.up_bias,
        )


class MoKEs(nn.Module):
    """All experts of a network: N at each of 2 L sites [F]. Equal to `moke_reference.MoKEs`, which has the same methods."""

    def __init__(self, config: MoKEConfig) -> None:
        super().__init__()
        self.config = config
        self.groups = nn.ModuleList(Experts(config) for _ in range(config.sites))

    def site(
        self, index: int, tokens: Tensor, highway: Highway | None, grid: tuple[int, int], prefix: int
    ) -> tuple[Tensor, Highway]:
        """Ask the experts of one site. Expert i reads the normalised tokens plus what expert i of the site before said [F].

        Args:
            index: of the site, from 0.
            tokens: (B, T, D), normalised; T = prefix + rows · columns.
            highway: of the site before, None at the first, where there is nothing yet [I].
            grid: rows, columns of patches.
            prefix: class and register tokens before the patches.

        Returns:
            the mean of the experts' outputs (B, T, D), to be added to the branch's [F], and the highway for the next site.
        """
        before = highway.hidden if highway is not None and self.config.highway else None
        with torch.autocast(tokens.device.type, enabled=False):
            folded = self._experts(index).fold(None if before is None else self._experts(index - 1))
        update, hidden, kept = ask(folded, self.config, tokens, before, grid, prefix)
        return update, Highway(hidden, kept, index)

    def streams(self, highway: Highway) -> Tensor:
        """What each expert of that site said, averaged over the patches: (B, N, D)."""
        experts = self._experts(highway.site)
        return _outputs(highway, experts.up_weight, experts.up_bias)

    def settle(self) -> SettledMoKEs:
        """These experts for inference: what is a product of weights only is multiplied once, here."""
        return SettledMoKEs(self)

    @classmethod
    def from_reference(cls, reference: moke_reference.MoKEs) -> MoKEs:
        """The same experts, with the same weights."""
        made = cls(reference.config).to(next(reference.parameters()))
        for index, group in enumerate(reference.groups):
            states = [expert.state_dict() for expert in cast(nn.ModuleList, group)]
            stacked = {key: torch.stack([state[key] for state in states]) for key in states[0]}
            made._experts(index).load_state_dict(_stacked_layout(stacked))
        return made

    def to_reference(self) -> moke_reference.MoKEs:
        """Inverse of `from_reference`."""
        from openau.models import moke_reference

        made = moke_reference.MoKEs(self.config).to(next(self.parameters()))
        for index, group in enumerate(made.groups):
            stacked = _reference_layout(self._experts(index).state_dict())
            for i, expert in enumerate(cast(nn.ModuleList, group)):
                expert.load_state_dict({key: value[i] for key, value in stacked.items()})
        return made

    def _experts(self, index: int) -> Experts:
        return cast(Experts, self.groups[index])


class SettledMoKEs(nn.Module):
    """Experts without parameters, for inference: `MoKEs.site` and `MoKEs.streams` with every product of weights made beforehand.

    Convolutions are of groups of 16 channels, a vector register, whatever the experts' width; silent channels fill the last group.
    """

    def __init__(self, moke: MoKEs) -> None:
        super().__init__()
        self.config = moke.config
        before: Experts | None = None
        for index, experts in enumerate(cast("Iterator[Experts]", moke.groups)):
            with torch.no_grad():
                folded = _in_blocks(experts.fold(before if self.config.highway else None), self.config)
            for name, value in folded._asdict().items():
                self.register_buffer(f"{name}_{index}", None if value is None else value.detach().clone())
            before = experts

    def site(
        self, index: int, tokens: Tensor, highway: Highway | None, grid: tuple[int, int], prefix: int
    ) -> tuple[Tensor, Highway]:
        """As `MoKEs.site`."""
        before = highway.hidden if highway is not None and self.config.highway else None
        update, hidden, kept = ask(self._folded(index), self.config, tokens, before, grid, prefix)
        return update, Highway(hidden, kept, index)

    def streams(self, highway: Highway) -> Tensor:
        """As `MoKEs.streams`."""
        n, d = self.config.experts, self.config.width
        folded = self._folded(highway.site)
        heard = highway._replace(hidden=highway.hidden[..., : n * d])
        return _outputs(heard, folded.up[: n * d].view(n, d, -1) * n, folded.own_bias)

    def _folded(self, index: int) -> Folded:
        return Folded(*(getattr(self, f"{name}_{index}") for name in Folded._fields))


def ask(
    weights: Folded,
    config: MoKEConfig,
    tokens: Tensor,
    hidden: Tensor | None,
    grid: tuple[int, int],
    prefix: int,
) -> tuple[Tensor, Tensor, int]:
    """What `MoKEs.site` does, with folded weights: update, `Highway.hidden` and `Highway.prefix`."""
    skipped = prefix if config.class_token == "skip" else 0
    kept = prefix - skipped
    read = F.linear(tokens[:, skipped:], weights.down, weights.down_bias)
    if hidden is not None and weights.mix is not None:
        read = read + F.linear(hidden, weights.mix)
    rows, columns = grid
    maps = F.gelu(read[:, kept:]).view(read.shape[0], rows, columns, -1).permute(0, 3, 1, 2)
    mixed = F.gelu(_mix(weights, config, maps)).permute(0, 2, 3, 1).flatten(1, 2)
    if kept:
        first = F.gelu(F.linear(F.gelu(read[:, :kept]), weights.token, weights.token_bias))
        mixed = torch.cat([first, mixed], dim=1)
    update = F.linear(mixed, weights.up.mT, weights.up_bias)
    if skipped:
        update = F.pad(update, (0, 0, skipped, 0))
    return update, mixed, kept


def _mix(weights: Folded, config: MoKEConfig, maps: Tensor) -> Tensor:
    """M + MRF(M) + CA(M), M = conv(maps); (B, C, rows, columns), channels last in memory."""
    groups = weights.conv.shape[0] // weights.conv.shape[1]
    m = F.conv2d(maps, weights.conv, weights.conv_bias, padding=1, groups=groups)
    mixed = m if weights.spread is None else spread(m, weights.spread, weights.spread_bias, groups)
    if weights.qkv is None or weights.qkv_bias is None:
        return mixed
    cells = m.permute(0, 2, 3, 1)
    if torch.compiler.is_exporting():
        parts = zip(weights.qkv.chunk(3), weights.qkv_bias.chunk(3), strict=True)
        q, k, v = (F.linear(cells, weight, bias) for weight, bias in parts)
        attended = attend_at_once(q, k, v, config.context)
    else:
        attended = attend(F.linear(cells, weights.qkv, weights.qkv_bias), config.context)
    return mixed + attended.permute(0, 3, 1, 2)


def _outputs(highway: Highway, up: Tensor, bias: Tensor) -> Tensor:
    """The last convolution of each expert on its mean over the patches: (B, N, D)."""
    means = highway.hidden[:, highway.prefix :].mean(dim=1).view(-1, *up.shape[:2])
    return torch.einsum("bni,nid->bnd", means, up) + bias


def _block_diagonal(blocks: Tensor) -> Tensor:
    """(N, d, d) → (N · d, N · d) with the blocks on its diagonal."""
    n, d = blocks.shape[:2]
    eye = torch.eye(n, dtype=blocks.dtype, device=blocks.device)
    return (blocks.unsqueeze(2) * eye[:, None, :, None]).reshape(n * d, n * d)


_BLOCK = 16
"""Channels of a convolution's group that processors and ONNX Runtime are fastest with."""


def _in_blocks(folded: Folded, config: MoKEConfig) -> Folded:
    """The same weights with experts put together to groups of 16 channels, and silent experts at the end if the last is not full."""
    n, d = config.experts, config.width
    together = max(1, _BLOCK // d)
    silent = -n % together * d

    def more(x: Tensor, *axes: int) -> Tensor:
        for axis in axes:
            x = torch.cat([x, x.new_zeros(*x.shape[:axis], silent, *x.shape[axis + 1 :])], dim=axis)
        return x

    def joined(kernels: Tensor) -> Tensor:
        blocks = more(kernels, 0).view(-1, together, d, 1, d, 3, 3)
        own = torch.eye(together, dtype=kernels.dtype, device=kernels.device).view(together, 1, together, 1, 1, 1)
        return (blocks * own).reshape(-1, together * d, 3, 3)

    qkv, qkv_bias = folded.qkv, folded.qkv_bias
    return folded._replace(
        down=more(folded.down, 0),
        down_bias=more(folded.down_bias, 0),
        mix=None if folded.mix is None else more(folded.mix, 0, 1),
        conv=joined(folded.conv),
        conv_bias=more(folded.conv_bias, 0),
        spread=None if folded.spread is None else torch.stack([joined(kernels) for kernels in folded.spread]),
        spread_bias=None if folded.spread_bias is None else more(folded.spread_bias, 0),
        qkv=None if qkv is None else torch.cat([more(part, 0, 1) for part in qkv.chunk(3)]),
        qkv_bias=None if qkv_bias is None else torch.cat([more(part, 0) for part in qkv_bias.chunk(3)]),
        token=more(folded.token, 0, 1),
        token_bias=more(folded.token_bias, 0),
        up=more(folded.up, 0),
    )


def _zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def _xavier(inputs: int, outputs: int, shape: tuple[int, ...]) -> nn.Parameter:
    """Xavier-uniform for one expert's so many inputs and outputs (kernel taps counted)."""
    limit = math.sqrt(6 / (inputs + outputs))
    return nn.Parameter(torch.empty(shape).uniform_(-limit, limit))


_PLAIN = {"down.bias": "down_bias", "conv.weight": "conv_weight", "conv.bias": "conv_bias", "up.bias": "up_bias"}


def _stacked_layout(stacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of `moke_reference.MoKE`, stacked over experts → those of `Experts`."""
    made = {ours: stacked[theirs] for theirs, ours in _PLAIN.items()}
    made["down_weight"] = stacked["down.weight"].flatten(2)
    made["up_weight"] = stacked["up.weight"].flatten(2).mT
    if "mrf.merge.weight" in stacked:
        for kind in ("weight", "bias"):
            made[f"branch_{kind}"] = torch.stack(
                [stacked[f"mrf.branches.{i}.{kind}"] for i in range(len(DILATIONS))], 1
            )
        merge = stacked["mrf.merge.weight"]
        made["merge_weight"] = merge.view(*merge.shape[:2], len(DILATIONS), -1)
        made["merge_bias"] = stacked["mrf.merge.bias"]
    if "ca.q.weight" in stacked:
        made["qkv_weight"] = torch.stack([stacked[f"ca.{name}.weight"].flatten(2) for name in "qkv"], 1)
        made["qkv_bias"] = torch.stack([stacked[f"ca.{name}.bias"] for name in "qkv"], 1)
    return made


def _reference_layout(made: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `_stacked_layout`."""
    stacked = {theirs: made[ours] for theirs, ours in _PLAIN.items()}
    stacked["down.weight"] = made["down_weight"][..., None, None]
    stacked["up.weight"] = made["up_weight"].mT[..., None, None]
    if "merge_weight" in made:
        for i in range(len(DILATIONS)):
            for kind in ("weight", "bias"):
                stacked[f"mrf.branches.{i}.{kind}"] = made[f"branch_{kind}"][:, i]
        stacked["mrf.merge.weight"] = made["merge_weight"].flatten(2)[..., None, None]
        stacked["mrf.merge.bias"] = made["merge_bias"]
    if "qkv_weight" in made:
        for i, name in enumerate("qkv"):
            stacked[f"ca.{name}.weight"] = made["qkv_weight"][:, i, ..., None, None]
            stacked[f"ca.{name}.bias"] = made["qkv_bias"][:, i]
    return stacked
