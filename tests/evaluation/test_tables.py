import io
import json

import numpy as np
import pytest
from rich.console import Console

from openau.evaluation.bootstrap import estimate, interval, resample
from openau.evaluation.metrics import f1, icc, roc_auc
from openau.evaluation.tables import evaluate


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


def test_table() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.4).astype(float)
    labels[:, 2] = np.nan
    labels[:20, 0] = np.nan
    probability = np.clip(0.3 * np.nan_to_num(labels) + rng.random((200, 3)) * 0.7, 0, 1)
    truth = rng.uniform(0, 5, (200, 1))
    table = evaluate(
        "look-alike", probability, labels, (1, 12, 25), np.repeat(np.arange(40), 5),
        intensity=truth + rng.normal(size=(200, 1)), intensity_labels=truth, intensity_aus=(12,), repetitions=50,
    )  # fmt: skip
    first, second, empty = table.rows
    assert (first.known, first.positives) == (180, int(np.nansum(labels[:, 0])))
    assert first.auc.value == pytest.approx(roc_auc(probability[20:, 0], labels[20:, 0]))
    assert second.f1.value == pytest.approx(f1(probability[:, 1], labels[:, 1]))
    assert first.auc.low < first.auc.value < first.auc.high
    assert empty.known == 0
    assert np.isnan(empty.auc.value)
    assert table.mean_auc.value == pytest.approx((first.auc.value + second.auc.value) / 2)
    assert table.groups == 40
    assert 0.7 < table.intensity[0].icc.value < 0.95
    document = json.loads(table.to_json())
    assert document["rows"][2]["auc"]["value"] is None
    assert document["rows"][0]["auc"]["value"] == first.auc.value
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table.to_rich())
    shown = console.export_text()
    assert "AU12" in shown
    assert f"{first.auc.value:.3f}" in shown


def test_icc_is_used_for_intensity() -> None:
    truth = np.linspace(0, 5, 50)[:, None]
    said = truth * 0.5
    table = evaluate(
        "x",
        np.full((50, 1), 0.4),
        np.zeros((50, 1)),
        (12,),
        intensity=said,
        intensity_labels=truth,
        intensity_aus=(12,),
        repetitions=0,
    )
    assert table.intensity[0].icc.value == pytest.approx(icc(said[:, 0], truth[:, 0]))
    assert np.isnan(table.intensity[0].icc.low)
