"""Measures of faces move by what was moved, and in the direction their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openau.faces import features
from openau.synth import statistics

BROWS = [70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285]


def measured(points: np.ndarray) -> dict[str, float]:
    table = statistics.measure(features.geometry(points)[None])
    return {name: float(values[0]) for name, values in table.items()}


def moved(ids: list[int], offset: tuple[float, float, float]) -> np.ndarray:
    """The canonical face (unit: distance between the outer eye corners) with some landmarks moved."""
    points = features.CANONICAL.copy()
    points[ids] += np.float32(offset)
    return points


def changes(points: np.ndarray) -> dict[str, float]:
    before, after = measured(features.CANONICAL), measured(points)
    return {name: after[name] - before[name] for name in before if abs(after[name] - before[name]) > 1e-3}


def test_raised_brows_raise_the_brow_measures_and_nothing_else() -> None:
    assert changes(moved(BROWS, (0, -0.05, 0))) == pytest.approx(
        {"brow height, middle": 5.0, "brow height, inner": 5.0, "brow height, outer": 5.0}, abs=1e-3
    )


def test_brows_drawn_together_close_the_gap() -> None:
    points = moved([107], (0.01, 0, 0))
    points[336] -= np.float32((0.01, 0, 0))
    assert changes(points)["gap between brows"] == pytest.approx(-2.0, abs=0.05)


def test_one_side_counts_half() -> None:
    assert changes(moved([105], (0, -0.04, 0))) == pytest.approx({"brow height, middle": 2.0}, abs=1e-3)


def test_lids_lips_and_corners_go_the_way_their_names_say() -> None:
    assert changes(moved([145, 374], (0, 0.03, 0)))["eye opening"] == pytest.approx(3.0, abs=1e-3)
    assert changes(moved([145, 374], (0, 0.03, 0)))["lower lid to cheek"] == pytest.approx(-3.0, abs=1e-3)
    assert changes(moved([61, 291], (0, -0.06, 0))) == pytest.approx({"corner above lower lip": 6.0}, abs=0.3)
    assert changes(moved([14], (0, 0.02, 0)))["inner lips' gap"] == pytest.approx(2.0, abs=1e-3)
    assert changes(moved([0], (0, -0.02, 0)))["nose to upper lip"] == pytest.approx(-2.0, abs=1e-3)


def test_pose_scale_and_place_change_nothing() -> None:
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = moved(BROWS, (0, -0.05, 0)) @ turn * 140 + np.array([300, 200, 0])
    before, after = measured(moved(BROWS, (0, -0.05, 0))), measured(points)
    assert after == pytest.approx(before, abs=1e-3)


def test_lengths_are_positive_on_a_neutral_face() -> None:
    at_rest = measured(features.CANONICAL)
    assert {name for name, value in at_rest.items() if value <= 0} <= {"corner above lower lip"}
    assert at_rest["mouth width"] == pytest.approx(
        100 * np.linalg.norm(features.CANONICAL[61] - features.CANONICAL[291]), abs=1e-3
    )


def test_z_says_how_far_the_photos_lie_above_the_renders() -> None:
    renders = {"brow height, middle": np.array([10.0, 14.0])}
    photos = {"brow height, middle": np.array([15.0, 17.0])}
    (row,) = statistics.compare(renders, photos)
    assert (row.mean, row.spread, row.reference_mean, row.reference_spread) == (12.0, 2.0, 16.0, 1.0)
    assert row.z == pytest.approx(2.0)
    assert statistics.compare(renders)[0].z is None


def test_movement_is_strong_minus_absent() -> None:
    table = {"mouth width": np.array([50.0, 52, 54, 60, 62, 64, 99])}
    level = np.array([0.0, 0.1, 0.2, 3.0, 4.0, 5.0, np.nan])
    assert statistics.movement(table, level) == {"mouth width": pytest.approx(10.0)}
    assert statistics.movement(table, np.array([0.0, 0, 0, 5, 5, np.nan, np.nan])) == {}


@pytest.mark.weights
def test_a_picture_without_a_face_and_a_broken_one_have_no_geometry(tmp_path: Path) -> None:
    import cv2
    from skimage import data

    cv2.imwrite(str(tmp_path / "face.png"), data.astronaut()[..., ::-1])
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((80, 80, 3), 120, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    found = list(statistics.geometry_of([tmp_path / f"{name}.png" for name in ("face", "wall", "broken", "missing")]))
    assert [vector is not None for vector in found] == [True, False, False, False]
    assert found[0] is not None
    smiling = {name: float(values[0]) for name, values in statistics.measure(found[0][None]).items()}
    at_rest = measured(features.CANONICAL)
    assert smiling["mouth width"] > at_rest["mouth width"]
    assert smiling["corner above lower lip"] > at_rest["corner above lower lip"]
