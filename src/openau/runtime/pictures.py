"""A finished model on the pictures of a data set, in several processes: what `openau detect` would say about each, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openau import workers
from openau.evaluation.predictions import PICTURE, ToolPredictions
from openau.faces.align import MESH_IN_CROP
from openau.faces.finder import FaceFinder, LocatedFace
from openau.media import read_image
from openau.runtime.detector import Detector

Floats = npt.NDArray[np.float32]

_CHUNK = 48


def judge_pictures(
    model: str,
    root: Path,
    images: Sequence[str],
    template: str | None = None,
    processes: int | None = None,
    on_steps: Callable[[int], None] | None = None,
) -> ToolPredictions:
    """Judge the largest face of each picture as detection does: found, then judged with its mirror image.

    In prepared crops (`openau.datasets.manifest.template_of`) the face is where the template puts it.

    Args:
        model: a name or an `.onnx` file.
        root: folder of the pictures.
        images: their paths in it.
        template: of which all of them are crops; None for whole pictures.
        processes: default one per CPU.
        on_steps: told now and then how many pictures were judged since the last time.

    Returns:
        A row per picture, in their order.

    Raises:
        InputError: a picture cannot be read.
        UsageError: there is no model of this name.
        WeightsError: weights are missing or not the promised ones.
    """
    columns = _detector(model).columns
    chunks = [
        (model, root, tuple(images[start : start + _CHUNK]), start, template) for start in range(0, len(images), _CHUNK)
    ]
    count = len(images)
    found = np.zeros(count, np.bool_)
    values = np.full((count, len(columns.names)), np.nan, np.float32)
    for start, seen, part in workers.run(_judge, chunks, root, processes, on_steps):
        found[start : start + len(seen)], values[start : start + len(seen)] = seen, part
    occurrences, graded = len(columns.occurrence), len(columns.intensity)
    probability = values[:, :occurrences]
    return ToolPredictions(
        tool=_detector(model).card.name,
        source=np.array(images, np.str_).reshape(-1),
        frame=np.full(count, PICTURE, np.int64),
        found=found,
        person=np.full(count, ""),
        area=np.full(count, np.nan, np.float32),
        confidence=np.full(count, np.nan, np.float32),
        aus=columns.occurrence,
        probability=probability,
        decision=np.full_like(probability, np.nan),
        intensity_aus=columns.intensity,
        intensity=values[:, occurrences : occurrences + graded],
        named_inside=True,
    )


@cache
def _detector(model: str) -> Detector:
    return Detector(model, max_faces=1)


def _judge(
    model: str, root: Path, images: tuple[str, ...], start: int, template: str | None
) -> tuple[int, npt.NDArray[Any], Floats]:
    """Worker: whether there is a face, and its values, for some pictures."""
    import cv2

    cv2.setNumThreads(1)
    tables = []
    for name in images:
        image = read_image(root / name)
        tables.append(_detector(model).look(image, name, _located(image, template, _detector(model).finder)).faces)
        workers.step()
    return start, np.array([table.has_face[0] for table in tables]), np.concatenate([table.values for table in tables])


def _located(image: npt.NDArray[np.uint8], template: str | None, finder: FaceFinder) -> list[LocatedFace] | None:
    """The face of a prepared crop; None where it has to be looked for."""
    if template != "crop320":
        return None
    face = finder.find_in(image, MESH_IN_CROP)
    return [] if face is None else [face]
