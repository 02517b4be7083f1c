"""Which reader an AU model needs: what its card says, checked against what there is."""

from __future__ import annotations

import math
from pathlib import Path

from openau.errors import UsageError, WeightsError
from openau.faces.extractors import FACE_MESH, layout, load
from openau.faces.mesh import FaceMesh
from openau.faces.readers import FeatureReader, PixelReader, Reader
from openau.runtime.network import AUNetwork, shapes
from openau.weights.cards import PIXELS, ModelCard


def reader_for(network: AUNetwork, file: Path, mesh: FaceMesh | None = None, threads: int = 1) -> Reader:
    """What reads faces for a model.

    Args:
        network: the model.
        file: its ONNX file.
        mesh: Face Mesh, where it is loaded already.
        threads: of an extractor that is not.

    Raises:
        WeightsError: the extractor cannot be had, is another than the model was trained on, or gives something else than the model
            reads; or there is no such crop.
    """
    if network.card.reads_pixels:
        return _pixel_reader(network.card, file)
    return _feature_reader(network, file, mesh, threads)


def _pixel_reader(card: ModelCard, file: Path) -> PixelReader:
    try:
        return PixelReader(card.template, card.input[PIXELS][-1])
    except ValueError as error:
        raise WeightsError(f"{file}: the card of {card.name} cannot be followed: {error}") from None


def _feature_reader(network: AUNetwork, file: Path, mesh: FaceMesh | None, threads: int) -> FeatureReader:
    """The frozen network that the card names, from beside the model's file or from the weight store."""
    card = network.card
    beside = file.with_name(f"{card.extractor}.onnx")
    place = str(beside) if beside.is_file() and card.extractor != FACE_MESH.extractor else card.extractor
    columns = card.input.get("hypercolumns") or (1,)
    try:
        grid = math.isqrt(columns[0])
        found = layout(place, grid)
    except UsageError as error:
        raise WeightsError(
            f"{file}: its card asks for the extractor {card.extractor}, which does not lie beside it as {beside.name}: {error}"
        ) from None
    if card.template != found.template:
        raise WeightsError(
            f"{file}: the card of {card.name} asks for {card.extractor} on {card.template}, but {card.extractor} looks at {found.template}"
        )
    if dict(card.input) != found.inputs:
        raise WeightsError(f"{file}: reads {shapes(card.input)}, but {card.extractor} gives {shapes(found.inputs)}")
    if network.extractor_sha256 not in (None, found.sha256):
        raise WeightsError(
            f"{file}: was trained on another file called {card.extractor} than {place} "
            f"(SHA-256 {str(network.extractor_sha256)[:12]}…, not {found.sha256[:12]}…)"
        )
    return FeatureReader(load(place, grid, mesh, threads))
