import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from openau.evaluation.metrics import best_f1, f1
from openau.training.calibrate import PRIORS, fit, fit_slope, neutral_logits, prior_weights


def gaussians(n: int = 40_000, share: float = 0.5, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.random(n) < share
    return rng.normal(size=n) + gap * y, y


def test_weights_make_the_base_rate() -> None:
    _, y = gaussians(1000, 0.4)
    weight = prior_weights(y, 0.1)
    assert weight.sum() == pytest.approx(1)
    assert weight[y].sum() == pytest.approx(0.1)


@pytest.mark.parametrize("prior", [0.05, 0.15, 0.3])
def test_threshold_is_where_the_posterior_is_half_of_the_best_f1(prior: float) -> None:
    """A known property of F1's best threshold (Lipton et al. 2014), independent of how it was searched for."""
    z, y = gaussians()
    calibrated = fit(z, y, prior)
    threshold = -calibrated.shift / calibrated.scale
    reached = f1(z, y, threshold, prior_weights(y, prior))
    posterior = 1 / (1 + (1 - prior) / prior * np.exp(-(2 * threshold - 2)))  # of two unit Gaussians at 0 and 2
    assert posterior == pytest.approx(reached / 2, abs=0.05)


def test_rarer_means_stricter() -> None:
    z, y = gaussians()
    thresholds = [-m.shift / m.scale for m in (fit(z, y, prior) for prior in (0.05, 0.15, 0.3))]
    assert thresholds == sorted(thresholds, reverse=True)


def test_base_rate_of_the_sample_does_not_matter() -> None:
    many, few = (fit(*gaussians(60_000, share), 0.15) for share in (0.5, 0.1))
    assert -many.shift / many.scale == pytest.approx(-few.shift / few.scale, abs=0.12)
    assert many.scale == pytest.approx(few.scale, rel=0.1)


def test_zero_is_the_threshold_and_the_order_stays() -> None:
    z, y = gaussians(5000)
    calibrated = fit(z, y, 0.2)
    weight = prior_weights(y, 0.2)
    out = calibrated(z)
    assert calibrated.scale > 0
    assert np.array_equal(np.argsort(out), np.argsort(z))
    assert f1(out, y, 0.0, weight) == pytest.approx(best_f1(z, y, weight)[0], abs=0.01)


def test_slope_against_scikit_learn() -> None:
    z, y = gaussians(4000)
    weight = prior_weights(y, 0.3)
    reference = LogisticRegression(fit_intercept=False, C=1e9).fit((z - 1.3)[:, None], y, sample_weight=weight * len(z))
    assert fit_slope(z - 1.3, y, weight) == pytest.approx(reference.coef_[0, 0], rel=1e-3)


def test_perfect_separation_and_one_class() -> None:
    z = np.r_[np.full(50, -3.0), np.full(50, 3.0)]
    y = np.r_[np.zeros(50), np.ones(50)]
    separated = fit(z, y, 0.1)
    assert np.isfinite(separated.scale)
    assert separated(np.array([-3.0]))[0] < 0 < separated(np.array([3.0]))[0]
    alone = fit(z, np.zeros(100), 0.1)
    assert (alone.scale, alone.shift) == (1, 0)


def test_useless_and_inverted_logits_keep_a_rising_map() -> None:
    z, y = gaussians(2000)
    assert fit(-z, y, 0.2).scale > 0


def test_unknown_labels_are_left_out() -> None:
    z, y = gaussians(3000)
    labels = y.astype(float)
    labels[::4] = np.nan
    known = ~np.isnan(labels)
    assert fit(z, labels, 0.2) == fit(z[known], y[known], 0.2)


def test_neutral_is_the_median_of_absence() -> None:
    assert neutral_logits([-3.0, -2.0, -1.0, 9.0, np.nan], [0, 0, 0, 1, 0]) == -2
    assert neutral_logits([3.0], [1]) == -2


def test_priors_are_life_like() -> None:
    assert all(0.08 <= prior <= 0.30 for prior in PRIORS.values())
