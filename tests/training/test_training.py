import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_stores import AUS, SIDED, make_store
from held_out_training import train_held_out

from openau.errors import InputError, UsageError
from openau.evaluation.metrics import roc_auc
from openau.losses import masked_bce, masked_huber, ranking
from openau.models.fantrans import AUOutput
from openau.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from openau.training.data import Draw, FeatureBatches, SubjectBatches, draw_views, subject_numbers
from openau.training.feature_task import configure
from openau.training.features import FeatureStore
from openau.training.labels import read_labels
from openau.training.module import AUModule
from openau.training.predict import predict, predict_with
from openau.training.recipes import FANTRANS
from openau.training.record import CONFIG, CURVES, ENVIRONMENT, EVENTS, METRICS

QUICK = replace(FANTRANS, epochs=8, learning_rate=4e-3)


# Losses ---------------------------------------------------------------------------------------------------------------


def test_bce_and_huber_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]])
    targets = torch.tensor([[1.0, 0.25], [float("nan"), float("nan")]])
    weight = torch.tensor([2.0, 3.0])
    p = 1 / (1 + np.exp(-2.0))
    expected = (-2 * np.log(0.5) - 3 * 0.25 * np.log(p) - 0.75 * np.log(1 - p)) / 2
    assert masked_bce(logits, targets, weight).item() == pytest.approx(expected, rel=1e-5)
    assert masked_huber(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.5, float("nan")]])).item() == pytest.approx(0.125)
    assert masked_huber(torch.tensor([[1.0]]), torch.tensor([[4.0]])).item() == pytest.approx(2.5)


def test_unknown_targets_have_no_gradient_and_all_unknown_is_zero() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    targets = torch.rand(4, 3)
    targets[1, 2] = targets[3, 0] = float("nan")
    masked_bce(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad[1, 2] == 0
    assert logits.grad[3, 0] == 0
    assert (logits.grad != 0).sum() == 10
    nothing = masked_bce(logits, torch.full((4, 3), float("nan")))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_ranking_by_hand() -> None:
    """Two chunks of two; only the first chunk's pair is of one subject and differs clearly."""
    logits = torch.tensor([[0.5], [2.0], [1.0], [0.0]], requires_grad=True)
    level = torch.tensor([[0.9], [0.2], [0.9], [0.1]])
    subject = torch.tensor([3, 3, 3, 4])
    loss = ranking(logits, level, subject, 2, 0.3)
    assert loss.item() == pytest.approx(np.log1p(np.exp(1.5)) / 2, rel=1e-5)  # one pair, divided by 1 + 1
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0] < 0 < logits.grad[1]  # the stronger face must rise
    assert not logits.grad[2:].any()
    level[0] = float("nan")
    assert ranking(logits, level, subject, 2, 0.3).item() == 0


# Batches --------------------------------------------------------------------------------------------------------------


def test_batches_hold_chunks_of_one_subject_and_every_row_gets_its_turn(store: FeatureStore) -> None:
    rows = np.arange(6, 300)
    who = subject_numbers(store)
    sampler = SubjectBatches(rows, who, store.ok, replace(FANTRANS, chunks=2), 0)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 294 // 16
    pure = [len(set(who[chunk])) == 1 for draw in draws for chunk in draw.rows.reshape(-1, 8)]
    assert np.mean(pure) > 0.7  # 20 faces a subject: two full chunks, the rest is mixed
    seen = np.concatenate([draw.rows for draw in draws])
    assert len(set(seen)) == len(seen)
    again = list(sampler)
    assert all(
        np.array_equal(a.rows, b.rows) and np.array_equal(a.views, b.views) for a, b in zip(draws, again, strict=True)
    )
    sampler.epoch = 1
    assert not np.array_equal(next(iter(sampler)).rows, draws[0].rows)
    for epoch in range(2, 30):
        sampler.epoch = epoch
        seen = np.concatenate([seen, *(draw.rows for draw in sampler)])
    assert set(seen) == set(rows)


def test_views_with_a_face_and_the_wanted_share_of_degraded_ones() -> None:
    rng = np.random.default_rng(0)
    ok = rng.random((20_000, 3)) < 0.9
    ok[~ok.any(axis=1), 2] = True
    views = draw_views(ok, 0.6, rng)
    assert ok[np.arange(len(ok)), views].all()
    whole = ok.all(axis=1)
    assert np.mean(views[whole] > 0) == pytest.approx(0.6, abs=0.02)
    assert np.mean(views[whole] == 1) == pytest.approx(0.3, abs=0.02)
    assert not draw_views(np.ones((5, 1), bool), 0.6, rng).any()


