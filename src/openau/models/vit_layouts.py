"""Published layouts of Vision Transformers, turned into `openau.models.vit`'s: timm's, and Hugging Face's ViT, DINOv2 and CLIP.

What tensors cannot tell (heads, activation, epsilon, the statistics pixels are standardised with) comes from what the caller knows, else
from the `config.json` and `preprocessor_config.json` of the file's folder, else from the layout's usual values. Where the usual value
could silently be the wrong one, the file is refused instead.

Names of tensors are facts of the published libraries: timm's `vision_transformer.py` and what `save_pretrained` of Hugging Face's
`ViTModel`, `Dinov2Model`, `Dinov2WithRegistersModel` and `CLIPVisionModel` writes (their modules' own names, since version 5 of that
library others, are understood as well). Heads, poolers and text models in the same file are left out.

CLIP's last LayerNorm is meant for the class token alone; here it is applied to all tokens, as timm does.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from openau.errors import WeightsError
from openau.models.vit import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SIZES,
    Activation,
    ViT,
    ViTConfig,
    interpolate_positions,
)

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

Triple = tuple[float, float, float]

HEADS: Mapping[int, int] = MappingProxyType({**{width: heads for width, _, heads in SIZES.values()}, 1280: 16})
"""Width → heads of the published sizes, tiny to huge, for files that do not say."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ViT's tensors do not tell; None where it is not known. As in `ViTConfig`."""

    heads: int | None = None
    epsilon: float | None = None
    activation: Activation | None = None
    mean: Triple | None = None
    std: Triple | None = None

    def or_else(self, other: Facts) -> Facts:
        """These facts, those that are not known taken from `other`."""
        pairs = {
            field.name: (getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self)
        }
        return Facts(**{name: second if first is None else first for name, (first, second) in pairs.items()})


UNKNOWN = Facts()
"""No facts."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A file's network in our names.

    Attributes:
        config: of the network, complete.
        tensors: its state dict, float32.
        layout: what the file was recognised as.
    """

    config: ViTConfig
    tensors: Mapping[str, Tensor]
    layout: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How one library names the tensors of a ViT.

    Attributes:
        name: for sentences.
        block: beginning of the names of a block, `{}` for its number.
        names: ours → theirs; several are stacked into ours, one after the other. Names of a block begin with "*." on both sides.
            Those of modules stand for their weight and bias.
        needed: optional parts of ours that this layout always has.
        forbidden: optional parts of ours that it never has.
        ignored: beginnings of names that are no part of the backbone (heads, poolers …).
        renamed: pattern → the name this layout would have, for other spellings of the same.
        facts: usual values of what tensors do not tell.
    """

    name: str
    block: str
    names: Mapping[str, tuple[str, ...]]
    needed: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    facts: Facts = UNKNOWN

    @property
    def patch(self) -> str:
        """Their name of the patch projection's weight."""
        return f"{self.names['patch_embed.proj'][0]}.weight"

    @property
    def first_norm(self) -> str:
        """Their name of the first block's first LayerNorm's weight."""
        return self._of_block(self.names["*.norm1"][0], "0") + ".weight"

    def theirs(self, ours: str) -> tuple[str, ...]:
        """Their names of a tensor of our state dict; none if the layout has no such part."""
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", ours)
        number, inner = (match[1], f"*.{match[2]}") if match else ("", ours)
        if inner in self.names:
            return tuple(self._of_block(name, number) for name in self.names[inner])
        module, _, kind = inner.rpartition(".")
        return tuple(f"{self._of_block(name, number)}.{kind}" for name in self.names.get(module, ()))

    def _of_block(self, name: str, number: str) -> str:
        return self.block.format(number) + name[2:] if name.startswith("*.") else name


def _hugging_face(blocks: Mapping[str, str], **more: str) -> Mapping[str, tuple[str, ...]]:
    """What ViT's and DINOv2's names have in common, and the rest."""
    return MappingProxyType(
        {
            "cls_token": ("embeddings.cls_token",),
            "pos_embed": ("embeddings.position_embeddings",),
            "patch_embed.proj": ("embeddings.patch_embeddings.projection",),
            "norm": ("layernorm",),
            "*.attn.qkv": tuple(f"*.attention.attention.{part}" for part in ("query", "key", "value")),
            "*.attn.proj": ("*.attention.output.dense",),
            **{ours: (theirs,) for ours, theirs in {**blocks, **more}.items()},
        }
    )


