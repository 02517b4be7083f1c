"""AU models by name, such as `auformer_vit_base_patch16_224` or `lora_vit_tiny_patch16_112`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from openau.errors import InputError
from openau.models.au_vit import AUViT, AUViTConfig, count_parameters
from openau.models.auformer import AUFormer
from openau.models.backbones import LoadedBackbone, load_backbone
from openau.models.petl import METHODS as PETL
from openau.models.rivals import Rival
from openau.models.vit import ViT, ViTConfig

METHODS = ("auformer", *PETL)
"""First part of a model's name."""


def parse(name: str) -> tuple[str, ViTConfig]:
    """Method and backbone of a name.

    Raises:
        ValueError: there is no such method or ViT.
    """
    method, _, vit = name.partition("_vit_")
    if method not in METHODS or not vit:
        raise ValueError(
            f"{name!r} names no model; names are like auformer_vit_base_patch16_224, and begin with {', '.join(METHODS)}"
        )
    return method, ViTConfig.named(f"vit_{vit}")


def build(config: AUViTConfig, vit: ViT) -> AUViT:
    """The model on this backbone, whose learnable part is fresh."""
    return AUFormer(config, vit) if config.method == "auformer" else Rival(config, vit)


def create_model(name: str, aus: Sequence[int], pretrained: bool | str | Path = False, **options: Any) -> AUViT:
    """An AU model with a fresh learnable part.

    Args:
        name: method and backbone, such as `auformer_vit_base_patch16_224`.
        aus: AUs to predict, in the order of the logits.
        pretrained: the backbone's weights: a safetensors file, the name of a backbone card (`openau models`), an address on the hub
            (`openau.models.backbones`); False = random ones, True = the card made for this architecture, if there is one.
        options: further settings of `AUViTConfig`: width, context, pool …

    Returns:
        (B, 3, S, S) RGB in [0, 1] → logits (B, N).

    Raises:
        ValueError: the name or an option means nothing.
        UsageError, WeightsError: the backbone's weights cannot be had or do not fit.
    """
    return build(*configure(name, aus, pretrained, **options))


def configure(
    name: str, aus: Sequence[int], pretrained: bool | str | Path = False, **options: Any
) -> tuple[AUViTConfig, ViT]:
    """What `create_model` builds: the configuration, and the backbone with its weights; arguments and errors are the same."""
    method, wanted = parse(name)
    unknown = options.keys() - {field.name for field in dataclasses.fields(AUViTConfig)}
    if unknown:
        raise ValueError(f"there is no option {sorted(unknown)[0]!r}")
    loaded = load_backbone(wanted, pretrained, wanted.size)
    config = AUViTConfig(
        tuple(aus), loaded.vit.config, _reference(loaded, pretrained), loaded.sha256, method, **options
    )
    return config, loaded.vit


def create_again(config: AUViTConfig) -> AUViT:
    """The model of a configuration, its backbone as it was; the learnable part is fresh.

    Raises:
        InputError, WeightsError: the backbone's weights cannot be had, or are others than those of `backbone_sha256`.
    """
    backbone = load_backbone(config.vit, config.backbone or False, config.vit.size)
    if backbone.sha256 != config.backbone_sha256:
        raise InputError(
            f"{config.backbone}: is another backbone than the model was trained on "
            f"(SHA-256 {backbone.sha256[:12]}…, not {config.backbone_sha256[:12]}…)"
        )
    return build(config, backbone.vit)


def parameters_of(name: str, aus: Sequence[int]) -> tuple[int, int]:
    """Learnable and all parameters of a model of this name, every option at its default; no memory is taken.

    Raises:
        ValueError: the name means nothing.
    """
    with torch.device("meta"):
        return count_parameters(create_model(name, aus))


def _reference(loaded: LoadedBackbone, pretrained: bool | str | Path) -> str:
    """By which `load_backbone` finds these weights again: a card's name, an address, a whole path; "" for random ones."""
    if not loaded.sha256:
        return ""
    if Path(str(pretrained)).exists():
        return str(Path(str(pretrained)).absolute())
    return str(pretrained) if loaded.card is None else loaded.card.name
