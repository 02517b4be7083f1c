"""Pictures for models that look at pixels: alignment against `align`, augmentation against what it claims, labels that follow mirrors."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from openau.errors import InputError
from openau.faces.align import FACE224, apply, similarity, warp
from openau.training.labels import Labels, read_labels
from openau.training.picture_recipes import STRONG, Augmentation
from openau.training.pictures import (
    Draw,
    Pictures,
    TrainingPictures,
    WatchedPictures,
    five_points_of,
    move,
    repaint,
    training_loader,
)


def _roughness(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean())


STILL = Augmentation(shift=0, mirror=0, brightness=0, contrast=0, saturation=0)
COUNT = 12


def _points(number: int) -> np.ndarray:
    """A face a little larger, turned and elsewhere in each picture."""
    angle, scale = 0.05 * number, 0.9 + 0.03 * number
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((FACE224 - 112) @ turn.T + (160 + number, 158)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    root = tmp_path_factory.mktemp("pictures")
    names: list[str | None] = []
    for number in range(COUNT):
        picture = cv2.GaussianBlur(
            np.random.default_rng(number).integers(0, 256, (320, 320, 3)).astype(np.uint8), (0, 0), 6
        )
        picture = cv2.normalize(picture, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)
        cv2.imwrite(str(root / f"{number}.png"), picture[:, :, ::-1])
        names.append(f"{number}.png")
    points: list[list[float] | None] = [_points(number).ravel().tolist() for number in range(COUNT)]
    names[3] = None
    points[5] = None
    rows = {
        "image": names,
        "subject": [f"s{number // 4}" for number in range(COUNT)],
        "five_points": pa.array(points, pa.list_(pa.float32())),
        "AU12": [number % 2 for number in range(COUNT)],
        "AU12_L": [1] * COUNT,
        "AU12_R": [0] * COUNT,
    }
    return root, pa.table(rows)


@pytest.fixture
def labels(data: tuple[Path, pa.Table]) -> Labels:
    return read_labels(data[1], (12,), (), (12,))


def test_a_picture_is_aligned_by_its_five_points(data: tuple[Path, pa.Table]) -> None:
    root, rows = data
    pictures = Pictures(root, rows, size=112)
    picture = cv2.imread(str(root / "7.png"))[:, :, ::-1]
    expected = warp(np.ascontiguousarray(picture), similarity(_points(7), FACE224 / 2), 112)
    np.testing.assert_array_equal(pictures.aligned(7), expected)
    np.testing.assert_array_equal(np.flatnonzero(~pictures.usable), [3, 5])


def test_without_variation_an_augmented_picture_is_the_aligned_one(data: tuple[Path, pa.Table]) -> None:
    pictures = Pictures(*data)
    varied, mirrored = pictures.augmented(2, STILL, np.random.default_rng(0))
    assert not mirrored
    np.testing.assert_array_equal(varied, pictures.aligned(2))


def test_a_mirror_image_is_the_aligned_picture_mirrored(data: tuple[Path, pa.Table]) -> None:
    pictures = Pictures(*data)
    mirror = Augmentation(shift=0, mirror=1, brightness=0, contrast=0, saturation=0)
    varied, mirrored = pictures.augmented(2, mirror, np.random.default_rng(0))
    assert mirrored
    difference = np.abs(varied.astype(int) - pictures.aligned(2)[:, ::-1])
    assert difference.max() <= 2  # the two are resampled at different sub-pixel positions only by rounding


def test_moves_stay_within_their_bounds_and_fill_them() -> None:
    how = Augmentation(rotation=15, scale=(0.75, 1.25), shift=0.1, mirror=0.5)
    moves = [move(200, how, np.random.default_rng(seed)) for seed in range(2000)]
    scales = np.array([np.sqrt(abs(np.linalg.det(matrix[:, :2]))) for matrix, _ in moves])
    straight = [matrix for matrix, mirrored in moves if not mirrored]
    angles = np.degrees([np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in straight])
    middles = np.array([apply(matrix, np.array([[100.0, 100.0]]))[0] for matrix, _ in moves]) - 100
    assert 0.75 <= scales.min() < 0.76
    assert 1.24 < scales.max() <= 1.25
    assert -15 <= angles.min() < -14
    assert 14 < angles.max() <= 15
    np.testing.assert_array_less(np.abs(middles), 20 + 1e-3)
    assert np.abs(middles).max() > 19
    assert 0.45 < np.mean([mirrored for _, mirrored in moves]) < 0.55
    assert all((np.linalg.det(matrix[:, :2]) < 0) == mirrored for matrix, mirrored in moves)


def test_brightness_and_contrast_are_those_of_the_formula() -> None:
    image = np.random.default_rng(0).integers(60, 120, (32, 32, 3)).astype(np.uint8)
    how = Augmentation(brightness=0.4, contrast=0.4, saturation=0)
    jitter = np.random.default_rng(5).uniform(-1, 1, 3)
    brightness, contrast = 1 + 0.4 * jitter[0], 1 + 0.4 * jitter[1]
    bright = image * brightness
    mean = (bright @ [0.299, 0.587, 0.114]).mean()
    expected = np.clip((bright - mean) * contrast + mean, 0, 255)
    varied = repaint(image, how, np.random.default_rng(5))
    assert np.abs(varied - expected).max() <= 0.51


def test_a_grey_picture_has_equal_channels_with_the_luma_of_the_original() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    grey = repaint(image, Augmentation(brightness=0, contrast=0, grey=1), np.random.default_rng(0))
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - image @ [0.299, 0.587, 0.114]).max() <= 1


def test_compression_blur_and_cover_change_what_they_should() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8), (0, 0), 1.0)
    image[..., 0] = 255 - image[..., 0] // 4  # reddish, so that exchanged channels would show
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    compressed = repaint(image, Augmentation(**none, jpeg=1), np.random.default_rng(1))
    assert 0 < np.abs(compressed.astype(int) - image).mean() < 20
    assert compressed[..., 0].mean() > compressed[..., 2].mean()
    covered = repaint(image, Augmentation(**none, dropout=1), np.random.default_rng(1))
    share = (covered == 128).all(axis=-1).mean()
    assert 0 < share <= 1 / 9 + 0.01
    sharp = [_roughness(repaint(image, Augmentation(**none, blur=3), np.random.default_rng(s))) for s in range(20)]
    assert min(sharp) < 0.5 * max(sharp)


def test_labels_of_sides_follow_the_mirror(data: tuple[Path, pa.Table], labels: Labels) -> None:
    pictures = Pictures(*data)
    rows = np.flatnonzero(pictures.usable)
    batches = TrainingPictures(pictures, labels, Augmentation(shift=0, brightness=0, contrast=0, saturation=0), 0)
    batch = batches[Draw(0, rows)]
    straight = np.array(
        [
            np.abs(batch.pixels[i].permute(1, 2, 0).numpy().astype(int) - pictures.aligned(row)).max() < 3
            for i, row in enumerate(rows)
        ]
    )
    assert 0 < straight.sum() < len(rows)
    np.testing.assert_array_equal(batch.left[:, 0].numpy(), straight.astype(float))
    np.testing.assert_array_equal(batch.right[:, 0].numpy(), (~straight).astype(float))
    np.testing.assert_array_equal(batch.occurrence[:, 0].numpy(), rows % 2)


def test_the_same_draw_gives_the_same_bytes_for_any_number_of_workers(
    data: tuple[Path, pa.Table], labels: Labels
) -> None:
    pictures = Pictures(*data, size=64)
    rows = np.flatnonzero(pictures.usable)
    seen = []
    for workers in (0, 2):
        loader = training_loader(pictures, labels, rows, 4, STRONG, seed=3, workers=workers)
        epochs = []
        for epoch in range(2):
            loader.sampler.epoch = epoch  # type: ignore[attr-defined]
            epochs.append([(batch.row.clone(), batch.pixels.clone()) for batch in loader])
        seen.append(epochs)
    for alone, shared in zip(*seen, strict=True):
        assert sorted(torch.cat([row for row, _ in alone]).tolist()) == rows.tolist()
        for (row, pixels), (other_row, other_pixels) in zip(alone, shared, strict=True):
            assert torch.equal(row, other_row)
            assert torch.equal(pixels, other_pixels)
    assert not torch.equal(seen[0][0][0][0], seen[0][1][0][0]), "two epochs in the same order"


def test_watched_pictures_come_in_order(data: tuple[Path, pa.Table], labels: Labels) -> None:
    pictures = Pictures(*data, size=64)
    rows = np.flatnonzero(pictures.usable)
    batches = list(WatchedPictures(pictures, labels, rows, 4))
    assert torch.cat([batch.row for batch in batches]).tolist() == rows.tolist()
    np.testing.assert_array_equal(batches[1].pixels[0].permute(1, 2, 0).numpy(), pictures.aligned(int(rows[4])))


def test_rendered_manifests_are_aligned_by_their_landmarks() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[[36, 39]] = [[10, 20], [30, 20]]
    landmarks[[42, 45]] = [[50, 22], [70, 22]]
    landmarks[30], landmarks[48], landmarks[54] = (40, 40), (25, 60), (55, 61)
    rows = pa.table({"image": ["a.jpg"], "landmarks": [landmarks.ravel().tolist()]})
    np.testing.assert_array_equal(five_points_of(rows)[0], [[20, 20], [60, 22], [40, 40], [25, 60], [55, 61]])


def test_a_manifest_without_points_is_told_in_one_sentence() -> None:
    with pytest.raises(InputError, match="neither a column five_points"):
        five_points_of(pa.table({"image": ["a.jpg"], "subject": ["s"]}))
    with pytest.raises(InputError, match="must hold 10 numbers"):
        five_points_of(pa.table({"five_points": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))}))
