"""FAN-Trans over the features of a frozen face alignment network.

FAN-Trans (Yang et al., WACV 2023, arXiv 2211.06143) detects AUs from the features of a frozen face alignment network: a small learnable
convolutional add-on turns them into one feature per AU; these are the tokens of transformer blocks with a learnable attention drop; a
classifier predicts each AU from all AUs' features. That much is published in the abstract. Widths, depth, the drop's form and the
classifier's form are not known to us and are options here [open]; they are not presented as the authors'.

Which network that is, the features' layout says (`openau.faces.extractors`): Face Mesh, tapped at three maps under AU-relevant landmarks,
or a network whose map is read on a regular grid, as in the paper. The network's landmarks may enter as pose-free geometry beside its
features; the paper has none. Nothing in this module trains, augments or knows a data set.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from openau.faces.extractors import FACE_MESH, Grid, Layout
from openau.models.add_on import AddOn, hide
from openau.models.attention_drop import AttentionDrop
from openau.models.map_add_on import MapAddOn
from openau.models.regions import Region, regions_of

GeometryUse = Literal["token", "late", "none"]
AddOnKind = Literal["landmarks", "maps"]


class AUOutput(NamedTuple):
    """What a model says about B faces.

    Attributes:
        occurrence: (B, A) logits.
        intensity: (B, A_i) 0–5.
        left: (B, S) logits of the subject's left side.
        right: (B, S) logits of the subject's right side.
    """

    occurrence: Tensor
    intensity: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True)
class FANTransConfig:
    """Everything needed to build the network again.

    Attributes:
        aus: AUs of `occurrence`, in order. intensity_aus, sided_aus: subsets, in the order of their outputs.
        points: number P of positions. channels: length C of a hypercolumn. geometry_size: length G of a geometry vector; under
            landmarks, their 3 P coordinates and then distances.
        regions: which landmarks each AU sees; a grid is one region that names none, because every AU sees all of it.
        grid: side S of the grid the positions are the cells of; 0 = they lie under landmarks.
        extractor, extractor_sha256: whose features are read, and the digest of its file.
        hypercolumns: read the frozen network's features; without them only geometry is read.
        add_on: "landmarks" for features under landmarks, "maps", a convolutional subnet, for those on a grid.
        geometry: "token" adds a geometry branch to every AU's token, "late" adds its own verdict to the logits, "none" ignores geometry.
        landmark_width: channels d of the landmarks' add-on.
        map_width, map_blocks, map_cells: width, blocks and least side of the maps' add-on (`openau.models.map_add_on.MapAddOn`).
        region_width, geometry_width: hidden units per region of the feature and the geometry branch.
        token_width: width of an AU's token. depth: transformer blocks, 0 = none. heads: attention heads. mlp_ratio: of the blocks' MLP.
        rank: of the classifier's map from all AUs' tokens to all outputs; 0 = each AU is judged by its own token alone.
        dropout: in the branches. token_dropout: in the transformer. landmark_drop: probability that training hides a position.
        attention_drop: use the learnable attention drop. keep: its initial keep probability.
    """

    aus: tuple[int, ...]
    intensity_aus: tuple[int, ...]
    sided_aus: tuple[int, ...]
    points: int
    channels: int
    geometry_size: int
    regions: tuple[Region, ...]
    grid: int = 0
    extractor: str = FACE_MESH.extractor
    extractor_sha256: str = FACE_MESH.sha256
    hypercolumns: bool = True
    add_on: AddOnKind = "landmarks"
    geometry: GeometryUse = "token"
    landmark_width: int = 24
    map_width: int = 64
    map_blocks: int = 2
    map_cells: int = 8
    region_width: int = 64
    geometry_width: int = 48
    token_width: int = 64
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0
    rank: int = 32
    dropout: float = 0.3
    token_dropout: float = 0.1
    landmark_drop: float = 0.1
    attention_drop: bool = True
    keep: float = 0.9

    @classmethod
    def create(
        cls, aus: Sequence[int], intensity_aus: Sequence[int], sided_aus: Sequence[int], landmarks: Sequence[int], channels: int,
        geometry_size: int, **options: Any,
    ) -> FANTransConfig:  # fmt: skip
        """A configuration with the regions of `openau.models.regions`.

        Args:
            aus: AUs to predict.
            intensity_aus: those with intensity.
            sided_aus: those with left and right.
            landmarks: Face Mesh id of each landmark under which features were read.
            channels: length of a hypercolumn.
            geometry_size: length of a geometry vector.
            options: any other attribute.

        Raises:
            ValueError: the parts do not fit together.
        """
        return cls(
            aus=tuple(aus), intensity_aus=tuple(intensity_aus), sided_aus=tuple(sided_aus), points=len(landmarks),
            channels=channels, geometry_size=geometry_size, regions=regions_of(aus, landmarks), **options,
        )  # fmt: skip

    @classmethod
    def of_layout(
        cls, aus: Sequence[int], intensity_aus: Sequence[int], sided_aus: Sequence[int], layout: Layout, **options: Any
    ) -> FANTransConfig:
        """A configuration for the features of a layout.

        Args:
            aus: AUs to predict.
            intensity_aus: those with intensity.
            sided_aus: those with left and right.
            layout: of the features.
            options: any other attribute.

        Raises:
            ValueError: the parts do not fit together.
        """
        options |= {"extractor": layout.extractor, "extractor_sha256": layout.sha256}
        if not isinstance(layout.positions, Grid):
            return cls.create(
                aus, intensity_aus, sided_aus, layout.positions.ids, layout.channels, layout.geometry, **options
            )
        return cls(
            aus=tuple(aus), intensity_aus=tuple(intensity_aus), sided_aus=tuple(sided_aus), points=len(layout.positions),
            channels=layout.channels, geometry_size=layout.geometry, regions=(Region("face", tuple(aus), ()),),
            grid=layout.positions.side, **options,
        )  # fmt: skip

    def __post_init__(self) -> None:
        placed = [number for region in self.regions for number in region.aus]
        if len(set(self.aus)) != len(self.aus) or sorted(placed) != sorted(self.aus):
            raise ValueError("every AU must be named once and lie in exactly one region")
        if not (set(self.intensity_aus) <= set(self.aus) and set(self.sided_aus) <= set(self.aus)):
            raise ValueError("AUs with intensity or sides must be among the AUs with occurrence")
        if self.hypercolumns and (self.add_on == "maps") != (self.grid > 0):
            held = f"cells of a {self.grid}×{self.grid} grid" if self.grid else "columns under landmarks"
            raise ValueError(
                f"they are {held}, which the add-on `{self.add_on}` cannot read; "
                f"set model.add_on to {'maps' if self.grid else 'landmarks'}"
            )
        if self.map_width % 16 or min(self.map_width, self.map_cells) < 1 or self.map_blocks < 0:
            raise ValueError("map_width must be a multiple of 16, map_blocks at least 0, map_cells at least 1")
        if not self.grid and self.geometry_size < 3 * self.points:
            raise ValueError(f"a geometry vector of {self.geometry_size} cannot hold {self.points} points")
        if not self.hypercolumns and self.geometry != "token":
            raise ValueError("a model without hypercolumns needs geometry as tokens")
        if self.token_width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a token width of {self.token_width}")
        if self.depth < 0 or self.rank < 0:
            raise ValueError("depth and rank must not be negative")

    def to_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FANTransConfig:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is not such a configuration.
        """
        try:
            document: Mapping[str, Any] = json.loads(text)
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
            }
            values["regions"] = tuple(
                Region(region["name"], tuple(region["aus"]), tuple(region["points"])) for region in document["regions"]
            )
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a FAN-Trans configuration: {error}") from None


