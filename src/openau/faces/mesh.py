"""Face Mesh: 468 landmarks of a cropped face, and the network's own feature maps on the way to them.

Source: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.faces.align import MESH_SIZE
from openau.faces.network import Network

POINTS = 468
MAPS = ((48, 48, 32), (24, 24, 64), (12, 12, 128), (6, 6, 128))
"""Shapes of the tapped maps: the output of the last block of each resolution, where features are the most abstract."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MeshOutput:
    """What Face Mesh says about one crop.

    Attributes:
        landmarks: (468, 3) float32 in crop pixels; z in the same unit, smaller = nearer the camera.
        score: probability that the crop shows a face, 0–1.
        maps: four float32 arrays (rows, columns, channels) of the shapes in `MAPS`.
    """

    landmarks: Float
    score: float
    maps: tuple[Float, ...]


class FaceMesh:
    """Face Mesh through LiteRT. Not to be shared between threads.

    Args:
        threads: threads of the network.

    Raises:
        WeightsError: the network's file cannot be had.
    """

    def __init__(self, threads: int = 1) -> None:
        self._network = Network("face_mesh", threads, taps=MAPS)
        self._input = np.empty((1, MESH_SIZE, MESH_SIZE, 3), np.float32)

    def run(self, crop: Image) -> MeshOutput:
        """Find the landmarks of a crop made with the template `mesh192`.

        Args:
            crop: (192, 192, 3) RGB uint8.

        Raises:
            ValueError: the crop has another shape.
        """
        if crop.shape != (MESH_SIZE, MESH_SIZE, 3):
            raise ValueError(f"Face Mesh takes a crop of {MESH_SIZE}×{MESH_SIZE} RGB pixels, not {crop.shape}")
        np.multiply(crop, np.float32(1 / 255), out=self._input[0])
        landmarks, logit, *maps = self._network.run(self._input)
        presence = 1 / (1 + math.exp(-float(np.clip(logit.item(), -80, 80))))
        return MeshOutput(landmarks.reshape(POINTS, 3), presence, tuple(maps))
