import numpy as np
import pytest

from openau.evaluation.metrics import average_precision, roc_auc
from openau.evaluation.ranking import Ranking


def faces(count: int, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    person, label = rng.integers(0, 9, count), (rng.random(count) < 0.2).astype(float)
    score = np.round(0.3 * label + rng.normal(0, 0.5, count) + 0.1 * person, digits)
    label[rng.random(count) < 0.1] = np.nan
    score[::17] = np.nan
    return score, label, person


@pytest.mark.parametrize(
    ("count", "digits", "steps", "tolerance"), [(60, 9, 512, 1e-12), (400, 1, 512, 1e-12), (20_000, 9, 512, 1e-3)]
)
def test_resamples_are_weighted_metrics(count: int, digits: int, steps: int, tolerance: float) -> None:
    score, label, person = faces(count, digits)
    ranking = Ranking.of(score, label, person, 9, steps)
    weights = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), 20)
    auc, average = ranking.measure(weights)
    assert auc == pytest.approx([roc_auc(score, label, w[person]) for w in weights], abs=tolerance)
    assert average == pytest.approx([average_precision(score, label, w[person]) for w in weights], abs=tolerance)


@pytest.mark.parametrize("steps", [3, 50, 512])
def test_everybody_once_is_exact(steps: int) -> None:
    score, label, person = faces(2000, 9)
    auc, average = Ranking.of(score, label, person, 9, steps).measure(np.ones((1, 9), int))
    assert auc[0] == pytest.approx(roc_auc(score, label), abs=1e-12)
    assert average[0] == pytest.approx(average_precision(score, label), abs=1e-12)


def test_resample_without_positives_is_undefined() -> None:
    ranking = Ranking.of(np.array([0.9, 0.1, 0.3]), np.array([1.0, 0, 0]), np.array([0, 1, 1]), 2)
    auc, average = ranking.measure(np.array([[0, 2], [2, 0], [1, 1]]))
    assert auc == pytest.approx([np.nan, np.nan, 1], nan_ok=True)
    assert average == pytest.approx([np.nan, 1, 1], nan_ok=True)
    for empty in (np.zeros(0), np.array([0.5])):
        auc, average = Ranking.of(empty, np.zeros(len(empty)), np.zeros(len(empty), int), 1).measure(
            np.ones((2, 1), int)
        )
        assert np.isnan([*auc, *average]).all()
