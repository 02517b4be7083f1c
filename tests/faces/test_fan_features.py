"""What is read off a FAN, against formulas and other libraries."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from openau.faces import fan_features
from openau.faces.fan import MIRROR, mirror_landmarks
from openau.faces.fan_features import GEOMETRY_SIZE, MEAN_SHAPE, RIGID, cells, geometry


def face(seed: int = 0) -> np.ndarray:
    """(68, 2) a face somewhere in a crop of 256 pixels, with an expression."""
    rng = np.random.default_rng(seed)
    return np.float32(128 + 90 * MEAN_SHAPE + rng.normal(0, 4, MEAN_SHAPE.shape))


def test_position_size_and_roll_do_not_show() -> None:
    points = face()
    seen = geometry(points)
    assert seen.shape == (GEOMETRY_SIZE,)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(geometry(np.float32(0.6 * points @ turn.T + [40, -7])), seen, atol=1e-4)


def test_it_is_the_least_squares_similarity_on_rigid_landmarks() -> None:
    """OpenCV fits the same without outliers; expressions elsewhere do not move the alignment."""
    points = np.float32(MEAN_SHAPE * 80 + 100)
    np.testing.assert_allclose(geometry(points).reshape(68, 2), MEAN_SHAPE, atol=1e-4)
    smile = points.copy()
    smile[[48, 54]] += [[-8, -6], [8, -6]]
    moved = geometry(smile).reshape(68, 2) - MEAN_SHAPE
    np.testing.assert_allclose(moved[[48, 54]], np.array([[-0.1, -0.075], [0.1, -0.075]]), atol=1e-4)
    assert np.abs(np.delete(moved, [48, 54], axis=0)).max() < 1e-4
    noisy = face(3)
    matrix, _ = cv2.estimateAffinePartial2D(noisy[RIGID], MEAN_SHAPE[RIGID], method=cv2.LMEDS, refineIters=100)
    ours = geometry(noisy).reshape(68, 2)
    theirs = noisy @ matrix[:, :2].T + matrix[:, 2]
    gap = [np.square(found[RIGID] - MEAN_SHAPE[RIGID]).sum() for found in (ours, theirs)]
    assert gap[0] <= 1.0001 * gap[1]  # no similarity lies closer


def test_a_mirrored_face_has_mirrored_geometry() -> None:
    np.testing.assert_allclose(MEAN_SHAPE[MIRROR] * [-1, 1], MEAN_SHAPE, atol=1e-5)
    assert set(MIRROR[RIGID]) == set(RIGID)
    points = face()
    seen, mirrored = (geometry(found).reshape(68, 2) for found in (points, mirror_landmarks(points, 256)))
    np.testing.assert_allclose(mirrored[MIRROR] * [-1, 1], seen, atol=1e-5)


@pytest.mark.parametrize("grid", [1, 16, 64])
def test_cells_are_averages_row_by_row(grid: int) -> None:
    features = np.random.default_rng(0).normal(size=(5, 64, 64)).astype(np.float32)
    wanted = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(features), grid).flatten(1).T
    np.testing.assert_allclose(cells(features, grid), wanted.numpy(), atol=1e-6)
    marked = np.zeros((1, 64, 64), np.float32)
    marked[0, 5, 60] = 1  # in the first row of cells, on the right
    assert int(cells(marked, grid)[:, 0].argmax()) == {1: 0, 16: 16 + 15, 64: 5 * 64 + 60}[grid]


def test_values_stay_within_16_bits() -> None:
    assert np.isfinite(cells(np.full((1, 64, 64), 1e9, np.float32), 16).astype(np.float16)).all()
    assert fan_features.cells(np.full((1, 64, 64), -1e9, np.float32), 16).min() < -5e4
