"""Runs as small files: what comes back, and what means and differences over them are, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scored_faces import made_up

from openau.errors import InputError
from openau.evaluation.metrics import roc_auc
from openau.evaluation.runs import METRICS, RunRecord, cell, difference, record
from openau.evaluation.scored import Scored


def part_of(scored: Scored, part: str) -> Scored:
    found = scored.take(np.flatnonzero(scored.part == part))
    return replace(found, thresholds={part: scored.thresholds[part]})


def noisier(scored: Scored, seed: int, amount: float = 0.3) -> Scored:
    noise = np.random.default_rng(seed).normal(0, amount, scored.probability.shape)
    return replace(scored, probability=np.clip(scored.probability + noise, 0, 1).astype(np.float32))


def runs(model: str, amount: float, parts: tuple[str, ...] = ("part 1", "part 2", "part 3")) -> list[RunRecord]:
    whole = made_up(people=24)
    return [
        record(noisier(part_of(whole, part), seed, amount), model, seed, {"noise": amount}, 1.0, "this machine")
        for part in parts
        for seed in (0, 1)
    ]


def test_a_file_gives_back_the_run_and_damage_is_told(tmp_path: Path) -> None:
    run = runs("ours", 0.2)[0]
    run.write(tmp_path / "run.json")
    assert RunRecord.read(tmp_path / "run.json") == run
    assert (tmp_path / "run.json").stat().st_size < 10_000
    for text in ("{}", "[1]", "{", '{"data": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json: cannot be read as the results of a run"):
            RunRecord.read(tmp_path / "bad.json")


def test_values_are_the_metrics_over_the_parts_faces() -> None:
    scored = part_of(made_up(), "part 2")
    run = record(scored, "ours", 0, {}, 0.0, "")
    known = ~np.isnan(scored.probability)
    aucs = [roc_auc(scored.probability[known[:, a], a], scored.occurrence[known[:, a], a]) for a in range(3)]
    assert run.values["auc"] == pytest.approx(np.mean(aucs))
    assert run.per_au["auc"]["4"] == pytest.approx(aucs[1], abs=1e-5)
    assert set(run.resamples) == set(METRICS)
    # The bootstrap's mean lies near the value, and people are drawn anew in every resample.
    assert np.mean(run.resamples["auc"]) == pytest.approx(run.values["auc"], abs=0.03)
    assert np.std(run.resamples["auc"]) > 0.005


def test_a_run_is_of_one_part() -> None:
    with pytest.raises(ValueError, match="a run has one test part, not 3"):
        record(made_up(), "ours", 0, {}, 0.0, "")


def test_cells_average_seeds_within_parts_and_then_parts() -> None:
    found = runs("ours", 0.2)
    whole = cell(found, "auc")
    assert whole is not None
    by_hand = np.mean([np.mean([run.values["auc"] for run in found if run.part == part]) for part in whole.parts])
    assert whole.estimate.value == pytest.approx(by_hand)
    assert whole.estimate.low < whole.estimate.value < whole.estimate.high
    first, second = (np.mean([run.values["auc"] for run in found if run.seed == seed]) for seed in (0, 1))
    assert whole.spread == pytest.approx(np.std([first, second], ddof=1))
    assert (whole.runs, whole.parts) == (6, ("part 1", "part 2", "part 3"))
    one = cell(found[:1], "auc")
    assert one is not None
    assert np.isnan(one.spread)
    # Three parts are known better than one: the interval is narrower.
    assert whole.estimate.high - whole.estimate.low < one.estimate.high - one.estimate.low
    assert cell([], "auc") is None


def test_the_same_people_are_drawn_for_every_model_of_a_part_and_others_for_other_parts() -> None:
    """A model's difference to itself is exactly nothing, and pairing narrows a small difference's interval."""
    ours, same, worse = runs("ours", 0.1), runs("same", 0.1), runs("worse", 0.12)
    none = difference(ours, same, "f1")
    assert none is not None
    assert none.value == none.low == none.high == 0
    gap, alone = difference(worse, ours, "auc"), cell(ours, "auc")
    assert gap is not None
    assert alone is not None
    assert gap.high - gap.low < 0.7 * (alone.estimate.high - alone.estimate.low)
    centred = [np.array(run.resamples["auc"]) - np.mean(run.resamples["auc"]) for run in ours[::2]]
    assert all(abs(np.corrcoef(centred[a], centred[b])[0, 1]) < 0.35 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_differences_are_over_the_parts_that_both_have() -> None:
    ours, worse = runs("ours", 0.1), runs("worse", 0.5, ("part 2",))
    found = difference(worse, ours, "auc")
    assert found is not None
    by_hand = [np.mean([run.values["auc"] for run in many if run.part == "part 2"]) for many in (worse, ours)]
    assert found.value == pytest.approx(by_hand[0] - by_hand[1])
    assert found.high < 0
    assert difference(runs("ours", 0.1, ("part 1",)), worse, "auc") is None
