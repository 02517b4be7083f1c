from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from openau.errors import UsageError
from openau.evaluation.metrics import f1, roc_auc
from openau.evaluation.protocols import protocol
from openau.evaluation.report import write_report
from openau.evaluation.scored import Scored, read_scored
from openau.training.candidate import RecipeCandidate, long_enough
from openau.training.experiment import PREDICTIONS, Settings, chosen_thresholds, model, run_protocol
from openau.training.features import FeatureStore
from openau.training.recipes import FANTRANS

TWO = protocol("subject-kfold:2")


def mean_auc(scored: Scored) -> float:
    return float(np.mean([roc_auc(*pair) for pair in zip(scored.probability.T, scored.occurrence.T, strict=True)]))


def test_always_positive_is_the_floor_of_f1(store: FeatureStore, tmp_path: Path) -> None:
    scored = run_protocol([store], TWO, model("always-positive"), tmp_path)
    assert len(scored) == len(store)  # faces that were not found are judged, too
    for said, truth in zip(scored.probability.T, scored.occurrence.T, strict=True):
        rate = np.nanmean(truth)
        assert f1(said, truth) == pytest.approx(2 * rate / (1 + rate))
    prior = run_protocol([store], TWO, model("training-rate"), tmp_path / "rate")
    for part, other in (("part 1", "part 2"), ("part 2", "part 1")):
        said = prior.probability[prior.part == part][0]
        assert np.abs(said - np.nanmean(prior.occurrence[prior.part == other], axis=0)).max() < 0.1


def test_a_probe_learns_and_a_stopped_experiment_goes_on(store: FeatureStore, tmp_path: Path) -> None:
    probe = replace(model("linear-probe"), steps=150, checks=5)  # type: ignore[type-var]
    began: list[str] = []
    first = run_protocol([store], TWO, probe, tmp_path / "a", report=lambda standing: began.append(standing.part))
    assert mean_auc(first) > 0.85
    assert began == ["part 1", "part 2"]
    missed = ~store.ok[:, 0]
    assert np.isnan(first.probability).all(axis=1).sum() == missed.sum() > 0
    assert any("no face that could be judged" in note for note in first.notes)
    (tmp_path / "a" / "part-2" / PREDICTIONS).unlink()
    began.clear()
    second = run_protocol([store], TWO, probe, tmp_path / "a", report=lambda standing: began.append(standing.part))
    assert began == ["part 2"]
    assert np.array_equal(first.probability, second.probability, equal_nan=True)
    with pytest.raises(UsageError, match=r"holds another experiment \(another seed"):
        run_protocol([store], TWO, probe, tmp_path / "a", Settings(seed=1))
    assert np.array_equal(read_scored(tmp_path / "a" / PREDICTIONS).part, second.part)


@pytest.mark.slow
def test_a_recipe_runs_by_protocol_and_is_reported(store: FeatureStore, tmp_path: Path) -> None:
    trial = RecipeCandidate("fantrans", "a trial", replace(FANTRANS, epochs=2, chunks=4), least_steps=0)
    scored = run_protocol([store], TWO, trial, tmp_path, Settings(selection="test-selected"))
    assert mean_auc(scored) > 0.6
    assert scored.selection == "test-selected"
    assert set(scored.thresholds) == {"part 1", "part 2"}
    assert scored.intensity_aus == scored.aus
    table = write_report(scored, tmp_path, ["Nothing is the same."])
    text = (tmp_path / "report.md").read_text()
    assert "TEST-SELECTED" in text
    assert "Nothing is the same." in text
    assert f"{100 * table.mean['auc'].value:.1f}" in text


def test_thresholds_are_those_with_the_best_f1() -> None:
    probability = np.array([[0.1, 0.3], [0.2, 0.4], [0.6, 0.5], [0.9, 0.6]], np.float32)
    occurrence = np.array([[0, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    found = chosen_thresholds(probability, occurrence)
    assert found[0] == pytest.approx(0.15)  # between the only negative and the lowest positive
    assert np.isnan(found[1])  # nobody shows it


def test_an_au_nobody_shows_in_validation_keeps_one_half_and_is_named(store: FeatureStore, tmp_path: Path) -> None:
    """AU43 is one person's alone, who is tested in one of the parts, so in that part nobody else can choose its threshold."""
    place = store.rows.column_names.index("AU43")
    one = np.array(store.rows.column("subject").to_pylist()) == "s000"
    rows = store.rows.set_column(place, "AU43", pa.array(one.astype(np.int8))).drop_columns(["AU43_i"])
    scored = run_protocol([replace(store, rows=rows)], TWO, model("training-rate"), tmp_path)
    tested = scored.part[scored.subject == "s000"][0]
    assert scored.thresholds[tested][scored.aus.index(43)] == 0.5
    assert not any(np.isnan(values).any() for values in scored.thresholds.values())
    assert any(note.startswith(f"{tested}: no validation face shows AU43;") for note in scored.notes)


def test_few_faces_get_small_batches_and_enough_steps() -> None:
    few = long_enough(FANTRANS, 90, 500)
    assert few.batch_size <= 90 / 4 + few.chunk_size
    assert few.epochs * (90 // few.batch_size) >= 500
    assert long_enough(FANTRANS, 100_000, 500) == FANTRANS
    assert long_enough(FANTRANS, 90, 0) == FANTRANS
