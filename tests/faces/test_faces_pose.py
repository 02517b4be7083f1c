from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from openau.faces import FaceFinder, head_pose
from openau.faces.features import CANONICAL


def about(axis: int, degrees: float) -> np.ndarray:
    """Right-handed rotation about x (0), y (1) or z (2)."""
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    radians = np.radians(degrees)
    matrix[a, a] = matrix[b, b] = np.cos(radians)
    matrix[a, b], matrix[b, a] = -np.sin(radians), np.sin(radians)
    return matrix


@pytest.mark.parametrize(("pitch", "yaw", "roll"), list(itertools.product((-40, 0, 25), (-40, 0, 33), (-40, 0, 40))))
def test_known_rotations_are_recovered(pitch: float, yaw: float, roll: float) -> None:
    # x right, y down, z away: looking up lifts the nose (z < 0) to smaller y, a negative turn about x; likewise for y.
    rotation = about(2, roll) @ about(1, -yaw) @ about(0, -pitch)
    points = 57 * CANONICAL @ rotation.T + [200, 100, 5]
    np.testing.assert_allclose(head_pose(points), (pitch, yaw, roll), atol=0.1)


def test_signs_are_what_they_say() -> None:
    nose, crown, chin = 1, 10, 152
    up = CANONICAL @ about(0, -20).T
    assert up[nose, 1] < CANONICAL[nose, 1]  # the nose rises in the picture
    assert head_pose(up)[0] == pytest.approx(20, abs=0.1)
    left = CANONICAL @ about(1, -20).T
    assert left[nose, 0] > CANONICAL[nose, 0]  # towards the subject's left, the right of the picture
    assert head_pose(left)[1] == pytest.approx(20, abs=0.1)
    tilted = CANONICAL @ about(2, 20).T
    assert tilted[crown, 0] > tilted[chin, 0]  # the crown leans to the subject's left shoulder
    assert head_pose(tilted)[2] == pytest.approx(20, abs=0.1)


def test_an_expression_does_not_turn_the_head() -> None:
    smiling = CANONICAL.copy()
    smiling[[61, 291, 0, 17, 13, 14, 152, 50, 280]] += [0.0, -0.12, 0.03]
    np.testing.assert_allclose(head_pose(smiling), 0, atol=0.5)


@pytest.mark.weights
@pytest.mark.parametrize("degrees", [15, -15])
def test_turning_a_photo_changes_roll_alone(finder: FaceFinder, astronaut: np.ndarray, degrees: int) -> None:
    (upright,) = finder.find(astronaut)
    assert max(map(abs, upright.pose)) < 12  # she looks into the camera
    turned = np.asarray(
        Image.fromarray(astronaut).rotate(-degrees, Image.Resampling.BICUBIC)
    )  # PIL turns counter-clockwise
    (face,) = finder.find(turned)
    change = np.subtract(face.pose, upright.pose)
    np.testing.assert_allclose(change, [0, 0, degrees], atol=2)


@pytest.mark.weights
def test_a_mirrored_photo_mirrors_yaw_and_roll(finder: FaceFinder, hopper: np.ndarray) -> None:
    (face,) = finder.find(hopper)
    (mirrored,) = finder.find(np.ascontiguousarray(hopper[:, ::-1]))
    np.testing.assert_allclose(mirrored.pose, np.multiply(face.pose, [1, -1, -1]), atol=3)
