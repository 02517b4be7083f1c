import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scored_faces import made_up
from sklearn import metrics as sk

from openau.evaluation import metrics
from openau.evaluation.events import count_events, event_f1, order_frames
from openau.evaluation.scored import Scored
from openau.evaluation.tables import METRICS, EvaluationTable, Options, evaluate
from openau.evaluation.tally import Tally

FEW = Options(repetitions=60)


def shown(table: EvaluationTable, **options: object) -> str:
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(table.to_rich(**options))
    return console.export_text()


def by_hand(scored: Scored, metric: object, a: int) -> list[float]:
    """Of each test part."""
    return [
        metric(scored.probability[rows, a], scored.occurrence[rows, a])
        for rows in (scored.part == p for p in scored.parts)
    ]


def test_published_metric_is_the_mean_over_parts_then_aus() -> None:
    scored = made_up()
    table = evaluate(scored, FEW)
    assert table.over == "parts"
    per_au = []
    for a, row in enumerate(table.rows):
        known = ~(np.isnan(scored.probability[:, a]) | np.isnan(scored.occurrence[:, a]))
        per_au.append(
            np.mean([
                sk.f1_score(scored.occurrence[k, a], scored.probability[k, a] >= 0.5)
                for k in (known & (scored.part == part) for part in scored.parts)
            ])
        )  # fmt: skip
        assert row["f1"].value == pytest.approx(per_au[-1])
        assert row["f1"].low < row["f1"].value < row["f1"].high
    assert table.mean["f1"].value == pytest.approx(np.mean(per_au))
    assert table.by_part["part 2"]["auc"] == pytest.approx(
        np.mean([by_hand(scored, metrics.roc_auc, a)[1] for a in range(3)])
    )
    pooled = evaluate(scored, replace(FEW, over="pooled"))
    assert pooled.mean["f1"].value == pytest.approx(table.pooled["f1"])
    assert pooled.mean["f1"].value != table.mean["f1"].value
    assert f"Pooled over all parts instead: F1 {pooled.mean['f1'].value:.3f}" in " ".join(table.notes)


@pytest.mark.parametrize(
    ("key", "metric"),
    [
        ("f1", metrics.f1), ("auc", metrics.roc_auc), ("average_precision", metrics.average_precision), ("accuracy", metrics.accuracy),
        ("balanced_accuracy", metrics.balanced_accuracy), ("mcc", metrics.mcc), ("false_alarms", metrics.false_alarm_rate),
        ("calibration_error", metrics.calibration_error),
        ("unweighted_f1", lambda s, y: metrics.confusion(s, y).unweighted_f1),
        ("f1_chosen", lambda s, y: metrics.f1(s, y, np.float32(0.4))),
    ],
)  # fmt: skip
def test_every_metric_is_the_plain_one(key: str, metric: object) -> None:
    scored = made_up()
    table = evaluate(scored, Options(repetitions=0))
    for a, row in enumerate(table.rows):
        assert row[key].value == pytest.approx(np.mean(by_hand(scored, metric, a)))
    one = replace(scored, part=np.full(len(scored), "all"), thresholds={"all": np.full(3, 0.4, np.float32)})
    for a, row in enumerate(evaluate(one, Options(repetitions=0)).rows):
        assert row[key].value == pytest.approx(metric(scored.probability[:, a], scored.occurrence[:, a]))


def test_weights_repeat_people() -> None:
    """A person who is drawn twice counts as two people who look the same."""
    scored = made_up(people=4, parts=1)
    weights = np.array([[2, 0, 1, 1]])
    copies = [
        np.flatnonzero(scored.subject == name)
        for name, times in zip(("S00", "S02", "S03"), (2, 1, 1), strict=True)
        for _ in range(times)
    ]
    doubled = scored.take(np.concatenate(copies))
    names = np.repeat([f"P{k}" for k in range(4)], [len(rows) for rows in copies])
    doubled = replace(doubled, subject=names)
    found = Tally(scored, Options()).measure(weights, METRICS)
    expected = Tally(doubled, Options()).measure(np.ones((1, 4), int), METRICS)
    for key in METRICS:
        assert found[key] == pytest.approx(expected[key]), key
    intensity = Tally(scored, Options()).measure_intensity(weights)
    for key, value in Tally(doubled, Options()).measure_intensity(np.ones((1, 4), int)).items():
        assert intensity[key] == pytest.approx(value)


