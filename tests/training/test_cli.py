import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from feature_stores import make_store
from typer.testing import CliRunner

from openau.cli import app

CLI = Callable[..., subprocess.CompletedProcess[str]]


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
        result = openau("evaluate", judged, "--data", store, "--json", out, "--repetitions", "50", *extra)
        assert result.returncode == 0, result.stderr
        assert "AU43" in result.stdout
        tables.append(json.loads(out.read_text()))
    of_run, of_model = tables
    assert [table["title"] for table in of_run] == ["held-out faces", "rig anny", "rig ict"]
    assert of_run[0]["cases"] == of_model[0]["cases"] == 120
    assert of_run[0]["mean_auc"]["value"] > 0.9
    assert of_run[0]["mean_auc"]["value"] == pytest.approx(of_model[0]["mean_auc"]["value"], abs=0.005)
    measured = card["measured"]["mean AUC, held-out identities"]
    assert measured["value"] == pytest.approx(of_run[0]["mean_auc"]["value"])
    assert measured["n"] == 120


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    cases = (
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r"), 1, "neither a feature store"),
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r", "--hold-out", "half"), 2, "no hold-out"),
        (("train", "fantrans", "--data", tmp_path, "-o", tmp_path / "r", "--recipe", "soup"), 2, "no recipe"),
        (("train", "features", tmp_path / "m.parquet", "-o", tmp_path / "f"), 1, "no such file"),
        (("evaluate", tmp_path / "x.safetensors", "--data", tmp_path), 1, "not a feature store"),
        (
            ("export", tmp_path / "x.safetensors", "--data", tmp_path, "-o", tmp_path / "m.onnx"),
            1,
            "no such checkpoint",
        ),
    )
    for arguments, code, words in cases:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
