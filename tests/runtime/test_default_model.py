"""The shipped model on real photographs, and on the shipped clip, whose Action Units are known."""

from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from PIL import Image

import openau
from openau.demo import CLIP
from openau.weights.store import resolve_model

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def detector() -> openau.Detector:
    return openau.Detector()


def probability(faces: openau.Faces, number: int) -> float:
    return float(faces.column(f"AU{number:02d}")[0])


def test_a_smiling_astronaut_smiles(detector: openau.Detector) -> None:
    faces = detector.detect(skimage.data.astronaut())
    assert len(faces) == 1
    assert all(probability(faces, number) >= 0.5 for number in (6, 12, 25))
    assert all(probability(faces, number) < 0.5 for number in (4, 9, 15, 43))
    assert faces.column("AU12_i")[0] > 1.5


def test_grace_hopper_does_not(detector: openau.Detector) -> None:
    path = Path(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    faces = detector.detect(str(path))
    assert len(faces) == 1
    assert all(probability(faces, number) < 0.5 for number in (12, 25, 26, 43))


def test_a_mirror_image_exchanges_left_and_right(detector: openau.Detector) -> None:
    picture = skimage.data.astronaut()
    straight, mirrored = detector.detect(picture), detector.detect(np.ascontiguousarray(picture[:, ::-1]))
    for number in detector.card.sided_aus:
        left, right = (straight.column(f"AU{number:02d}_{side}")[0] for side in "LR")
        assert abs(mirrored.column(f"AU{number:02d}_R")[0] - left) < 0.1
        assert abs(mirrored.column(f"AU{number:02d}_L")[0] - right) < 0.1
    assert abs(straight.pose[0, 1] + mirrored.pose[0, 1]) < 3


def test_the_picture_s_size_hardly_matters(detector: openau.Detector) -> None:
    picture = Image.fromarray(skimage.data.astronaut())
    large = detector.detect(np.asarray(picture.resize((1536, 1536), Image.Resampling.LANCZOS)))
    straight = detector.detect(np.asarray(picture))
    shared = slice(0, len(detector.card.aus))
    assert np.abs(large.values[0, shared] - straight.values[0, shared]).max() < 0.15


def test_the_shipped_clip_shows_what_was_rendered(detector: openau.Detector) -> None:
    faces = openau.Faces.concatenate(list(detector.stream(str(CLIP))))
    assert faces.has_face.mean() > 0.99
    share = faces.timestamp / faces.timestamp[-1]
    # The clip's episodes (`openau.synth.clip.EPISODES`): a smile at .10, surprise at .30, a frown at .50, disgust at .86.
    rest = (np.abs(share - 0.2) < 0.01) | (np.abs(share - 0.4) < 0.01) | (np.abs(share - 0.77) < 0.01)
    for peak, numbers in ((0.10, (6, 12, 25)), (0.30, (1, 2, 26)), (0.50, (4,)), (0.86, (10,))):
        there = np.abs(share - peak) < 0.015
        for number in numbers:
            values = faces.column(f"AU{number:02d}")
            assert np.median(values[there]) > 0.5, f"AU{number} is missed at {peak}"
            assert np.median(values[there]) > np.median(values[rest]) + 0.2, f"AU{number} does not rise at {peak}"


def test_the_card_says_what_must_be_known() -> None:
    card, file = resolve_model("default")
    assert card.name == "fantrans_facemesh.synth"
    assert set(card.aus) >= {1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 28, 43}
    assert set(card.sided_aus) >= {2, 4, 6, 10, 12, 14, 15}
    assert file.stat().st_size < 8_000_000
    assert any("held-out" in name for name in card.measured)
    assert any("photo" in name for name in card.measured)
    assert all(measure.low <= measure.value <= measure.high and measure.command for measure in card.measured.values())
