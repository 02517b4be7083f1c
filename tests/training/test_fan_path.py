"""FAN-Trans as in the paper, from pictures to a table: frozen FAN, stored maps, convolutional add-on, export, detection."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from skimage import data
from tiny_fan import CONFIG, NAME, write_another, write_fan
from typer.testing import CliRunner

from openau.cli import app
from openau.datasets.manifest import write_manifest
from openau.errors import WeightsError
from openau.evaluation.protocols import protocol
from openau.faces.align import align
from openau.faces.extractors import FACE_MESH, Grid, load
from openau.faces.finder import FaceFinder
from openau.media import Frame, read_image
from openau.runtime import Detector
from openau.training.baselines import parts_of_face
from openau.training.checkpoint import BEST, load_checkpoint
from openau.training.experiment import model as candidate
from openau.training.experiment import run_protocol
from openau.training.export import CalibratedHead
from openau.training.features import FeatureStore
from openau.training.joined import layout_of
from openau.training.judge import calibrate_team, load_team

pytestmark = pytest.mark.weights
GRID = 8


def invoke(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people of eight pictures each: a photograph, tinted, its mouth pulled or not, so that there is something to tell apart."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    astronaut = data.astronaut()[:260, 90:360]
    names, subjects, smiles = [], [], []
    for person in range(6):
        tint = rng.uniform(0.6, 1.2, 3)
        for number in range(8):
            smile = number % 2
            rows, columns = np.mgrid[: astronaut.shape[0], : astronaut.shape[1]].astype(np.float32)
            mouth = 6 * smile * np.exp(-((columns - 131) ** 2 + (rows - 143) ** 2) / (2 * 18.0**2))
            picture = cv2.remap(astronaut, columns, rows + mouth + rng.normal(0, 0.5), cv2.INTER_LINEAR)
            picture = np.clip(picture * tint, 0, 255).astype(np.uint8)
            names.append(f"{person}_{number}.png")
            cv2.imwrite(str(folder / names[-1]), np.ascontiguousarray(picture[..., ::-1]))
            subjects.append(f"p{person}")
            smiles.append(smile)
    rows = {
        "image": names,
        "subject": subjects,
        "AU12": pa.array(smiles, pa.int8()),
        "AU04": pa.array([1 - s for s in smiles], pa.int8()),
    }
    write_manifest(pa.table(rows), folder / "manifest.parquet")
    write_fan(folder)
    return folder


@pytest.fixture(scope="module")
def store(study: Path) -> FeatureStore:
    fan = study / f"{NAME}.onnx"
    invoke(
        "train", "features", study / "manifest.parquet", "-o", study / "maps", "--extractor", fan, "--grid", GRID,
        "--views", 1, "--workers", 1,
    )  # fmt: skip
    return FeatureStore.open(study / "maps")


@pytest.fixture(scope="module")
def run(study: Path, store: FeatureStore) -> Path:
    invoke(
        "train", "fantrans", "--data", store.folder, "-o", study / "run", "--epochs", 12, "--hold-out", "none",
        "--set", "chunks=1", "--set", "validation=0.4", "--set", "learning_rate=0.01",
        "--set", "model.map_width=16", "--set", "model.map_cells=4",
    )  # fmt: skip
    return study / "run"


@pytest.fixture(scope="module")
def exported(study: Path, store: FeatureStore, run: Path) -> Path:
    invoke("export", run, "--data", store.folder, "-o", study / "mine.onnx", "--name", "fantrans_fan.mine", "--full")
    return study / "mine.onnx"


def test_a_store_says_whose_features_it_holds(study: Path, store: FeatureStore) -> None:
    layout = load(str(study / f"{NAME}.onnx"), GRID).layout
    assert layout_of(store) == layout
    assert store.hypercolumns.shape == (48, 1, GRID**2, CONFIG.channels)
    assert store.geometry.shape == (48, 1, 136)
    assert store.meta["grid"] == GRID
    assert "points" not in store.meta
    assert store.ok.all()


def test_the_plain_view_is_what_detection_reads(study: Path, store: FeatureStore) -> None:
    extractor, finder = load(str(study / f"{NAME}.onnx"), GRID), FaceFinder(max_faces=1)
    image = read_image(study / "3_1.png")
    (face,) = finder.find(image)
    crop, _ = align(image, face.landmarks, "fan256")
    seen = extractor.look(crop)
    assert store.plain is not None
    np.testing.assert_allclose(store.plain.geometry[25, 0], seen.geometry, atol=1e-6)
    np.testing.assert_allclose(store.plain.hypercolumns[25, 0], seen.columns, rtol=1e-3, atol=1e-3)


def test_degraded_views_are_looks_at_the_crop_or_its_mirror_image(study: Path, store: FeatureStore) -> None:
    """A mild copy's map is nearer what the FAN says about the plain crop if it is not flipped, else nearer that of the mirrored crop."""
    extractor, finder = load(str(study / f"{NAME}.onnx"), GRID), FaceFinder(max_faces=1)
    for row in range(10):
        image = read_image(study / store.rows["image"][row].as_py())
        (face,) = finder.find(image)
        seen = np.asarray(store.hypercolumns[row, 0], np.float32)
        gaps = [np.abs(extractor.look_at(image, face, turned).columns - seen).mean() for turned in (False, True)]
        assert bool(store.flipped[row, 0]) == bool(gaps[1] < gaps[0])
    assert 0 < store.flipped[:10, 0].sum() < 10


