"""How well a face can be seen: what each row of a table may be trusted with.

Measures, not opinions: each has a unit, one threshold beyond which its flag is raised, and a place where it alone halves `confidence`.
docs/columns.md explains the columns, docs/temporal.md says how often each flag is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from openau.faces.align import LEFT_EYE, RIGHT_EYE
from openau.faces.finder import LocatedFace
from openau.faces.identity import pooled

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limit:
    """What is bad about a measure.

    Attributes:
        flag: name of the flag's column.
        bad: whether values `above` or `below` the limit are bad.
        limit: there the flag is raised; in the measure's unit.
        usual: there, and on its good side, the measure takes nothing from the confidence; it falls evenly from there, to a half at the
            limit and to 0 as far again beyond it.
    """

    flag: str
    bad: Literal["above", "below"]
    limit: float
    usual: float


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "eye_distance": Limit("is_small", "below", 20.0, 30.0),
        "blur": Limit("is_blurred", "above", 5.0, 3.0),
        "occlusion": Limit("is_occluded", "above", 0.5, 0.25),
        "turn": Limit("is_turned", "above", 40.0, 25.0),
        "brightness": Limit("is_dark", "below", 35.0, 60.0),
        "overexposure": Limit("is_overexposed", "above", 0.15, 0.05),
    }
)
"""Measure → its limit. The one table of thresholds."""

MEASURES = tuple(LIMITS)
FLAGS = tuple(limit.flag for limit in LIMITS.values())
COLUMNS = (*MEASURES, *FLAGS, "confidence")
"""Columns of `--quality`, in order."""

INSIDE = slice(32, 160)
"""Rows and columns of the crop that lie on the face."""
CLIPPED = 250
"""From this grey value on (0–255), a pixel is overexposed."""

_SHARPNESS = (0.0575, 0.070, 0.078, 0.096, 0.110, 0.130, 0.165)
_WIDTH = (12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 0.0)
"""Sharpness (see `_blur`) of photos that were blurred on purpose: medians, and by how much, in percent of the distance between the eyes."""


def assess(face: LocatedFace) -> Floats:
    """Measures, flags (0 or 1) and confidence of a face: (Q,) float32 in the order of `COLUMNS`."""
    measures = measure(face)
    flags = [float(is_bad(name, value)) for name, value in measures.items()]
    return np.array([*measures.values(), *flags, confidence(measures, face.score)], np.float32)


def measure(face: LocatedFace) -> dict[str, float]:
    """Every measure of a face.

    `eye_distance`: pixels of the image between the middles of the eyes, in space, so that turning the head does not change it.
    `blur`: percent of it, see `_blur`. `occlusion`: 0–1. `turn`: degrees between the face and the camera, tilting aside not counted.
    `brightness`: mean grey of the face, 0–255. `overexposure`: share of its pixels that are white.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(face.crop[INSIDE, INSIDE]), cv2.COLOR_RGB2GRAY)
    pitch, yaw = math.radians(face.pose[0]), math.radians(face.pose[1])
    return {
        "eye_distance": _eye_distance(face.landmarks),
        "blur": _blur(grey),
        "occlusion": _occlusion(face.mesh.columns),
        "turn": math.degrees(math.acos(max(-1.0, min(1.0, math.cos(pitch) * math.cos(yaw))))),
        "brightness": cv2.mean(grey)[0],
        "overexposure": cv2.countNonZero(cv2.inRange(grey, CLIPPED, 255)) / grey.size,
    }


def is_bad(name: str, value: float) -> bool:
    """Whether a measure lies beyond its limit."""
    limit = LIMITS[name]
    return value > limit.limit if limit.bad == "above" else value < limit.limit


def confidence(measures: Mapping[str, float], score: float) -> float:
    """How far a row may be trusted, 0–1: the mesh's score, times what the worst measure leaves.

    The worst and not the product: measures go together (a small face is blurred), and would be counted twice. Where a flag is raised, it is
    below 0.5.
    """
    return score * min(_left(name, value) for name, value in measures.items())


def _left(name: str, value: float) -> float:
    limit = LIMITS[name]
    return max(0.0, min(1.0, 1 - 0.5 * (value - limit.usual) / (limit.limit - limit.usual)))


def _eye_distance(landmarks: Floats) -> float:
    points = landmarks[[*RIGHT_EYE, *LEFT_EYE]]
    return float(np.linalg.norm(points[0] + points[1] - points[2] - points[3])) / 2


def _blur(grey: npt.NDArray[np.integer | np.floating]) -> float:
    """Width (sigma) of the Gaussian blur that takes a usual sharp face to one like this, in percent of the distance between its eyes.

    Read off the share of the finest detail in the contrast of the crop, which shows every face at one size: a face smaller than the crop is
    blurred by being enlarged, and that counts. Noise looks like detail, and hides blur.
    """
    fine = cv2.mean(cv2.absdiff(grey, cv2.GaussianBlur(grey, (5, 5), 1.0)))[0]
    coarse = cv2.resize(cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA), grey.shape[::-1])
    return float(np.interp(fine / (cv2.mean(cv2.absdiff(grey, coarse))[0] + 0.3), _SHARPNESS, _WIDTH))


def _occlusion(columns: Floats) -> float:
    """Probability that something covers a part of the face, from what Face Mesh sees."""
    weights, bias = _probe()
    logit = float(pooled(columns) @ weights) + bias
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


@cache
def _probe() -> tuple[Floats, float]:
    with np.load(Path(__file__).with_name("occlusion.npz"), allow_pickle=False) as file:
        return file["weights"], float(file["bias"])
