"""FAN through ONNX Runtime: 68 landmarks of a cropped face, and the features AU models may read.

Landmarks are those of Multi-PIE and 300-W, counted from 0: 0–16 jaw (from the subject's right ear), 17–26 brows, 27–35 nose, 36–47 eyes,
48–67 mouth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from openau.errors import WeightsError
from openau.faces.align import planes
from openau.weights import store

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
Decoding = Literal["local", "quarter"]

DEFAULT_FAN = "fan_small.synth"
"""The FAN that comes with the package."""
POINTS = 68
LOCAL_RADIUS = 4
"""Cells around the peak that `local` decoding averages: 2.7 standard deviations of our own heatmaps, 2.3 of published ones."""

MIRROR: npt.NDArray[np.int64] = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])  # fmt: skip
"""(68,) landmark i of a mirrored face is landmark MIRROR[i] of the face [R]."""

MESH_IDS: npt.NDArray[np.int64] = np.array([
    127, 234, 93, 58, 172, 149, 176, 148, 152, 377, 400, 378, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 405, 17, 181, 91, 78, 81, 13, 311, 308, 402, 14, 178,
])  # fmt: skip
"""(68,) the point of Face Mesh at each landmark's place on the face [I, checked on frontal renders: the median gap of 17–67 is 0.05 of the
distance between the outer eye corners, that of the jaw 0.08]."""

COMPARABLE: npt.NDArray[np.int64] = np.arange(17, POINTS)
"""Landmarks that mean the same place to both networks. The jaw does not: Face Mesh follows the head, 2D annotations the contour seen."""


@dataclass(frozen=True, slots=True, eq=False)
class FANFace:
    """What a FAN says about one crop.

    Attributes:
        landmarks: (K, 2) float32, crop pixels, pixel centres at +0.5.
        score: mean height of the heatmaps' peaks, 0–1; about 1 where every landmark is certain.
        features: (C, 64, 64) float32, `openau.models.fan.tapped`.
    """

    landmarks: Float
    score: float
    features: Float


class FAN256:
    """A FAN from its ONNX file. Not to be shared between threads.

    Args:
        name: an extractor's name, or the path of its .onnx file with the card beside it.
        threads: threads of the network.
        decoding: how landmarks are read from heatmaps, see `decode`.

    Attributes:
        card: the extractor's card; crops are made with its `template`.

    Raises:
        UsageError: no extractor has this name.
        WeightsError: the file cannot be had, or is not what its card promises.
    """

    def __init__(self, name: str | Path = DEFAULT_FAN, threads: int = 1, decoding: Decoding = "local") -> None:
        self.card, file = store.resolve_extractor(name)
        self._decoding: Decoding = decoding
        self._session = _session(file, threads)
        self._check(file)

    def run(self, crop: Image) -> FANFace:
        """Landmarks and features of one crop.

        Args:
            crop: (256, 256, 3) RGB uint8, made with the card's template.

        Raises:
            ValueError: the crop has another shape.
        """
        return self.run_batch([crop])[0]

    def run_batch(self, crops: Sequence[Image] | Image) -> list[FANFace]:
        """The same for several crops at once."""
        heatmaps, features = self.maps(crops)
        landmarks, peaks = decode(heatmaps, self.card.size, self._decoding)
        scores = np.clip(peaks, 0, 1).mean(axis=1)
        return [FANFace(*found) for found in zip(landmarks, map(float, scores), features, strict=True)]

    def maps(self, crops: Sequence[Image] | Image) -> tuple[Float, Float]:
        """The network's own outputs: heatmaps (n, K, 64, 64) and features (n, C, 64, 64).

        Raises:
            ValueError: a crop has another shape than (256, 256, 3).
        """
        shape = (self.card.size, self.card.size, 3)
        wrong = [crop.shape for crop in crops if crop.shape != shape]
        if wrong:
            raise ValueError(f"{self.card.name} takes crops of {shape[0]}×{shape[1]} RGB pixels, not {wrong[0]}")
        if len(crops) == 0:
            outputs = ((0, count, self.card.side, self.card.side) for count in (self.card.points, self.card.channels))
            heatmaps, features = (np.zeros(shape, np.float32) for shape in outputs)
            return heatmaps, features
        heatmaps, features = self._session.run(["heatmaps", "features"], {"image": planes(np.stack(list(crops)))})
        return heatmaps, features

    def _check(self, file: Path) -> None:
        """Compare the graph's inputs and outputs with the card."""
        card = self.card
        inputs = {node.name: tuple(node.shape[1:]) for node in self._session.get_inputs()}
        outputs = {node.name: tuple(node.shape[1:]) for node in self._session.get_outputs()}
        maps = (card.side, card.side)
        wanted = {"heatmaps": (card.points, *maps), "features": (card.channels, *maps)}
        if inputs != {"image": (3, card.size, card.size)}:
            raise WeightsError(f"{file}: has the inputs {inputs}, but the card of {card.name} promises one image")
        if {name: outputs.get(name) for name in wanted} != wanted:
            raise WeightsError(f"{file}: has the outputs {outputs}, but the card of {card.name} promises {wanted}")


