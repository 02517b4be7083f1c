import numpy as np
import pytest

from openau.evaluation.bootstrap import draw_people, estimate, interval, percentiles, resample


def weighted_mean(values: np.ndarray):
    return lambda weight: (weight * values).sum() / weight.sum()


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = estimate(weighted_mean(values), 400, repetitions=2000)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_people_are_drawn_whole_and_widen_the_interval() -> None:
    people = np.repeat(np.arange(20), 30)
    for weight in resample(600, people, 5, seed=1):
        assert len({(p, w) for p, w in zip(people, weight, strict=True)}) == 20
        assert weight.sum() == 600
    values = np.random.default_rng(0).normal(size=20)[people]
    alone, grouped = (estimate(weighted_mean(values), 600, groups) for groups in (None, people))
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_one_person_gives_no_interval() -> None:
    """Drawn again and again, one person would give an interval of no width."""
    values = np.random.default_rng(0).normal(size=30)
    found = estimate(weighted_mean(values), 30, ["anna"] * 30)
    assert found.value == pytest.approx(values.mean())
    assert np.isnan([found.low, found.high]).all()


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    first, again, other = (interval(weighted_mean(values), 50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_drawn_people_are_as_many_and_equally_likely() -> None:
    drawn = draw_people(7, 4000, 0)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    assert drawn.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.08)  # of a binomial with n = 7, p = 1/7
    assert np.array_equal(drawn, draw_people(7, 4000, 0))
    assert draw_people(0, 3, 0).shape == (3, 0)


def test_percentiles_need_half_of_the_resamples() -> None:
    drawn = np.column_stack([np.arange(100.0), np.where(np.arange(100) < 60, np.nan, 1.0)])
    low, high = percentiles(drawn)
    assert (low[0], high[0]) == pytest.approx(tuple(np.percentile(np.arange(100), (2.5, 97.5))))
    assert np.isnan([low[1], high[1]]).all()
