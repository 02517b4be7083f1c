import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

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
    assert metrics.average_precision(s, y, weight) == pytest.approx(
        sk.average_precision_score(y, s, sample_weight=weight)
    )
    for ours, theirs in (
        (metrics.accuracy, sk.accuracy_score), (metrics.balanced_accuracy, sk.balanced_accuracy_score), (metrics.mcc, sk.matthews_corrcoef),
    ):  # fmt: skip
        assert ours(s, y, weight=weight) == pytest.approx(theirs(y, said, sample_weight=weight))
    assert metrics.confusion(s, y, weight=weight).unweighted_f1 == pytest.approx(
        sk.f1_score(y, said, average="macro", sample_weight=weight)
    )
    assert metrics.mean_squared_error(s, y, weight) == pytest.approx(sk.mean_squared_error(y, s, sample_weight=weight))
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


def test_icc_against_an_analysis_of_variance() -> None:
    """ICC(3,1) of Shrout & Fleiss from the mean squares of a two-way ANOVA that statsmodels fits."""
    truth = rng.uniform(0, 5, 40)
    predicted = 0.6 * truth + rng.normal(0, 0.8, 40) + 1
    table = pd.DataFrame(
        {
            "value": np.r_[predicted, truth],
            "face": np.tile(np.arange(40), 2),
            "rater": np.repeat(["model", "coder"], 40),
        }
    )
    found = anova_lm(ols("value ~ C(face) + C(rater)", table).fit())
    between, residual = found.loc["C(face)", "mean_sq"], found.loc["Residual", "mean_sq"]
    assert metrics.icc(predicted, truth) == pytest.approx((between - residual) / (between + residual))


def test_shrout_and_fleiss_table() -> None:
    """Two judges of the 1979 paper's table; those that agree up to a constant have ICC(3,1) 1; mirrored ones −1."""
    first, second = np.array([9.0, 6, 8, 7, 10, 6]), np.array([2.0, 1, 4, 1, 5, 2])
    covariance = np.cov(first, second)
    assert metrics.icc(first, second) == pytest.approx(2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1]))
    assert metrics.icc(first + 3, first) == pytest.approx(1)
    assert metrics.icc(-first, first) == pytest.approx(-1)


def test_correlation_against_scipy() -> None:
    truth = rng.uniform(0, 5, 200)
    predicted = 0.6 * truth + rng.normal(0, 0.8, 200)
    assert metrics.pcc(predicted, truth) == pytest.approx(stats.pearsonr(predicted, truth).statistic)


@pytest.mark.parametrize("names", [np.array([0.0, 1, 2]), np.array(["negative", "positive", "surprise"])])
def test_classes_against_scikit_learn(names: np.ndarray) -> None:
    truth, said, w = names[rng.integers(0, 3, 200)], names[rng.integers(0, 3, 200)], rng.integers(0, 3, 200)
    assert metrics.unweighted_f1(said, truth, w) == pytest.approx(
        sk.f1_score(truth, said, average="macro", sample_weight=w)
    )
    assert metrics.unweighted_recall(said, truth, w) == pytest.approx(
        sk.balanced_accuracy_score(truth, said, sample_weight=w)
    )
    unknown = truth.copy()
    unknown[:50] = "" if names.dtype.kind == "U" else np.nan
    assert metrics.unweighted_f1(said, unknown) == metrics.unweighted_f1(said[50:], truth[50:])


def test_classes_by_hand() -> None:
    """a: 2 of 2 found and one false: F1 0.8; b: 1 of 2: F1 2/3; c is only ever called wrongly: F1 0, but no recall."""
    truth, said = np.array(["a", "a", "b", "b"]), np.array(["a", "a", "b", "a"])
    assert metrics.unweighted_f1(said, truth) == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics.unweighted_recall(said, truth) == pytest.approx(0.75)
    said[3] = "c"
    assert metrics.unweighted_f1(said, truth) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert metrics.unweighted_recall(said, truth) == pytest.approx(0.75)
    assert np.isnan(metrics.unweighted_f1([], []))


def test_calibration_error_by_hand() -> None:
    probability = [0.05, 0.05, 0.95, 0.95]
    assert metrics.calibration_error(probability, [0, 1, 1, 1], bins=10) == pytest.approx((0.5 * 0.45) + (0.5 * 0.05))
    calibrated = rng.random(200_000)
    assert metrics.calibration_error(calibrated, rng.random(200_000) < calibrated) < 0.01


NAN = float("nan")


@pytest.mark.parametrize(
    ("score", "label", "expected"),
    [
        # score, label: f1, auc, ap, accuracy, balanced, mcc, uf1, false alarms
        pytest.param([0.1, 0.2], [0, 0], (NAN, NAN, NAN, 1, NAN, NAN, 1, 0), id="nothing there, nothing called"),
        pytest.param([0.1, 0.9], [0, 0], (0, NAN, NAN, 0.5, NAN, NAN, 1 / 3, 0.5), id="no positives"),
        pytest.param([0.1, 0.9], [1, 1], (2 / 3, NAN, 1, 0.5, NAN, NAN, 1 / 3, NAN), id="all positives"),
        pytest.param([0.1, 0.2], [0, 1], (0, 1, 1, 0.5, 0.5, 0, 1 / 3, 0), id="nothing called"),
        pytest.param([0.7, 0.7], [0, 1], (2 / 3, 0.5, 0.5, 0.5, 0.5, 0, 1 / 3, 1), id="constant"),
        pytest.param([0.9], [1], (1, NAN, 1, 1, NAN, NAN, 1, NAN), id="one case"),
        pytest.param([0.9, NAN], [NAN, 1], (NAN,) * 8, id="nothing known"),
        pytest.param([], [], (NAN,) * 8, id="nothing"),
    ],
)
def test_degenerate_cases(score: list, label: list, expected: tuple) -> None:
    decided = metrics.confusion(score, label)
    found = (
        metrics.f1(score, label), metrics.roc_auc(score, label), metrics.average_precision(score, label), metrics.accuracy(score, label),
        metrics.balanced_accuracy(score, label), metrics.mcc(score, label), float(decided.unweighted_f1),
        metrics.false_alarm_rate(score, label),
    )  # fmt: skip
    assert found == pytest.approx(expected, nan_ok=True)


def test_degenerate_intensity() -> None:
    varied, constant = [0.0, 1, 3], np.full(3, np.float32(0.3))
    for metric in (metrics.icc, metrics.pcc):
        assert np.isnan(metric([1.0], [1.0]))
        assert np.isnan(metric(constant, constant))
    assert metrics.icc(constant, varied) == 0
    assert np.isnan(metrics.pcc(constant, varied))
    assert metrics.mean_squared_error([1.0], [3.0]) == 4
    for metric in (metrics.mean_squared_error, metrics.mean_absolute_error, metrics.icc, metrics.pcc):
        assert np.isnan(metric([], []))
    assert np.isnan(metrics.calibration_error([], []))
    assert np.isnan(metrics.best_f1([0.5], [0])[0])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="same length"):
        metrics.roc_auc([0.1, 0.2], [1])
