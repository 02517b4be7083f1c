"""Every data set, from a look-alike of its published tree to a table: prepare → features → a few steps of training → judged faces."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openau.datasets.manifest import read_manifest
from openau.datasets.prepare import Plan, manifest_path, prepare
from openau.datasets.registry import NAMES, reader
from openau.evaluation.protocols import protocol
from openau.evaluation.tables import evaluate
from openau.evaluation.tally import Options
from openau.facs import intensity_column, occurrence_column
from openau.training.candidate import RecipeCandidate
from openau.training.experiment import run_protocol
from openau.training.features import FeatureStore, build
from openau.training.recipes import FANTRANS

MODEL = {
    "landmark_width": 4,
    "region_width": 8,
    "geometry_width": 8,
    "token_width": 8,
    "depth": 1,
    "heads": 2,
    "rank": 4,
}
TINY = replace(FANTRANS, epochs=1, chunks=2, chunk_size=1, validation=0.4, targets="occurrence", model=MODEL)
"""One epoch of a small model."""


@dataclass(frozen=True)
class Example:
    """A look-alike to make: module in tests/data, options of its `make`, kinds of problems it is expected to have."""

    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    problems: frozenset[str] = frozenset()


FEW = frozenset({"missing subject", "empty fold", "no positives"})
"""What is told of a look-alike with a few people only."""

EXAMPLES: Mapping[str, Example] = {
    "bp4d": Example("bp4d_tree", {"only": ["F001", "F003", "M001"], "unknown": True, "frames": 2}, FEW),
    "bp4d+": Example("bp4d_plus_tree", {"only": ["F001", "F082", "M058"], "frames": 2}, FEW | {"picture numbering"}),
    "disfa": Example("disfa_tree", {"subjects": ["SN001", "SN006", "SN029"], "frames": 4}, FEW),
    "disfa+": Example("disfa_plus_tree", {"subjects": ["SN001", "SN003", "SN013"], "frames": 2}, FEW),
    "casme2": Example("casme2_tree", {}, FEW | {"no apex"}),
    "samm": Example("samm_tree", {}, FEW | {"frames out of order"}),
    "gft": Example("gft_tree", {}, FEW),
    "unbc": Example("unbc_tree", {}, FEW),
    "ck+": Example("ck_plus_tree", {}, FEW),
    "folder": Example("folder_tree", {}, FEW),
}


def test_every_data_set_has_an_example() -> None:
    assert set(EXAMPLES) == set(NAMES)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_from_tree_to_table(name: str, tmp_path: Path) -> None:
    example, source = EXAMPLES[name], tmp_path / "tree"
    source.mkdir()
    importlib.import_module(example.module).make(source, **example.options)

    summary = prepare(reader(name), Plan(source, tmp_path / "data"), count=1)
    assert {problem.kind for problem in summary.problems} <= example.problems
    rows = read_manifest(manifest_path(tmp_path / "data"))
    clips = reader(name).read(source, lambda problem: None)
    assert rows.num_rows == summary.frames == sum(len(clip.frame) for clip in clips)
    for clip in clips:
        require_labels(rows.filter(np.array([title == clip.name for title in rows.column("clip").to_pylist()])), clip)
    assert set(rows.column("people").to_pylist()) == {reader(name).people}
    assert summary.alignments["found"] >= 0.9 * rows.num_rows

    for _ in build(manifest_path(tmp_path / "data"), tmp_path / "features", views=1, workers=1):
        pass
    store = FeatureStore.open(tmp_path / "features")
    candidate = RecipeCandidate("tiny", "one epoch of a small model", TINY, least_steps=0)
    scored = run_protocol([store], protocol("subject-kfold:3"), candidate, tmp_path / "run")
    shown = store.ok.any(axis=1)
    judged = np.isfinite(scored.probability).all(axis=1)
    assert sorted(zip(scored.clip, scored.frame, strict=True)) == sorted(
        zip(rows.column("clip").to_pylist(), rows.column("frame").to_pylist(), strict=True)
    )
    assert judged.sum() == shown.sum()
    assert ((scored.probability[judged] > 0) & (scored.probability[judged] < 1)).all()
    assert np.unique(scored.probability[judged], axis=0).shape[0] > judged.sum() / 2  # faces, not constants

    table = evaluate(scored, Options(repetitions=20))
    assert table.cases == rows.num_rows
    assert 0 <= table.mean["f1"].value <= 1


def require_labels(rows: Any, clip: Any) -> None:
    """The manifest says of a recording what its reader says."""
    assert rows.column("frame").to_pylist() == clip.frame.tolist()
    assert set(rows.column("subject").to_pylist()) == {clip.subject}
    assert set(rows.column("fold").to_pylist()) == {clip.fold}
    for column, labels in ((occurrence_column, clip.occurrence), (intensity_column, clip.intensity)):
        for au, values in labels.items():
            written = [np.nan if value is None else value for value in rows.column(column(au)).to_pylist()]
            np.testing.assert_array_equal(np.array(written, np.float32), values)
