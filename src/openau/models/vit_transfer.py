"""Weights of one AU model on a ViT for another that predicts other AUs: what both have is taken over, the rest stays fresh.

Of AUFormer that is each shared AU's experts at every site, its classifier of their stream, and its row of the head; of its rivals, all but
the head's rows, which have nothing to do with AUs.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from openau.models.au_vit import AUViT, AUViTConfig

_MAY_DIFFER = frozenset(("aus", "vit", "backbone", "backbone_sha256", "width"))
"""Settings that are compared by themselves (the backbone, the AUs) or by the sizes of weights."""


def start_from(target: AUViT, source: AUViT) -> tuple[int, ...]:
    """Take over the source's learnable weights.

    With the same AUs in both, the target then says exactly what the source says, in any order of AUs. With others it does not: experts
    act by their mean, and the mean is then of other experts.

    Args:
        target: fresh; changed in place.
        source: of the same method on the same backbone; its pictures may have another side.

    Returns:
        The AUs whose own weights were taken over.

    Raises:
        ValueError: the models stand on other backbones, are made otherwise or of other sizes, or share no AU.
    """
    _require_same_network(target.config, source.config)
    shared = tuple(number for number in target.config.aus if number in source.config.aus)
    if not shared:
        raise ValueError("the two models have no AU in common")
    here = torch.tensor([target.config.aus.index(number) for number in shared])
    there = torch.tensor([source.config.aus.index(number) for number in shared])
    mine, given = target.kept(), source.kept()
    if odd := sorted(mine.keys() ^ given.keys()):
        raise ValueError(f"only one of the two models has {odd[0]}")
    for name, weight in mine.items():
        axis = au_axis(target, name)
        _require_same_size(name, weight, given[name], axis)
        device = weight.device
        if axis is None:
            weight.copy_(given[name])
        else:
            weight.index_copy_(axis, here.to(device), given[name].index_select(axis, there.to(device)).to(weight))
    return shared


def au_axis(model: AUViT, name: str) -> int | None:
    """The axis of a parameter that counts the model's AUs; None if there is none."""
    if name.startswith("mokes."):
        return 0
    if name.startswith("experts."):
        return 1
    last = len(model.head.layers) - 1
    return 0 if name.startswith(f"head.layers.{last}.") else None


def _require_same_network(target: AUViTConfig, source: AUViTConfig) -> None:
    if target.backbone_sha256 != source.backbone_sha256:
        raise ValueError(
            f"it stands on another backbone ({source.backbone or 'random weights'}, not {target.backbone or 'random weights'})"
        )
    if dataclasses.replace(source.vit, size=target.vit.size) != target.vit:
        raise ValueError("its backbone is made otherwise")
    for field in dataclasses.fields(AUViTConfig):
        theirs, ours = (getattr(config, field.name) for config in (source, target))
        if field.name not in _MAY_DIFFER and theirs != ours:
            raise ValueError(f"its {field.name} is {theirs!r}, not {ours!r}")


def _require_same_size(name: str, weight: Tensor, given: Tensor, axis: int | None) -> None:
    sizes = [[size for place, size in enumerate(one.shape) if place != axis] for one in (weight, given)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"its {name} has the size {tuple(given.shape)}, not {tuple(weight.shape)}")
