"""A FAN learns landmarks: crops carry their landmarks along, the loss is its formula, a stopped run goes on to the same weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dotted_faces import GREEN, RED, make

from openau.errors import InputError, UsageError
from openau.faces.align import TEMPLATES
from openau.faces.fan import MESH_IDS
from openau.faces.features import CANONICAL
from openau.models.fan import FANConfig
from openau.training.fan.checkpoint import load_fan
from openau.training.fan.fit import (
    CONFIG,
    ENVIRONMENT,
    LAST,
    Options,
    heatmap_loss,
    learning_rate,
    normalised_error,
    train_fan,
)
from openau.training.fan.pictures import LandmarkPictures, batches, region
from openau.training.fan.recipe import FANRecipe
from openau.training.splits import HoldOut

TINY = FANRecipe(
    model=FANConfig(stacks=1, width=8, depth=1, stem=4), images=16, round_size=4, batch=2, precision="32", patches=0, plain=1, mild=0
)  # fmt: skip
OPTIONS = Options(HoldOut.parse("subjects=0.4"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("dots") / "faces")


def centroid(image: np.ndarray, channel: int) -> np.ndarray:
    weight = image[..., channel].astype(float) - image[..., 2]
    weight = np.where(weight > 60, weight, 0)
    y, x = np.mgrid[: len(image), : len(image)] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / max(weight.sum(), 1e-9)


def test_landmarks_move_with_the_picture_and_change_sides_in_mirrors(faces: Path) -> None:
    pictures = LandmarkPictures(faces)
    mirrored = 0
    for number in range(40):
        crop, points = pictures.draw(number % 20, TINY, np.random.default_rng(number))
        assert crop.shape == (256, 256, 3)
        found = np.stack([centroid(crop, 0), centroid(crop, 1)])
        if not ((points[[RED, GREEN]] > 12) & (points[[RED, GREEN]] < 244)).all() or not found.all():
            continue
        flipped = np.abs(found[0] - points[GREEN]).max() < np.abs(found[0] - points[RED]).max()
        mirrored += flipped
        # In a mirror image the dot painted on the right end of the jaw lies at the left end.
        expected = points[[GREEN, RED]] if flipped else points[[RED, GREEN]]
        assert np.abs(found - expected).max() < 1.5, number
        assert points[0, 0] < points[16, 0], "the subject's right stays left in the picture"
    assert 5 < mirrored < 35


def test_the_crop_of_68_landmarks_is_about_the_template_s() -> None:
    mesh = CANONICAL * 200 + [300, 280, 0]
    for name, tolerance in (("fan256", 0.12), ("fan256_wide", 0.02)):
        ours, template = region(mesh[MESH_IDS, :2].astype(np.float32), name), TEMPLATES[name].fit(mesh)
        assert ours[0, 0] == pytest.approx(template[0, 0], rel=tolerance)
        middle = np.linalg.solve(template[:, :2], 128 - template[:, 2])
        assert np.abs(ours[:, :2] @ middle + ours[:, 2] - 128).max() < 256 * tolerance / 2
    with pytest.raises(UsageError, match="fan256, fan256_wide"):
        region(mesh[MESH_IDS, :2], "face224")


def test_batches_depend_on_seed_and_step_alone(faces: Path) -> None:
    pictures = LandmarkPictures(faces)
    rows = np.arange(3, 11)
    whole = list(batches(pictures, rows, TINY, 7, range(6), threads=3))
    late = list(batches(pictures, rows, TINY, 7, range(4, 6)))
    for a, b in zip(whole[4:], late, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.landmarks, b.landmarks)
    other = next(iter(batches(pictures, rows, TINY, 8, range(1))))
    assert (other.images != whole[0].images).any()


def test_every_row_comes_once_before_any_comes_again(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = LandmarkPictures(faces)
    drawn: list[int] = []

    def draw(row: int, *_: object) -> tuple[np.ndarray, np.ndarray]:
        drawn.append(row)
        return np.zeros((256, 256, 3), np.uint8), np.zeros((68, 2), np.float32)

    monkeypatch.setattr(pictures, "draw", draw)
    list(batches(pictures, np.arange(3, 11), TINY, 0, range(8)))
    assert sorted(drawn[:8]) == sorted(drawn[8:]) == list(range(3, 11))
    assert drawn[:8] != drawn[8:]


def test_the_loss_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    drawn, points = rng.normal(0, 0.3, (2, 3, 6, 8)), rng.uniform(1, 5, (2, 3, 2))
    points[1, 2] = (9, 2)  # outside: not judged
    wanted, sigma, weight = [], 1.3, 5.0
    for b in range(2):
        for k in range(3):
            if (b, k) == (1, 2):
                continue
            total = 0.0
            for row in range(6):
                for column in range(8):
                    far = (column + 0.5 - points[b, k, 0]) ** 2 + (row + 0.5 - points[b, k, 1]) ** 2
                    g = math.exp(-far / (2 * sigma**2))
                    total += (1 + weight * g) * (drawn[b, k, row, column] - g) ** 2
            wanted.append(total / (2 * math.pi * sigma**2))
    found = heatmap_loss(torch.tensor(drawn), torch.tensor(points), sigma, weight)
    assert found.item() == pytest.approx(np.mean(wanted), rel=1e-6)


def test_error_is_in_eye_corner_distances() -> None:
    truth = np.zeros((1, 68, 2), np.float32)
    truth[0, 45] = (40, 30)  # 50 from corner 36
    assert normalised_error(truth + np.float32([3, 4]), truth)[0] == pytest.approx(5 / 50)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    recipe = FANRecipe(images=1600, batch=16)
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert rates.index(max(rates)) == 4
    assert rates[-1] < 0.01 * recipe.learning_rate
    assert rates[0] > 0


def test_a_stopped_run_goes_on_to_the_same_weights(faces: Path, tmp_path: Path) -> None:
    straight = train_fan(faces, tmp_path / "straight", TINY, OPTIONS)

    def stop(step: int, _steps: int, _numbers: object) -> None:
        if step == 5:  # in the middle of the third round, which is lost
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_fan(faces, tmp_path / "stopped", TINY, OPTIONS, report=stop)
    with pytest.raises(UsageError, match="holds a run already"):
        train_fan(faces, tmp_path / "stopped", TINY, OPTIONS)
    with pytest.raises(UsageError, match="another recipe or seed"):
        train_fan(faces, tmp_path / "stopped", replace(TINY, sigma=1.0), OPTIONS, resume=True)
    resumed = train_fan(faces, tmp_path / "stopped", TINY, OPTIONS, resume=True)
    for (name, a), b in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert load_fan(tmp_path / "straight" / LAST).fan.config == TINY.model

    told = json.loads((tmp_path / "stopped" / ENVIRONMENT).read_text())
    train, held = (set(told["parts"][part]["subjects"]) for part in ("train", "held out"))
    assert len(told["starts"]) == 2
    assert (len(train), len(held), train & held) == (3, 2, set())
    assert FANRecipe.from_json(json.loads((tmp_path / "stopped" / CONFIG).read_text())) == TINY
    lines = (tmp_path / "stopped" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [
        ["round", "images"],
        ["1", "4"],
        ["2", "8"],
        ["3", "12"],
        ["4", "16"],
    ]


def test_it_learns(faces: Path, tmp_path: Path) -> None:
    recipe = replace(
        TINY, images=240, round_size=48, batch=8, learning_rate=1e-2, rotation=0, scale=0, shift=0, sigma=3
    )
    losses = []
    train_fan(faces, tmp_path / "run", recipe, OPTIONS, report=lambda *a: losses.append(a[2]["loss"]) if a[2] else None)
    assert losses[-1] < 0.75 * losses[0]


def test_data_without_landmarks_is_refused(faces: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from openau.datasets.manifest import read_manifest, write_manifest

    rows = read_manifest(faces / "manifest.parquet")
    write_manifest(rows.drop_columns("landmarks"), tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match="has no column landmarks"):
        LandmarkPictures(tmp_path)
    assert pq.read_table(tmp_path / "manifest.parquet").num_rows == rows.num_rows


@pytest.mark.parametrize("wrong", [{"images": 0}, {"sigma": -1.0}, {"plain": 0.7, "mild": 0.6}, {"precision": "16"}])
def test_recipes_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FANRecipe(**wrong)  # type: ignore[arg-type]