_ATTENTION_SINCE_5 = (
    (r"attention\.q_proj\.", "attention.attention.query."),
    (r"attention\.k_proj\.", "attention.attention.key."),
    (r"attention\.v_proj\.", "attention.attention.value."),
    (r"attention\.o_proj\.", "attention.output.dense."),
)

TIMM = Layout(
    "timm's layout",
    "blocks.{}.",
    MappingProxyType(
        {
            name: (name,)
            for name in (
                "cls_token", "reg_token", "pos_embed", "patch_embed.proj", "norm_pre", "norm", "*.norm1", "*.attn.qkv", "*.attn.proj",
                "*.ls1", "*.norm2", "*.mlp.fc1", "*.mlp.fc2", "*.ls2",
            )
        }
    ),
    ignored=("head.", "head_dist.", "fc_norm.", "pre_logits.", "mask_token"),
    facts=Facts(epsilon=1e-6, activation="gelu", mean=HALF, std=HALF),
)  # fmt: skip
HF_VIT = Layout(
    "Hugging Face's ViT layout",
    "encoder.layer.{}.",
    _hugging_face(
        {
            "*.norm1": "*.layernorm_before",
            "*.norm2": "*.layernorm_after",
            "*.mlp.fc1": "*.intermediate.dense",
            "*.mlp.fc2": "*.output.dense",
        }
    ),
    needed=("cls_token",),
    ignored=("pooler.", "classifier.", "embeddings.mask_token"),
    renamed=(
        (r"^layers\.", "encoder.layer."),
        *_ATTENTION_SINCE_5,
        (r"mlp\.fc1\.", "intermediate.dense."),
        (r"mlp\.fc2\.", "output.dense."),
    ),
    facts=Facts(epsilon=1e-12, activation="gelu", mean=HALF, std=HALF),
)
DINOV2 = Layout(
    "Hugging Face's DINOv2 layout",
    "encoder.layer.{}.",
    _hugging_face(
        {
            "*.norm1": "*.norm1",
            "*.norm2": "*.norm2",
            "*.mlp.fc1": "*.mlp.fc1",
            "*.mlp.fc2": "*.mlp.fc2",
            "*.ls1.gamma": "*.layer_scale1.lambda1",
            "*.ls2.gamma": "*.layer_scale2.lambda1",
        },
        reg_token="embeddings.register_tokens",
    ),
    needed=("cls_token", "blocks.0.ls1.gamma"),
    ignored=("embeddings.mask_token", "classifier."),
    renamed=_ATTENTION_SINCE_5,
    facts=Facts(epsilon=1e-6, activation="gelu", mean=IMAGENET_MEAN, std=IMAGENET_STD),
)
CLIP = Layout(
    "Hugging Face's CLIP layout",
    "encoder.layers.{}.",
    MappingProxyType(
        {
            "cls_token": ("embeddings.class_embedding",),
            "pos_embed": ("embeddings.position_embedding.weight",),
            "patch_embed.proj": ("embeddings.patch_embedding",),
            "norm_pre": ("pre_layrnorm",),  # so spelt there
            "norm": ("post_layernorm",),
            "*.norm1": ("*.layer_norm1",),
            "*.attn.qkv": ("*.self_attn.q_proj", "*.self_attn.k_proj", "*.self_attn.v_proj"),
            "*.attn.proj": ("*.self_attn.out_proj",),
            "*.norm2": ("*.layer_norm2",),
            "*.mlp.fc1": ("*.mlp.fc1",),
            "*.mlp.fc2": ("*.mlp.fc2",),
        }
    ),
    needed=("cls_token", "norm_pre.weight"),
    forbidden=("patch_embed.proj.bias",),
    ignored=("embeddings.position_ids", "visual_projection."),
    facts=Facts(epsilon=1e-5, activation="quick_gelu", mean=CLIP_MEAN, std=CLIP_STD),
)

LAYOUTS = (TIMM, HF_VIT, DINOV2, CLIP)


