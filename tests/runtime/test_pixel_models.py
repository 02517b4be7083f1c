"""Models that look at pixels: what they are shown, that everything which runs a detector runs them, and what is refused."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from clips import frame
from random_model import AUS, WIDTHS
from random_pixels import NAME, SIZE, by_hand, write_pixel_model
from skimage import data

import openau.runtime.detector as detector_module
from openau.errors import WeightsError
from openau.faces import LocatedFace
from openau.faces.align import FACE224, five_points, similarity
from openau.faces.features import mirror
from openau.faces.readers import PixelReader
from openau.media import Frame
from openau.runtime import Detector
from openau.runtime.network import AUNetwork
from openau.runtime.passes import Notes
from openau.runtime.pictures import judge_pictures
from openau.weights.store import resolve_model

pytestmark = pytest.mark.weights

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pixel_model(tmp_path_factory.mktemp("pixels"), neutral={"occurrence": [-1.0] * len(AUS)})


@pytest.fixture(scope="module")
def detector(pixel_model: Path) -> Detector:
    return Detector(pixel_model)


def crop_of(image: np.ndarray, landmarks: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The five points laid on those of face224, by OpenCV's own resampling (from pixel centres)."""
    matrix = similarity(five_points(landmarks), FACE224 * (size / 224))
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def test_detection_says_what_the_network_says_about_the_crop_and_its_mirror_image(
    detector: Detector, pixel_model: Path, media: Path
) -> None:
    """By hand, twice: ONNX Runtime on the crops, and the formula."""
    faces = detector.detect(media / "two.png")
    image = np.ascontiguousarray(cv2.imread(str(media / "two.png"))[..., ::-1])
    crops = np.stack([crop_of(image, landmarks) for landmarks in faces.landmarks])
    both = np.concatenate([crops, crops[:, :, ::-1]])
    session = ort.InferenceSession(str(pixel_model), providers=["CPUExecutionProvider"])
    pixels = np.ascontiguousarray(both.transpose(0, 3, 1, 2), np.float32) / 255
    given = dict(zip(WIDTHS, session.run(list(WIDTHS), {"pixels": pixels}), strict=True))
    for name, formula in by_hand(both).items():
        np.testing.assert_allclose(given[name], formula, atol=1e-4)
    for column, wanted in (
        ("AU12", given["occurrence"][:2, AUS.index(12)] + given["occurrence"][2:, AUS.index(12)]),
        ("AU12_L", given["left"][:2, 1] + given["right"][2:, 1]),
        ("AU12_R", given["right"][:2, 1] + given["left"][2:, 1]),
    ):
        np.testing.assert_allclose(faces.column(column), 1 / (1 + np.exp(-wanted / 2)), atol=1e-5)


def mirrored_face(face: LocatedFace, width: int) -> LocatedFace:
    """The face as it stands in the picture's mirror image."""
    landmarks = face.landmarks[mirror()].copy()
    landmarks[:, 0] = width - landmarks[:, 0]
    return replace(face, landmarks=landmarks)


def test_the_mirrored_look_is_the_look_at_the_mirrored_picture(detector: Detector) -> None:
    image = data.astronaut()
    (face,) = detector.finder.find(image)
    reader = detector.reader
    own = reader.look_at(image, face, mirrored=True)["pixels"]
    other = reader.look_at(np.ascontiguousarray(image[:, ::-1]), mirrored_face(face, image.shape[1]))["pixels"]
    assert np.abs(own - other).max() <= 3 / 255  # the resampling's rounding
    assert np.abs(own - reader.look_at(image, face)["pixels"]).mean() > 0.05


