import numpy as np
import pyarrow as pa
import pytest

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.training.features import FeatureStore
from openau.training.labels import read_labels, soft_targets
from openau.training.recipes import Recipe, one_cycle
from openau.training.splits import HoldOut, split_rows


def test_levels_prefer_intensity_and_unknown_stays_unknown() -> None:
    rows = pa.table(
        {
            "AU12": pa.array([1, 0, None, None], pa.int8()), "AU12_i": pa.array([2.5, None, 0.7, None]),
            "AU12_L": pa.array([1, None, None, 0], pa.int8()), "AU12_iL": pa.array([None, 5.0, None, None]),
        }
    )  # fmt: skip
    labels = read_labels(rows, (12, 6), (12,), (12,))
    np.testing.assert_allclose(labels.level[:, 0], [0.5, 0, 0.14, np.nan])
    np.testing.assert_allclose(labels.occurrence[:, 0], [1, 0, np.nan, np.nan])
    assert np.isnan(labels.level[:, 1]).all()  # no column at all
    np.testing.assert_allclose(labels.left_level[:, 0], [1, 1, np.nan, 0])
    assert np.isnan(labels.right).all()


def test_soft_targets_by_hand() -> None:
    level = np.array([[0.0], [0.05], [0.275], [0.5], [1.0], [np.nan]], np.float32)
    plain = soft_targets(level, (12,), (0.05, 0.5), {}, 0.0)[:, 0]
    np.testing.assert_allclose(plain, [0, 0, 0.5, 1, 1, np.nan], atol=1e-6)
    smooth = soft_targets(level, (43,), (0.05, 0.5), {43: (0.0, 1.0)}, 0.02)[:, 0]
    np.testing.assert_allclose(smooth, [0.02, 0.068, 0.284, 0.5, 0.98, np.nan], atol=1e-6)


@pytest.mark.parametrize("text", ["subjects=0.25", "fold=2", "rig=anny", "none"])
def test_no_subject_is_in_two_parts(store: FeatureStore, text: str) -> None:
    usable = store.ok.any(axis=1)
    split = split_rows(store.rows, HoldOut.parse(text), 0.2, 0, usable)
    who = identities(store.rows)
    parts = [set(who[rows]) for rows in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == sorted(np.flatnonzero(usable))
    assert 5 not in split.train  # a picture without a face
    if text == "rig=anny":
        assert set(np.array(store.rows.column("rig").to_pylist())[split.test]) == {"anny"}
        assert "anny" not in np.array(store.rows.column("rig").to_pylist())[split.train]
    if text == "fold=2":
        assert set(np.array(store.rows.column("fold"))[split.test]) == {2}


def test_a_subject_in_two_folds_is_held_out_altogether() -> None:
    rows = pa.table({"subject": ["a", "a", "b", "c", "d"], "fold": [1, 2, 2, 2, 2]})
    split = split_rows(rows, HoldOut.parse("fold=1"), 0.34, 0, np.ones(5, bool))
    assert split.test.tolist() == [0, 1]


def test_bad_hold_outs() -> None:
    for text in ("subjects=2", "subjects=x", "fold=a", "half", "rig=", "none=1"):
        with pytest.raises(UsageError, match="no hold-out"):
            HoldOut.parse(text)
    rows = pa.table({"subject": ["a", "b"], "fold": [1, 2]})
    with pytest.raises(UsageError, match="no column rig"):
        split_rows(rows, HoldOut.parse("rig=ict"), 0.1, 0, np.ones(2, bool))
    with pytest.raises(UsageError, match="no row has fold=7"):
        split_rows(rows, HoldOut.parse("fold=7"), 0.1, 0, np.ones(2, bool))
    with pytest.raises(InputError, match="too few"):
        split_rows(rows, HoldOut.parse("fold=2"), 0.1, 0, np.ones(2, bool))


def test_one_cycle_is_torchs() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], 2e-3)
    steps, warm_up = 200, 0.15
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=warm_up)
    for step in range(steps):
        rate, beta = one_cycle(step / (steps - 1), warm_up)
        # torch ends the rise one step before warm_up * steps, so the two are off by a fraction of a step there
        assert rate * 2e-3 == pytest.approx(optimizer.param_groups[0]["lr"], abs=6e-5)
        assert beta == pytest.approx(optimizer.param_groups[0]["betas"][0], abs=4e-3)
        optimizer.step()
        if step < steps - 1:
            scheduler.step()


def test_recipes_survive_json() -> None:
    recipe = Recipe(aus=(1, 12), model={"geometry": "late"}, ramps={43: (0.1, 0.9)})
    assert Recipe.from_json(recipe.to_json()) == recipe