@pytest.mark.slow
def test_the_recipe_follows_the_store_and_others_are_refused(study: Path, store: FeatureStore, run: Path) -> None:
    config = load_checkpoint(run / BEST).model.config
    assert (config.add_on, config.geometry, config.grid, config.extractor) == ("maps", "none", GRID, NAME)
    result = CliRunner().invoke(
        app, ["train", "fantrans", "--data", str(store.folder), "-o", str(study / "no"), "--recipe", "fantrans"]
    )
    assert result.exit_code == 1
    assert "the recipe fantrans does not fit these features: they are cells of a 8×8 grid" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_detection_gives_what_training_code_gives(study: Path, store: FeatureStore, run: Path, exported: Path) -> None:
    """Through the command line and by hand: crops, FAN, PyTorch head, calibration, mean of the face and its mirror image."""
    card = json.loads(exported.with_suffix(".json").read_text())
    assert (card["extractor"], card["template"]) == (NAME, "fan256")
    assert card["input"] == {"geometry": [136], "hypercolumns": [GRID**2, CONFIG.channels]}
    photo = study / "2_1.png"
    out = study / "table.csv"
    invoke("detect", photo, "--model", exported, "-o", out)
    header, line = out.read_text().splitlines()[:2]
    table = dict(zip(header.split(","), line.split(","), strict=True))

    team = load_team([run])
    head = CalibratedHead(team.ensemble, calibrate_team(team, store)).eval()
    image = read_image(photo)
    (face,) = FaceFinder().find(image)
    crop, _ = align(image, face.landmarks, "fan256")
    extractor = load(str(study / f"{NAME}.onnx"), GRID)
    looks = [extractor.look(one) for one in (crop, np.ascontiguousarray(crop[:, ::-1]))]
    geometry, columns = (
        torch.from_numpy(np.stack([getattr(look, name) for look in looks])) for name in ("geometry", "columns")
    )
    with torch.no_grad():
        logits = head(geometry, columns)[0].mean(dim=0)
    for number, logit in zip(team.ensemble.config.aus, logits, strict=True):
        assert float(table[f"AU{number:02d}"]) == pytest.approx(float(torch.sigmoid(logit)), abs=1e-4)
    frames = [Frame(number, number / 25, image) for number in range(2)]
    watched = list(Detector(exported).watch_frames(frames, "still"))
    still = [float(table[f"AU{number:02d}"]) for number in team.ensemble.config.aus]
    # Tracking takes the crop again from the last frame's landmarks, which moves it by a fraction of a pixel.
    for observation in watched:
        np.testing.assert_allclose(observation.faces.values[0, :2], still, atol=0.1)


@pytest.mark.slow
def test_another_extractor_of_that_name_is_refused(exported: Path, tmp_path: Path) -> None:
    for file in (exported, exported.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    alone = tmp_path / exported.name
    with pytest.raises(WeightsError, match=rf"asks for the extractor {NAME}, which does not lie beside it"):
        Detector(alone)
    write_another(exported.with_name(f"{NAME}.onnx"), tmp_path)
    with pytest.raises(WeightsError, match=f"was trained on another file called {NAME}"):
        Detector(alone)


@pytest.mark.slow
def test_stores_and_models_of_different_extractors_do_not_mix(
    study: Path, store: FeatureStore, run: Path, exported: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(store.folder, tmp_path / "other")
    meta = json.loads((other / "meta.json").read_text())
    meta["extractor"]["sha256"] = "0" * 64
    (other / "meta.json").write_text(json.dumps(meta))
    for command in (("evaluate", run), ("evaluate", exported), ("export", run, "-o", tmp_path / "x.onnx")):
        result = CliRunner().invoke(app, [*map(str, command), "--data", str(other)])
        assert result.exit_code == 1, result.output
        assert f"holds features of {NAME} (000000000000…)" in result.stderr
    again = CliRunner().invoke(
        app, ["train", "features", str(study / "manifest.parquet"), "-o", str(store.folder), "--views", "1"]
    )
    assert again.exit_code == 2
    assert "with other settings" in again.stderr


@pytest.mark.slow
def test_protocols_run_on_it(store: FeatureStore, tmp_path: Path) -> None:
    two = protocol("subject-kfold:2")
    probe = replace(candidate("linear-probe"), steps=60, checks=2)  # type: ignore[type-var]
    said = run_protocol([store], two, probe, tmp_path / "probe")
    assert len(said) == 48
    assert not np.isnan(said.probability).any()
    quick = candidate("fantrans_fan")
    quick = replace(quick, recipe=replace(quick.recipe, epochs=1, chunks=1, validation=0.4), least_steps=0)  # type: ignore[type-var]
    assert not np.isnan(run_protocol([store], two, quick, tmp_path / "fan").probability).any()


def test_the_probe_pools_blocks_of_a_grid() -> None:
    parts = parts_of_face(Grid(8))
    assert len(parts) == 16
    assert sorted(np.concatenate(parts).tolist()) == list(range(64))
    assert parts[5].tolist() == [18, 19, 26, 27]
    assert len(parts_of_face(FACE_MESH.positions)) == 5


def test_the_model_can_be_looked_into(study: Path, run: Path, tmp_path: Path) -> None:
    photo, fan = study / "0_1.png", study / f"{NAME}.onnx"
    told = invoke("explain", run, "--data", study / "maps", "-o", tmp_path, "--image", photo, "--extractor", fan)
    assert "people it was trained on" in told.output or "people who chose its epoch" in told.output
    figures = {path.stem for path in tmp_path.glob("*.png")}
    assert figures == {"attention", "blocks", "influence", "keep", "looked_at", "photo", "where"}
    document = json.loads((tmp_path / "explain.json").read_text())
    assert len(document["places"]) == GRID**2 / 4  # one block, after which the map is halved
    np.testing.assert_allclose(np.sum(document["map_attention"], axis=1), 1, atol=1e-4)
    assert np.abs(document["photo"]).max() > 0
