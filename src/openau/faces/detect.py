"""Face detection: MediaPipe's BlazeFace (full range) through LiteRT.

The network looks at 192×192 pixels and finds faces from about 14 of them up. `FaceDetector.detect` therefore looks several
times at a large picture: at all of it, and at overlapping tiles in which the smallest wanted face is large enough.

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openau.faces.align import resize
from openau.faces.network import Network

INPUT = 192
GRID = 48
"""One anchor in the middle of each cell of a 48×48 grid."""
SMALLEST = 15
"""Side of the smallest face found reliably, in input pixels (measured: scores fall below 0.4 under 12)."""
THRESHOLD = 0.4
CLOSEUP_THRESHOLD = 0.2
CLOSEUP_MARGINS = (0.35, 0.7, 1.2)
SAME_FACE = 0.3
"""Boxes that overlap by more than this (intersection over union) show one face."""
INSIDE = 0.7
"""A box that lies inside a better one by more than this share of its own area shows the same face."""
TILE_OVERLAP = 0.2
TILE_RATIO = TILE_OVERLAP * INPUT / SMALLEST
"""Ratio of tile sides: a face too large to fit into an overlap of tiles is found at the next larger tile."""
MAX_TILES = 128

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One detected face.

    Attributes:
        score: 0–1.
        box: (4,) x, y, width, height in image pixels; forehead to chin, may reach outside the image.
        keypoints: (6, 2) image pixels: the subject's right eye, left eye, nose tip, mouth centre, right ear, left ear.
    """

    score: float
    box: Float
    keypoints: Float


class Window(NamedTuple):
    """A rectangle to look at, in image pixels; it may reach outside the image."""

    x: int
    y: int
    width: int
    height: int


class FaceDetector:
    """Finds faces. Not to be shared between threads.

    Args:
        threads: threads of the network.

    Raises:
        WeightsError: the network's file cannot be had.
    """

    def __init__(self, threads: int = 1) -> None:
        self._network = Network("blazeface_full_range", threads)
        self._canvas = np.zeros((INPUT, INPUT, 3), np.float32)
        self._centres = np.stack(np.meshgrid(*2 * [(np.arange(GRID) + 0.5) * INPUT / GRID]), axis=-1).reshape(-1, 2)

    def detect(self, image: Image, min_size: int = 40, max_tiles: int = MAX_TILES) -> list[Detection]:
        """Find all faces of a picture: its windows (see `windows`) and, if they show none, `closeups`.

        Args:
            image: (H, W, 3) RGB uint8, any size.
            min_size: side in pixels of the smallest faces to look for.
            max_tiles: at most so many tiles are looked at, large ones first.

        Returns:
            Faces, best score first; each once.
        """
        found = self.scan(image, min_size, max_tiles)
        return found or next((closeup for closeup in self.closeups(image) if closeup), [])

    def scan(self, image: Image, min_size: int = 40, max_tiles: int = MAX_TILES) -> list[Detection]:
        """`detect` without close-ups."""
        height, width = image.shape[:2]
        return suppress([d for w in windows(width, height, min_size, max_tiles) for d in self.look(image, w)])

    def closeups(self, image: Image) -> Iterator[list[Detection]]:
        """Look for a face that fills the frame: at the picture with ever wider margins around it, with a low threshold."""
        height, width = image.shape[:2]
        for share in CLOSEUP_MARGINS:
            margin = math.ceil(share * max(width, height))
            padded = Window(-margin, -margin, width + 2 * margin, height + 2 * margin)
            yield self.look(image, padded, CLOSEUP_THRESHOLD)

    def look(self, image: Image, window: Window, threshold: float = THRESHOLD) -> list[Detection]:
        """One pass of the network over one window.

        Faces cut by a side of the window that lies inside the image are left to a window that shows them whole.

        Args:
            image: (H, W, 3) RGB uint8.
            window: what to look at; black outside the image.
            threshold: lowest score, 0–1.

        Returns:
            Faces in image pixels; overlapping boxes are blended, weighted by score.
        """
        height, width = image.shape[:2]
        x0, y0 = max(window.x, 0), max(window.y, 0)
        x1, y1 = min(window.x + window.width, width), min(window.y + window.height, height)
        if x1 <= x0 or y1 <= y0:
            return []
        scale = INPUT / max(window.width, window.height)
        columns, rows = (min(INPUT, max(1, round(n * scale))) for n in (x1 - x0, y1 - y0))
        left = min(round((x0 - window.x) * scale), INPUT - columns)
        top = min(round((y0 - window.y) * scale), INPUT - rows)
        small = resize(image[y0:y1, x0:x1], columns, rows)
        self._canvas.fill(-1)
        np.multiply(small, np.float32(1 / 127.5), out=self._canvas[top : top + rows, left : left + columns])
        self._canvas[top : top + rows, left : left + columns] -= 1
        stretch = np.array([(x1 - x0) / columns, (y1 - y0) / rows])
        found = self._run(threshold, np.array([left, top]), stretch, np.array([x0, y0]))
        return [d for d in found if not _cut(d, window, width, height)]

    def _run(
        self,
        threshold: float,
        offset: npt.NDArray[np.int64],
        stretch: npt.NDArray[np.float64],
        origin: npt.NDArray[np.int64],
    ) -> list[Detection]:
        regression, logits = self._network.run(self._canvas[None])
        logits = logits.reshape(-1)
        cells = np.flatnonzero(logits > math.log(threshold / (1 - threshold)))
        if not len(cells):
            return []
        values = regression.reshape(-1, 8, 2)[cells].astype(np.float64)
        points = values[:, [0, 2, 3, 4, 5, 6, 7]] + self._centres[cells, None]
        points = (points - offset) * stretch + origin
        sizes = values[:, 1] * stretch
        scores = 1 / (1 + np.exp(-logits[cells].astype(np.float64)))
        boxes = np.concatenate([points[:, 0] - sizes / 2, sizes], axis=1)
        return _blend(scores, boxes, points[:, 1:])


