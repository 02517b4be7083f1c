import numpy as np
import pyarrow as pa
import pytest

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.training.features import FeatureStore
from openau.training.labels import comparable_level, occurrence_targets, read_labels, soft_targets
from openau.training.recipes import Recipe, one_cycle
from openau.training.splits import HoldOut, split_rows, split_subjects


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


def test_coded_occurrence_is_the_target_where_a_recipe_says_so() -> None:
    """DISFA's rule: intensity 1 is an absence. The ramp would call it a third of a presence."""
    rows = pa.table(
        {
            "AU06": pa.array([0, 0, 1, None], pa.int8()), "AU06_i": pa.array([0.0, 1.0, 2.0, None]),
            "AU01": pa.array([1, 0, None, 1], pa.int8()),
        }
    )  # fmt: skip
    labels = read_labels(rows, (6, 1), (6,), ())
    coded = Recipe(targets="occurrence", smoothing=0.1)
    wanted = np.array([[0.1, 0.9], [0.1, 0.1], [0.9, np.nan], [np.nan, 0.9]])
    np.testing.assert_allclose(occurrence_targets(labels.occurrence, labels.level, (6, 1), coded), wanted, atol=1e-6)
    ramp = occurrence_targets(labels.occurrence, labels.level, (6, 1), Recipe(smoothing=0))
    np.testing.assert_allclose(ramp[:, 0], [0, 1 / 3, 0.35 / 0.45, np.nan], atol=1e-6)
    np.testing.assert_allclose(ramp[:, 1], [1, 0, np.nan, 1], atol=1e-6)


def test_a_presence_without_intensity_is_not_ordered_among_intensities() -> None:
    """Subject 0 has intensities of AU6 for some faces, subject 1 for none; AU1 has none at all."""
    rows = pa.table(
        {
            "AU06": pa.array([1, 1, 0, 1, 0], pa.int8()), "AU06_i": pa.array([3.0, None, None, None, None], pa.float32()),
            "AU01": pa.array([1, 0, 1, None, 1], pa.int8()),
        }
    )  # fmt: skip
    level = comparable_level(read_labels(rows, (6, 1), (6,), ()), np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(level[:, 0], [0.6, np.nan, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(level[:, 1], [1, 0, 1, np.nan, 1])


@pytest.mark.parametrize("seed", range(25))
def test_nobody_is_on_two_sides_of_a_protocols_split(seed: int) -> None:
    """Any table, any parts: train, validation and test share no person, stay within what was given, and lose no usable row."""
    rng = np.random.default_rng(seed)
    count, people = int(rng.integers(30, 200)), int(rng.integers(6, 20))
    who = np.r_[np.arange(people), rng.integers(0, people, count - people)]
    space = rng.integers(0, 2, people)[who]
    rows = pa.table({"subject": [f"p{number // 2}" for number in who], "people": [("x", "y")[k] for k in space]})
    identity = np.array([f"{('x', 'y')[k]}{number // 2}" for number, k in zip(who, space, strict=True)])
    tested = rng.permutation(np.unique(identity))[: int(rng.integers(1, 3))]
    test, train = (np.flatnonzero(np.isin(identity, tested, invert=other)) for other in (False, True))
    train = rng.permutation(train)[: max(20, int(0.8 * len(train)))]
    usable = rng.random(count) < 0.9
    split = split_subjects(rows, train, test, float(rng.uniform(0.05, 0.4)), seed, usable)
    sides = [set(identity[part]) for part in (split.train, split.validation, split.test)]
    assert len(sides[0] | sides[1] | sides[2]) == sum(map(len, sides))
    learned = np.concatenate([split.train, split.validation])
    assert sorted(learned) == sorted(train[usable[train]])
    assert sorted(split.test) == sorted(test[usable[test]])


def test_a_person_on_both_sides_of_a_protocol_is_refused() -> None:
    rows = pa.table({"subject": ["a", "a", "b", "c"]})
    with pytest.raises(InputError, match="subject a is in the training part and in the test part"):
        split_subjects(rows, np.array([0, 2]), np.array([1, 3]), 0.1, 0, np.ones(4, bool))
    with pytest.raises(InputError, match="too few to train on"):
        split_subjects(rows, np.array([2]), np.array([3]), 0.1, 0, np.ones(4, bool))
    with pytest.raises(InputError, match="no face is left"):
        split_subjects(rows, np.array([2]), np.array([3]), 0.0, 0, np.zeros(4, bool))


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
