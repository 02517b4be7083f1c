"""What pictures suffer on purpose: mild copies stay close, heavy ones lose detail, glasses sit on the eyes."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from openau.faces import features
from openau.training.augment import _jpeg, glasses, heavy, mild, view

SEEDS = range(40)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """The astronaut's head, 200×200."""
    return np.ascontiguousarray(data.astronaut()[30:230, 120:320])


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    """A frontal face 94 px wide in that picture: the canonical one, laid over hers."""
    points = features.CANONICAL * 59
    return (points + np.float32([107, 74, 0])).astype(np.float32)


def detail(image: np.ndarray) -> float:
    """How much the picture changes from pixel to pixel, relative to its contrast."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    return float(np.abs(np.diff(grey, axis=1)).mean() / max(grey.std(), 1e-6))


def likeness(image: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the brightness of two pictures."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float).ravel() for picture in (image, other)]
    return float(np.corrcoef(grey)[0, 1])


def test_mild_copies_stay_close(face: np.ndarray) -> None:
    for seed in SEEDS:
        copy = mild(face, np.random.default_rng(seed))
        assert (copy.shape, copy.dtype) == (face.shape, np.uint8)
        assert likeness(copy, face) > 0.97
        assert abs(float(copy.mean()) - float(face.mean())) < 60


def test_heavy_copies_keep_their_shape_and_lose_detail(face: np.ndarray, landmarks: np.ndarray) -> None:
    copies = [heavy(face, landmarks, np.random.default_rng(seed)) for seed in SEEDS]
    assert {(copy.shape, copy.dtype) for copy in copies} == {(face.shape, np.dtype(np.uint8))}
    close = [likeness(copy, face) for copy in copies]
    assert min(close) > 0.3
    assert np.median(close) < np.median([likeness(mild(face, np.random.default_rng(seed)), face) for seed in SEEDS])
    small = [cv2.resize(cv2.resize(copy, (60, 60), interpolation=cv2.INTER_AREA), (200, 200)) for copy in copies]
    lost = [np.abs(copy.astype(float) - reduced).mean() for copy, reduced in zip(copies, small, strict=True)]
    whole = np.abs(
        face.astype(float) - cv2.resize(cv2.resize(face, (60, 60), interpolation=cv2.INTER_AREA), (200, 200))
    )
    assert np.mean(np.array(lost) < 0.7 * whole.mean()) > 0.3
    grey = [np.abs(copy.astype(int) - copy[..., :1]).max() <= 24 for copy in copies]
    assert 0.15 < np.mean(grey) < 0.75


def test_jpeg_loses_what_a_picture_file_loses(face: np.ndarray) -> None:
    """As Pillow's JPEG of the same quality: red weighs more than blue in the luma, which is kept finer than the colours."""
    for quality in (30, 80):
        file = io.BytesIO()
        Image.fromarray(face).save(file, "JPEG", quality=quality)
        theirs = np.asarray(Image.open(file), int)
        ours = _jpeg(face, quality).astype(int)
        assert np.abs(ours - theirs).mean() < 0.5
        swapped = _jpeg(np.ascontiguousarray(face[..., ::-1]), quality)[..., ::-1].astype(int)
        assert np.abs(swapped - theirs).mean() > 1


def test_odd_sizes_and_a_face_out_of_the_picture(face: np.ndarray, landmarks: np.ndarray) -> None:
    for picture in (face[:33, :57], face[:9, :9], cv2.resize(face, (401, 77))):
        for seed in range(10):
            copy = heavy(picture, landmarks + np.float32(500), np.random.default_rng(seed))
            assert (copy.shape, copy.dtype) == (picture.shape, np.uint8)


def test_same_generator_same_copy_and_the_input_stays(face: np.ndarray, landmarks: np.ndarray) -> None:
    before = face.copy()
    for number in range(3):
        one, two, other = (view(number)(face, landmarks, np.random.default_rng(seed)) for seed in (3, 3, 4))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one.astype(int) - other).max() > 0
    glasses(face, landmarks, np.random.default_rng(0))
    np.testing.assert_array_equal(face, before)


def test_view_0_is_mild_and_the_others_are_heavy(face: np.ndarray, landmarks: np.ndarray) -> None:
    np.testing.assert_array_equal(
        view(0)(face, landmarks, np.random.default_rng(1)), mild(face, np.random.default_rng(1))
    )
    for number in (1, 2):
        np.testing.assert_array_equal(
            view(number)(face, landmarks, np.random.default_rng(1)), heavy(face, landmarks, np.random.default_rng(1))
        )


def test_glasses_darken_a_rim_around_the_eyes_and_leave_the_mouth(landmarks: np.ndarray) -> None:
    """On a bright picture a frame is dark; it rings each eye, and what lies below the glasses is as before."""
    bright = np.full((200, 200, 3), 230, np.uint8)
    rows, columns = np.mgrid[:200, :200]
    eyes = [landmarks[list(corners), :2].mean(axis=0) for corners in ((33, 133), (362, 263))]
    between = float(np.linalg.norm(eyes[1] - eyes[0]))
    for seed in SEEDS:
        changed = (glasses(bright, landmarks, np.random.default_rng(seed)).astype(int) - 230).min(axis=2)
        for eye in eyes:
            away = np.hypot(columns - eye[0], rows - eye[1]) / between
            rim = changed[(away > 0.15) & (away < 0.55)]
            assert rim.min() < -30
            angles = np.arctan2(rows - eye[1], columns - eye[0])[(changed < -30) & (away > 0.15) & (away < 0.6)]
            assert len(np.unique(np.floor((angles + np.pi) / (np.pi / 4)).clip(0, 7))) == 8
        assert not changed[int(landmarks[2, 1]) :].any()
