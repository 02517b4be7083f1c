"""Weights of one FAN-Trans for another that predicts other AUs: what both have is taken over, the rest stays fresh.

The method's authors start DISFA from a model trained on BP4D (their public AU-Net [R]). The two share AUs 1, 2, 4, 6 and 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openau.models.fantrans import FANTrans, FANTransConfig

Labels = tuple[object, ...] | None
"""What the places along one axis of a tensor stand for; None where they stand for nothing in particular."""


def start_from(target: FANTrans, source: FANTrans) -> tuple[int, ...]:
    """Take over the source's weights, and what it standardises its inputs with.

    Args:
        target: fresh; changed in place.
        source: trained on the same kind of features, of the same sizes.

    Returns:
        The AUs whose own weights were taken over.

    Raises:
        ValueError: the models are of other sizes, read other features, or share no AU.
    """
    for name in ("extractor", "extractor_sha256", "points", "grid"):
        if getattr(source.config, name) != getattr(target.config, name):
            raise ValueError(f"the two models read other features ({name})")
    shared = tuple(number for number in target.config.aus if number in source.config.aus)
    if not shared:
        raise ValueError("the two models have no AU in common")
    given = {_key(name, source.config): (name, tensor) for name, tensor in source.state_dict().items()}
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            found = given.get(_key(name, target.config))
            if found is None:
                if _region(name, target.config) is None:
                    raise ValueError(f"the other model has no {name}")
                continue
            _take(tensor, found[1], _axes(name, target.config), _axes(found[0], source.config), name)
    return shared


def _take(target: Tensor, source: Tensor, wanted: Sequence[Labels], given: Sequence[Labels], name: str) -> None:
    """Copy, along every axis, the places that stand for the same."""
    if not wanted:
        if target.shape != source.shape:
            raise ValueError(f"{name} has the size {tuple(target.shape)} here and {tuple(source.shape)} there")
        target.copy_(source)
        return
    into, out_of = (tensor.reshape(_sizes(tensor, axes)) for tensor, axes in ((target, wanted), (source, given)))
    places = []
    for axis, (mine, theirs) in enumerate(zip(wanted, given, strict=True)):
        if mine is None or theirs is None:
            if into.shape[axis] != out_of.shape[axis]:
                raise ValueError(f"{name} has the size {tuple(target.shape)} here and {tuple(source.shape)} there")
            pairs = [(place, place) for place in range(into.shape[axis])]
        else:
            pairs = [(place, theirs.index(label)) for place, label in enumerate(mine) if label in theirs]
        places.append(pairs)
    here, there = (
        torch.meshgrid(*(torch.tensor([p[side] for p in pairs], dtype=torch.long) for pairs in places), indexing="ij")
        for side in (0, 1)
    )
    into[here] = out_of[there].to(into.dtype)


def _sizes(tensor: Tensor, axes: Sequence[Labels]) -> tuple[int, ...]:
    """The tensor's shape with one axis per entry of `axes`: an axis that holds AUs × something is taken apart."""
    sizes = list(tensor.shape)
    for axis, labels in enumerate(axes):
        if labels is not None and axis < len(sizes) and sizes[axis] != len(labels):
            sizes[axis : axis + 1] = [len(labels), sizes[axis] // len(labels)]
    return tuple(sizes)


def _axes(name: str, config: FANTransConfig) -> tuple[Labels, ...]:
    """What the axes of a tensor stand for, AUs × something as two axes; nothing where no axis has to do with AUs."""
    aus: Labels = config.aus
    outputs: Labels = tuple(
        (kind, number)
        for kind, numbers in (
            ("occurrence", config.aus), ("intensity", config.intensity_aus), ("left", config.sided_aus), ("right", config.sided_aus),
        )
        for number in numbers
    )  # fmt: skip
    region = _region(name, config)
    part = name.split(".")[-1]
    if region is not None and ".tokens." in name:
        own: Labels = config.regions[region].aus
        return (own, None, None) if part == "weight" else (own, None)
    if name.endswith("keep_logit"):
        return (None, aus, aus)
    if name.startswith("classifier.gather"):
        return (None, aus, None)
    if name.startswith(("classifier.own", "classifier.spread.weight")):
        return (outputs, None)
    if name in ("classifier.spread.bias", "classifier.bias", "late.bias"):
        return (outputs,)
    if name == "late.weight":
        return (outputs, tuple(region.name for region in config.regions), None)
    if name in ("add_on.query", "add_on.token_bias"):
        return (aus, None)
    if name == "add_on.token_weight":
        return (aus, None, None)
    return ()


def _region(name: str, config: FANTransConfig) -> int | None:
    """Position of the region a tensor belongs to; None if it belongs to none."""
    first, *rest = name.split(".")
    return int(rest[0]) if first in ("region_tokens", "geometry_branches") else None


def _key(name: str, config: FANTransConfig) -> str:
    """The tensor's name with its region's name instead of its number: which regions there are depends on the AUs."""
    region = _region(name, config)
    if region is None:
        return name
    first, _, *rest = name.split(".")
    return ".".join([first, config.regions[region].name, *rest])
