"""Backbones from files: published ViTs, our own, or none.

    load_backbone(ViTConfig.named("vit_tiny_patch16_224"), False)         random weights
    load_backbone(None, "vit_tiny_face.synth", size=112)                  by a card's name, for pictures of another side
    load_backbone(None, "vit-base/model.safetensors")                     a file of a layout that `vit_layouts` knows
    load_backbone(None, "hub:owner/name@revision/model.safetensors")      a hub's file that a card pins

Only safetensors are read, never a pickle. A file of ours holds `ViTConfig` in its header, so nothing about it has to be guessed:

    {"format": "openau.vit/1", "config": ViTConfig as JSON, …facts of whoever wrote it}
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from openau.errors import UsageError, WeightsError
from openau.models import vit_layouts
from openau.models.vit import SIZES, ViT, ViTConfig
from openau.models.vit_layouts import Converted, Facts
from openau.outputs import whole_file
from openau.weights import store
from openau.weights.backbones import BackboneCard, card_beside
from openau.weights.cards import Asset, Measure, Packaged, Source

FORMAT = "openau.vit/1"
RANDOM = "random"
"""Name of the backbone that nothing was loaded for."""

_OURS = "openau."
_OWN_KEYS = ("format", "config")


@dataclass(frozen=True)
class LoadedBackbone:
    """A network with its weights, and where they are from.

    Attributes:
        vit: the network, on the CPU, float32, in evaluation mode; everything requires gradients.
        name: the card's name; without a card the hub id or the file's name; "random".
        sha256: of the file; "" for random weights.
        card: the card, if there is one.
        facts: what the header of a file of ours says beyond the configuration.
    """

    vit: ViT
    name: str
    sha256: str
    card: BackboneCard | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What a card says beyond what the file tells; as in `BackboneCard`.

    Attributes:
        sources: where the file can be had besides the card's folder, tried in order (`HubFile`, `Url`).
    """

    name: str
    licence: str
    origin: str
    trained_on: str
    recipe: str
    limits: str
    template: str = "none"
    sources: tuple[Source, ...] = ()
    measured: Mapping[str, Measure] = field(default_factory=dict)


def load_backbone(config: ViTConfig | None, pretrained: str | Path | bool, size: int | None = None) -> LoadedBackbone:
    """A backbone, with the weights that `pretrained` names.

    Args:
        config: the network that is wanted; a file must have its width, blocks, heads and patch. All else (registers, layer scale, the
            statistics of pixels …) is as the file has it. None = whatever the file is.
        pretrained: False: random weights, from PyTorch's generator as it stands. True: the shipped backbone that fits `config`.
            Otherwise the name of a card, a hub id that a card pins, or the path of a safetensors file (or of the folder it lies in, as
            `model.safetensors`).
        size: side of the pictures it is for, pixels. Default: `config`'s, else the file's. Position embeddings made for another side are
            interpolated once.

    Raises:
        UsageError: there is no such backbone, the file's network is not the one wanted, or the patch does not divide the size.
        WeightsError: the file is missing, damaged, pickled, or of no layout that is known.
    """
    if pretrained is False:
        if config is None:
            raise UsageError("random weights need to be told which network they are for")
        return LoadedBackbone(ViT(_sized(config, size)).eval(), RANDOM, "")
    wanted = _shipped(config) if pretrained is True else pretrained
    card, path = store.resolve_backbone(wanted)
    header, tensors = _read(path)
    made = _made(path, header, tensors, card, config)
    if card is not None:
        _check_card(path, made.config, card)
    if config is not None:
        _check_wanted(str(wanted), made.config, config)
    side = size or (config.size if config is not None else made.config.size)
    vit = _build(made, side)
    facts = {key: value for key, value in header.items() if key not in _OWN_KEYS} if made.layout == FORMAT else {}
    return LoadedBackbone(vit, card.name if card else path.name, _sha256(path, card), card, facts)