def windows(width: int, height: int, min_size: int, max_tiles: int = MAX_TILES) -> list[Window]:
    """Where to look in a picture of this size so that faces of `min_size` pixels are large enough for the network.

    The whole picture first, then square tiles that overlap by a fifth, large ones first. A finer level of tiles is left out
    where it would exceed `max_tiles`.
    """
    found = [Window(0, 0, width, height)]
    finest = max(min_size, 1) * INPUT / SMALLEST
    longest = max(width, height)
    # A level pays only if it shows faces distinctly larger than the level before.
    levels = max(0, math.ceil(math.log(longest / (1.1 * finest)) / math.log(TILE_RATIO)))
    for level in range(levels)[::-1]:
        side = round(finest * TILE_RATIO**level)
        tiles = [
            Window(x, y, min(side, width), min(side, height))
            for y in _starts(height, side)
            for x in _starts(width, side)
        ]
        if len(found) - 1 + len(tiles) > max_tiles:
            break
        found += tiles
    return found


def suppress(detections: Sequence[Detection]) -> list[Detection]:
    """Keep the best of the detections that show one face (hard non-maximum suppression), best score first."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: -d.score):
        if not any(_same(candidate.box, better.box) for better in kept):
            kept.append(candidate)
    return kept


def overlap(a: Float, b: Float) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    shared = _intersection(a, b)
    union = float(a[2] * a[3] + b[2] * b[3]) - shared
    return shared / union if union > 0 else 0.0


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = 1 + math.ceil((length - side) / (side * (1 - TILE_OVERLAP)))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _cut(detection: Detection, window: Window, width: int, height: int) -> bool:
    """Whether a side of the window that lies inside the image cuts through the box."""
    x, y, w, h = detection.box
    return bool(
        (window.x > 0 and x < window.x)
        or (window.y > 0 and y < window.y)
        or (window.x + window.width < width and x + w > window.x + window.width)
        or (window.y + window.height < height and y + h > window.y + window.height)
    )


def _blend(
    scores: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64], keypoints: npt.NDArray[np.float64]
) -> list[Detection]:
    """Average, weighted by score, the neighbouring cells that answer to one face."""
    order = np.argsort(-scores)
    blended = []
    while len(order):
        best = order[0]
        same = np.array([overlap(boxes[best], boxes[i]) > SAME_FACE for i in order])
        same[0] = True
        group, order = order[same], order[~same]
        weights = scores[group] / scores[group].sum()
        box = np.tensordot(weights, boxes[group], axes=1).astype(np.float32)
        points = np.tensordot(weights, keypoints[group], axes=1).astype(np.float32)
        blended.append(Detection(float(scores[best]), box, points))
    return blended


def _same(box: Float, better: Float) -> bool:
    shared = _intersection(box, better)
    return overlap(box, better) > SAME_FACE or shared > INSIDE * float(box[2] * box[3])


def _intersection(a: Float, b: Float) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return float(max(width, 0) * max(height, 0))
