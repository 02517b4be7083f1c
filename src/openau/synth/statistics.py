"""Do rendered faces rest, and move, like faces in photographs?

Both are looked at through the same eyes: Face Mesh's landmarks after alignment to the canonical face, in percent of the distance between
the outer eye corners. Neutral renders can be held against a folder of neutral photos (used for their geometry only, never for labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openau.errors import InputError
from openau.faces import features

MEASURES: dict[str, tuple[str, ...]] = {
    "brow height, middle": ("y105-159", "y334-386"),
    "brow height, inner": ("y107-133", "y336-362"),
    "brow height, outer": ("y70-33", "y300-263"),
    "gap between brows": ("d107-336",),
    "eye opening": ("y159-145", "y386-374"),
    "lower lid to cheek": ("y230-145", "y450-374"),
    "nose width": ("d98-327",),
    "nose to upper lip": ("y0-2",),
    "mouth width": ("d61-291",),
    "inner lips' gap": ("y13-14",),
    "upper lip height": ("y0-13",),
    "lower lip height": ("y14-17",),
    "corner above lower lip": ("y61-14", "y291-14"),
    "lower lip to chin": ("y17-152",),
}
"""What is measured: the mean of these distances of `openau.faces.features.DISTANCES`."""

_FROM_BELOW = frozenset({"lower lid to cheek", "nose to upper lip"})
"""Measures whose first landmark lies below the second: their distances are negative and change sign."""

Table = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure in neutral faces: mean and standard deviation, in percent of the eye distance."""

    name: str
    mean: float
    spread: float
    reference_mean: float | None = None
    reference_spread: float | None = None

    @property
    def z(self) -> float | None:
        """How many of the renders' standard deviations the reference lies above them."""
        if self.reference_mean is None:
            return None
        return (self.reference_mean - self.mean) / max(self.spread, 1e-6)


def measure(geometry: npt.NDArray[np.floating]) -> Table:
    """The measures (N,) of geometry vectors (N, G), in percent of the distance between the outer eye corners."""
    distances = 100 * np.asarray(geometry, np.float64)[:, -len(features.DISTANCES) :]
    table = {}
    for name, parts in MEASURES.items():
        mean = distances[:, [features.DISTANCES.index(part) for part in parts]].mean(axis=1)
        table[name] = -mean if name in _FROM_BELOW else mean
    return table


def geometry_of(images: Sequence[Path]) -> Iterator[npt.NDArray[np.float32] | None]:
    """Geometry (G,) of the largest face of each picture, None where there is none."""
    from openau.faces.finder import FaceFinder
    from openau.media import read_image

    finder = FaceFinder(max_faces=1)
    for path in images:
        try:
            faces = finder.find(read_image(path))
        except InputError:
            faces = []
        yield features.geometry(faces[0].landmarks) if faces else None


def compare(neutral: Table, reference: Table | None = None) -> list[Comparison]:
    """Neutral faces beside a reference's."""
    rows = []
    for name, values in neutral.items():
        other = None if reference is None else reference[name]
        rows.append(
            Comparison(
                name,
                float(values.mean()),
                float(values.std()),
                None if other is None else float(other.mean()),
                None if other is None else float(other.std()),
            )
        )
    return rows


def movement(table: Table, level: npt.NDArray[np.floating]) -> dict[str, float]:
    """Change of each measure from absent (level < 0.1·5) to strong (≥ 0.6·5) presence of one AU, in percent of the eye distance.

    Args:
        table: measures of N faces.
        level: (N,) intensity 0–5 of the AU, NaN where unknown.
    """
    strong, absent = level >= 3.0, level < 0.5
    if strong.sum() < 3 or absent.sum() < 3:
        return {}
    return {name: float(values[strong].mean() - values[absent].mean()) for name, values in table.items()}