def convert(
    tensors: Mapping[str, Tensor], where: str | Path, known: Facts = UNKNOWN, usual: Facts = UNKNOWN
) -> Converted:
    """A published state dict in our names.

    Args:
        tensors: name → tensor, of any floating type.
        where: the file they are from, for sentences.
        known: facts that are certain (of a card, of the files beside this one).
        usual: facts to take where neither `known` nor the tensors tell, before the layout's usual values.

    Raises:
        WeightsError: the layout is not known, a tensor is missing, unexpected or of the wrong shape, or a fact is needed.
    """
    layout, found = recognise(tensors, where)
    try:
        return _convert(layout, found, known, usual)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from None


def recognise(tensors: Mapping[str, Tensor], where: str | Path) -> tuple[Layout, dict[str, Tensor]]:
    """The layout, and the tensors of the backbone with what precedes their names taken off.

    Raises:
        WeightsError: no layout fits, or the file holds several backbones.
    """
    nearest: WeightsError | None = None
    for layout in LAYOUTS:
        prefixes = [name.removesuffix(layout.patch) for name in tensors if f".{name}".endswith(f".{layout.patch}")]
        if len(prefixes) > 1:
            raise WeightsError(f"{where}: holds several ViTs ({', '.join(sorted(prefixes))})")
        if prefixes:
            inner = {name.removeprefix(prefixes[0]): t for name, t in tensors.items() if name.startswith(prefixes[0])}
            found = {_canonical(layout, name): tensor for name, tensor in inner.items()}
            if layout.first_norm in found:
                return layout, found
            nearest = nearest or _lacks(where, layout.first_norm, layout)
    raise nearest or WeightsError(
        f"{where}: these are not the tensors of a ViT in a layout that is known ({', '.join(layout.name for layout in LAYOUTS)})"
    )


def facts_of_config(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None) -> Facts:
    """What a published `config.json` (Hugging Face's, or timm's) and `preprocessor_config.json` tell.

    Raises:
        ValueError: a value is of the wrong kind, or the activation is none that `ViTConfig` has.
    """
    is_timm = "pretrained_cfg" in config or "architecture" in config
    facts = _facts_of_timm(config) if is_timm else _facts_of_hugging_face(config)
    return _facts_of_preprocessor(preprocessor or {}).or_else(facts)


def resized(config: ViTConfig, tensors: Mapping[str, Tensor], size: int) -> tuple[ViTConfig, dict[str, Tensor]]:
    """The same network for pictures of another side; its position embeddings are interpolated once.

    Raises:
        ValueError: the patch does not divide the side.
    """
    other = dataclasses.replace(config, size=size)
    first = int(config.class_token)
    places = tensors["pos_embed"]
    patches = interpolate_positions(places[:, first:], other.grid, other.grid)
    return other, {**tensors, "pos_embed": torch.cat([places[:, :first], patches], dim=1)}


# Converting -----------------------------------------------------------------------------------------------------------


def _convert(layout: Layout, found: Mapping[str, Tensor], known: Facts, usual: Facts) -> Converted:
    config = _configuration(layout, found, known, usual)
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in ViT(config).state_dict().items()}
    parts = {name: layout.theirs(name) for name in wanted}
    used = {theirs for names in parts.values() for theirs in names}
    unexpected = sorted(name for name in found if name not in used and not name.startswith(layout.ignored))
    missing = [name for names in parts.values() for name in names if name not in found]
    if missing:
        raise ValueError(f"lacks the tensor {missing[0]} of {layout.name}")
    if unexpected:
        raise ValueError(f"holds the tensor {unexpected[0]}, which no ViT in {layout.name} that is known here has")
    tensors = {name: _float(parts[name], found) for name in wanted}
    tensors |= _tokens(config, tensors)
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            theirs = ", ".join(parts[name])
            raise ValueError(
                f"the tensor {theirs} has the shape {tuple(tensors[name].shape)} where {tuple(shape)} is needed"
            )
    return Converted(config, tensors, layout.name)


