"""How good a FAN is: on renders, whose landmarks are known, and on photos, beside Face Mesh.

Both go the way detection goes: Face Mesh finds the face, the crop is made with the extractor's template, the FAN looks at it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from openau.errors import InputError
from openau.evaluation.bootstrap import Estimate, interval
from openau.faces.align import align, apply, invert
from openau.faces.fan import COMPARABLE, FAN256, MESH_IDS
from openau.faces.finder import FaceFinder, LocatedFace
from openau.media import read_image
from openau.training.fan.fit import normalised_error
from openau.training.fan.pictures import LandmarkPictures
from openau.training.splits import Index

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FAR = 0.1
"""From here on two networks' landmarks count as disagreeing: a tenth of the distance between the outer eye corners."""


@dataclass(frozen=True, slots=True, eq=False)
class Renders:
    """Errors on rendered faces, in distances between the outer eye corners.

    Attributes:
        all68: (N,) mean error of the FAN's 68 landmarks.
        comparable: (N,) mean error of those in `COMPARABLE`.
        mesh: (N,) the same of Face Mesh's points.
        subjects: (N,) whose faces they are.
        missed: pictures in which no face was found.
    """

    all68: Doubles
    comparable: Doubles
    mesh: Doubles
    subjects: npt.NDArray[np.str_]
    missed: int


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Disagreement with Face Mesh on photos, in distances between Face Mesh's outer eye corners.

    Attributes:
        nme: (N,) mean distance between the two networks' landmarks of `COMPARABLE`.
        score: (N,) the FAN's score.
        names: (N,) file names.
        missed: photos in which no face was found, or that cannot be read.
    """

    nme: Doubles
    score: Doubles
    names: tuple[str, ...]
    missed: int


def judge_renders(
    extractor: FAN256, pictures: LandmarkPictures, rows: Index, report: Callable[[], None] = lambda: None
) -> Renders:
    """Compare with the truth, the largest face of each picture."""
    finder, found, missed = FaceFinder(max_faces=1), [], 0
    for row in rows:
        image, truth = pictures.picture(int(row))
        report()
        faces = finder.find(image)
        if not faces:
            missed += 1
            continue
        ours = landmarks_of(extractor, image, faces[0])
        mesh = np.asarray(faces[0].landmarks[MESH_IDS, :2], np.float32)
        found.append((ours, mesh, truth, pictures.subjects[row]))
    if not found:
        raise InputError(f"{pictures.manifest}: no face was found in {len(rows)} pictures")
    ours, mesh, truth = (np.stack([entry[place] for entry in found]) for place in range(3))
    return Renders(
        normalised_error(ours, truth), _comparable(ours, truth), _comparable(mesh, truth), np.array([e[3] for e in found]), missed
    )  # fmt: skip


def judge_photos(extractor: FAN256, files: Sequence[Path], report: Callable[[], None] = lambda: None) -> Photos:
    """Compare with Face Mesh, the largest face of each photo."""
    finder, found, missed = FaceFinder(max_faces=1), [], 0
    for file in files:
        report()
        try:
            image = read_image(file)
        except InputError:
            missed += 1
            continue
        faces = finder.find(image)
        if not faces:
            missed += 1
            continue
        matrix, ours, score = _look(extractor, image, faces[0])
        mesh = np.asarray(apply(matrix, faces[0].landmarks[MESH_IDS, :2]), np.float32)
        found.append((file.name, float(_comparable(ours[None], mesh[None])[0]), score))
    return Photos(np.array([f[1] for f in found]), np.array([f[2] for f in found]), tuple(f[0] for f in found), missed)


def landmarks_of(extractor: FAN256, image: Image, face: LocatedFace) -> Floats:
    """The FAN's landmarks (68, 2) of a located face, in pixels of the image."""
    matrix, landmarks, _ = _look(extractor, image, face)
    return np.asarray(apply(invert(matrix), landmarks), np.float32)


def mean_interval(values: Doubles, groups: npt.ArrayLike | None = None) -> Estimate:
    """Mean with its 95 % interval over groups (people), or over single values."""
    return _estimate(lambda weight: np.average(values, weights=weight), len(values), groups)


def median_interval(values: Doubles) -> Estimate:
    """Median with its 95 % interval over single values."""
    order = np.argsort(values)

    def median(weight: Doubles) -> float:
        below = np.cumsum(weight[order])
        return float(values[order[np.searchsorted(below, below[-1] / 2)]])

    return _estimate(median, len(values), None)


def latency(extractor: FAN256, repetitions: int = 50) -> Estimate:
    """Milliseconds of processor time of one crop through the network alone, which is wall time on an idle core.

    The median, and the middle 95 % of the repetitions.
    """
    crop = np.random.default_rng(0).integers(0, 256, (1, extractor.card.size, extractor.card.size, 3), np.uint8)
    extractor.maps(crop)
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        extractor.maps(crop)
        times.append(1000 * (time.process_time() - start))
    low, middle, high = np.percentile(times, (2.5, 50, 97.5))
    return Estimate(float(middle), float(low), float(high))


def multiplications(file: Path) -> tuple[int, int]:
    """Multiply-accumulates of the convolutions for one picture, and the number of their weights, counted in the ONNX graph."""
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shaped = (*inferred.graph.value_info, *inferred.graph.output)
    sides = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in shaped}
    weights = {tensor.name.removesuffix("_half"): list(tensor.dims) for tensor in inferred.graph.initializer}
    count = size = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            kernel = int(np.prod(weights[node.input[1]]))
            count += kernel * int(np.prod(sides[node.output[0]][2:]))
            size += kernel + (int(np.prod(weights[node.input[2]])) if len(node.input) > 2 else 0)
    return count, size


def _look(extractor: FAN256, image: Image, face: LocatedFace) -> tuple[Any, Floats, float]:
    crop, matrix = align(image, face.landmarks, extractor.card.template)
    seen = extractor.run(crop)
    return matrix, seen.landmarks, seen.score


def _comparable(found: Floats, truth: Floats) -> Doubles:
    between = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    distance = np.linalg.norm(found - truth, axis=-1)[:, COMPARABLE].mean(axis=-1)
    return np.asarray(distance / np.maximum(between, 1e-6), np.float64)


def _estimate(statistic: Callable[[Doubles], Any], count: int, groups: npt.ArrayLike | None) -> Estimate:
    value, low, high = interval(statistic, count, groups)
    return Estimate(float(value), float(low), float(high))
