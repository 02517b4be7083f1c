"""Features are pose-free, symmetric, and sampled where the landmarks are."""

import numpy as np
import pytest

from openau.faces import features


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def test_mirror_is_an_involution_that_maps_the_points_onto_themselves() -> None:
    twin = features.mirror()
    assert (twin[twin] == np.arange(468)).all()
    assert set(twin[features.POINTS]) == set(features.POINTS)
    assert twin[33] == 263
    assert twin[1] == 1


def test_canonical_face_is_symmetric_and_unit_sized() -> None:
    canonical = features.CANONICAL
    reflected = canonical[features.mirror()] * [-1, 1, 1]
    assert np.abs(canonical - reflected).max() < 1e-5
    assert np.linalg.norm(canonical[263] - canonical[33]) == pytest.approx(1, abs=1e-4)
    assert canonical[152, 1] > canonical[1, 1] > canonical[168, 1]  # y points down: chin below nose below nasion
    assert canonical[1, 2] < canonical[33, 2]  # the nose is nearer the camera


def test_geometry_forgets_pose_scale_and_place() -> None:
    face = features.CANONICAL + np.random.default_rng(0).normal(0, 0.01, (468, 3))
    moved = 140 * face @ rotation(25, -12, 8) + [300, 200, -40]
    assert np.abs(features.geometry(moved) - features.geometry(face)).max() < 1e-4


def test_distances_measure_what_their_names_say() -> None:
    face = features.CANONICAL.copy()
    opened = face.copy()
    opened[[14, 17, 152], 1] += 0.3  # lower lip and chin drop by 0.3 eye distances
    change = features.geometry(opened) - features.geometry(face)
    by_name = dict(zip(features.DISTANCES, change[-len(features.DISTANCES) :], strict=True))
    assert by_name["y13-14"] == pytest.approx(0.3, abs=1e-3)
    assert by_name["y105-159"] == pytest.approx(0, abs=1e-3)


def test_mirrored_face_has_mirrored_geometry() -> None:
    rng = np.random.default_rng(1)
    face = features.CANONICAL + rng.normal(0, 0.02, (468, 3)).astype(np.float32)
    mirrored = (face * [-1, 1, 1])[features.mirror()]
    count = len(features.POINTS)
    where = {int(p): i for i, p in enumerate(features.POINTS)}
    twin = [where[int(features.mirror()[p])] for p in features.POINTS]
    original = features.geometry(face)[: 3 * count].reshape(count, 3)
    reflected = features.geometry(mirrored)[: 3 * count].reshape(count, 3)
    assert np.abs(reflected - original[twin] * [-1, 1, 1]).max() < 2e-3


def test_hypercolumns_sample_linear_ramps_exactly() -> None:
    maps = []
    for side, channels in ((48, 32), (24, 64), (12, 128), (6, 128)):
        centre = (np.arange(side) + 0.5) * 192 / side
        ramp = np.broadcast_to(centre[None, :, None] + 1000 * centre[:, None, None], (side, side, channels))
        maps.append(ramp.astype(np.float32))
    landmarks = np.random.default_rng(2).uniform(20, 170, (468, 3)).astype(np.float32)
    columns = features.hypercolumns(maps, landmarks)
    expected = landmarks[features.POINTS, 0] + 1000 * landmarks[features.POINTS, 1]
    assert columns.shape == (len(features.POINTS), features.CHANNELS)
    assert np.abs(columns - expected[:, None]).max() < 1e-4 * np.abs(expected).max()


def test_missing_map_is_named() -> None:
    with pytest.raises(ValueError, match="48×48×32"):
        features.hypercolumns([], np.zeros((468, 3), np.float32))
