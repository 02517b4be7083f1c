import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from feature_stores import make_store
from random_pixels import write_pixel_model
from typer.testing import CliRunner

from openau.cli import app
from openau.cli.export import measures
from openau.datasets.manifest import write_manifest
from openau.errors import InputError
from openau.evaluation.scored import Scored
from openau.evaluation.tables import evaluate
from openau.training.splits import HoldOut, held_out_rows, split_rows

CLI = Callable[..., subprocess.CompletedProcess[str]]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_train_export_evaluate(openau: CLI, tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    store, run, model = tmp_path / "store", tmp_path / "run", tmp_path / "mine.onnx"
    trained = openau("train", "fantrans", "--data", store, "-o", run, "--epochs", "8", "--hold-out", "subjects=0.25")
    assert trained.returncode == 0, trained.stderr
    assert "mean AUC" in trained.stdout
    assert trained.stderr.count("epoch ") == 8
    assert "Warning" not in trained.stderr

    exported = openau("export", run, "--data", store, "-o", model, "--name", "fantrans_facemesh.mine")
    assert exported.returncode == 0, exported.stderr
    assert exported.stderr == ""
    card = json.loads(model.with_suffix(".json").read_text())
    assert card["name"] == "fantrans_facemesh.mine"
    assert "16 identities; 2 more" in card["trained_on"]  # of 24, 6 held out, a tenth of the others watched

    tables = []
    for judged, extra in ((run, ()), (model, ("--hold-out", "subjects=0.25"))):
        out = tmp_path / "tables.json"
        result = invoke("evaluate", judged, "--data", store, "-o", out, "--repetitions", "50", *extra)
        assert result.exit_code == 0, result.output
        assert "AU43" in result.stdout
        tables.append(json.loads(out.read_text()))
    of_run, of_model = tables
    assert [table["data"] for table in of_run] == ["store", "store, rig anny", "store, rig ict"]
    assert of_run[0]["cases"] == of_model[0]["cases"] == 120
    assert of_run[0]["mean"]["auc"]["value"] > 0.9
    assert of_run[0]["mean"]["auc"]["value"] == pytest.approx(of_model[0]["mean"]["auc"]["value"], abs=0.005)
    measured = card["measured"]["mean AUC, held-out identities"]
    assert measured["value"] == pytest.approx(of_run[0]["mean"]["auc"]["value"])
    assert measured["n"] == 120


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    cases = (
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r"), 1, "neither a feature store"),
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r", "--hold-out", "half"), 2, "no hold-out"),
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r", "--recipe", "soup"), 2, "no recipe"),
        (
            (
                "train",
                "fantrans",
                "--data",
                tmp_path,
                "-o",
                tmp_path / "r",
                "--protocol",
                "bp4d-3fold",
                "--hold-out",
                "fold=1",
            ),
            2,
            "--hold-out cannot",
        ),
        (("evaluate", "default", "--data", tmp_path, "--threshold", "0.3"), 2, "--threshold means nothing"),
        (
            ("evaluate", "--predictions", tmp_path, "--truth", tmp_path, "--hold-out", "fold=1"),
            2,
            "--hold-out means nothing",
        ),
        (("train", "features", tmp_path / "m.parquet", "-o", tmp_path / "f"), 1, "no such file"),
        (("evaluate", tmp_path / "x.safetensors", "--data", tmp_path), 1, "neither a feature store"),
        (
            ("export", tmp_path / "x.safetensors", "--data", tmp_path, "-o", tmp_path / "m.onnx"),
            1,
            "no such checkpoint",
        ),
    )
    for arguments, code, words in cases:
        result = invoke(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_protocol_that_does_not_fit_is_told_before_features_are_made(tmp_path: Path) -> None:
    rows = pa.table({"image": ["a.png"], "subject": ["a"], "fold": [1], "AU12": pa.array([1], pa.int8())})
    (tmp_path / "study").mkdir()
    write_manifest(rows, tmp_path / "study" / "manifest.parquet")
    result = invoke("train", "fantrans", "--data", tmp_path / "study", "-o", tmp_path / "r", "--protocol", "bp4d-3fold")
    assert result.exit_code == 2, result.output
    assert "needs exactly the data set bp4d, but given is study" in result.stderr
    assert not (tmp_path / "study" / "features").exists()


def test_a_card_says_when_the_test_part_chose() -> None:
    rng = np.random.default_rng(0)
    coded, people = np.float32([[0], [1]] * 20), np.repeat([f"s{number}" for number in range(4)], 10)
    said = np.clip(0.5 * coded + 0.5 * rng.random((40, 1)), 0, 1).astype(np.float32)
    scored = Scored("m", "d", "", (12,), said, coded, people, people, np.arange(40), np.full(40, ""))
    for selection, marked in (("validation", False), ("test-selected", True)):
        found = measures(evaluate(replace(scored, selection=selection)), "c")
        assert len(found) == 3
        assert {"test-selected" in name for name in found} == {marked}


def test_what_a_store_or_a_machine_cannot_give_is_one_sentence(tmp_path: Path) -> None:
    few, run, model = tmp_path / "few", tmp_path / "run", tmp_path / "m.onnx"
    make_store(few, subjects=7, images=1)
    store = tmp_path / "store"
    make_store(store, subjects=6, images=8)
    other = tmp_path / "other"
    make_store(other, subjects=6, images=8, points=100)
    quick, elsewhere = ("--epochs", "1", "-o", run), ("--epochs", "1", "-o", tmp_path / "elsewhere")
    assert not invoke("train", "fantrans", "--data", store, *quick).stderr.count("Traceback")
    cases = [
        (("train", "fantrans", "--data", store, *quick), 2, "holds a run already"),
        (("train", "fantrans", "--data", few, *elsewhere), 1, "at least 8 are needed"),
        (("export", run, "--data", store, "-o", model, "--views", "0,3"), 2, "has no view 3, only 0 to 2"),
        (("export", run, "--data", store, "-o", model, "--views", "mild"), 2, "names no views"),
        (("evaluate", run, "--data", store, "--hold-out", "none"), 2, "none names no usable face"),
        (("evaluate", run, "--data", store, "--hold-out", "fold=9"), 2, "no row has fold=9"),
        (("evaluate", run, "--data", other), 1, "holds features of sizes"),
        (("evaluate", "default", "--data", store), 1, "holds hypercolumns of size 149×24, but"),
        (("evaluate", write_pixel_model(tmp_path), "--data", store), 2, "looks at pixels, and"),
        (("export", run, "--data", other, "-o", model), 1, "holds features of sizes"),
    ]
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        cases.append((("train", "fantrans", "--data", store, *elsewhere, "--device", "gpu"), 2, "device 'gpu'"))
    for arguments, code, words in cases:
        result = invoke(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert not model.exists()


def test_all_the_data_there_is_can_be_judged(tmp_path: Path) -> None:
    """A hold-out that names every face leaves nothing to train on, but everything to judge."""
    store = make_store(tmp_path / "store", subjects=4, images=3)
    usable = np.asarray(store.ok.any(axis=1))
    one_fold = store.rows.set_column(store.rows.column_names.index("fold"), "fold", [[2] * len(store)])
    with pytest.raises(InputError, match="too few to train on"):
        split_rows(one_fold, HoldOut("fold", "2"), 0.0, 0, usable)
    assert held_out_rows(one_fold, HoldOut("fold", "2"), 0, usable).tolist() == np.flatnonzero(usable).tolist()
    quarter = HoldOut("subjects", "0.25")
    judged, trained = held_out_rows(store.rows, quarter, 0, usable), split_rows(store.rows, quarter, 0.1, 0, usable)
    assert judged.tolist() == trained.test.tolist()
