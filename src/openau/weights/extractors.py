"""Cards of feature extractors: frozen networks that AU models read, exported to ONNX.

Plain JSON like a model's card, under a name of its own, `<name>.extractor.json` beside `<name>.onnx`, so that both can lie in one folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openau.weights import strict
from openau.weights.cards import (
    MODEL_NAME,
    Asset,
    Measure,
    decode_asset,
    decode_measures,
    encode_asset,
    encode_measures,
)

CARD_SUFFIX = ".extractor.json"
"""What replaces `.onnx` in the name of the card's file."""
_KIND = "extractor card"


@dataclass(frozen=True, slots=True)
class ExtractorCard:
    """What a frozen network is, what it sees and gives, and how good it is.

    Its ONNX file has the input `image` (B, 3, size, size) float32, RGB in [0, 1], and the outputs `heatmaps` (B, points, side, side) and
    `features` (B, channels, side, side); B is free.

    Attributes:
        name: "architecture.tag", e.g. `fan_small.synth`.
        architecture: the part of the name before the dot.
        points: landmarks.
        size: side of the crop, pixels.
        channels: of the features. side: of the features and heatmaps.
        template: name of the alignment template (`openau.faces.align.TEMPLATES`).
        asset: the ONNX file.
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
    points: int
    size: int
    channels: int
    side: int
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
        for label in ("template", "licence", "origin", "trained_on", "limits"):
            strict.require(bool(getattr(self, label)), f"{label} must not be empty")

    def to_json(self) -> str:
        """The card as JSON text, stable enough to diff; `from_json` gives back an equal card."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        plain |= {"asset": encode_asset(self.asset), "measured": encode_measures(self.measured)}
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str | Path = "card") -> ExtractorCard:
        """Read a card.

        Args:
            text: the JSON text.
            where: the file it came from, for the error's sentence.

        Raises:
            WeightsError: the text is not JSON, or a key is unknown, missing, of the wrong type or impossible.
        """
        return strict.document(text, where, _KIND, _decode)

    @classmethod
    def read(cls, file: Path) -> ExtractorCard:
        """Read the card in `file`.

        Raises:
            WeightsError: the file cannot be read or is not a valid card.
        """
        return cls.from_json(strict.read(file, _KIND), file)


_NUMBERS = ("points", "size", "channels", "side")
_TEXTS = ("name", "architecture", "template", "licence", "origin", "trained_on", "recipe", "limits")


def card_beside(file: Path) -> Path:
    """Where the card of an extractor's ONNX file lies."""
    return file.with_name(file.name.removesuffix(file.suffix) + CARD_SUFFIX)


def _decode(document: Any) -> ExtractorCard:
    value = strict.fields(document, "the card", ExtractorCard.__dataclass_fields__)
    texts = {key: strict.text(value[key], key) for key in _TEXTS}
    numbers = {key: strict.integer(value[key], key) for key in _NUMBERS}
    asset, measured = decode_asset(value["asset"]), decode_measures(value["measured"])
    return ExtractorCard(asset=asset, measured=measured, **numbers, **texts)  # type: ignore[arg-type]
