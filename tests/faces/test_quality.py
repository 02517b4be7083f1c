"""Quality flags on photographs that were spoilt on purpose."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from openau.faces import FaceFinder, LocatedFace
from openau.faces.quality import COLUMNS, FLAGS, LIMITS, assess, measure

pytestmark = pytest.mark.weights


def largest(finder: FaceFinder, image: np.ndarray) -> dict[str, float]:
    return dict(zip(COLUMNS, assess(finder.find(np.ascontiguousarray(image))[0]).tolist(), strict=True))


def flags(said: dict[str, float]) -> set[str]:
    return {flag for flag in FLAGS if said[flag]}


@pytest.fixture(scope="module")
def portrait(astronaut: np.ndarray) -> np.ndarray:
    return astronaut[0:300, 60:400]


def test_a_good_photo_has_no_flags_and_full_confidence(finder: FaceFinder, portrait: np.ndarray) -> None:
    said = largest(finder, portrait)
    assert flags(said) == set()
    assert said["confidence"] > 0.9
    assert said["eye_distance"] == pytest.approx(45, abs=10)


@pytest.mark.parametrize(
    ("flag", "spoil"),
    [
        ("is_blurred", lambda image: cv2.GaussianBlur(image, (0, 0), 4)),
        ("is_dark", lambda image: (image * 0.12).astype(np.uint8)),
        ("is_overexposed", lambda image: np.clip(image.astype(float) * 2.2, 0, 255).astype(np.uint8)),
        ("is_small", lambda image: cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)),
    ],
)
def test_what_spoils_a_photo_raises_its_flag(
    finder: FaceFinder, portrait: np.ndarray, flag: str, spoil: object
) -> None:
    said = largest(finder, spoil(portrait))  # type: ignore[operator]
    assert flag in flags(said)
    assert said["confidence"] < 0.5


def test_a_mask_over_mouth_and_nose_is_an_occlusion(finder: FaceFinder, portrait: np.ndarray) -> None:
    (face, *_) = finder.find(np.ascontiguousarray(portrait))
    masked = portrait.copy()
    outline = face.landmarks[[234, 117, 197, 346, 454, 361, 397, 152, 172, 132], :2].astype(np.int32)
    cv2.fillPoly(masked, [outline], (120, 170, 210))
    assert "is_occluded" in flags(largest(finder, masked))


def test_blur_is_measured_in_the_faces_own_size(finder: FaceFinder, hopper: np.ndarray) -> None:
    for percent in (4.0, 8.0):
        values = []
        for scale in (1.0, 0.6):
            image = cv2.resize(hopper, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            sharp = largest(finder, image)
            values.append(
                largest(finder, cv2.GaussianBlur(image, (0, 0), percent / 100 * sharp["eye_distance"]))["blur"]
            )
        assert values[0] == pytest.approx(percent, rel=0.5)
        assert values[1] == pytest.approx(values[0], rel=0.35)


def test_a_turned_head_is_told_and_a_tilted_one_is_not(finder: FaceFinder, portrait: np.ndarray) -> None:
    face: LocatedFace = finder.find(np.ascontiguousarray(portrait))[0]
    for pose, angle in (((0.0, 50.0, 0.0), 50.0), ((-45.0, 0.0, 0.0), 45.0), ((0.0, 0.0, 60.0), 0.0)):
        said = replace(face, pose=pose)
        assert measure(said)["turn"] == pytest.approx(angle, abs=0.01)
        assert assess(said)[COLUMNS.index("is_turned")] == (angle > LIMITS["turn"].limit)