def test_intervals_agree_with_a_plain_bootstrap() -> None:
    scored = made_up(people=10, parts=1)
    table = evaluate(scored, Options(repetitions=2000))
    rng, people = np.random.default_rng(5), np.unique(scored.subject)
    rows = {name: np.flatnonzero(scored.subject == name) for name in people}
    drawn = []
    for _ in range(400):
        some = np.concatenate([rows[name] for name in rng.choice(people, len(people))])
        drawn.append(
            [m(scored.probability[some, 0], scored.occurrence[some, 0]) for m in (metrics.f1, metrics.roc_auc)]
        )
    for column, key in enumerate(("f1", "auc")):
        low, high = np.percentile(np.array(drawn)[:, column], (2.5, 97.5))
        width = high - low
        assert table.rows[0][key].low == pytest.approx(low, abs=0.2 * width)
        assert table.rows[0][key].high == pytest.approx(high, abs=0.2 * width)


def test_leave_one_subject_out_is_pooled() -> None:
    scored = made_up(people=6, parts=6)
    table = evaluate(scored, FEW)
    assert table.over == "pooled"
    assert table.rows[0]["f1"].value == pytest.approx(metrics.f1(scored.probability[:, 0], scored.occurrence[:, 0]))
    assert not np.isnan(table.rows[0]["f1"].low)
    assert "Pooled over 6 test parts" in table.notes[0]
    forced = evaluate(scored, replace(FEW, over="parts"))
    assert np.isnan(forced.mean["f1"].low)
    assert "No intervals" in " ".join(forced.notes)


def test_chosen_thresholds_need_every_part() -> None:
    scored = made_up()
    thresholds = dict(scored.thresholds)
    thresholds["part 2"] = np.array([np.nan, 0.4, 0.4], np.float32)
    table = evaluate(replace(scored, thresholds=thresholds), replace(FEW, over="pooled"))
    assert np.isnan(table.rows[0]["f1_chosen"].value)
    assert table.rows[1]["f1_chosen"].value == pytest.approx(
        metrics.f1(scored.probability[:, 1], scored.occurrence[:, 1], np.float32(0.4))
    )
    without = evaluate(replace(scored, thresholds={}), FEW)
    assert "F1, chosen" not in shown(without)
    assert "F1, chosen" in shown(table)


def test_missed_faces() -> None:
    scored = made_up()
    missed = np.isnan(scored.probability[:, 0])
    left_out, counted = (
        evaluate(scored, Options(over="pooled", repetitions=0, missed=m)) for m in ("exclude", "negative")
    )
    as_zero = np.where(np.isnan(scored.probability), 0, scored.probability)
    assert counted.rows[0]["f1"].value == pytest.approx(metrics.f1(as_zero[:, 0], scored.occurrence[:, 0]))
    assert counted.rows[0]["auc"].value == pytest.approx(metrics.roc_auc(as_zero[:, 0], scored.occurrence[:, 0]))
    assert left_out.rows[0]["f1"].value == pytest.approx(metrics.f1(scored.probability[:, 0], scored.occurrence[:, 0]))
    assert left_out.rows[0].missed == counted.rows[0].missed == (missed & ~np.isnan(scored.occurrence[:, 0])).sum() > 0
    assert any("did not judge" in note and note.endswith("left out.") for note in left_out.notes)
    assert any("did not judge" in note and "probability 0" in note for note in counted.notes)


def test_lacking_aus_are_named_and_not_counted() -> None:
    table = evaluate(made_up(), replace(FEW, data_aus=(1, 9, 12, 25)))
    assert [row.au for row in table.rows] == [1, 4, 12]
    assert any(note.endswith("AU09, AU25.") for note in table.notes)


