"""Head pose from landmarks: the rotation that turns the canonical face into the observed one."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from openau.faces.features import align_rigidly


def head_pose(points: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Head pose relative to the line of sight.

    The landmarks that expressions hardly move are matched to the canonical face (least squares, no reflection). With x to the
    right of the picture, y down and z away from the camera, the rotation is roll · yaw · pitch: pitch is applied first, about the
    head's own left–right axis; roll last, in the picture's plane, so that rotating the picture changes roll alone.

    Args:
        points: (468, 3) landmarks; any unit, z in the unit of x.

    Returns:
        pitch (+ looks up), yaw (+ turns to the subject's left, to the right of an unmirrored picture) and roll (+ tilts towards
        the subject's left shoulder, clockwise in the picture), degrees.
    """
    _, rotation = align_rigidly(points)
    pitch = -math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    yaw = math.asin(max(-1.0, min(1.0, float(rotation[2, 0]))))
    roll = math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
    return math.degrees(pitch), math.degrees(yaw), math.degrees(roll)
