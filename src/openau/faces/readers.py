"""Readers: what an AU model is given of a face that was found, as arrays under the names of the model's inputs.

Some models read what a frozen extractor says about the aligned crop (`FeatureReader`), others look at the crop itself (`PixelReader`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openau.faces.align import TEMPLATES, align, planes
from openau.faces.extractors import Extractor
from openau.faces.finder import LocatedFace
from openau.weights.cards import PIXELS

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Shapes = Mapping[str, tuple[int, ...]]


class Reader(Protocol):
    """Reads a face for a model. Not to be shared between threads."""

    @property
    def template(self) -> str:
        """Name of the crop it looks at (`openau.faces.align.TEMPLATES`)."""
        ...

    @property
    def inputs(self) -> Shapes:
        """Name of each of the model's inputs → its shape without the batch axis."""
        ...

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> dict[str, Floats]:
        """Look at a face.

        Args:
            image: (H, W, 3) RGB uint8.
            face: found in it by Face Mesh.
            mirrored: look at the mirror image of the face's crop.

        Returns:
            Name of each input → float32 of its shape, without a batch axis.
        """
        ...


@dataclass(frozen=True, slots=True)
class FeatureReader:
    """What an extractor says about the crop: geometry (G,) and hypercolumns (P, C).

    Attributes:
        extractor: the frozen network.
    """

    extractor: Extractor

    @property
    def template(self) -> str:
        """See `Reader`."""
        return self.extractor.layout.template

    @property
    def inputs(self) -> Shapes:
        """See `Reader`."""
        return self.extractor.layout.inputs

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> dict[str, Floats]:
        """See `Reader`."""
        seen = self.extractor.look_at(image, face, mirrored)
        return {"geometry": seen.geometry, "hypercolumns": seen.columns}


@dataclass(frozen=True, slots=True)
class PixelReader:
    """The crop itself: pixels (3, S, S), RGB in [0, 1].

    Attributes:
        template: see `Reader`.
        size: side S, pixels; a template of another size is scaled to it (`openau.faces.align.Template.at`).

    Raises:
        ValueError: there is no such template.
    """

    template: str
    size: int

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise ValueError(f"no alignment template is called {self.template!r}; there are {', '.join(TEMPLATES)}")

    @property
    def inputs(self) -> Shapes:
        """See `Reader`."""
        return {PIXELS: (3, self.size, self.size)}

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> dict[str, Floats]:
        """See `Reader`."""
        crop, _ = align(image, face.landmarks, TEMPLATES[self.template].at(self.size))
        return {PIXELS: planes(crop[None, :, ::-1] if mirrored else crop[None])[0]}


def stack(looks: Sequence[Mapping[str, Floats]], inputs: Shapes) -> dict[str, Floats]:
    """N looks as a model takes them: name of each input → (n, …)."""
    return {
        name: np.stack([look[name] for look in looks]) if looks else np.zeros((0, *shape), np.float32)
        for name, shape in inputs.items()
    }