def _configuration(layout: Layout, found: Mapping[str, Tensor], known: Facts, usual: Facts) -> ViTConfig:
    """What the shapes tell, and the facts."""

    def has(ours: str) -> bool:
        names = layout.theirs(ours)
        return bool(names) and all(name in found for name in names)

    for part in layout.needed:
        if not has(part):
            raise ValueError(f"lacks the tensor {layout.theirs(part)[0]} of {layout.name}")
    for part in layout.forbidden:
        if has(part):
            raise ValueError(
                f"holds the tensor {layout.theirs(part)[0]}, which no ViT in {layout.name} that is known here has"
            )
    kernel = found[layout.patch]
    if kernel.ndim != 4 or kernel.shape[1] != 3 or kernel.shape[2] != kernel.shape[3]:
        raise ValueError(f"{layout.patch} has the shape {tuple(kernel.shape)}; (width, 3, patch, patch) is needed")
    width, patch = int(kernel.shape[0]), int(kernel.shape[2])
    hidden = _needed(layout, found, "blocks.0.mlp.fc1.weight").shape[0]
    registers = _needed(layout, found, "reg_token").shape[-2] if has("reg_token") else 0
    class_token, norm_before, scaled = has("cls_token"), has("norm_pre.weight"), has("blocks.0.ls1.gamma")
    count = _needed(layout, found, "pos_embed").shape[-2]
    if layout is TIMM and norm_before and known.activation is None:
        raise ValueError(
            "holds a CLIP network whose MLPs are GELU or CLIP's quick GELU, which the tensors do not tell; "
            "put the config.json it was published with beside it, or name the activation in its card"
        )
    facts = known.or_else(usual).or_else(_usual_of_timm(norm_before, scaled) if layout is TIMM else layout.facts)
    heads = facts.heads or HEADS.get(width)
    if heads is None:
        raise ValueError(
            f"does not tell how many heads its attention has ({width} wide); put the config.json it was published with beside it"
        )
    assert facts.epsilon is not None
    assert facts.activation is not None
    assert facts.mean is not None
    assert facts.std is not None
    depth = 1 + max(int(match[1]) for name in found if (match := re.match(layout.block.format(r"(\d+)"), name)))
    return ViTConfig(
        width=width, depth=depth, heads=heads, patch=patch, size=patch * _grid(count, int(class_token), registers),
        mlp_ratio=hidden / width, class_token=class_token, registers=registers, patch_bias=has("patch_embed.proj.bias"),
        norm_before=norm_before, layer_scale=1.0 if scaled else None, activation=facts.activation, epsilon=facts.epsilon,
        mean=facts.mean, std=facts.std,
    )  # fmt: skip


def _usual_of_timm(norm_before: bool, scaled: bool) -> Facts:
    """What timm has: CLIP's where a LayerNorm precedes the blocks, ImageNet's statistics where branches are scaled (DINOv2, DeiT III)."""
    if norm_before:
        return Facts(epsilon=1e-5, mean=CLIP_MEAN, std=CLIP_STD)
    return Facts(mean=IMAGENET_MEAN, std=IMAGENET_STD).or_else(TIMM.facts) if scaled else TIMM.facts


def _grid(count: int, class_token: int, registers: int) -> int:
    """Patches of a side of so many position embeddings, which may include those of the tokens before the patches.

    timm has them for all tokens, for all but the registers, or (`no_embed_class`) for the patches alone.
    """
    for others in (class_token + registers, class_token, 0):
        side = math.isqrt(max(count - others, 0))
        if side > 0 and side**2 == count - others:
            return side
    raise ValueError(f"its {count} position embeddings form no square")