def test_test_selected_is_said_everywhere() -> None:
    table = evaluate(replace(made_up(), selection="test-selected"), FEW)
    assert "TEST-SELECTED" in table.title
    assert "test-selected" in table.notes[0]
    assert "TEST-SELECTED" in shown(table)
    assert json.loads(table.to_json())["selection"] == "test-selected"
    assert "TEST-SELECTED" not in evaluate(made_up(), FEW).title


def test_events_of_all_people() -> None:
    scored = made_up(parts=1)
    table = evaluate(scored, FEW)
    order = order_frames(scored.clip, scored.frame)
    a = 1
    known = ~(np.isnan(scored.probability[:, a]) | np.isnan(scored.occurrence[:, a]))[order.rows]
    rows = order.rows[known]
    counts = count_events(
        scored.probability[rows, a] >= 0.5,
        scored.occurrence[rows, a] > 0.5,
        order.position[known],
        np.zeros(len(rows), int),
        1,
    )
    assert table.rows[a]["event_f1"].value == pytest.approx(event_f1(counts)[0])
    same_names = replace(scored, clip=np.array([clip.split("_")[1] for clip in scored.clip]))
    assert evaluate(same_names, FEW).rows[a]["event_f1"] == table.rows[a]["event_f1"]
    pictures = evaluate(replace(scored, frame=np.full(len(scored), -1)), FEW)
    assert np.isnan(pictures.rows[a]["event_f1"].value)
    assert "event F1" not in shown(pictures)


def test_intensity() -> None:
    scored = made_up(parts=1)
    row = evaluate(scored, FEW).intensity[0]
    said, true = scored.intensity[:, 0], scored.intensity_labels[:, 0]
    for key, metric in (
        ("icc", metrics.icc),
        ("pcc", metrics.pcc),
        ("mse", metrics.mean_squared_error),
        ("mae", metrics.mean_absolute_error),
    ):
        assert row[key].value == pytest.approx(metric(said, true), rel=1e-6)
        assert row[key].low < row[key].value < row[key].high


def test_terminal_and_json() -> None:
    scored = made_up()
    empty = scored.occurrence.copy()
    empty[:, 2] = np.nan
    table = evaluate(replace(scored, occurrence=empty), FEW)
    text = shown(table)
    for expected in (
        "AU12",
        "lip corner puller",
        f"{table.rows[0]['f1'].value:.3f}",
        "part 3",
        "720 faces, 12 people",
        "Made up.",
    ):
        assert expected in text
    document = json.loads(table.to_json())
    assert document["rows"][2]["results"]["auc"]["value"] is None
    assert document["rows"][0]["results"]["auc"]["value"] == table.rows[0]["auc"].value
    assert document["mean"]["auc"]["value"] == pytest.approx(
        (table.rows[0]["auc"].value + table.rows[1]["auc"].value) / 2
    )
    assert any("Not in the mean AUC" in note and "AU12" in note for note in table.notes)
    assert "MCC" in shown(table, metrics=("mcc",))


def test_one_person_and_nobody() -> None:
    alone = evaluate(made_up(people=1, parts=1), FEW)
    assert alone.people == 1
    assert np.isnan(alone.mean["f1"].low)
    assert not np.isnan(alone.mean["f1"].value)
    nobody = evaluate(made_up().take(np.zeros(0, int)), FEW)
    assert nobody.cases == 0
    assert np.isnan(nobody.mean["f1"].value)
    assert "0 faces" in shown(nobody)


def test_same_subject_name_in_two_parts_is_two_people() -> None:
    """Leave-one-data-set-out: both data sets have a first subject."""
    scored = made_up(people=4, parts=2)
    renamed = replace(scored, subject=np.where(np.isin(scored.subject, ["S00", "S01"]), "S00", "S01"))
    assert evaluate(renamed, FEW).people == 4
