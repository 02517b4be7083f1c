"""Learning reads degraded views of training faces and nothing else; judging reads plain views and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feature_stores import make_store

from openau.training.baselines import LINEAR_PROBE
from openau.training.candidate import Candidate, Job, Judge, RecipeCandidate
from openau.training.checkpoint import BEST, load_checkpoint
from openau.training.features import FeatureStore
from openau.training.predict import predict
from openau.training.recipes import FANTRANS
from openau.training.splits import Split

AUS = (6, 12)
SPLIT = Split(np.arange(0, 48), np.arange(48, 64), np.arange(64, 80))
CANDIDATES: tuple[Candidate, ...] = (
    RecipeCandidate("one epoch", "", replace(FANTRANS, epochs=1, chunks=2), least_steps=0),
    replace(LINEAR_PROBE, steps=30, checks=3),
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Ten subjects of eight faces; two degraded views and the plain one."""
    return make_store(tmp_path_factory.mktemp("plain") / "store", subjects=10, images=8, plain=True)


def fit(store: FeatureStore, candidate: Candidate, out: Path) -> Judge:
    out.mkdir()
    return candidate.fit(Job(store, SPLIT, AUS, "a split", out))


def scrambled(store: FeatureStore, rows: np.ndarray) -> FeatureStore:
    """The store with other features in these rows."""
    rng = np.random.default_rng(1)
    parts = {name: np.array(getattr(store, name)) for name in ("geometry", "hypercolumns")}
    for part in parts.values():
        part[rows] = rng.normal(size=part[rows].shape)
    return replace(store, **parts)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.name)
def test_who_learns_and_who_judges_read_their_own_views(
    plain: FeatureStore, candidate: Candidate, tmp_path: Path
) -> None:
    assert plain.plain is not None
    everybody = np.arange(80)
    judged = np.flatnonzero(plain.plain.ok[:, 0])
    before = fit(plain, candidate, tmp_path / "before")(everybody).probability
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(before).any(axis=1)), judged)

    unread = replace(
        scrambled(plain, np.concatenate([SPLIT.validation, SPLIT.test])), plain=scrambled(plain.plain, SPLIT.train)
    )
    after = fit(unread, candidate, tmp_path / "unread")(everybody).probability
    others = np.concatenate([SPLIT.validation, SPLIT.test])
    np.testing.assert_array_equal(after[others], before[others])

    shown = replace(plain, plain=scrambled(plain.plain, SPLIT.test))
    after = fit(shown, candidate, tmp_path / "shown")(everybody).probability
    np.testing.assert_array_equal(after[:64], before[:64])
    tested = np.intersect1d(judged, SPLIT.test)
    assert (np.abs(after[tested] - before[tested]).max(axis=1) > 1e-3).all()


def test_a_recipes_judge_is_its_checkpoint_on_the_plain_view(plain: FeatureStore, tmp_path: Path) -> None:
    said = fit(plain, CANDIDATES[0], tmp_path / "run")(SPLIT.test).probability
    assert plain.plain is not None
    logits = predict(load_checkpoint(tmp_path / "run" / BEST).model, plain.plain, SPLIT.test).occurrence[:, 0]
    np.testing.assert_allclose(said, 1 / (1 + np.exp(-logits)), rtol=1e-5)
