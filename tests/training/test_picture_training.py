"""Models that look at pixels, trained: they learn, resume exactly, keep only what they may, and run through protocols."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lit_faces
import numpy as np
import pytest
import torch
from safetensors import safe_open

from openau.errors import InputError, UsageError
from openau.evaluation.metrics import roc_auc
from openau.evaluation.protocols import protocol
from openau.models.backbones import save_backbone
from openau.models.vit import ViT, ViTConfig
from openau.runtime import Detector
from openau.training.candidate import PictureCandidate
from openau.training.checkpoint import BEST, LAST, load_checkpoint, load_fantrans, load_vit
from openau.training.configuration import read_picture_recipe, read_recipe, to_yaml
from openau.training.experiment import run_protocol
from openau.training.face_pictures import FacePictures, join_pictures
from openau.training.picture_judge import calibrate_on, judge_pictures, unseen_rows, watched_rows
from openau.training.picture_recipes import Augmentation, PictureRecipe, warm_cosine
from openau.training.picture_task import PictureTask, rates
from openau.training.predict import predict_pictures
from openau.training.run import TrainingResult, train
from openau.training.splits import HoldOut, split_rows
from openau.weights.cards import ModelCard

CLI = Callable[..., subprocess.CompletedProcess[str]]

# "random" would be kept whole; a file of its own is a backbone that is found again.
QUICK = PictureRecipe(
    architecture="auformer_vit_tiny_patch16_48", model={"width": 2}, epochs=4, batch=16, precision="32", learning_rate=3e-3,
    augmentation=Augmentation(shift=0.02), validation=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FacePictures:
    return FacePictures.open(lit_faces.make(tmp_path_factory.mktemp("faces") / "lit"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> PictureRecipe:
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_backbone(file, ViT(replace(ViTConfig.named("vit_tiny_patch16_48"))), {})
    return replace(QUICK, backbone=str(file))


def fit(faces: FacePictures, out: Path, recipe: PictureRecipe, **options: object) -> TrainingResult:
    held = HoldOut.parse("fold=2")
    split = split_rows(faces.rows, held, recipe.validation, recipe.split_seed, faces.ok.any(axis=1))
    return train(faces, out, recipe, split=split, split_name=str(held), seed=1, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(faces: FacePictures, recipe: PictureRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    fit(faces, out, recipe)
    return out


def test_it_learns_what_pictures_show(faces: FacePictures, run: Path) -> None:
    model, provenance = load_vit(run / BEST)
    rows = unseen_rows(provenance, faces)
    assert set(np.array(faces.rows.column("fold").to_pylist())[rows]) == {2}
    calibration = calibrate_on(model, faces, watched_rows(provenance, faces))
    scored = judge_pictures(model, calibration, faces, rows, "lit", provenance)
    aucs = [roc_auc(scored.probability[:, a], scored.occurrence[:, a]) for a in range(2)]
    assert min(aucs) > 0.85


def test_predictions_are_the_model_s_own_on_the_aligned_crop(faces: FacePictures, run: Path) -> None:
    from openau.training.pictures import Pictures

    model, _ = load_vit(run / BEST)
    rows = np.array([3, 40])
    crops = np.stack([Pictures(faces.folder, faces.rows, 48).aligned(int(row)) for row in rows])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        plain, mirrored = model(pixels).numpy(), model(pixels.flip(-1)).numpy()
    np.testing.assert_allclose(predict_pictures(model, faces, rows), plain, atol=1e-5)
    np.testing.assert_allclose(predict_pictures(model, faces, rows, mirror=True), (plain + mirrored) / 2, atol=1e-5)


def test_a_checkpoint_holds_the_learnable_part_and_the_backbone_s_hash(run: Path, recipe: PictureRecipe) -> None:
    with safe_open(run / BEST, framework="pt") as file:
        names, header = list(file.keys()), file.metadata()
    assert {name.split(".")[1] for name in names} == {"mokes", "experts", "head"}
    model, provenance = load_vit(run / BEST)
    assert model.config.backbone == recipe.backbone
    assert len(model.config.backbone_sha256) == 64
    assert header["format"] == "openau.au_vit/1"
    assert provenance.recipe == recipe
    with pytest.raises(InputError, match="a FAN-Trans is needed"):
        load_fantrans(run / BEST)


@pytest.mark.slow
@pytest.mark.weights
def test_from_a_run_to_a_model_that_detects(faces: FacePictures, run: Path, tmp_path: Path, openau: CLI) -> None:
    out = tmp_path / "lit.onnx"
    done = openau("export", run, "--data", faces.folder, "-o", out)
    assert done.returncode == 0, done.stderr
    card = ModelCard.read(out.with_suffix(".json"))
    assert (card.name, card.aus, card.template) == ("auformer_vit_tiny_patch16_48.own", (4, 12), "face224")
    assert "6 identities" not in card.trained_on  # validation people are not trained on
    value = card.measured["mean AUC, held-out identities"].value
    told = openau("evaluate", run, "--data", faces.folder, "-o", tmp_path / "told.json")
    assert told.returncode == 0, told.stderr
    [table] = json.loads((tmp_path / "told.json").read_text())
    assert table["mean"]["auc"]["value"] == pytest.approx(value, abs=1e-6)
    again = openau("export", run, run, "--data", faces.folder, "-o", out)
    assert again.returncode == 2
    assert "made of one run" in again.stderr
    Detector(out).detect(np.zeros((64, 64, 3), np.uint8))


def test_resuming_changes_nothing(faces: FacePictures, run: Path, recipe: PictureRecipe, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress) -> None:
        if progress.epoch == 3 and progress.step == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(faces, tmp_path / "b", recipe, report=stop)
    fit(faces, tmp_path / "b", recipe, resume=True)
    first, second = (load_checkpoint(folder / LAST).model.state_dict() for folder in (run, tmp_path / "b"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    with pytest.raises(UsageError, match="another recipe"):
        fit(faces, tmp_path / "b", replace(recipe, margin=0.1), resume=True)


def test_a_moving_average_is_resumed_too(faces: FacePictures, recipe: PictureRecipe, tmp_path: Path) -> None:
    averaged = replace(recipe, ema=0.8, epochs=1)
    fit(faces, tmp_path / "c", averaged)
    last = load_checkpoint(tmp_path / "c" / LAST)
    assert last.state is not None
    assert last.state.weights.keys() == last.model.kept().keys()  # type: ignore[union-attr]
    assert not all(torch.equal(value, last.state.weights[name]) for name, value in last.model.kept().items())  # type: ignore[union-attr]


def test_unknown_labels_and_held_out_people_move_nothing(
    faces: FacePictures, recipe: PictureRecipe, tmp_path: Path
) -> None:
    """Labels of held-out people turned round: the same weights."""
    import pyarrow as pa

    once = replace(recipe, epochs=1)
    fit(faces, tmp_path / "clean", once)
    held = np.array(faces.rows.column("fold").to_pylist()) == 2
    column = [
        1 - v if h and v is not None else v for h, v in zip(held, faces.rows.column("AU12").to_pylist(), strict=True)
    ]
    rows = faces.rows.set_column(faces.rows.column_names.index("AU12"), "AU12", pa.array(column, pa.int8()))
    fit(replace(faces, rows=rows), tmp_path / "poisoned", once)
    a, b = (load_checkpoint(tmp_path / name / BEST).model.state_dict() for name in ("clean", "poisoned"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_protocol_runs_over_pictures(faces: FacePictures, recipe: PictureRecipe, tmp_path: Path) -> None:
    candidate = PictureCandidate("auformer", "", replace(recipe, epochs=1), least_steps=0)
    scored = run_protocol([faces], protocol("subject-kfold:3:0"), candidate, tmp_path / "out")
    labels = [faces.rows.column(name).to_pylist() for name in ("AU04", "AU12")]
    assert len(scored) == sum(any(value is not None for value in row) for row in zip(*labels, strict=True))
    assert not np.isnan(scored.probability).any()
    for name in scored.thresholds:
        _, provenance = load_vit(tmp_path / "out" / name.replace(" ", "-") / BEST)
        assert not set(provenance.trained + provenance.watched) & set(scored.subject[scored.part == name])


def test_several_data_sets_become_one(faces: FacePictures, tmp_path: Path) -> None:
    other = FacePictures.open(lit_faces.make(tmp_path / "other", people=2, each=3, seed=4))
    with pytest.raises(InputError, match="both have a subject"):
        join_pictures([faces, other])
    named = [
        replace(one, rows=one.rows.append_column("people", [[name] * len(one)]))
        for name, one in (("a", faces), ("b", other))
    ]
    joined = join_pictures(named)
    assert len(joined) == len(faces) + 6
    from openau.training.pictures import Pictures

    np.testing.assert_array_equal(
        Pictures(joined.folder, joined.rows, 48).aligned(len(faces) + 2),
        Pictures(other.folder, other.rows, 48).aligned(2),
    )


def test_rates_and_schedule() -> None:
    np.testing.assert_allclose(rates(np.array([[1, 0], [0, np.nan], [1, np.nan]], np.float32)), [2 / 3, 0], rtol=1e-6)
    assert warm_cosine(0.1, 0.1) == 1
    assert warm_cosine(1, 0.1) == pytest.approx(0)
    assert warm_cosine(0.55, 0.1) == pytest.approx(0.5)
    assert 0 < warm_cosine(0, 0.1) < 0.02


def test_recipes_read_back_and_mistakes_are_told() -> None:
    recipe = read_recipe("auformer_bp4d", ["model.context=5", "augmentation.rotation=9", "loss=asl"])
    assert isinstance(recipe, PictureRecipe)
    assert recipe.aus == (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    assert (recipe.model, recipe.augmentation.rotation, recipe.loss) == ({"context": 5}, 9, "asl")
    assert PictureRecipe.from_json(recipe.to_json()) == recipe
    assert "backbone: " in to_yaml(recipe)
    with pytest.raises(UsageError, match="use openau train fantrans"):
        read_picture_recipe("fantrans")
    with pytest.raises(UsageError, match="--set loss=soup"):
        read_recipe("auformer", ["loss=soup"])


def test_bad_input_is_one_sentence(faces: FacePictures, recipe: PictureRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no manifest\.parquet"):
        FacePictures.open(tmp_path)
    task = PictureTask()
    with pytest.raises(InputError, match="names no model"):
        task.configure(faces, replace(recipe, architecture="soup"))
    with pytest.raises(InputError, match="no row has a known label"):
        task.configure(faces, replace(recipe, aus=(43,)))
    with pytest.raises(UsageError, match="cannot be shared by 3 devices"):
        task.require_enough(faces, np.arange(50), recipe, 3)
    with pytest.raises(InputError, match="1 faces are left"):
        task.require_enough(faces, np.arange(1), recipe, 1)
