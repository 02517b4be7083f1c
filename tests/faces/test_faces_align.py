"""Crops are exact to a fraction of a pixel: pictures of dots are warped and the dots measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openau.faces import align
from openau.faces.features import CANONICAL


def dots(width: int, height: int, centres: np.ndarray, sigma: float) -> np.ndarray:
    """An RGB picture with Gaussian dots at points (N, 2), the centre of the first pixel being (0.5, 0.5)."""
    image = np.zeros((height, width))
    for cx, cy in centres:
        rows, columns = (
            np.exp(-((np.arange(n) + 0.5 - c) ** 2) / (2 * sigma**2)) for n, c in ((height, cy), (width, cx))
        )
        image += 250 * np.outer(rows, columns)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)[..., None].repeat(3, axis=-1)


def centroid(image: np.ndarray, near: np.ndarray, radius: float) -> np.ndarray:
    """Centre of brightness around a point, counted like the points."""
    x, y = np.meshgrid(np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5)
    weight = image[..., 0].astype(float) * (np.hypot(x - near[0], y - near[1]) < radius)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def face(centre: tuple[float, float], eye_distance: float, degrees: float = 0.0) -> np.ndarray:
    """Landmarks (468, 3) of the canonical face, somewhere in a picture, turned clockwise."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = CANONICAL @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return turned * eye_distance + [*centre, 0]


@pytest.mark.parametrize("eye_distance", [20.0, 83.3, 190.0, 431.7, 900.0])
@pytest.mark.parametrize("template", ["mesh192", "face224"])
def test_a_dot_lands_where_the_matrix_says(template: str, eye_distance: float) -> None:
    width, height = round(eye_distance * 5 + 31), round(eye_distance * 5 + 17)
    points = face((width * 0.5 + 3.3, height * 0.45), eye_distance, degrees=17)
    matrix = align.TEMPLATES[template].fit(points)
    scale = math.sqrt(np.linalg.det(matrix[:, :2]))
    marked = points[[33, 263, 61, 291, 152], :2]
    crop, got = align.align(dots(width, height, marked, sigma=3 / scale), points, template)
    np.testing.assert_array_equal(got, matrix)
    assert crop.shape == (align.TEMPLATES[template].size,) * 2 + (3,)
    for expected in align.apply(matrix, marked):
        found = centroid(crop, expected, 10)
        assert np.abs(found - expected).max() < 0.06, (found, expected)


def test_regions_that_reach_outside_are_black_there() -> None:
    image = np.full((101, 203, 3), 255, np.uint8)
    for eye_distance in (30.0, 60.0, 400.0):
        crop, matrix = align.align(image, face((5, 50), eye_distance), "mesh192")
        corners = align.apply(matrix, np.array([(0, 0), (203, 101)]))
        x, y = np.meshgrid(np.arange(192) + 0.5, np.arange(192) + 0.5)
        blur = (
            1 + math.sqrt(np.linalg.det(matrix[:, :2])) / 2
        )  # bilinear interpolation reaches half a pixel of the image
        (left, top), (right, bottom) = corners
        outside = (x < left - blur) | (y < top - blur) | (x > right + blur) | (y > bottom + blur)
        inside = (x > left + blur) & (y > top + blur) & (x < right - blur) & (y < bottom - blur)
        assert outside.any()
        assert (crop[outside] == 0).all()
        assert (crop[inside] == 255).all()


def test_a_region_wholly_outside_is_black() -> None:
    image = np.full((50, 50, 3), 255, np.uint8)
    for eye_distance in (40.0, 4000.0):
        crop, _ = align.align(image, face((-100 * eye_distance, 20), eye_distance), "mesh192")
        assert crop.shape == (192, 192, 3)
        assert not crop.any()


def test_large_pictures_do_not_alias() -> None:
    # A chequerboard of single pixels is plain grey when reduced; picking pixels would show stripes or flicker.
    rows, columns = np.indices((1501, 1703))
    image = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, axis=-1)
    crop, matrix = align.align(image, face((850, 700), 300.3, degrees=9), "mesh192")
    assert math.sqrt(np.linalg.det(matrix[:, :2])) < 0.5
    assert np.abs(crop.astype(int) - 127).max() <= 2


def test_resize_keeps_the_mean_and_the_place() -> None:
    centre = np.array([[700.3, 411.8]])
    image = dots(1003, 767, centre, sigma=25)
    for columns, rows in ((1003, 767), (500, 383), (192, 147), (100, 76), (1500, 1147)):
        small = align.resize(image, columns, rows)
        assert small.shape == (rows, columns, 3)
        expected = centre[0] * [columns / 1003, rows / 767]
        assert np.abs(centroid(small, expected, 80 * columns / 1003) - expected).max() < 0.05


def test_mesh192_is_upright_centred_and_half_as_large_again_as_the_landmarks() -> None:
    for degrees in (-120, -15, 0, 40, 179):
        points = face((300, 200), 80, degrees)
        matrix = align.region_from_landmarks(points)
        crop = align.apply(matrix, points)
        low, high = crop[:, :2].min(axis=0), crop[:, :2].max(axis=0)
        assert (high - low).max() == pytest.approx(192 / 1.5, abs=1e-3)
        np.testing.assert_allclose((low + high) / 2, 96, atol=1e-3)
        assert crop[263, 1] - crop[33, 1] == pytest.approx(0, abs=1e-3)
        assert crop[263, 0] > crop[33, 0]
        # z keeps the unit of x.
        assert np.ptp(crop[:, 2]) / np.ptp(points[:, 2]) == pytest.approx(
            192 / 1.5 / np.ptp(points @ _turn(degrees), axis=0)[:2].max()
        )


def _turn(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_face224_puts_a_frontal_face_on_its_five_points() -> None:
    points = face((400, 300), 120, degrees=-25)
    crop_points = align.apply(align.TEMPLATES["face224"].fit(points), points)
    five = align.five_points(crop_points)
    assert np.abs(five - align.FACE224).max() < 6  # the mean face is not the template, but close
    np.testing.assert_allclose(five.mean(axis=0), align.FACE224.mean(axis=0), atol=1e-3)
    assert (crop_points[:, :2] > 0).all()
    assert (crop_points[:, :2] < 224).all()  # forehead and chin are inside


def test_similarity_recovers_a_known_map() -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(0, 50, (9, 2))
    c, s = 1.7 * math.cos(0.6), 1.7 * math.sin(0.6)
    target = source @ np.array([[c, s], [-s, c]]) + [12, -7]
    np.testing.assert_allclose(align.similarity(source, target), [[c, -s, 12], [s, c, -7]], atol=1e-9)
    mirrored = source * [-1, 1]
    assert np.linalg.det(align.similarity(source, mirrored)[:, :2]) >= 0  # never a reflection


def test_invert_and_compose() -> None:
    points = face((321, 123), 66, degrees=33)
    matrix = align.region_from_landmarks(points)
    np.testing.assert_allclose(align.apply(align.invert(matrix), align.apply(matrix, points)), points, atol=1e-3)
    np.testing.assert_allclose(align.compose(matrix, align.invert(matrix)), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