def test_a_picture_and_its_mirror_image_are_judged_alike(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly so where the face is found in the same place: left and right change places, nothing else moves."""
    image = np.ascontiguousarray(data.astronaut())
    (face,) = detector.finder.find(image)
    plain = detector.look(image, located=[face]).prediction
    turned = detector.look(np.ascontiguousarray(image[:, ::-1]), located=[mirrored_face(face, 512)]).prediction
    np.testing.assert_allclose(turned.occurrence, plain.occurrence, atol=5e-3)
    np.testing.assert_allclose(turned.left, plain.right, atol=5e-3)
    assert np.abs(plain.left - plain.right).max() > 0.05
    monkeypatch.setattr(detector, "mirror", False)
    alone = detector.look(image, located=[face]).prediction
    assert np.abs(alone.occurrence - plain.occurrence).max() > 0.05


def test_many_faces_are_judged_in_several_batches(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    image = data.astronaut()
    (face,) = detector.finder.find(image)
    crowd = [replace(face, landmarks=face.landmarks + shift) for shift in range(5)]
    together = detector.look(image, located=crowd)
    monkeypatch.setattr(detector_module, "AT_ONCE", 3)
    sizes = []
    predict = detector.network.predict
    monkeypatch.setattr(
        detector.network, "predict", lambda **given: sizes.append(len(given["pixels"])) or predict(**given)
    )
    np.testing.assert_allclose(detector.look(image, located=crowd).faces.values, together.faces.values, atol=1e-6)
    assert sizes == [3, 3, 3, 1]
    assert not detector.look(np.zeros((64, 64, 3), np.uint8)).faces.has_face.any()


def test_the_command_line_judges_a_photo(openau: Run, pixel_model: Path, detector: Detector, tmp_path: Path) -> None:
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), np.ascontiguousarray(data.astronaut()[..., ::-1]))
    done = openau("detect", photo, "--model", pixel_model, "-o", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    said = detector.detect(photo)
    assert [float(row[f"AU{n:02d}"]) for n in AUS] == pytest.approx(said.values[0, : len(AUS)].tolist(), abs=1e-4)
    shown = openau("models", pixel_model)
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    for part in (f"pixels (3, {SIZE}, {SIZE})", "none, it looks at the crop itself", "face224"):
        assert part in words


def test_videos_notes_and_data_sets(detector: Detector, pixel_model: Path, media: Path) -> None:
    frames = [Frame(i, i / 25, frame(i)) for i in range(4)]
    with Notes(detector.columns) as notes:
        for seen in detector.watch_frames(frames, "clip"):
            notes.add(seen)
        assert notes.people(detector.network.neutral, minimum=4) == {0: 4}
        calibrated = list(notes.frames("clip"))
    assert len(calibrated) == 4
    assert all(part.has_face.all() for part in calibrated)
    judged = judge_pictures(str(pixel_model), media, ["one.png", "wall.png"], processes=1)
    assert judged.tool == NAME
    assert judged.found.tolist() == [True, False]
    expected = Detector(pixel_model, max_faces=1).detect(media / "one.png").values[0, : len(AUS)]
    np.testing.assert_allclose(judged.probability[0], expected, atol=1e-6)


@pytest.mark.slow
def test_it_can_be_timed(openau: Run, pixel_model: Path, media: Path) -> None:
    done = openau("bench", "detect", media / "one.mp4", "--model", pixel_model)
    assert done.returncode == 0, done.stderr
    assert "AU net, batch 1" in done.stdout


@pytest.mark.parametrize("size", [56, 224])
def test_other_sizes_see_the_same_part_of_the_face(tmp_path: Path, size: int) -> None:
    image = data.astronaut()
    detector = Detector(write_pixel_model(tmp_path, size), mirror=False)
    (face,) = detector.finder.find(image)
    said = detector.look(image, located=[face]).prediction.occurrence
    if size == 224:  # the face is about as large; smaller crops are reduced first
        np.testing.assert_allclose(
            said, by_hand(crop_of(image, face.landmarks, size)[None], size)["occurrence"], atol=1e-4
        )
    pixels = detector.reader.look_at(image, face)["pixels"].transpose(1, 2, 0)
    whole = PixelReader("face224", 448).look_at(image, face)["pixels"].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels, cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA), atol=0.2)
    assert np.abs(pixels - cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)).mean() < 0.02


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"input": {"pixels": (3, 96, 96)}},
            "has the inputs pixels 3×112×112, but the card of .* promises pixels 3×96×96",
        ),
        ({"entrance": "image"}, "has the inputs image 3×112×112, but the card of .* promises pixels 3×112×112"),
        (
            {"template": "face9"},
            "cannot be followed: no alignment template is called 'face9'; there are mesh192, face224",
        ),
        ({"aus": AUS[:-1]}, "output 'occurrence' has 12 AUs, but the card of .* names 11"),
    ],
    ids=str,
)
def test_a_card_that_does_not_fit_is_one_sentence(tmp_path: Path, given: dict[str, object], sentence: str) -> None:
    file = write_pixel_model(tmp_path, **given)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=sentence) as caught:
        Detector(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_nothing_in_nothing_out(pixel_model: Path) -> None:
    card, file = resolve_model(pixel_model)
    empty = AUNetwork(file, card).predict(pixels=np.zeros((0, 3, SIZE, SIZE), np.float32))
    assert (empty.occurrence.shape, empty.left.shape) == ((0, len(AUS)), (0, 2))