def decode(heatmaps: Float, size: int, decoding: Decoding = "local", radius: int = LOCAL_RADIUS) -> tuple[Float, Float]:
    """Landmarks from heatmaps, finer than their cells.

    `local` [I, after ibug's centroids]: mean of the cells around the highest one, weighted by their positive values; exact for a Gaussian
    that fits into the window. `quarter` [R, the published rule]: the highest cell's centre, moved a quarter of a cell towards the higher
    neighbour in either direction, unless the cell lies at the rim.

    Args:
        heatmaps: (n, K, H, W).
        size: width of the crop in pixels.
        decoding: the rule.
        radius: cells to each side of the peak, for `local`.

    Returns:
        landmarks (n, K, 2) in crop pixels, and the peaks' heights (n, K).

    Raises:
        ValueError: there is no such rule.
    """
    if decoding not in get_args(Decoding):
        raise ValueError(f"decoding must be one of {', '.join(get_args(Decoding))}, not {decoding!r}")
    count, points, rows, columns = heatmaps.shape
    flat = heatmaps.reshape(count * points, rows, columns)
    highest = flat.reshape(count * points, rows * columns).argmax(axis=1)
    row, column = np.divmod(highest, columns)
    peak = flat[np.arange(len(flat)), row, column]
    rule = _local if decoding == "local" else _quarter
    xy = rule(flat, row, column, radius) * np.float32(size / columns)
    return xy.reshape(count, points, 2).astype(np.float32), peak.reshape(count, points).astype(np.float32)


def mirror_landmarks(landmarks: Float, width: float) -> Float:
    """Landmarks (…, 68, 2) of the mirror image of a picture `width` pixels wide."""
    turned = landmarks[..., MIRROR, :].copy()
    turned[..., 0] = width - turned[..., 0]
    return np.asarray(turned, np.float32)


_Index = npt.NDArray[np.int64]


def _local(maps: Float, row: _Index, column: _Index, radius: int) -> Float:
    """(N, 2) x, y in cells, cell centres at +0.5."""
    offsets = np.arange(-radius, radius + 1)
    rows, columns = row[:, None] + offsets, column[:, None] + offsets
    inside = ((rows >= 0) & (rows < maps.shape[1]))[:, :, None] & ((columns >= 0) & (columns < maps.shape[2]))[:, None]
    clipped = np.clip(rows, 0, maps.shape[1] - 1), np.clip(columns, 0, maps.shape[2] - 1)
    window = maps[np.arange(len(maps))[:, None, None], clipped[0][:, :, None], clipped[1][:, None]]
    weight = np.where(inside, np.maximum(window, 0), 0).astype(np.float64)
    total = weight.sum(axis=(1, 2))
    known = total > 0
    total = np.where(known, total, 1)
    x = (weight.sum(axis=1) * offsets).sum(axis=1) / total
    y = (weight.sum(axis=2) * offsets).sum(axis=1) / total
    return np.asarray(np.stack([column + x, row + y], axis=1) + 0.5, np.float32)


def _quarter(maps: Float, row: _Index, column: _Index, _radius: int) -> Float:
    """(N, 2) x, y in cells, cell centres at +0.5."""
    rows, columns = maps.shape[1:]
    within = (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)
    here = np.arange(len(maps))
    r, c = np.clip(row, 1, max(rows - 2, 1)), np.clip(column, 1, max(columns - 2, 1))
    x = np.sign(maps[here, r, c + 1] - maps[here, r, c - 1])
    y = np.sign(maps[here, r + 1, c] - maps[here, r - 1, c])
    step = np.where(within[:, None], np.stack([x, y], axis=1), 0) * 0.25
    return np.asarray(np.stack([column, row], axis=1) + 0.5 + step, np.float32)


def _session(file: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{file}: is not a network ONNX Runtime can read: {reason}") from None
