"""Face Mesh: 468 landmarks of a cropped face, and the network's own features under them.

Source: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.faces.align import MESH_SIZE
from openau.faces.features import LEVELS, hypercolumns
from openau.faces.network import Network

POINTS = 468
MAPS = tuple((side, side, channels) for side, channels in LEVELS)
"""Shapes of the tapped maps: the output of the last block of each resolution, where features are the most abstract."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MeshOutput:
    """What Face Mesh says about one crop.

    Attributes:
        landmarks: (468, 3) float32 in crop pixels; z in the same unit, smaller = nearer the camera.
        score: probability that the crop shows a face, 0–1.
        columns: (P, C) float32, the tapped maps under the landmarks where AUs show (`openau.faces.features.hypercolumns`).
    """

    landmarks: Float
    score: float
    columns: Float


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
        return self._network.run_and(_read, self._input)


def _read(points: Float, logit: Float, *maps: Float) -> MeshOutput:
    landmarks = points.reshape(POINTS, 3).copy()
    presence = 1 / (1 + math.exp(-float(np.clip(logit.item(), -80, 80))))
    return MeshOutput(landmarks, presence, hypercolumns(maps, landmarks))
