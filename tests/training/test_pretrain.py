"""Pre-training: what the encoder may see, targets that follow the picture, runs that can be stopped and shared out."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import dotted_faces
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from openau.cli import app
from openau.errors import InputError, UsageError, WeightsError
from openau.faces.align import FACE224, apply
from openau.faces.fan import MIRROR
from openau.models.backbones import load_backbone
from openau.models.vit import ViT, ViTConfig
from openau.training.picture_recipes import Augmentation
from openau.training.pretrain.checkpoint import load_state
from openau.training.pretrain.crops import MISSING, THERE, WAITING, Crops, Faces, build_crops, rim
from openau.training.pretrain.export import export_backbone
from openau.training.pretrain.fit import BACKBONE, LAST, Options, Pictures, Progress, learning_rate, pretrain, split
from openau.training.pretrain.landmarks import ANGLE, Counts, FaceReader, FaceTargets, centres, known_mean, turned
from openau.training.pretrain.mae import MaskedAutoencoder, MaskedPatches, others, patches_of, picked, sines
from openau.training.pretrain.recipe import PretrainRecipe

NOT_PAINTED = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
MOVED = Augmentation(rotation=25, scale=(0.8, 1.2), shift=0.1, mirror=0.5, **NOT_PAINTED)
STILL = Augmentation(shift=0, mirror=0, **NOT_PAINTED)
SIZE = 96
TINY = PretrainRecipe(
    model="vit_tiny_patch16_32", epochs=2, batch=8, warm_up=0.0, precision="32", watched=0.2, decoder_width=16, decoder_depth=1,
    decoder_heads=2, augmentation=MOVED,
)  # fmt: skip
QUICK = Options(workers=1)


def tiny(objective: str = "landmarks", **changes: object) -> PretrainRecipe:
    return replace(TINY, objective=objective, **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dotted_faces.make(tmp_path_factory.mktemp("dotted") / "data", people=5, each=5)


@pytest.fixture(scope="module")
def crops(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return build_crops(Faces.of(data), tmp_path_factory.mktemp("cache"), SIZE, workers=1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def autoencoder(**changes: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    config = ViTConfig(width=24, depth=2, heads=2, patch=8, size=32, registers=1)
    return MaskedAutoencoder(ViT(config), tiny("mae", **changes))


# Masked autoencoding --------------------------------------------------------------------------------------------------


def test_masked_pixels_never_reach_the_encoder() -> None:
    learner = autoencoder()
    pixels = torch.rand(2, 3, 32, 32)
    visible = torch.tensor([[0, 3, 9, 15], [1, 2, 7, 14]])
    hidden = torch.ones(2, 16).scatter(1, visible, 0).view(2, 1, 4, 4)
    hidden = hidden.repeat_interleave(8, 2).repeat_interleave(8, 3).bool()
    other = torch.where(hidden, torch.rand_like(pixels), pixels)
    assert torch.equal(learner.encode(pixels, visible), learner.encode(other, visible))
    assert not torch.allclose(learner.encode(pixels, visible), learner.encode(pixels.flip(1), visible), atol=1e-3)


def test_with_every_patch_visible_the_encoder_is_the_vit() -> None:
    learner = autoencoder()
    pixels = torch.rand(2, 3, 32, 32)
    everything = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(learner.encode(pixels, everything), learner.vit(pixels))


def test_the_loss_is_that_of_the_paper() -> None:
    learner = autoencoder().double()
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    visible = torch.tensor([[2, 5, 11, 12]])
    drawn = learner.decode(learner.encode(pixels.double() / 255, visible), visible)[0].detach().numpy()
    picture = pixels[0].permute(1, 2, 0).numpy() / 255
    errors = []
    for number in sorted(set(range(16)) - {2, 5, 11, 12}):
        row, column = divmod(number, 4)
        patch = picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].transpose(2, 0, 1).ravel()
        wanted = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
        errors.append(((drawn[number] - wanted) ** 2).mean())
    loss = learner.float()({"pixels": pixels, "visible": visible})["loss"]
    assert float(loss.detach()) == pytest.approx(np.mean(errors), rel=1e-4)


def test_patches_places_and_their_complement() -> None:
    pixels = torch.arange(2 * 3 * 8 * 4).view(2, 3, 8, 4)
    cut = patches_of(pixels, 4)
    assert cut.shape == (2, 2, 48)
    assert torch.equal(cut[1, 1].view(3, 4, 4), pixels[1, :, 4:8])
    places = torch.tensor([[4, 0], [1, 2]])
    assert others(places, 5).tolist() == [[1, 2, 3], [0, 3, 4]]
    tokens = torch.arange(10.0).view(2, 5, 1)
    assert picked(tokens, places).flatten().tolist() == [4, 0, 6, 7]


def test_sines_are_those_of_the_formula() -> None:
    found = sines(3, 8).view(3, 3, 8)
    for y in range(3):
        for x in range(3):
            wanted = [
                function(place * 10000 ** (-k / 2)) for place in (x, y) for function in (math.sin, math.cos) for k in (0, 1)
            ]  # fmt: skip
            np.testing.assert_allclose(found[y, x], wanted, atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        sines(3, 6)


def test_a_quarter_of_the_patches_is_visible_and_every_patch_sometimes() -> None:
    masks = MaskedPatches(ViTConfig.named("vit_tiny_patch16_112"), 0.75)
    view = None
    drawn = np.stack([masks.draw(0, view, np.random.default_rng(n))["visible"] for n in range(400)])  # type: ignore[arg-type]
    assert drawn.shape == (400, 12)
    assert (np.diff(drawn, axis=1) > 0).all()
    counts = np.bincount(drawn.ravel(), minlength=49)
    assert counts.min() > 60
    assert counts.max() < 140  # 400 · 12 / 49 = 98 ± 9


# Crops ----------------------------------------------------------------------------------------------------------------


def test_the_plain_crop_has_the_face_where_the_template_puts_it(data: Path, crops: Crops) -> None:
    faces = Faces.of(data)
    view = crops.plain(3)
    assert view.pixels.shape == (SIZE, SIZE, 3)
    alignment = faces.alignment(3, SIZE)
    assert faces.points is not None
    assert alignment is not None
    five = apply(view.matrix, apply(alignment, faces.points[3]))
    assert np.abs(five - FACE224 * SIZE / 224).max() < 0.08 * SIZE  # a similarity cannot fit five points exactly
    assert np.linalg.norm(five.mean(axis=0) - (FACE224 * SIZE / 224).mean(axis=0)) < 1e-3


def test_a_varied_copy_that_is_not_varied_is_the_plain_one(crops: Crops) -> None:
    view = crops.varied(2, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(view.pixels, crops.plain(2).pixels)


@pytest.mark.parametrize("colour", [0, 1])
def test_landmarks_move_with_the_picture(crops: Crops, colour: int) -> None:
    """The red and the green dot lie on the subject's right and left end of the jaw, also in mirror images and turned."""
    targets = FaceTargets(crops.faces, SIZE, TINY)
    landmark = (dotted_faces.RED, dotted_faces.GREEN)[colour]
    seen, both = 0, set()
    for row in range(10):
        for number in range(4):
            rng = np.random.default_rng([row, number])
            view = crops.varied(row, MOVED, rng)
            point = (targets.draw(row, view, rng)["landmarks"] + 0.5) * SIZE
            # In a mirror image the right side shows the left one: the landmark of this name is the other dot.
            dot = 1 - colour if view.mirrored else colour
            x, y = point[landmark]
            if not (6 < x < SIZE - 6 and 6 < y < SIZE - 6):
                continue
            excess = view.pixels[..., dot].astype(float) - view.pixels[..., 2] - view.pixels[..., 1 - dot]
            window = np.clip(excess, 40, None) - 40
            ys, xs = np.mgrid[:SIZE, :SIZE] + 0.5
            window *= np.hypot(xs - x, ys - y) < 8
            found = (window * xs).sum() / window.sum(), (window * ys).sum() / window.sum()
            assert np.hypot(found[0] - x, found[1] - y) < 0.8
            seen += 1
            both.add(view.mirrored)
    assert seen > 10
    assert both == {True, False}