def save_backbone(path: Path, vit: ViT, facts: Mapping[str, str], dtype: torch.dtype | None = None) -> None:
    """Write a file of ours, whole or not at all; the same network and facts give the same bytes.

    Args:
        path: the file, `.safetensors`.
        vit: the network, on any device.
        facts: for the header: how it came about.
        dtype: store numbers in this type (`torch.float16` halves the file); as they are by default. Reading gives float32.

    Raises:
        ValueError: a fact is called "format" or "config".
        OutputError: the file cannot be written.
    """
    taken = [key for key in _OWN_KEYS if key in facts]
    if taken:
        raise ValueError(f"no fact may be called {taken[0]!r}, which the format itself uses")
    header = {"format": FORMAT, "config": vit.config.to_json(), **facts}
    tensors = {
        name: tensor.detach().to(device="cpu", dtype=dtype).contiguous() for name, tensor in vit.state_dict().items()
    }
    with whole_file(path) as scratch:
        scratch.write_bytes(_ordered(save(tensors, header)))


def card_of(path: Path, facts: BackboneFacts) -> BackboneCard:
    """The card of a file: of one of ours, or of a published one (with the `config.json` it was published with beside it).

    To use a file of a hub by its id, download it, name it in `facts.sources` as a `HubFile`, and put the card into the folder of the
    user's models (`openau.weights.store.user_models`); from then on the bytes are known and may be fetched.

    Raises:
        UsageError: a fact cannot be (the name's form …).
        WeightsError: the file cannot be read as a backbone.
    """
    header, tensors = _read(path)
    config = _made(path, header, tensors, None, None).config
    try:
        asset = Asset(
            name=facts.name, sha256=_sha256(path, None), size=path.stat().st_size, licence=facts.licence, origin=facts.origin,
            sources=(Packaged(path.name), *facts.sources),
        )  # fmt: skip
        return BackboneCard(
            name=facts.name, architecture=facts.name.partition(".")[0], network=_network(config), width=config.width, depth=config.depth,
            heads=config.heads, patch=config.patch, size=config.size, epsilon=config.epsilon, activation=config.activation,
            mean=config.mean, std=config.std, template=facts.template, asset=asset, licence=facts.licence, origin=facts.origin,
            trained_on=facts.trained_on, recipe=facts.recipe, measured=facts.measured, limits=facts.limits,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"{path}: no card can be written: {error}") from None


def write_card(path: Path, facts: BackboneFacts) -> BackboneCard:
    """Write the card of a file beside it.

    Raises:
        UsageError, WeightsError: as `card_of`.
        OutputError: it cannot be written.
    """
    card = card_of(path, facts)
    with whole_file(card_beside(path)) as scratch:
        scratch.write_text(card.to_json(), encoding="utf-8")
    return card


def facts_beside(file: Path) -> Facts:
    """What `config.json` and `preprocessor_config.json` in the folder of a published file tell about it.

    Raises:
        WeightsError: one of them cannot be read or holds a value that cannot be.
    """
    config, preprocessor = file.with_name("config.json"), file.with_name("preprocessor_config.json")
    documents = [_document(place) for place in (config, preprocessor)]
    try:
        return vit_layouts.facts_of_config(*documents)
    except ValueError as error:
        raise WeightsError(f"{config}: {error}") from None


def _ordered(content: bytes) -> bytes:
    """A safetensors file with the facts of its header in alphabetical order; the library's order changes from run to run."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


# Reading --------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file."""
    try:
        with path.open("rb") as file:
            start = file.read(40)
        _refuse(path, start)
        with safe_open(path, "pt") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors: {str(error).splitlines()[0]}") from None


def _refuse(path: Path, start: bytes) -> None:
    """Refuse by content what is no safetensors file; one begins with eight bytes of length, then "{"."""
    if start[8:9] == b"{":
        return
    if start.startswith((b"PK", b"\x80")):
        raise WeightsError(
            f"{path}: is a pickled checkpoint, as torch.save writes it, which can run any code when it is read; "
            "only safetensors files are read here"
        )
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: is a pointer of Git LFS; the file itself was not fetched")
    raise WeightsError(f"{path}: is no safetensors file")


def _made(
    path: Path,
    header: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    card: BackboneCard | None,
    config: ViTConfig | None,
) -> Converted:
    """The network of a file of ours or of a published one; other files of ours are none."""
    kind = header.get("format", "")
    if kind == FORMAT:
        return _own(path, header, tensors)
    if kind.startswith(_OURS):
        raise WeightsError(f"{path}: is no backbone but a file of OpenAU's of another kind ({kind})")
    return _published(path, tensors, card, config)


