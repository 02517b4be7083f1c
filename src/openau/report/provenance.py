"""How a table was made: what its sidecar says, and the card of the model it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from openau.errors import OpenAUError
from openau.sinks.sidecar import read_origin
from openau.weights.cards import ModelCard
from openau.weights.store import resolve_model


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a table was made, as far as it is known.

    Attributes:
        version: of OpenAU that detected; "" where the table has no sidecar.
        settings: what the rows depend on: model, sha256, mirror, calibrate …
        card: of the model, if it is known here and is the very one (by its hash).
        table: name of the table; "" where there was none.
    """

    version: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    card: ModelCard | None = None
    table: str = ""


def provenance_of(table: Path) -> Provenance:
    """What is known about a table on disk."""
    origin = read_origin(table)
    version, settings = ("", {}) if origin is None else (origin.version, dict(origin.settings))
    return Provenance(version, settings, card_for(settings), table.name)


def card_for(settings: Mapping[str, str]) -> ModelCard | None:
    """The card of the model that the settings name, if this installation has the same file."""
    if not settings.get("model"):
        return None
    try:
        card, _ = resolve_model(settings["model"])
    except OpenAUError:
        return None
    return card if settings.get("sha256", card.asset.sha256) == card.asset.sha256 else None
