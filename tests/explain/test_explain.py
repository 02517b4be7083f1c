"""What `openau explain` says about a model, against models whose inside is known."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feature_stores import AUS, SIDED, make_store
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from openau.cli import app
from openau.errors import InputError
from openau.evaluation.plots import save
from openau.explain import figures, grounds
from openau.explain.faces import Faces, Inputs, choose
from openau.explain.links import contributions, keep_probability, links, recorded_attention
from openau.explain.relevance import Baseline, Relevance, baseline, relevance, signed
from openau.faces.extractors import FACE_MESH, Grid, Layout
from openau.models.fantrans import Ensemble, FANTrans, FANTransConfig, build
from openau.training.checkpoint import Checkpoint, Provenance, save_checkpoint
from openau.training.features import FeatureStore
from openau.training.joined import layout_of
from openau.training.judge import Team, load_team
from openau.training.recipes import FANTRANS

SMALL = {"landmark_width": 4, "region_width": 8, "geometry_width": 8, "token_width": 16, "heads": 2, "rank": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(
        tmp_path_factory.mktemp("explain") / "store", subjects=8, images=6, views=1, points=60, plain=True
    )


def random_model(store: FeatureStore, **options: Any) -> FANTrans:
    torch.manual_seed(1)
    config = FANTransConfig.of_layout(AUS, AUS, SIDED, layout_of(store), **(SMALL | options))
    model = build(config).eval()
    with torch.no_grad():  # away from every special value that weights begin with
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def write(
    path: Path, model: FANTrans, trained: Sequence[str] = ("s000", "s001"), watched: Sequence[str] = ("s002",)
) -> Path:
    about = Provenance(FANTRANS, 0, 1, 0.5, "store", "subjects=0.2", tuple(trained), tuple(watched))
    save_checkpoint(path, model, about)
    return path


def all_faces(model: FANTrans, store: FeatureStore) -> Faces:
    about = Provenance(FANTRANS, 0, 1, 0.5, "store", "none", (), ())
    return choose(Team((Checkpoint(model, about),), Ensemble([model])), store, 1000)


def some_inputs(model: FANTrans, store: FeatureStore) -> Inputs:
    return next(all_faces(model, store).batches(model))


def test_attention_is_that_of_pytorchs_own_layer_and_recording_changes_nothing(store: FeatureStore) -> None:
    model = random_model(store, attention_drop=False)
    inputs = some_inputs(model, store)
    normed: list[torch.Tensor] = []
    for block in model.blocks:
        block.norm1.register_forward_hook(lambda module, given, output: normed.append(output))
    with torch.no_grad():
        before = model(*inputs)
        normed.clear()
        with recorded_attention(model) as seen:
            during = model(*inputs)
        after = model(*inputs)
    assert len(seen) == 2
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(before, during, after, strict=True))
    for block, tokens, found in zip(model.blocks, normed, seen, strict=False):
        layer = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        layer.in_proj_weight, layer.in_proj_bias = block.qkv.weight, block.qkv.bias
        _, expected = layer(tokens, tokens, tokens, average_attn_weights=False)
        torch.testing.assert_close(found, expected)


def test_attention_after_the_drop(store: FeatureStore) -> None:
    model = random_model(store)
    found = links(model, all_faces(model, store))
    assert found.attention.shape == (2, 6, 6)
    np.testing.assert_allclose(found.attention.sum(axis=-1), 1, atol=1e-4)
    assert found.mean_attention is not None
    np.testing.assert_allclose(found.mean_attention, found.attention.mean(axis=0))
    drop: Any = model.blocks[0].attention_drop
    with torch.no_grad():
        drop.keep_logit[:, 3, 1] = -30.0  # AU12 is kept from hearing AU4
    cut = links(model, all_faces(model, store))
    assert found.attention[0, 3, 1] > 0.02
    assert cut.attention[0, 3, 1] < 1e-6
    with pytest.raises(ValueError, match="evaluation mode"), recorded_attention(model.train()):
        pass


def test_keep_is_the_sigmoid_of_the_parameter_and_one_for_oneself(store: FeatureStore) -> None:
    model = random_model(store)
    found = links(model, all_faces(model, store))
    logits = np.stack([block.attention_drop.keep_logit.detach().double().numpy() for block in model.blocks])
    expected = (1 / (1 + np.exp(-logits))).mean(axis=1)
    off = ~np.eye(6, dtype=bool)
    assert found.keep is not None
    np.testing.assert_allclose(found.keep[:, off], expected[:, off], rtol=1e-6)
    np.testing.assert_array_equal(found.keep[:, ~off], 1)
    assert keep_probability(random_model(store, attention_drop=False)) is None


@pytest.mark.parametrize("rank", [0, 4])
def test_contributions_and_bias_are_the_outputs(store: FeatureStore, rank: int) -> None:
    model = random_model(store, rank=rank)
    with torch.no_grad():
        output, tokens = model.judge(*some_inputs(model, store))
        parts = contributions(model.classifier, tokens)
        bias = model.classifier.bias if rank == 0 else model.classifier.spread.bias  # type: ignore[union-attr]
    torch.testing.assert_close((parts.sum(dim=-1) + bias)[:, : len(AUS)], output.occurrence, rtol=1e-4, atol=1e-5)


def test_one_link_in_the_classifier_is_found_and_no_other(store: FeatureStore) -> None:
    model = random_model(store, rank=1, depth=0)
    one, twelve = AUS.index(1), AUS.index(12)
    with torch.no_grad():
        gather, spread = model.classifier.gather, model.classifier.spread
        assert gather is not None
        assert spread is not None
        of_one = gather.weight.unflatten(1, (len(AUS), -1))
        of_one.zero_()
        of_one[:, one] = model.classifier.own[one]
        spread.weight.zero_()
        spread.weight[twelve] = -1.0
    found = links(model, all_faces(model, store))
    off = ~np.eye(len(AUS), dtype=bool)
    expected = np.zeros((len(AUS), len(AUS)), bool)
    expected[twelve, one] = True
    np.testing.assert_array_equal((found.spread > 0) & off, expected)
    np.testing.assert_array_equal((found.influence < 0) & off, expected)
    # AU12 gets minus AU1's own logit, so it moves by exactly the spread of that, downwards.
    assert found.influence[twelve, one] == pytest.approx(-found.spread[twelve, one])
    assert found.spread[twelve, one] == pytest.approx(found.spread[one, one])


def test_an_au_on_its_own_looks_at_its_region_only(store: FeatureStore) -> None:
    model = random_model(store, depth=0, rank=0)
    faces = all_faces(model, store)
    found = relevance(model, faces, baseline(model, faces))
    for region in model.config.regions:
        inside = np.isin(np.arange(model.config.points), region.points)
        for number in region.aus:
            a = AUS.index(number)
            assert found.faces[a] > 0
            assert (found.places[a, ~inside] == 0).all()
            assert (found.places[a, inside] > 0).all()
    mixed = random_model(store)
    assert (relevance(mixed, faces, baseline(mixed, faces)).places > 0).all()


@pytest.mark.parametrize("options", [{}, {"geometry": "late"}, {"geometry": "none"}, {"hypercolumns": False}])
def test_relevance_adds_up_to_what_tells_two_faces_apart(store: FeatureStore, options: dict[str, Any]) -> None:
    model = random_model(store, **options)
    faces = all_faces(model, store)
    inputs = next(faces.batches(model, np.arange(4)))
    found = signed(model, inputs, baseline(model, faces), range(len(AUS)), steps=64)
    with torch.no_grad():
        logits = model(*inputs).occurrence.double().numpy()
    total = found.places.sum(axis=-1) + found.elsewhere
    np.testing.assert_allclose(total[1:] - total[:-1], logits[1:] - logits[:-1], atol=0.01)
    assert np.abs(logits[1:] - logits[:-1]).max() > 0.3
    features, coordinates, elsewhere = found.amounts
    assert (features > 0).all() == options.get("hypercolumns", True)
    assert (coordinates > 0).all() == (elsewhere > 0).all() == (options.get("geometry") != "none")


def test_cells_of_a_map(tmp_path: Path) -> None:
    layout = Layout("fan_test", "0" * 64, "fan256", 136, Grid(8), 12)
    torch.manual_seed(0)
    options = {
        "add_on": "maps",
        "geometry": "token",
        "map_width": 16,
        "map_blocks": 1,
        "map_cells": 4,
        "token_width": 16,
    }
    model = build(FANTransConfig.of_layout(AUS, (), (), layout, heads=2, **options)).eval()
    inputs = Inputs(torch.randn(3, 136), torch.randn(3, 64, 12))
    average = Baseline(torch.randn(16, 16), torch.zeros(136))
    found = signed(model, inputs, average, range(len(AUS)), steps=64)
    with torch.no_grad():
        logits = model(*inputs).occurrence.double().numpy()
    total = found.places.sum(axis=-1) + found.elsewhere
    assert found.places.shape == (3, len(AUS), 16)
    np.testing.assert_allclose(total[1:] - total[:-1], logits[1:] - logits[:-1], atol=0.01)
    assert found.attention is not None
    np.testing.assert_allclose(found.attention.sum(axis=-1), 1, rtol=1e-5)
    amounts = found.amounts.mean(axis=1)
    amounts, attention = found.amounts.mean(axis=1), found.attention.mean(axis=0)
    everywhere = Relevance(AUS, np.full(len(AUS), 3), 4, np.abs(found.places).mean(axis=0), *amounts, attention)
    ground = grounds.canonical(layout)
    assert 0 < ground.landmarks.min() < ground.landmarks.max() < ground.square == 256
    figure = figures.looked_at(everywhere, ground, "a map")
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_allclose(
        np.stack(shown[: len(AUS)]).reshape(len(AUS), -1), attention / attention.max(axis=1, keepdims=True)
    )
    save(figures.where(everywhere, ground, "a map"), tmp_path / "where.svg")


def test_people_the_model_knows_are_left_out_where_there_are_others(store: FeatureStore, tmp_path: Path) -> None:
    everyone = tuple(f"s{number:03d}" for number in range(8))
    model = random_model(store)
    for trained, watched, known, people in (
        (everyone[:2], everyone[2:3], "unseen", 5), (everyone[:6], everyone[6:], "watched", 2), (everyone, (), "trained", 8),
    ):  # fmt: skip
        chosen = choose(load_team([write(tmp_path / "m.safetensors", model, trained, watched)]), store, 1000)
        assert (chosen.known_to_model, chosen.people) == (known, people)
    few = choose(load_team([tmp_path / "m.safetensors"]), store, 10)
    assert len(few.rows) == 10
    assert (np.diff(few.rows) > 0).all()


def test_the_command_writes_figures_and_numbers(store: FeatureStore, tmp_path: Path) -> None:
    model = random_model(store)
    run, out = write(tmp_path / "best.safetensors", model), tmp_path / "made" / "inside"
    result = CliRunner().invoke(
        app, ["explain", str(run), "--data", str(store.folder), "-o", str(out), "--format", "svg"]
    )
    assert result.exit_code == 0, result.output
    figure_names = ("attention", "blocks", "influence", "keep", "where")
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}.svg" for name in figure_names), "explain.json", "links.csv", "where.csv",
    }  # fmt: skip
    assert "never seen" in result.output
    document = json.loads((out / "explain.json").read_text())
    found = links(model, choose(load_team([run]), store, 1000))
    assert document["aus"] == ["AU01", "AU04", "AU06", "AU12", "AU25", "AU43"]
    np.testing.assert_allclose(document["influence"], found.influence, rtol=1e-5)
    np.testing.assert_allclose(document["attention_of_blocks"], found.attention, rtol=1e-5)
    with (out / "links.csv").open() as file:
        rows = {(row["listens"], row["heard"]): row for row in csv.DictReader(file)}
    assert float(rows["AU12", "AU04"]["influence"]) == pytest.approx(found.influence[3, 1], rel=1e-4)
    assert len(rows) == 36
    with (out / "where.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == 6 * 60


def test_a_model_without_transformer_says_so_and_shows_the_rest(store: FeatureStore, tmp_path: Path) -> None:
    run, out = write(tmp_path / "best.safetensors", random_model(store, depth=0)), tmp_path / "inside"
    result = CliRunner().invoke(
        app, ["explain", str(run), "--data", str(store.folder), "-o", str(out), "--faces", "20"]
    )
    assert result.exit_code == 0, result.output
    assert "no transformer, so there is no attention to show" in result.output
    assert {path.stem for path in out.glob("*.png")} == {"influence", "where"}
    document = json.loads((out / "explain.json").read_text())
    assert document["attention"] is None
    assert document["keep"] is None


def test_bad_input_is_one_sentence(store: FeatureStore, tmp_path: Path) -> None:
    run, other = (
        write(tmp_path / "best.safetensors", random_model(store)),
        make_store(tmp_path / "other", 2, 4, 1, points=40),
    )
    usual = ["--data", str(store.folder), "-o", str(tmp_path / "out")]
    for arguments, sentence in (
        ([str(tmp_path / "none"), *usual], "no such checkpoint"),
        ([str(run), *usual, "--image", str(tmp_path / "none.jpg")], "none.jpg: no such picture"),
        ([str(run), "--data", str(other.folder), "-o", str(tmp_path / "out")], "but these models read"),
    ):
        result = CliRunner().invoke(app, ["explain", *arguments])
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.weights
def test_a_photo(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.png")
    ground, inputs = grounds.photo(tmp_path / "astronaut.png", FACE_MESH)
    assert ground.picture is not None
    assert ground.picture.shape == (grounds.SIDE, grounds.SIDE, 3)
    assert 0 < ground.landmarks.min() < ground.landmarks.max() < grounds.SIDE
    torch.manual_seed(0)
    model = build(FANTransConfig.of_layout(AUS, (), (), FACE_MESH, depth=0, **(SMALL | {"rank": 0}))).eval()
    average = Baseline(torch.zeros(149, 4), torch.zeros(FACE_MESH.geometry))
    places = signed(model, inputs, average, range(len(AUS))).places[0]
    figure = figures.on_photo(AUS, places, ground, 0, {0: "called, 0.90"}, "astronaut.png")
    save(figure, tmp_path / "photo.png", dpi=50)
    panel = figure.axes[AUS.index(12)]
    assert panel.get_title() == "AU12 lip corner puller"
    # What AU12 looks at on the picture lies below the eyes: no landmark above the nose bridge is in its region.
    field, extent = np.asarray(panel.images[1].get_array()), panel.images[1].get_extent()
    rows = np.linspace(extent[3], extent[2], len(field))
    assert (
        np.abs(field[rows < ground.landmarks[159, 1] - 20]).max()
        < 0.01
        < np.abs(field[rows > ground.landmarks[2, 1]]).max()
    )
    with pytest.raises(InputError, match="no face is found"):
        grounds.photo(tmp_path / "coffee.png", FACE_MESH)
    with pytest.raises(InputError, match="another face_mesh"):
        grounds.photo(tmp_path / "astronaut.png", replace(FACE_MESH, channels=24))
