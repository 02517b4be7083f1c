import numpy as np
import pytest

from openau.evaluation.bootstrap import (
    draw_people,
    estimate,
    interval,
    percentiles,
    resample,
    student_point,
    widened_ends,
)


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


def test_few_people_get_wider_intervals() -> None:
    for freedom, point in ((1, 12.7062), (2, 4.3027), (5, 2.5706), (30, 2.0423)):  # a printed table of Student's t
        assert student_point(freedom) == pytest.approx(point, rel=2e-4)
    low, high = widened_ends(6)
    assert low + high == pytest.approx(100)
    assert low == pytest.approx(0.243, abs=0.002)  # Φ(−√(6/5) · 2.5706)
    assert widened_ends(1000)[0] == pytest.approx(2.480, abs=0.003)  # Φ(−√(1000/999) · 1.9623)
    assert widened_ends(1) == (2.5, 97.5)


def test_widened_intervals_of_six_people_miss_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    weights = draw_people(6, 1000, 1) / 6
    missed = np.zeros(2)
    for _ in range(400):
        drawn = weights @ rng.standard_normal(6)
        for place, ends in enumerate(((2.5, 97.5), widened_ends(6))):
            low, high = percentiles(drawn[:, None], ends)
            missed[place] += low[0] > 0 or high[0] < 0
    usual, widened = missed / 400
    assert usual > 0.11
    assert 0.03 < widened < 0.09