def test_mirrored_views_exchange_left_and_right(store: FeatureStore) -> None:
    labels = read_labels(store.rows, AUS, AUS, SIDED)
    batches = FeatureBatches(store, labels, replace(FANTRANS, smoothing=0), configure(store, FANTRANS))
    rows = np.flatnonzero(store.ok.all(axis=1))[:64]
    views = np.zeros(64, np.intp)
    batch = batches[Draw(rows, views)]
    flipped = store.flipped[rows, 0]
    assert flipped.any()
    assert not flipped.all()
    strong_left = (labels.left_level[rows, 0] > 0.6) & (labels.right_level[rows, 0] < 0.04)
    assert (batch.left[strong_left & ~flipped, 0] == 1).all()
    assert (batch.left[strong_left & flipped, 0] == 0).all()
    assert (batch.right[strong_left & flipped, 0] == 1).all()
    np.testing.assert_array_equal(batch.geometry.numpy(), store.geometry[rows, 0])
    np.testing.assert_array_equal(batch.hypercolumns.numpy(), store.hypercolumns[rows, 0])


def test_predictions_come_back_as_the_subjects_sides(store: FeatureStore) -> None:
    """A head that says what a perfect observer of the picture would say: sides must then equal the labels in every view."""
    labels = read_labels(store.rows, AUS, AUS, SIDED)
    rows = np.arange(40)
    shown = {}
    for row in rows:
        for view in range(3):
            sides = (labels.left_level[row], labels.right_level[row])
            shown[store.geometry[row, view].tobytes()] = sides[::-1] if store.flipped[row, view] else sides

    def observer(geometry: np.ndarray, hypercolumns: np.ndarray):
        pairs = [shown[vector.tobytes()] for vector in geometry]
        left, right = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
        return np.zeros((len(geometry), 1), np.float32), np.zeros((len(geometry), 0), np.float32), left, right

    said = predict_with(observer, store, rows)
    for view in range(3):
        usable = store.ok[rows, view]
        np.testing.assert_array_equal(said.left[usable, view], labels.left_level[rows][usable])
        np.testing.assert_array_equal(said.right[usable, view], labels.right_level[rows][usable])
    assert np.isnan(said.left[5]).all()  # no view with a face
    np.testing.assert_allclose(said.mean().left[0, 0], labels.left_level[0], rtol=1e-6)


# Training -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    train_held_out(store, out, QUICK, seed=3)
    return out


def test_it_learns_and_sides_follow_mirror_images(store: FeatureStore, run: Path) -> None:
    found = load_checkpoint(run / BEST)
    assert found.provenance.score > 0.9
    who = np.array(store.rows.column("subject").to_pylist())
    unseen = ~np.isin(who, [*found.provenance.trained, *found.provenance.watched])
    rows = np.flatnonzero(unseen & store.ok.any(axis=1))
    assert len(rows) == 100
    said = predict(found.model, store, rows).mean()
    labels = read_labels(store.rows, AUS, AUS, SIDED)
    aucs = [roc_auc(said.occurrence[:, 0, a], labels.occurrence[rows, a]) for a in range(len(AUS))]
    assert np.mean(aucs) > 0.9
    one_sided = np.abs(labels.left_level[rows] - labels.right_level[rows]) > 0.5
    agree = ((said.left - said.right)[:, 0] > 0) == (labels.left_level[rows] > labels.right_level[rows])
    assert one_sided.sum() > 10
    assert agree[one_sided].mean() > 0.8  # sides that ignore mirroring would agree half of the time


def test_what_a_run_leaves(run: Path) -> None:
    files = (BEST, CONFIG, CURVES, ENVIRONMENT, LAST, METRICS, EVENTS)
    assert sorted(path.name for path in run.iterdir()) == sorted(files)
    with (run / METRICS).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    aucs = [float(row["auc"]) for row in rows]
    best, last = load_checkpoint(run / BEST), load_checkpoint(run / LAST)
    assert best.provenance.epoch == 1 + int(np.argmax(aucs))
    assert best.provenance.score == pytest.approx(max(aucs), abs=1e-5)
    assert (last.provenance.epoch, last.provenance.seed) == (8, 3)
    assert best.state is None
    assert last.state is not None
    assert last.state.optimizer


