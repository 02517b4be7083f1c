"""Cards of backbones: pretrained Vision Transformers that AU models are built on, as safetensors.

Plain JSON, `<name>.backbone.json` beside `<name>.safetensors`. A card pins every byte of its file (SHA-256, size), so a card is also how a
file of a public hub is named: its source is then `{"kind": "hub_file", "repo": "owner/name", "revision": …, "filename": …}`, and
`hub:owner/name@revision/filename` finds the card.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openau.errors import UsageError
from openau.weights import strict
from openau.weights.cards import (
    MODEL_NAME,
    Asset,
    HubFile,
    Measure,
    decode_asset,
    decode_measures,
    encode_asset,
    encode_measures,
)

CARD_SUFFIX = ".backbone.json"
"""What replaces `.safetensors` in the name of the card's file."""
HUB = "hub:"
"""Beginning of a hub id."""
ACTIVATIONS = ("gelu", "quick_gelu")

_KIND = "backbone card"
_HUB_ID = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)/(?P<filename>[\w./-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """What a pretrained backbone is, what it was trained on, and how good it is.

    Attributes:
        name: "architecture.tag", e.g. `vit_tiny_face.synth`.
        architecture: the part of the name before the dot.
        network: the ViT it is, as `ViTConfig.named` calls it, e.g. `vit_tiny_patch16_224`; for people.
        width: of the tokens. depth: blocks. heads: of the attention. patch: side of a patch, pixels. size: side of the picture it was
            trained on, pixels.
        epsilon: of the LayerNorms.
        activation: of the MLPs, "gelu" or "quick_gelu".
        mean, std: of RGB in [0, 1] that pixels are standardised with.
        template: name of the alignment template of the faces it was trained on, or "none" for pictures that are no aligned faces.
        asset: the safetensors file.
        licence: SPDX expression.
        origin: who made it.
        trained_on: data, images, identities.
        recipe: how it was trained.
        measured: what → measure.
        limits: where it fails and what it must not be used for.

    Raises:
        ValueError: the fields contradict each other.
    """

    name: str
    architecture: str
    network: str
    width: int
    depth: int
    heads: int
    patch: int
    size: int
    epsilon: float
    activation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    template: str
    asset: Asset
    licence: str
    origin: str
    trained_on: str
    recipe: str
    measured: Mapping[str, Measure] = field(hash=False)
    limits: str

    def __post_init__(self) -> None:
        strict.require(bool(MODEL_NAME.fullmatch(self.name)), f"{self.name!r} is not of the form architecture.tag")
        prefix = self.name.split(".")[0]
        strict.require(prefix == self.architecture, f"{self.name!r} does not begin with {self.architecture!r}")
        for label in _NUMBERS:
            strict.require(getattr(self, label) > 0, f"{label} must be positive")
        strict.require(self.width % self.heads == 0, f"{self.heads} heads do not divide the width {self.width}")
        strict.require(
            self.size % self.patch == 0, f"patches of {self.patch} pixels do not divide a side of {self.size}"
        )
        strict.require(0 < self.epsilon < 1, "epsilon must lie between 0 and 1")
        strict.require(self.activation in ACTIVATIONS, f"activation must be one of {', '.join(ACTIVATIONS)}")
        strict.require(all(math.isfinite(value) for value in (*self.mean, *self.std)), "mean and std must be finite")
        strict.require(min(self.std) > 0, "std must be positive")
        for label in ("network", "template", "licence", "origin", "trained_on", "limits"):
            strict.require(bool(getattr(self, label)), f"{label} must not be empty")

    def to_json(self) -> str:
        """The card as JSON text, stable enough to diff; `from_json` gives back an equal card."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        plain |= {"mean": list(self.mean), "std": list(self.std)}
        plain |= {"asset": encode_asset(self.asset), "measured": encode_measures(self.measured)}
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str | Path = "card") -> BackboneCard:
        """Read a card.

        Args:
            text: the JSON text.
            where: the file it came from, for the error's sentence.

        Raises:
            WeightsError: the text is not JSON, or a key is unknown, missing, of the wrong type or impossible.
        """
        return strict.document(text, where, _KIND, _decode)

    @classmethod
    def read(cls, file: Path) -> BackboneCard:
        """Read the card in `file`.

        Raises:
            WeightsError: the file cannot be read or is not a valid card.
        """
        return cls.from_json(strict.read(file, _KIND), file)


_NUMBERS = ("width", "depth", "heads", "patch", "size")
_TEXTS = (
    "name", "architecture", "network", "activation", "template", "licence", "origin", "trained_on", "recipe", "limits",
)  # fmt: skip


def card_beside(file: Path) -> Path:
    """Where the card of a backbone's safetensors file lies."""
    return file.with_name(file.name.removesuffix(file.suffix) + CARD_SUFFIX)


def hub_file(identity: str) -> HubFile:
    """What `hub:owner/name@revision/filename` names.

    Raises:
        UsageError: it has another form.
    """
    match = _HUB_ID.fullmatch(identity)
    if match is None or ".." in match["filename"].split("/"):
        raise UsageError(f"{identity!r} is no hub id; they are like hub:owner/name@revision/model.safetensors")
    return HubFile(match["repo"], match["revision"], match["filename"])


def _decode(document: Any) -> BackboneCard:
    value = strict.fields(document, "the card", BackboneCard.__dataclass_fields__)
    numbers = {key: strict.integer(value[key], key) for key in _NUMBERS}
    texts = {key: strict.text(value[key], key) for key in _TEXTS}
    return BackboneCard(
        epsilon=strict.number(value["epsilon"], "epsilon"),
        mean=_triple(value["mean"], "mean"),
        std=_triple(value["std"], "std"),
        asset=decode_asset(value["asset"]),
        measured=decode_measures(value["measured"]),
        **numbers,  # type: ignore[arg-type]
        **texts,  # type: ignore[arg-type]
    )


def _triple(value: Any, where: str) -> tuple[float, float, float]:
    strict.require(isinstance(value, list) and len(value) == 3, f"{where} must be a list of three numbers")
    red, green, blue = (strict.number(item, where) for item in value)
    return red, green, blue
