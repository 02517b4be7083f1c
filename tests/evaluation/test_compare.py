import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scored_faces import made_up

from openau.errors import InputError
from openau.evaluation import metrics
from openau.evaluation.compare import compare, match
from openau.evaluation.scored import Scored
from openau.evaluation.tables import Options

FEW = Options(repetitions=200)


def noisier(scored: Scored, noise: float, name: str = "noisier") -> Scored:
    blurred = scored.probability + np.random.default_rng(1).normal(0, noise, scored.probability.shape)
    return replace(scored, model=name, probability=np.clip(blurred, 0, 1).astype(np.float32))


def test_a_worse_model_is_worse() -> None:
    ours = made_up()
    found = compare(ours, noisier(ours, 0.4), FEW)
    assert found.mean["auc"].difference.low > 0
    assert found.mean["auc"].below_zero == 0
    assert compare(noisier(ours, 0.4), ours, FEW).mean["auc"].below_zero == 1


def test_pairing_narrows_the_interval() -> None:
    """What is hard for both cancels: the interval of the difference is far narrower than the interval of either."""
    from openau.evaluation.tables import evaluate

    ours = made_up(people=20)
    found = compare(ours, noisier(ours, 0.03), FEW).mean["f1"].difference
    alone = evaluate(ours, FEW).mean["f1"]
    assert found.high - found.low < 0.6 * (alone.high - alone.low)


def test_a_model_equals_itself() -> None:
    ours = made_up()
    found = compare(ours, ours, FEW)
    assert found.mean["f1"].difference.value == found.mean["f1"].difference.low == found.mean["f1"].difference.high == 0
    assert found.mean["f1"].below_zero == 0.5
    assert (found.matched, found.only_a, found.only_b) == (720, 0, 0)


def test_shuffled_partial_tables_are_matched_by_face() -> None:
    ours = made_up(parts=1)
    rng = np.random.default_rng(3)
    fewer, other = (
        ours.take(rng.permutation(len(ours))[:600]),
        noisier(ours, 0.2).take(rng.permutation(len(ours))[:650]).only((12, 4)),
    )
    found = compare(fewer, other, FEW)
    assert found.aus == (4, 12)
    rows_a, rows_b = match(fewer, other)
    assert found.matched == len(rows_a)
    assert (found.only_a, found.only_b) == (600 - len(rows_a), 650 - len(rows_b))
    for name in ("subject", "clip", "frame"):
        assert np.array_equal(getattr(fewer, name)[rows_a], getattr(other, name)[rows_b])
    a, b = fewer.take(rows_a).only((4, 12)), other.take(rows_b).only((4, 12))
    both = ~(np.isnan(a.probability) | np.isnan(b.probability))
    for column, number in enumerate((4, 12)):
        k = both[:, column]
        expected = [metrics.f1(m.probability[k, column], a.occurrence[k, column]) for m in (a, b)]
        assert [found.per_au[number]["f1"].a, found.per_au[number]["f1"].b] == pytest.approx(expected)
    assert any("AU01" in note for note in found.notes)


def test_missed_by_one_is_left_out_for_both_or_counted() -> None:
    ours = made_up(parts=1)
    said = ours.probability.copy()
    said[::4] = np.nan
    other = replace(ours, model="misses many", probability=said)
    assert compare(ours, other, FEW).mean["f1"].difference.value == 0
    counted = compare(ours, other, replace(FEW, missed="negative"))
    assert counted.mean["f1"].difference.value > 0.05
    assert any('counted as "no AU"' in note for note in counted.notes)


def test_what_cannot_be_compared() -> None:
    ours = made_up()
    with pytest.raises(InputError, match="no AU in common"):
        compare(ours.only((1,)), ours.only((4, 12)))
    with pytest.raises(InputError, match="share no face"):
        compare(ours, replace(ours, subject=np.char.add(ours.subject, "x")))
    pictures = replace(ours, clip=np.full(len(ours), ""), frame=np.full(len(ours), -1))
    assert compare(pictures, pictures, FEW).matched == len(ours)
    with pytest.raises(InputError, match=r"ours: 60 faces have subject 'S00', clip '' and frame -1"):
        compare(pictures, pictures.take(np.arange(300)))
    with pytest.raises(InputError, match="different labels for"):
        compare(ours, replace(ours, occurrence=1 - ours.occurrence))


def test_shown_and_marked() -> None:
    ours = made_up()
    found = compare(ours, replace(noisier(ours, 0.2), selection="test-selected"), FEW)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found.to_rich())
    text = console.export_text()
    assert "test-selected: noisier" in text
    assert f"{found.mean['auc'].difference.value:.3f}" in text
    assert json.loads(found.to_json())["mean"]["auc"]["below_zero"] == found.mean["auc"].below_zero


def test_thresholds_chosen_per_part_are_compared_and_intervals_widened() -> None:
    a = made_up()
    chosen = {part: np.full(3, value, np.float32) for part, value in zip(a.parts, (0.3, 0.5, 0.6), strict=True)}
    a, b = replace(a, thresholds=chosen), replace(a, thresholds={part: np.full(3, 0.5, np.float32) for part in a.parts})
    pooled = replace(FEW, over="pooled")
    found = compare(a, b, pooled, ("auc", "f1_chosen"))
    threshold = np.select([a.part == part for part in a.parts], [0.3, 0.5, 0.6])[:, None].astype(np.float32)
    known = ~np.isnan(a.occurrence) & ~np.isnan(a.probability)
    f1 = [metrics.f1(a.probability[k, n] >= threshold[k, 0], a.occurrence[k, n]) for n, k in enumerate(known.T)]
    assert found.mean["f1_chosen"].a == pytest.approx(np.mean(f1))
    assert found.mean["auc"].difference.value == 0
    wide = compare(a, b, replace(pooled, widened=True), ("f1_chosen",)).mean["f1_chosen"].difference
    usual = found.mean["f1_chosen"].difference
    assert wide.low < usual.low < usual.high < wide.high
    assert "F1, chosen threshold" in _shown(found)


def _shown(found: object) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(found.to_rich())  # type: ignore[attr-defined]
    return text.getvalue()