def test_same_seed_same_weights_and_resuming_changes_nothing(store: FeatureStore, run: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress) -> None:
        if progress.epoch == 6 and progress.step == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_held_out(store, tmp_path / "b", QUICK, seed=3, report=stop)
    assert load_checkpoint(tmp_path / "b" / LAST).provenance.epoch == 5
    train_held_out(store, tmp_path / "b", QUICK, seed=3, resume=True)
    first, second = (load_checkpoint(folder / LAST) for folder in (run, tmp_path / "b"))
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert (run / METRICS).read_text().count("\n") == (tmp_path / "b" / METRICS).read_text().count("\n")
    assert load_checkpoint(run / BEST).provenance == load_checkpoint(tmp_path / "b" / BEST).provenance
    with pytest.raises(UsageError, match="another recipe, seed or data"):
        train_held_out(store, tmp_path / "b", QUICK, seed=4, resume=True)


def test_held_out_rows_are_never_read(tmp_path: Path) -> None:
    """Poisoned features and labels of held-out people must not change a single weight."""
    store = make_store(tmp_path / "s", subjects=9, images=16, seed=5)
    quick = replace(QUICK, epochs=1)
    train_held_out(store, tmp_path / "clean", quick, "fold=2")
    held = np.array(store.rows.column("fold")) == 2
    poisoned = np.array(store.geometry)
    poisoned[held] = np.nan
    train_held_out(replace(store, geometry=poisoned), tmp_path / "poisoned", quick, "fold=2")
    a, b = (load_checkpoint(tmp_path / name / BEST).model.state_dict() for name in ("clean", "poisoned"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_unknown_labels_do_not_move_weights(store: FeatureStore) -> None:
    recipe = replace(FANTRANS, ranking_weight=0.3)
    torch.manual_seed(0)
    config = configure(store, recipe)
    from openau.models.fantrans import build

    module = AUModule(build(config), recipe, torch.ones(len(AUS)), 1, 0)
    labels = read_labels(store.rows, AUS, AUS, SIDED)
    batch = FeatureBatches(store, labels, recipe, config)[Draw(np.arange(8, 24), np.zeros(16, np.intp))]
    blank = [
        torch.full_like(part, float("nan"))
        for part in (batch.occurrence, batch.intensity, batch.left, batch.right, batch.level)
    ]
    empty = batch._replace(occurrence=blank[0], intensity=blank[1], left=blank[2], right=blank[3], level=blank[4])
    for given, moves in ((empty, False), (batch, True)):
        output: AUOutput = module.model(given.geometry, given.hypercolumns)
        module.zero_grad()
        sum(module.loss_parts(output, given).values()).backward()
        moved = any(parameter.grad is not None and parameter.grad.any() for parameter in module.model.parameters())
        assert moved == moves


@pytest.mark.parametrize("name", ["late", "geometry only", "priced drop", "no validation", "few faces"])
def test_variants_train(tmp_path: Path, name: str) -> None:
    store = make_store(tmp_path / "s", subjects=6, images=8, views=1, points=149)
    recipe = replace(QUICK, epochs=2, chunks=2)
    recipe = {
        "late": replace(recipe, model={"geometry": "late"}),
        "geometry only": replace(recipe, model={"hypercolumns": False}),
        "priced drop": replace(recipe, drop_weight=1.0, aus=(4, 12)),
        "no validation": replace(recipe, validation=0.0),
        "few faces": replace(recipe, chunks=64),
    }[name]
    result = train_held_out(store, tmp_path / "run", recipe, "none")
    found = load_checkpoint(result.checkpoint)
    assert found.provenance.epoch == 2 or recipe.validation
    if name == "priced drop":
        assert found.model.config.aus == (4, 12)
        assert found.model.config.sided_aus == (12,)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_round_trip_is_exact_and_damage_is_told(run: Path, tmp_path: Path) -> None:
    found = load_checkpoint(run / LAST)
    save_checkpoint(tmp_path / "x.safetensors", found.model, found.provenance, found.state)
    again = load_checkpoint(tmp_path / "x.safetensors")
    assert again.provenance == found.provenance
    assert again.model.config == found.model.config
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert found.state is not None
    assert again.state is not None
    for parameter, states in found.state.optimizer.items():
        for state, tensor in states.items():
            assert torch.equal(tensor, again.state.optimizer[parameter][state])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((run / LAST).read_bytes()[:-100])
    for path in (cut, tmp_path / "absent.safetensors"):
        with pytest.raises(InputError, match=str(path)) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not an OpenAU checkpoint"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_loading_leaves_torchs_random_numbers_alone(run: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_checkpoint(run / BEST)
    assert torch.rand(1) == expected