def _tokens(config: ViTConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Class token, registers and position embeddings in our shapes; positions of registers become part of these."""
    width, first, patches = config.width, int(config.class_token), config.grid**2
    for name in ("cls_token", "reg_token", "pos_embed"):
        if name in tensors and tensors[name].shape[-1:] != (width,):
            raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}, but its tokens are {width} wide")
    places = tensors["pos_embed"].reshape(1, -1, width)
    changed = {name: tensors[name].reshape(1, -1, width) for name in ("cls_token", "reg_token") if name in tensors}
    before, places = places[:, :-patches], places[:, -patches:]
    if before.shape[1] == config.prefix and config.registers:
        changed["reg_token"] = changed["reg_token"] + before[:, first:]
    classes = before[:, :first] if before.shape[1] else torch.zeros(1, first, width)
    return {**changed, "pos_embed": torch.cat([classes, places], dim=1)}


def _float(names: Sequence[str], found: Mapping[str, Tensor]) -> Tensor:
    for name in names:
        if not found[name].is_floating_point():
            raise ValueError(f"the tensor {name} holds {found[name].dtype}, not floating-point numbers")
        if not bool(torch.isfinite(found[name]).all()):
            raise ValueError(f"the tensor {name} holds numbers that are not finite")
    try:
        return torch.cat([found[name].float() for name in names]) if len(names) > 1 else found[names[0]].float()
    except RuntimeError:
        shapes = ", ".join(str(tuple(found[name].shape)) for name in names)
        raise ValueError(f"the tensors {', '.join(names)} do not fit together: {shapes}") from None


def _needed(layout: Layout, found: Mapping[str, Tensor], ours: str) -> Tensor:
    name = layout.theirs(ours)[0]
    if name not in found:
        raise ValueError(f"lacks the tensor {name} of {layout.name}")
    if found[name].ndim == 0 or (ours in ("pos_embed", "reg_token") and found[name].ndim < 2):
        raise ValueError(f"the tensor {name} has the shape {tuple(found[name].shape)}, which cannot be")
    return found[name]


def _canonical(layout: Layout, name: str) -> str:
    for pattern, replacement in layout.renamed:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def _lacks(where: str | Path, name: str, layout: Layout) -> WeightsError:
    return WeightsError(f"{where}: lacks the tensor {name} of {layout.name}")


# Facts ----------------------------------------------------------------------------------------------------------------

_ON_IMAGENET = ("vit_mae", "vit_msn", "dinov2", "dinov2_with_registers", "deit")
"""Hugging Face's `model_type`s whose pixels are standardised with ImageNet's statistics where no file says otherwise."""
_ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({"gelu": "gelu", "quick_gelu": "quick_gelu"})


def _facts_of_hugging_face(config: Mapping[str, Any]) -> Facts:
    inner = config.get("vision_config", config)
    if not isinstance(inner, Mapping):
        raise ValueError("vision_config is no object")
    heads, epsilon, activation = (inner.get(key) for key in ("num_attention_heads", "layer_norm_eps", "hidden_act"))
    on_imagenet = inner.get("model_type") in _ON_IMAGENET
    return Facts(
        heads=None if heads is None else _count(heads, "num_attention_heads"),
        epsilon=None if epsilon is None else _positive(epsilon, "layer_norm_eps"),
        activation=None if activation is None else _activation(activation),
        mean=IMAGENET_MEAN if on_imagenet else None,
        std=IMAGENET_STD if on_imagenet else None,
    )


def _facts_of_timm(config: Mapping[str, Any]) -> Facts:
    """Of a `config.json` of timm's: the architecture's name tells of CLIP's activation, statistics stand in `pretrained_cfg`."""
    inner = config.get("pretrained_cfg", config)
    if not isinstance(inner, Mapping):
        raise ValueError("pretrained_cfg is no object")
    architecture = str(config.get("architecture", ""))
    if "siglip" in architecture:
        raise ValueError(f"{architecture} has an activation that is not known here")
    return Facts(
        activation="quick_gelu" if "quickgelu" in architecture else "gelu",
        mean=_triple(inner["mean"], "mean") if "mean" in inner else None,
        std=_triple(inner["std"], "std", positive=True) if "std" in inner else None,
    )


def _facts_of_preprocessor(preprocessor: Mapping[str, Any]) -> Facts:
    if preprocessor.get("do_normalize") is False:
        return Facts(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    return Facts(
        mean=None if mean is None else _triple(mean, "image_mean"),
        std=None if std is None else _triple(std, "image_std", positive=True),
    )


def _activation(value: Any) -> Activation:
    if value not in _ACTIVATIONS:
        raise ValueError(f"the activation {value!r} is not known here; there are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[value]


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be a positive whole number, not {value!r}")
    return value


def _positive(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{what} must be a positive number, not {value!r}")
    return float(value)


def _triple(value: Any, what: str, positive: bool = False) -> Triple:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(f"{what} must be three numbers, not {value!r}")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{what} must be three numbers, not {value!r}")
        if positive and number <= 0:
            raise ValueError(f"{what} must be positive, not {value!r}")
    return cast(Triple, tuple(float(number) for number in value))