def test_a_mirror_image_exchanges_sides_and_nothing_else(data: Path, crops: Crops) -> None:
    targets = FaceTargets(crops.faces, SIZE, TINY)
    plain = targets.draw(4, crops.plain(4), np.random.default_rng(0))
    flip = crops.varied(4, replace(STILL, mirror=1.0), np.random.default_rng(0))
    turned_over = targets.draw(4, flip, np.random.default_rng(0))
    np.testing.assert_allclose(turned_over["landmarks"], plain["landmarks"][MIRROR] * (-1, 1), atol=1e-6)
    np.testing.assert_array_equal(turned_over["occurrence"], plain["occurrence"])
    np.testing.assert_array_equal(flip.pixels, crops.plain(4).pixels[:, ::-1])


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """The rotation `head_pose` reads these angles off: roll · yaw · pitch; x right, y down, z away."""
    p, y, r = np.radians((-pitch, -yaw, roll))
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def angles(matrix: np.ndarray) -> list[float]:
    """Pitch, yaw, roll by the formulas of `head_pose`."""
    pitch, yaw = -math.atan2(matrix[2, 1], matrix[2, 2]), math.asin(matrix[2, 0])
    return [math.degrees(angle) for angle in (pitch, yaw, math.atan2(matrix[1, 0], matrix[0, 0]))]


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_head_turns_with_the_picture(mirrored: bool) -> None:
    """Against rotations in space: turning the picture turns about z; a mirror image is that of the mirrored head."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        pose = rng.uniform(-40, 40, 3)
        np.testing.assert_allclose(angles(rotation(*pose)), pose, atol=1e-6)
        turn = rng.uniform(-30, 30)
        mirror = np.diag([-1.0, 1, 1]) if mirrored else np.eye(3)
        wanted = angles(rotation(0, 0, turn) @ mirror @ rotation(*pose) @ mirror)
        crop = 0.7 * (rotation(0, 0, turn) @ mirror)[:2, :2]
        found = turned(pose.astype(np.float32), np.concatenate([crop, [[5], [7]]], axis=1))
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_folder_of_crops_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    wide = np.zeros((64, 100, 3), np.uint8)
    wide[:, 18:82] = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    Image.fromarray(wide).save(tmp_path / "in" / "deep" / "a.png")
    Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.jpg").write_bytes(b"no picture")
    faces = Faces.of(tmp_path / "in")
    assert len(faces.names) == 3
    made = build_crops(faces, tmp_path / "cache", 32, workers=1)
    rows = {name: row for row, name in enumerate(faces.names)}
    wanted = cv2.resize(np.ascontiguousarray(wide[:, 18:82]), (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(made.plain(rows["deep/a.png"]).pixels.astype(int) - wanted).max() <= 2
    assert (made.plain(rows["b.png"]).pixels == 7).all()
    assert made.unreadable.tolist() == [rows["c.jpg"]]
    assert made.usable.sum() == 2


def test_a_stopped_cache_goes_on_and_another_is_refused(data: Path, tmp_path: Path) -> None:
    faces = Faces.of(data)
    first = build_crops(faces, tmp_path / "cache", 32, workers=1)
    kept = np.array(np.load(tmp_path / "cache" / "crops.npy"))
    assert first.usable.all()
    assert rim(32) == 2
    pixels = np.load(tmp_path / "cache" / "crops.npy", mmap_mode="r+")
    state = np.load(tmp_path / "cache" / "state.npy", mmap_mode="r+")
    pixels[5:9], state[5:9] = 0, WAITING
    pixels.flush(), state.flush()
    counted: list[int] = []
    build_crops(faces, tmp_path / "cache", 32, 1, counted.append)
    np.testing.assert_array_equal(np.load(tmp_path / "cache" / "crops.npy"), kept)
    assert counted[0] == 21
    assert sum(counted) == 25
    with pytest.raises(UsageError, match="another size"):
        build_crops(faces, tmp_path / "cache", 64, workers=1)
    state[:] = MISSING
    state.flush()
    with pytest.raises(InputError, match="no picture that can be read"):
        build_crops(faces, tmp_path / "cache", 32, workers=1)
    assert THERE not in np.load(tmp_path / "cache" / "state.npy")


def test_the_people_kept_away_are_not_trained_on(crops: Crops) -> None:
    rows, watched = split(crops, TINY)
    who = np.array(crops.faces.rows.column("subject").to_pylist())  # type: ignore[union-attr]
    assert set(who[rows]) | set(who[watched]) == set(who)
    assert set(who[rows]) & set(who[watched]) == set()
    assert len(watched) == 5


# Learning from labels -------------------------------------------------------------------------------------------------


def test_unknown_labels_teach_nothing() -> None:
    wanted = torch.tensor([[1.0, math.nan, 3.0], [math.nan, math.nan, math.nan]])
    errors = torch.tensor([[1.0, 50.0, 2.0], [9.0, 9.0, 9.0]], requires_grad=True)
    mean = known_mean(errors, wanted)
    mean.backward()
    assert float(mean.detach()) == pytest.approx((1.5 + 0) / 2)
    assert errors.grad is not None
    assert errors.grad.tolist() == [[0.25, 0, 0.25], [0, 0, 0]]


def test_a_landmark_is_read_where_its_weights_and_offsets_say() -> None:
    config = ViTConfig(width=8, depth=1, heads=1, patch=8, size=24)
    reader = FaceReader(ViT(config), Counts(68, 0, 0, 0, 0), TINY)
    assert centres(config)[5].tolist() == pytest.approx([1 / 3, 0])
    assert reader.places is not None
    with torch.no_grad():
        reader.places.weight.zero_()
        reader.places.bias[68:136], reader.places.bias[136:] = 0.1, -0.2
    # All patches weigh the same: their middles' mean is the picture's middle.
    landmarks = reader.read(torch.rand(2, 3, 24, 24))["landmarks"]
    assert landmarks.shape == (2, 68, 2)
    torch.testing.assert_close(landmarks, torch.tensor([0.1, -0.2]).expand(2, 68, 2))


def test_what_is_learned_can_be_read_again(data: Path, tmp_path: Path) -> None:
    """Both objectives, on dots: losses fall, and the landmarks of people kept away are found better than by their mean."""
    cache = Options(cache=tmp_path / "cache", workers=1)
    found = {}
    for objective in ("mae", "landmarks"):
        recipe = tiny(objective, epochs=6, learning_rate=2e-3, augmentation=STILL, pose_weight=0)
        losses: list[dict[str, float]] = []

        def report(step: Progress, losses: list[dict[str, float]] = losses) -> None:
            losses.extend([dict(step.numbers)] if step.numbers else [])

        pretrain(data, tmp_path / objective, recipe, cache, report=report)
        found[objective] = losses
    assert found["mae"][-1]["loss"] < 0.95 * found["mae"][0]["loss"]
    assert found["landmarks"][-1]["landmarks"] < 0.3 * found["landmarks"][0]["landmarks"]
    assert found["landmarks"][-1]["watched_landmarks"] < 0.4 * found["landmarks"][0]["watched_landmarks"]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("objective", ["mae", "landmarks"])
def test_a_stopped_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path, objective: str) -> None:
    recipe = tiny(objective, ema=0.5)
    options = Options(seed=3, cache=tmp_path / "cache", workers=1)
    whole = pretrain(data, tmp_path / "whole", recipe, options)

    def stop(step: Progress) -> None:
        if step.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        pretrain(data, tmp_path / "stopped", recipe, options, report=stop)
    with pytest.raises(UsageError, match="--resume"):
        pretrain(data, tmp_path / "stopped", recipe, options)
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(data, tmp_path / "stopped", replace(recipe, batch=4), options, resume=True)
    resumed = pretrain(data, tmp_path / "stopped", recipe, options, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    first, second = (load_file(tmp_path / run / LAST) for run in ("whole", "stopped"))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not torch.equal(first["learner.vit.pos_embed"], first["average.pos_embed"])
    saved = load_backbone(recipe.vit, tmp_path / "stopped" / BACKBONE)
    assert torch.equal(saved.vit.state_dict()["pos_embed"], first["average.pos_embed"])
    lines = [(tmp_path / run / "metrics.csv").read_text().splitlines() for run in ("whole", "stopped")]
    assert [len(table) for table in lines] == [3, 3]
    assert lines[0][0] == lines[1][0]
    assert load_state(tmp_path / "whole" / LAST).facts["epoch"] == 2


def test_a_run_starts_from_a_backbone_of_another_size_and_exports_a_card(data: Path, tmp_path: Path) -> None:
    options = Options(cache=tmp_path / "cache", workers=1)
    pretrain(data, tmp_path / "small", tiny("mae", epochs=1), options)
    slow = tiny("mae", epochs=1, model="vit_tiny_patch16_64", learning_rate=1e-12, weight_decay=0)
    started = pretrain(data, tmp_path / "large", slow, QUICK, start=tmp_path / "small" / BACKBONE)
    wanted = load_backbone(slow.vit, tmp_path / "small" / BACKBONE, 64).vit.state_dict()
    for name, tensor in started.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="patch"):
        pretrain(
            data, tmp_path / "other", tiny(model="vit_tiny_patch8_32"), options, start=tmp_path / "small" / BACKBONE
        )
    with pytest.raises(WeightsError, match="no such backbone"):
        pretrain(data, tmp_path / "other", tiny(), options, start=tmp_path / "nothing.safetensors")

    out = tmp_path / "vit_tiny_dots.mine.safetensors"
    card = export_backbone(tmp_path / "small", out, {"licence": "CC-BY-4.0"}, {})
    assert (card.name, card.network, card.template) == ("vit_tiny_dots.mine", "vit_tiny_patch16_32", "face224")
    assert "mae" in card.recipe
    assert "20 pictures" in card.trained_on
    read = load_backbone(None, out)
    assert read.name == card.name
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            read.vit(pixels), load_backbone(None, tmp_path / "small" / BACKBONE).vit(pixels), atol=5e-3, rtol=5e-3
        )
    with pytest.raises(UsageError, match="name"):
        export_backbone(tmp_path / "small", tmp_path / "backbone.safetensors", {}, {})
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="finished epoch"):
        export_backbone(tmp_path / "nothing", tmp_path / "a.b.safetensors", {}, {})


def test_what_cannot_be_is_said_in_a_sentence(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "crops").mkdir()
    for number in range(10):
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(tmp_path / "crops" / f"{number}.png")
    with pytest.raises(InputError, match="neither a manifest"):
        pretrain(tmp_path / "empty", tmp_path / "run", tiny("mae"), QUICK)
    with pytest.raises(InputError, match="no such folder"):
        pretrain(tmp_path / "nowhere", tmp_path / "run", tiny("mae"), QUICK)
    with pytest.raises(InputError, match="landmarks needs a manifest"):
        pretrain(tmp_path / "crops", tmp_path / "run", tiny(), QUICK)
    with pytest.raises(InputError, match="8 pictures are left"):
        pretrain(tmp_path / "crops", tmp_path / "run", tiny("mae", batch=64), QUICK)
    with pytest.raises(UsageError, match="cannot be shared by 3 devices"):
        pretrain(data, tmp_path / "run", tiny(), replace(QUICK, devices=3))
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        with pytest.raises(UsageError, match="'gpu' cannot be used"):
            pretrain(data, tmp_path / "run2", tiny(), replace(QUICK, device="gpu"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("speed=3", "no such setting"),
        ("augmentation=3", "no such setting"),
        ("batch=many", "no value"),
        ("augmentation.scale=1", "no value"),
        ("normalise_patches=perhaps", "no value"),
        ("mask=1", "between 0 and 1"),
        ("model=resnet50", "names no ViT"),
        ("model=vit_tiny_patch16_100", "do not divide"),
        ("decoder_width=30", "multiple of 4"),
        ("objective=words", "must be one of mae, landmarks"),
        ("epochs=0", "must be positive"),
    ],
)
def test_settings_that_cannot_be(change: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        PretrainRecipe.of("mae").changed([change])


def test_settings_survive_their_json() -> None:
    recipe = PretrainRecipe.of("landmarks").changed(
        ["augmentation.scale=0.9,1.1", "normalise_patches=false", "au_weight=0"]
    )
    assert recipe.augmentation.scale == (0.9, 1.1)
    assert not recipe.normalise_patches
    assert PretrainRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_rate_rises_then_falls_to_nothing() -> None:
    recipe = tiny(warm_up=0.1, learning_rate=1.0)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.01


def test_the_command_trains_exports_and_says_what_is_wrong(data: Path, tmp_path: Path) -> None:
    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, ["pretrain", *(str(word) for word in words)])

    run, out = tmp_path / "run", tmp_path / "vit_tiny_dots.mine.safetensors"
    small = ("--data", data, "--objective", "landmarks", "--model", "vit_tiny_patch16_32", "--epochs", 1, "--batch", 4)
    trained = invoke(*small, "-o", run, "--workers", 1, "--precision", "32", "--set", "watched=0.2")
    assert trained.exit_code == 0, trained.output
    assert trained.stdout.strip() == str(run / BACKBONE)
    assert trained.stderr.count("epoch 1/1: loss") == 1
    assert "images_per_second" in trained.stderr
    told = json.loads((run / "environment.json").read_text())
    assert (told["data"]["trained"], told["data"]["watched"], told["data"]["unreadable"]) == (20, 5, [])
    assert "--resume" in invoke(*small, "-o", run).stderr
    exported = invoke("--export", run, "-o", out, "--card", "licence=CC-BY-4.0")
    assert exported.exit_code == 0, exported.output
    assert "vit_tiny_patch16_32" in exported.stdout
    assert json.loads(out.with_name("vit_tiny_dots.mine.backbone.json").read_text())["licence"] == "CC-BY-4.0"
    printed = invoke("--objective", "mae", "--set", "mask=0.6", "--print-config")
    assert PretrainRecipe.from_json(json.loads(printed.stdout)) == replace(PretrainRecipe.of("mae"), mask=0.6)
    for words, sentence in (
        (("--data", data), "--data and --out are needed"),
        (("--data", data, "-o", run, "--objective", "words"), "must be one of mae, landmarks"),
        (("--data", data, "-o", run, "--device", "tpu"), "no device"),
        (("--export", run), "needs -o"),
        (("--export", run, "-o", out, "--card", "licence"), "must be like"),
        (("--export", run, "-o", out, "--card", "price=3"), "no price"),
    ):
        refused = invoke(*words)
        assert refused.exit_code == 2
        assert sentence in refused.stderr


# Several processes ----------------------------------------------------------------------------------------------------


def test_a_picture_is_varied_alike_in_whatever_batch_it_is(crops: Crops) -> None:
    pictures = Pictures(crops, FaceTargets(crops.faces, SIZE, TINY), TINY, seed=1)
    whole, part = pictures.varied(2, np.arange(6)), pictures.varied(2, np.array([4, 1]))
    for name, tensor in part.items():
        torch.testing.assert_close(tensor, whole[name][[4, 1]], equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(whole["pixels"], pictures.varied(3, np.arange(6))["pixels"])
    assert float(whole["landmarks"].abs().max()) < 2
    assert ANGLE == 30


SCRIPT = """
import sys, json
from pathlib import Path
from openau.training.pretrain.fit import Options, pretrain
from openau.training.pretrain.recipe import PretrainRecipe
folder, devices = Path(sys.argv[1]), int(sys.argv[2])
recipe = PretrainRecipe.from_json(json.loads((folder / "recipe.json").read_text()))
pretrain(Path(sys.argv[3]), folder / f"run{devices}", recipe, Options(devices=devices, cache=folder / "cache", workers=1))
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(data: Path, tmp_path: Path) -> None:
    """Real processes with gloo between them: nearly the same weights and numbers as a single process."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "recipe.json").write_text(json.dumps(tiny().to_json()))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(devices), str(data)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"run{devices}" / BACKBONE) for devices in (1, 2))
    torch.manual_seed(0)
    before = ViT(TINY.vit).state_dict()
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < 0.05 * moved
    tables = [(tmp_path / f"run{devices}" / "metrics.csv").read_text().splitlines() for devices in (1, 2)]
    names = tables[0][0].split(",")
    for first, second in zip(tables[0][1:], tables[1][1:], strict=True):
        numbers = [dict(zip(names, line.split(","), strict=True)) for line in (first, second)]
        for name in ("loss", "landmarks", "watched_loss"):
            assert float(numbers[1][name]) == pytest.approx(float(numbers[0][name]), rel=0.01)
