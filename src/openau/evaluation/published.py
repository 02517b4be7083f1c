"""Published results to place ours beside: F1 in percent, frame by frame, mean of three parts, unless a row says otherwise.

None of these numbers was measured here. `source` says where each was read and how sure it is; most public code of the field chooses the
epoch on the test part, which OpenAU does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from openau.evaluation.publish import Row
from openau.facs import DATASET_AUS


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table.

    Attributes:
        method: name of the model.
        protocol: name in `openau.evaluation.protocols`.
        average: F1 in percent, over the protocol's AUs.
        source: where it was read.
        values: AU → F1 in percent; empty or partial where only that much is known.
    """

    method: str
    protocol: str
    average: float
    source: str
    values: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))

    def to_row(self) -> Row:
        """The row as tables take it."""
        values = {number: value / 100 for number, value in self.values.items()}
        return Row(f"{self.method} (published)", values, self.average / 100, self.source)


_MDHR = "as tabled by MDHR (CVPR 2024, tables 1 and 2)"
_AVERAGE = "average as quoted by later papers of the field; per-AU values not at hand"
_AUFORMER = "AUFormer (ECCV 2024, arXiv 2403.04697)"
_FLOOR = "F1 of calling every frame positive, 2r / (1 + r) at each AU's published rate r"


def _by_au(data: str, text: str) -> Mapping[int, float]:
    return MappingProxyType(dict(zip(DATASET_AUS[data], map(float, text.split()), strict=True)))


def _pair(method: str, bp4d: float, disfa: float, source: str) -> tuple[Published, Published]:
    return Published(method, "bp4d-3fold", bp4d, source), Published(method, "disfa-3fold", disfa, source)


PUBLISHED: tuple[Published, ...] = (
    *_pair("always positive", 48.0, 18.6, _FLOOR),
    *_pair("JAA-Net", 60.0, 56.0, _AVERAGE),
    *_pair("ME-GraphAU", 65.5, 63.1, _AVERAGE),
    Published(
        "FAN-Trans", "bp4d-3fold", 64.8, _MDHR, _by_au("bp4d", "55.4 46.0 59.8 78.7 77.7 82.7 88.6 64.7 51.4 65.7 50.9 56.0")
    ),
    Published("FAN-Trans", "disfa-3fold", 63.8, _MDHR, _by_au("disfa", "56.4 50.2 68.6 49.2 57.6 75.6 93.6 58.8")),
    *_pair("AU-Net", 65.0, 66.1, _AVERAGE),
    *_pair("MDHR", 66.6, 66.2, _AVERAGE),
    Published("AUFormer", "bp4d-3fold", 66.2, f"{_AUFORMER}; unverified"),
    Published("AUFormer", "disfa-3fold", 66.4, _AUFORMER),
    *_pair("FMAE-IAT", 67.1, 70.1, _AVERAGE),
    Published("Norface", "disfa-3fold", 72.7, _AVERAGE),
    Published(
        "AUFormer", "cross:bp4d→disfa", 43.6, f"{_AUFORMER}; single AUs as tabled by a later paper",
        MappingProxyType({6: 31.5, 12: 43.5}),
    ),
)  # fmt: skip
"""Every row known here, in the order of publication within a protocol."""


def published(protocol: str) -> tuple[Published, ...]:
    """Rows of a protocol; none for those nobody has published on under this name."""
    return tuple(one for one in PUBLISHED if one.protocol == protocol)