def _own(path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Converted:
    try:
        config = ViTConfig.from_json(header["config"])
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: is damaged: its configuration cannot be read ({error})") from None
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in ViT(config).state_dict().items()}
    for name, shape in shapes.items():
        if name not in tensors:
            raise WeightsError(f"{path}: lacks the tensor {name}")
        if tensors[name].shape != shape or not tensors[name].is_floating_point():
            found = f"{tuple(tensors[name].shape)}, {tensors[name].dtype}"
            raise WeightsError(f"{path}: the tensor {name} is {found} where numbers of shape {tuple(shape)} are needed")
    unexpected = sorted(set(tensors) - set(shapes))
    if unexpected:
        raise WeightsError(f"{path}: holds the tensor {unexpected[0]}, which its network has not")
    return Converted(config, {name: tensors[name].float() for name in shapes}, FORMAT)


def _published(
    path: Path, tensors: Mapping[str, Tensor], card: BackboneCard | None, config: ViTConfig | None
) -> Converted:
    known = facts_beside(path) if card is None else _facts_of_card(card)
    usual = vit_layouts.UNKNOWN if config is None else Facts(heads=config.heads)
    return vit_layouts.convert(tensors, path, known, usual)


def _facts_of_card(card: BackboneCard) -> Facts:
    activation = "quick_gelu" if card.activation == "quick_gelu" else "gelu"
    return Facts(card.heads, card.epsilon, activation, card.mean, card.std)  # type: ignore[arg-type]


def _document(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file."""
    if not file.is_file():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise WeightsError(f"{file}: is no JSON ({error})") from None
    if not isinstance(document, dict):
        raise WeightsError(f"{file}: is no JSON object")
    return document


def _sha256(path: Path, card: BackboneCard | None) -> str:
    if card is not None:
        return card.asset.sha256  # the store has checked it
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _network(config: ViTConfig) -> str:
    """The network's name, if its size has one."""
    sizes = {numbers: name for name, numbers in SIZES.items()}
    name = sizes.get((config.width, config.depth, config.heads), f"{config.width}x{config.depth}")
    return f"vit_{name}_patch{config.patch}_{config.size}"


# Building -------------------------------------------------------------------------------------------------------------


def _build(made: Converted, side: int) -> ViT:
    """The network with these weights; nothing is initialised, so PyTorch's generator stays where it is."""
    config, tensors = made.config, dict(made.tensors)
    if side != config.size:
        _sized(config, side)
        config, tensors = vit_layouts.resized(config, tensors, side)
    with torch.device("meta"):
        vit = ViT(config)
    vit.load_state_dict(tensors, assign=True)
    for name, values in (("mean", config.mean), ("std", config.std)):
        vit.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
    return vit.eval()


def _sized(config: ViTConfig, size: int | None) -> ViTConfig:
    try:
        return config if size is None else dataclasses.replace(config, size=size)
    except ValueError as error:
        raise UsageError(f"{error}; choose another size") from None


def _check_wanted(name: str, found: ViTConfig, wanted: ViTConfig) -> None:
    for key, what in (("width", "wide"), ("depth", "blocks deep"), ("heads", "heads"), ("patch", "pixels a patch")):
        has, needs = getattr(found, key), getattr(wanted, key)
        if has != needs:
            raise UsageError(f"{name}: holds a ViT of {has} {what}, but one of {needs} is wanted")


def _check_card(path: Path, found: ViTConfig, card: BackboneCard) -> None:
    for key in ("width", "depth", "heads", "patch", "size", "epsilon", "activation", "mean", "std"):
        has, says = getattr(found, key), getattr(card, key)
        if has != says:
            raise WeightsError(f"{path}: its {key} is {has}, but its card {card.name} says {says}")


def _shipped(config: ViTConfig | None) -> str:
    """Name of the shipped backbone of this width, depth, heads and patch."""
    cards = [store.backbone(name) for name in store.shipped_backbones()]
    for card in cards:
        fits = config is not None and all(
            getattr(card, key) == getattr(config, key) for key in ("width", "depth", "heads", "patch")
        )
        if fits:
            return card.name
    known = ", ".join(card.name for card in cards) or "none"
    raise UsageError(
        f"no shipped backbone fits; there are: {known}; name a card, or give the path of a safetensors file"
    )
