import numpy as np
import pytest
from sklearn import metrics as sk

from openau.evaluation import metrics

rng = np.random.default_rng(0)


def binary(n: int = 300, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = (rng.random(n) < 0.3).astype(float)
    s = np.clip(0.3 * y + rng.normal(0.4, 0.25, n), 0, 1)
    return (np.round(s, 1) if ties else s), y, rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_scikit_learn(ties: bool, weighted: bool) -> None:
    s, y, w = binary(ties=ties)
    weight = w if weighted else None
    said = s >= 0.5
    assert metrics.roc_auc(s, y, weight) == pytest.approx(sk.roc_auc_score(y, s, sample_weight=weight))
    assert metrics.f1(s, y, weight=weight) == pytest.approx(sk.f1_score(y, said, sample_weight=weight))
    assert metrics.false_alarm_rate(s, y, weight=weight) == pytest.approx(
        1 - sk.recall_score(1 - y, ~said, sample_weight=weight)
    )
    assert metrics.mean_absolute_error(s, y, weight) == pytest.approx(
        sk.mean_absolute_error(y, s, sample_weight=weight)
    )
    precision, recall, _ = sk.precision_recall_curve(y, s, sample_weight=weight)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    value, threshold = metrics.best_f1(s, y, weight)
    assert value == pytest.approx(best)
    assert metrics.f1(s, y, threshold, weight) == pytest.approx(best)


def test_weights_are_repetitions() -> None:
    s, y, w = binary(60)
    times = w.astype(int)
    t = 5 * y + rng.normal(size=60)
    for metric, a, b in (
        (metrics.roc_auc, s, y), (metrics.f1, s, y), (metrics.calibration_error, s, y), (metrics.icc, t, 5 * y),
    ):  # fmt: skip
        assert metric(a, b, weight=w) == pytest.approx(metric(np.repeat(a, times), np.repeat(b, times)))


def test_unknown_labels_are_left_out() -> None:
    s, y, _ = binary()
    holes = y.copy()
    holes[::3] = np.nan
    kept = ~np.isnan(holes)
    for metric in (
        metrics.roc_auc,
        metrics.f1,
        metrics.false_alarm_rate,
        metrics.icc,
        metrics.calibration_error,
    ):
        assert metric(s, holes) == metric(s[kept], y[kept])


def test_icc_against_its_definition() -> None:
    truth = rng.uniform(0, 5, 200)
    predicted = 0.6 * truth + rng.normal(0, 0.8, 200) + 1
    table = np.stack([predicted, truth], 1)
    n, k = table.shape
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    between = k * ((rows - grand) ** 2).sum() / (n - 1)
    residual = ((table - rows[:, None] - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    assert metrics.icc(predicted, truth) == pytest.approx((between - residual) / (between + (k - 1) * residual))


def test_shrout_and_fleiss_table() -> None:
    """The two judges that agree up to a constant have ICC(3,1) 1; swapped ones −1."""
    judge = np.array([9.0, 6, 8, 7, 10, 6])
    assert metrics.icc(judge + 3, judge) == pytest.approx(1)
    assert metrics.icc(-judge, judge) == pytest.approx(-1)


def test_calibration_error_by_hand() -> None:
    probability = [0.05, 0.05, 0.95, 0.95]
    assert metrics.calibration_error(probability, [0, 1, 1, 1], bins=10) == pytest.approx((0.5 * 0.45) + (0.5 * 0.05))
    calibrated = rng.random(200_000)
    assert metrics.calibration_error(calibrated, rng.random(200_000) < calibrated) < 0.01


def test_undefined_is_nan() -> None:
    nan = float("nan")
    for value in (
        metrics.roc_auc([0.1, 0.2], [0, 0]), metrics.roc_auc([0.1, 0.2], [nan, nan]), metrics.f1([0.1], [0]),
        metrics.false_alarm_rate([0.9], [1]), metrics.icc([1.0], [1.0]),
        metrics.best_f1([0.5], [0])[0], metrics.calibration_error([], []),
    ):  # fmt: skip
        assert np.isnan(value)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="same length"):
        metrics.roc_auc([0.1, 0.2], [1])
