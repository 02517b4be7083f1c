"""What relevance is drawn on: the canonical face, or the face on a photo, with the model's places on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from openau.errors import InputError
from openau.explain.faces import Inputs
from openau.faces import extractors
from openau.faces.align import TEMPLATES, align, apply, region_from_landmarks, warp
from openau.faces.extractors import Grid, Layout
from openau.faces.features import CANONICAL
from openau.faces.finder import FaceFinder
from openau.media import read_image

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

SIDE = 360
"""Side of a photo's cut, pixels."""
_MARGIN = 1.2


@dataclass(frozen=True, eq=False)
class Ground:
    """A face to draw on; y points down.

    Attributes:
        landmarks: (468, 2) Face Mesh's.
        picture: (S, S, 3) RGB, its outer corner at (0, 0); None = lines only.
        places: (P, 2) of a layout under landmarks; None for a grid.
        square: side of the square, from (0, 0), that a grid's cells fill; 0 for landmarks.
    """

    landmarks: Floats
    picture: Image | None
    places: Floats | None
    square: float


def canonical(layout: Layout) -> Ground:
    """The average neutral face, looking at the camera."""
    face = CANONICAL[:, :2].astype(np.float64)
    if isinstance(layout.positions, Grid):
        template = TEMPLATES[layout.template]
        large = face * template.size
        return Ground(_moved(template.fit(large), large), None, None, template.size)
    return Ground(face, None, face[list(layout.positions.ids)], 0)


def photo(path: Path, layout: Layout, extractor_name: str | None = None) -> tuple[Ground, Inputs]:
    """The largest face of a photo, and its features, as detection reads them.

    Args:
        path: of the photo.
        layout: of the model's features.
        extractor_name: the name or file of the network that the layout is of, where it is not known by its name.

    Raises:
        InputError: the file is no picture, shows no face, or the extractor at hand is not the one of the layout.
        UsageError, WeightsError: the extractor cannot be had.
    """
    image = read_image(path)
    finder = FaceFinder(max_faces=1)
    grid = layout.positions.side if isinstance(layout.positions, Grid) else extractors.DEFAULT_GRID
    extractor = extractors.load(extractor_name or layout.extractor, grid, finder.mesh)
    if extractor.layout != layout:
        raise InputError(f"{path}: cannot be read for this model, which was trained on another {layout.extractor}")
    found = finder.find(image)
    if not found:
        raise InputError(f"{path}: no face is found in it")
    face = found[0]
    seen = extractor.look_at(image, face)
    inputs = Inputs(torch.from_numpy(seen.geometry)[None], torch.from_numpy(seen.columns)[None])
    if isinstance(layout.positions, Grid):
        crop, matrix = align(image, face.landmarks, layout.template)
        return Ground(_moved(matrix, face.landmarks), crop, None, TEMPLATES[layout.template].size), inputs
    matrix = region_from_landmarks(face.landmarks, SIDE, _MARGIN)
    landmarks = _moved(matrix, face.landmarks)
    return Ground(landmarks, warp(image, matrix, SIDE), landmarks[list(layout.positions.ids)], 0), inputs


def _moved(matrix: Floats, landmarks: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(apply(matrix, landmarks), np.float64)[:, :2]
