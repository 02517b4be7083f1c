"""Several stores as one: every array, label and person is where its own store has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feature_stores import make_store
from held_out_training import train_held_out

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.training.checkpoint import load_checkpoint
from openau.training.features import FeatureStore
from openau.training.joined import join, parts_of
from openau.training.recipes import FANTRANS


def of_people(store: FeatureStore, people: str) -> FeatureStore:
    return replace(store, rows=store.rows.append_column("people", pa.array([people] * len(store))))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, FeatureStore]:
    """Two stores whose subjects have the same names and of which the second has one view more and lacks AU25."""
    folder = tmp_path_factory.mktemp("pair")
    first = make_store(folder / "a", subjects=4, images=10, views=2, seed=1)
    second = make_store(folder / "b", subjects=3, images=8, views=3, seed=2)
    return of_people(first, "ann"), of_people(replace(second, rows=second.rows.drop_columns(["AU25", "AU25_i"])), "bob")


def test_rows_are_where_their_store_has_them(pair: tuple[FeatureStore, FeatureStore]) -> None:
    first, second = pair
    both = join(pair)
    assert len(both) == 64
    assert parts_of(both) == pair
    rng = np.random.default_rng(0)
    rows = rng.permutation(64)
    views = rng.integers(0, 2, 64)
    geometry, columns = both.geometry[rows, views], both.hypercolumns[rows, views]
    for place, (row, view) in enumerate(zip(rows, views, strict=True)):
        store, own = (first, row) if row < 40 else (second, row - 40)
        np.testing.assert_array_equal(geometry[place], store.geometry[own, view])
        np.testing.assert_array_equal(columns[place], store.hypercolumns[own, view])
        assert both.rows["AU12_i"][int(row)] == store.rows["AU12_i"][int(own)]
    assert columns.dtype == np.float16
    assert both.geometry.shape == (64, 3, *first.geometry.shape[2:])
    assert not both.ok[:40, 2].any()
    np.testing.assert_array_equal(both.ok[40:], second.ok)
    assert both.rows["AU25"][40:].null_count == 24
    assert both.geometry[np.zeros(0, int), np.zeros(0, int)].shape == (0, first.geometry.shape[2])
    for row in (-1, 64):
        with pytest.raises(IndexError):
            both.geometry[np.array([row]), np.array([0])]


def test_people_of_two_data_sets_stay_apart_and_shared_people_are_the_same(
    pair: tuple[FeatureStore, FeatureStore],
) -> None:
    first, second = pair
    assert len(set(identities(join(pair).rows))) == 7
    shared = of_people(replace(second, rows=second.rows.drop_columns("people")), "ann")
    assert set(identities(join([first, shared]).rows)) == {f"ann:s00{number}" for number in range(4)}
    nameless = [replace(store, rows=store.rows.drop_columns("people")) for store in pair]
    with pytest.raises(InputError, match="both have a subject s000"):
        join(nameless)
    assert len(set(identities(join([nameless[0], second]).rows))) == 7


def test_plain_views_are_joined_if_every_store_has_one(pair: tuple[FeatureStore, FeatureStore], tmp_path: Path) -> None:
    first, second = (
        of_people(make_store(tmp_path / name, subjects=2, images=4, views=views, plain=True), name)
        for name, views in (("ann", 3), ("bob", 2))
    )
    both = join([first, second])
    assert both.ok.shape == (16, 2)
    assert both.plain is not None
    assert both.plain.ok.shape == (16, 1)
    rows, view = np.array([0, 7, 8, 15]), np.zeros(4, int)
    for place, (store, row) in enumerate(((first, 0), (first, 7), (second, 0), (second, 7))):
        np.testing.assert_array_equal(
            both.plain.geometry[rows, view][place], np.load(store.folder / "geometry.npy")[row, -1]
        )
    assert join([first, pair[1]]).plain is None


def test_one_store_stays_itself_and_unlike_features_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    assert join([store]) is store
    with pytest.raises(UsageError, match="no feature store"):
        join([])
    with pytest.raises(UsageError, match="other features"):
        join([store, make_store(tmp_path / "small", subjects=2, images=4, points=100)])


def test_training_on_two_stores(pair: tuple[FeatureStore, FeatureStore], tmp_path: Path) -> None:
    both = join(pair)
    run = train_held_out(both, tmp_path / "run", replace(FANTRANS, epochs=1, chunks=2), "subjects=0.3")  # type: ignore[arg-type]
    found = load_checkpoint(run.checkpoint).provenance
    assert {name.partition(":")[0] for name in (*found.trained, *found.watched)} == {"ann", "bob"}