class LandmarkAddOn(AddOn):
    """The add-on over landmarks: one 1×1 convolution shared by all landmarks and AUs, with a learned embedding of each landmark.

    Shape:
        hypercolumns (B, P, C) → (B, P, d)
    """

    def __init__(self, points: int, channels: int, width: int, drop: float) -> None:
        super().__init__(channels, width)
        self.embedding = nn.Parameter(torch.randn(points, width) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.drop = drop

    def finish(self, projected: Tensor) -> Tensor:
        """What follows the projection, (B, P, d) → (B, P, d): embed, normalise; hide whole landmarks while training."""
        hidden = nn.functional.gelu(self.norm(projected + self.embedding))
        return hide(hidden, self.drop) if self.training and self.drop > 0 else hidden


def region_branch(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """What the AUs of a region share: (B, inputs) → (B, hidden)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout))


class RegionTokens(nn.Module):
    """Tokens of the AUs of one region: a shared hidden layer over the region's inputs, then one linear map per AU.

    Shape:
        (B, inputs) → (B, AUs of the region, W)
    """

    def __init__(self, inputs: int, hidden: int, aus: int, width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = region_branch(inputs, hidden, dropout)
        self.tokens = nn.Linear(hidden, aus * width)
        self.shape = (aus, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """One token per AU of the region."""
        return cast(Tensor, self.tokens(self.hidden(inputs)).unflatten(-1, self.shape))


class Block(nn.Module):
    """A pre-norm transformer block over AU tokens, with attention drop.

    Shape:
        (B, A, W) → (B, A, W)
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, dropout: float, attention_drop: AttentionDrop | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_drop = attention_drop
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = round(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let the AUs' tokens listen to each other."""
        tokens = tokens + self.dropout(self.attend(self.norm1(tokens)))
        return cast(Tensor, tokens + self.dropout(self.mlp(self.norm2(tokens))))

    def attend(self, tokens: Tensor) -> Tensor:
        """Multi-head self-attention with gated weights."""
        query, key, value = self.split_heads(self.qkv(tokens))
        return cast(Tensor, self.out((self.attention(query, key) @ value).transpose(1, 2).flatten(2)))

    def split_heads(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `qkv` gives, (B, A, 3 W), as query, key and value (B, H, A, W / H)."""
        parts = cast(Tensor, projected.unflatten(-1, (3, self.heads, -1)))  # type: ignore[no-untyped-call]
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def attention(self, query: Tensor, key: Tensor) -> Tensor:
        """(B, H, A, A) how much each AU (row) takes from each (column), after the drop; rows sum to 1."""
        attention = torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)
        return attention if self.attention_drop is None else cast(Tensor, self.attention_drop(attention))


class Classifier(nn.Module):
    """Each output from its AU's own token and, through a map of low rank, from all AUs' tokens.

    output_o = w_o · token(AU of o) + u_o · V [token_1 … token_A] + b_o: label dependencies are explicit, yet V (rank × A·W) is shared
    by all outputs. FAN-Trans predicts each AU from all AUs' features; by what map is not known to us [open].

    Args:
        owners: position of the AU that each output belongs to.
        tokens: AUs A.
        width: W.
        rank: rows of V; with 0 there is no V, and an output knows its own AU's token only.

    Shape:
        (B, A, W) → (B, outputs)
    """

    def __init__(self, owners: Sequence[int], tokens: int, width: int, rank: int) -> None:
        super().__init__()
        self.owners: Tensor
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        self.own = nn.Parameter(torch.randn(len(owners), width) * width**-0.5)
        self.gather = nn.Linear(tokens * width, rank, bias=False) if rank else None
        self.spread = nn.Linear(rank, len(owners)) if rank else None
        self.bias = None if rank else nn.Parameter(torch.zeros(len(owners)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Outputs before any non-linearity."""
        own = (tokens.index_select(1, self.owners) * self.own).sum(dim=-1)
        if self.gather is None or self.spread is None:
            return own + cast(Tensor, self.bias)
        return cast(Tensor, own + self.spread(self.gather(tokens.flatten(1))))


class FANTrans(nn.Module):
    """Per-AU tokens from a frozen alignment network's features, a transformer over them, a classifier that sees all of them.

    Several of these over the same frozen features are the peers of online distillation; `Ensemble` averages them.

    Shape:
        geometry (B, G), hypercolumns (B, P, C), float32 or float16 → `AUOutput`
    """

    def __init__(self, config: FANTransConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry_mean: Tensor
        self.geometry_std: Tensor
        self.register_buffer("geometry_mean", torch.zeros(config.geometry_size))
        self.register_buffer("geometry_std", torch.ones(config.geometry_size))
        self.add_on = _add_on(config) if config.hypercolumns else None
        self.region_tokens, self.geometry_branches = nn.ModuleList(), nn.ModuleList()
        self._point_index, self._geometry_index = [], []
        for number, region in enumerate(config.regions):
            points = torch.tensor(region.points, dtype=torch.long)
            geometry_index = _geometry_of(points, config)
            self._point_index.append(self._index(f"points_{number}", points))
            self._geometry_index.append(self._index(f"geometry_{number}", geometry_index))
            if isinstance(self.add_on, LandmarkAddOn):
                inputs = len(points) * config.landmark_width
                self.region_tokens.append(
                    RegionTokens(inputs, config.region_width, len(region.aus), config.token_width, config.dropout)
                )
            if config.geometry == "late":
                self.geometry_branches.append(region_branch(len(geometry_index), config.geometry_width, config.dropout))
            elif config.geometry == "token":
                shape = (len(geometry_index), config.geometry_width, len(region.aus), config.token_width)
                self.geometry_branches.append(RegionTokens(*shape, config.dropout))
        grouped = [number for region in config.regions for number in region.aus]
        self._order = self._index("order", torch.tensor([grouped.index(number) for number in config.aus]))
        drops = [
            AttentionDrop(config.heads, len(config.aus), config.keep) if config.attention_drop else None
            for _ in range(config.depth)
        ]
        self.blocks = nn.ModuleList(
            Block(config.token_width, config.heads, config.mlp_ratio, config.token_dropout, drop) for drop in drops
        )
        self.norm = nn.LayerNorm(config.token_width)
        outputs = (*config.aus, *config.intensity_aus, *config.sided_aus, *config.sided_aus)
        owners = [config.aus.index(number) for number in outputs]
        self.classifier = Classifier(owners, len(config.aus), config.token_width, config.rank)
        self.late = (
            nn.Linear(len(config.regions) * config.geometry_width, len(outputs)) if config.geometry == "late" else None
        )

    def set_statistics(
        self, geometry_mean: Tensor, geometry_std: Tensor, channel_mean: Tensor, channel_std: Tensor
    ) -> None:
        """Set what inputs are standardised with: geometry (G,), hypercolumns' channels (C,)."""
        self.geometry_mean.copy_(geometry_mean)
        self.geometry_std.copy_(geometry_std)
        if self.add_on is not None:
            self.add_on.mean.copy_(channel_mean)
            self.add_on.std.copy_(channel_std)

    def forward(self, geometry: Tensor, hypercolumns: Tensor) -> AUOutput:
        """See the class."""
        return self.judge(geometry, hypercolumns)[0]

    def judge(self, geometry: Tensor, hypercolumns: Tensor) -> tuple[AUOutput, Tensor]:
        """The outputs, and the tokens (B, A, W) they were read from, for distillation (`openau.distill`)."""
        return self._judge(geometry, None if self.add_on is None else self.add_on(hypercolumns))

    def cell_attention(self, hypercolumns: Tensor) -> Tensor | None:
        """(B, A, s, s) how much each AU looks at each part of the crop, for overlays; None where the add-on is not one over maps."""
        return self.add_on.attention(hypercolumns) if isinstance(self.add_on, MapAddOn) else None

    @staticmethod
    def judge_together(
        peers: Sequence[FANTrans], geometry: Tensor, hypercolumns: Tensor
    ) -> list[tuple[AUOutput, Tensor]]:
        """`judge` of several models of one configuration on the same faces.

        Their projections of the hypercolumns, by far the largest tensor, are one matrix product; on a CPU it costs hardly more than that of
        one model (`openau bench distill`).
        """
        add_ons = [peer.add_on for peer in peers if peer.add_on is not None]
        if not add_ons:
            return [peer._judge(geometry, None) for peer in peers]
        weights, biases = zip(*(add_on.standardised() for add_on in add_ons), strict=True)
        projected = nn.functional.linear(hypercolumns.to(weights[0].dtype), torch.cat(weights), torch.cat(biases))
        parts = projected.chunk(len(peers), dim=-1)
        finished = [add_on.finish(part) for add_on, part in zip(add_ons, parts, strict=True)]
        return [peer._judge(geometry, added) for peer, added in zip(peers, finished, strict=True)]

    def _judge(self, geometry: Tensor, added: Tensor | None) -> tuple[AUOutput, Tensor]:
        tokens, late = self._tokens(geometry, added)
        outputs = self.classifier(tokens)
        if late is not None:
            outputs = outputs + late
        config = self.config
        widths = [len(config.aus), len(config.intensity_aus), len(config.sided_aus), len(config.sided_aus)]
        occurrence, intensity, left, right = outputs.split(widths, dim=-1)
        return AUOutput(occurrence, 5 * torch.sigmoid(intensity), left, right), tokens

    def _tokens(self, geometry: Tensor, added: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, A, W) tokens after the transformer, and the late geometry's share of the outputs.

        The add-on gives (B, P, d) under landmarks, (B, A, W) of maps.
        """
        seen: list[Tensor] = []
        late = None
        if added is not None and isinstance(self.add_on, MapAddOn):
            seen.append(added)
        elif added is not None:
            chosen = [added.index_select(1, self.get_buffer(name)).flatten(1) for name in self._point_index]
            seen.append(_apply_each(self.region_tokens, chosen))
        if len(self.geometry_branches):
            standard = (geometry - self.geometry_mean) / self.geometry_std
            chosen = [standard.index_select(1, self.get_buffer(name)) for name in self._geometry_index]
            found = _apply_each(self.geometry_branches, chosen)
            if self.late is None:
                seen.append(found)
            else:
                late = self.late(found)
        tokens = torch.stack(seen).sum(dim=0).index_select(1, self.get_buffer(self._order))
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens), late

    def fold_standardisation(self, half: bool = False) -> None:
        """Move the channels' standardisation into the weights, for export; outputs stay the same but for the rounding that `half` asks for.

        Args:
            half: round the folded weights to 16 bits. Their part of the bias is then computed from the rounded weights, so the rounding
                does not shift the mean.
        """
        if self.add_on is not None:
            self.add_on.fold_standardisation(half)

    def _index(self, name: str, values: Tensor) -> str:
        self.register_buffer(f"index_{name}", values, persistent=False)
        return f"index_{name}"


def _add_on(config: FANTransConfig) -> AddOn:
    if config.add_on == "landmarks":
        return LandmarkAddOn(config.points, config.channels, config.landmark_width, config.landmark_drop)
    return MapAddOn(
        config.grid, config.channels, config.map_width, config.map_blocks, config.map_cells, len(config.aus), config.token_width,
        config.landmark_drop, config.dropout,
    )  # fmt: skip


def _geometry_of(points: Tensor, config: FANTransConfig) -> Tensor:
    """Places of a region's part in a geometry vector: its landmarks' coordinates and all distances; all of it beside a grid."""
    if config.grid:
        return torch.arange(config.geometry_size)
    distances = torch.arange(3 * config.points, config.geometry_size)
    return torch.cat([(3 * points[:, None] + torch.arange(3)).flatten(), distances])


def _apply_each(branches: nn.ModuleList, inputs: Sequence[Tensor]) -> Tensor:
    """Every region's branch on its own inputs, side by side."""
    return torch.cat([branch(part) for branch, part in zip(branches, inputs, strict=True)], dim=1)


class Ensemble(nn.Module):
    """Several heads as one: their logits and intensities are averaged.

    Raises:
        ValueError: there is no head, or the heads' AUs differ.
    """

    def __init__(self, heads: Sequence[FANTrans]) -> None:
        super().__init__()
        columns = {(head.config.aus, head.config.intensity_aus, head.config.sided_aus) for head in heads}
        if len(columns) != 1:
            raise ValueError(
                "an ensemble needs at least one head, and all heads must predict the same AUs in the same order"
            )
        self.heads = nn.ModuleList(heads)
        self.config = heads[0].config

    def forward(self, geometry: Tensor, hypercolumns: Tensor) -> AUOutput:
        """The heads' mean."""
        outputs = [head(geometry, hypercolumns) for head in self.heads]
        return AUOutput(*(torch.stack(parts).mean(dim=0) for parts in zip(*outputs, strict=True)))


def build(config: FANTransConfig) -> FANTrans:
    """A network with fresh weights (seed torch before)."""
    return FANTrans(config)
