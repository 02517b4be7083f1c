import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import bp4d_tree
import casme2_tree
import disfa_tree
import pytest

from openau.cli import reproduce
from openau.evaluation.published import published
from openau.faces.extractors import FACE_MESH, Grid, Layout

CLI = Callable[..., subprocess.CompletedProcess[str]]
TINY = (
    "--set", "architecture=auformer_vit_tiny_patch16_32", "--set", "backbone=random", "--set", "model.width=2", "--set", "epochs=1",
    "--workers", "2",
)  # fmt: skip
QUICK = ("--set", "epochs=1", "--set", "chunks=1", "--views", "1", "--workers", "2")


def bp4d(root: Path) -> Path:
    """All people, one task of the eight."""
    return bp4d_tree.make_tree(root, bp4d_tree.SUBJECTS, bp4d_tree.TASKS[:1], sequences="Sequences", frames=1)


def disfa(root: Path) -> Path:
    return disfa_tree.make(root, frames=2)


def casme2(root: Path) -> Path:
    """A clip each of four people, so that with one left out two can train and one can choose."""
    clips = [(1, "EP02_01f", "12"), (2, "EP01_11f", "4"), (3, "EP03_02", "4+12"), (26, "EP18_51", "12")]
    return casme2_tree.make(
        root, rows=[casme2_tree.Row(person, clip, 1, 3, 4, aus, "others") for person, clip, aus in clips]
    )


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "make", "people", "fan_trans"),
    [("bp4d", bp4d, 41, "| 55.4 | 46.0 | 59.8 |"), ("disfa", disfa, 27, "| 56.4 | 50.2 | 68.6 |")],
)
def test_from_a_folder_to_the_table_beside_the_published_rows(
    openau: CLI, tmp_path: Path, name: str, make: Callable[[Path], Path], people: int, fan_trans: str
) -> None:
    """Whole for either data set; DISFA's is then stopped before its last part and goes on to the same table."""
    root, out = make(tmp_path / "root"), tmp_path / "out"
    command = ("reproduce", "fantrans", "--dataset", name, "--root", root, "-o", out, *QUICK)
    first = openau(*command)
    assert first.returncode == 0, first.stderr
    row = next(line for line in first.stdout.splitlines() if "FAN-Trans (published)" in line)
    assert fan_trans in row.replace("**", "")
    assert "fantrans (this run, at 0.5)" in first.stdout
    assert f"{people} people" in first.stdout
    assert [line.split(" (")[0] for line in first.stderr.splitlines() if line.startswith("test ")] == [
        f"test part {number}" for number in (1, 2, 3)
    ]
    report = (out / "report.md").read_text()
    assert "not the paper's 2D-FAN" in report
    assert "95 % intervals over people" in report
    assert (out / "tables" / "beside-published.tex").is_file()
    results = json.loads((out / "tables" / "results.json").read_text())
    assert results["selection"] == "validation"
    assert set(results["by_part"]) == {"part 1", "part 2", "part 3"}
    if name != "disfa":
        return
    (out / "part-3" / "predictions.parquet").unlink()  # as if stopped there
    again = openau(*command)
    assert again.returncode == 0, again.stderr
    assert "test part 3" in again.stderr
    assert "test part 1" not in again.stderr
    assert again.stdout == first.stdout


@pytest.mark.slow
@pytest.mark.weights
def test_auformer_s_experiments_run_through(openau: CLI, tmp_path: Path) -> None:
    """Within and across data sets, few frames and micro-expressions, from the data sets' own folders to their tables."""
    roots = {
        "bp4d": bp4d(tmp_path / "B"), "disfa": disfa(tmp_path / "D"), "casme2": casme2(tmp_path / "C"),
    }  # fmt: skip
    both = ("bp4d", "disfa")
    experiments = (
        (("disfa",), "disfa-3fold"),
        (both, "cross:bp4d->disfa"),
        (both, "cross:disfa->bp4d"),
        (("bp4d",), "data-efficiency:20"),
        (("casme2",), "micro:casme2-loso"),
    )
    for number, (names, protocol) in enumerate(experiments):
        data = [part for name in names for part in ("--dataset", name, "--root", roots[name])]
        out = tmp_path / f"out{number}"
        told = openau("reproduce", "auformer", *data, "--protocol", protocol, "-o", out, *TINY)
        assert told.returncode == 0, (protocol, told.stderr)
        assert "auformer (this run" in told.stdout
        assert "The backbone is random" in (out / "report.md").read_text()
        for name in names:
            # The next experiment finds the faces prepared.
            prepared = out / "data" / name
            roots[name] = prepared if prepared.exists() else roots[name]


def test_with_a_fan_the_recipe_over_maps_is_run_and_the_report_says_so() -> None:
    fan = Layout("fan_tiny.random", "0" * 64, "fan256", 136, Grid(8), 24)
    for made_by, name in ((FACE_MESH, "fantrans_disfa"), (fan, "fantrans_disfa_fan")):
        chosen = reproduce.candidate_for("fantrans", "disfa", None, (), made_by)
        assert chosen.settings()["recipe"]["name"] == name
    first, *others = reproduce.differences(fan)
    assert first == "The frozen alignment network is fan_tiny.random, its map read on 8 × 8 cells."
    assert others == list(reproduce.differences(FACE_MESH)[1:])
    assert "not the paper's 2D-FAN" in reproduce.differences(FACE_MESH)[0]


def test_mistakes_are_one_sentence(openau: CLI, tmp_path: Path) -> None:
    cases = (
        (("fantrans", "--dataset", "bp4d", "--dataset", "disfa", "--root", tmp_path), 2, "one --root for every --dataset"),
        (("fantrans", "--dataset", "bp4d", "--root", tmp_path, "--extractor", "soup"), 2, "no extractor is called 'soup'"),
        (("soup", "--dataset", "bp4d", "--root", tmp_path), 2, "no model is called 'soup'"),
        (("fantrans", "--dataset", "gft", "--root", tmp_path), 2, "name the --protocol for gft"),
        (("fantrans", "--dataset", "bp4d", "--root", tmp_path, "--protocol", "fold"), 2, "there is no protocol 'fold'"),
        (("linear-probe", "--dataset", "bp4d", "--root", tmp_path, "--set", "epochs=1"), 2, "has no recipe"),
        (("fantrans", "--dataset", "facs-bench-small", "--root", tmp_path), 1, "openau synth --preset facs-bench-small"),
        (("fantrans", "--dataset", "bp4d", "--root", tmp_path / "nowhere"), 1, "nowhere"),
    )  # fmt: skip
    for arguments, code, words in cases[-1:]:
        result = openau("reproduce", *arguments, "-o", tmp_path / "out")
        assert result.returncode == code, result.stderr
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    from typer.testing import CliRunner

    from openau.cli import app

    for arguments, code, words in cases:
        told = CliRunner().invoke(app, ["reproduce", *map(str, arguments), "-o", str(tmp_path / "out")])
        assert told.exit_code == code, told.output
        assert words in told.stderr


def test_published_rows_agree_with_themselves() -> None:
    """The average of a row is the mean of its AUs; the floor follows from the published rates."""
    rates = {
        "bp4d-3fold": (21.1, 17.0, 20.3, 46.1, 54.9, 59.4, 56.2, 46.6, 16.9, 34.4, 16.5, 15.1),
        "disfa-3fold": (5.0, 4.0, 15.0, 7.9, 4.2, 12.9, 27.8, 8.9),
    }
    for protocol, shares in rates.items():
        rows = {row.method: row for row in published(protocol)}
        fan_trans = rows["FAN-Trans"]
        assert len(fan_trans.values) == len(shares)
        assert sum(fan_trans.values.values()) / len(shares) == pytest.approx(fan_trans.average, abs=0.06)
        floor = sum(200 * r / (100 + r) for r in shares) / len(shares)
        assert rows["always positive"].average == pytest.approx(floor, abs=0.1)
    assert published("subject-kfold:3:0") == ()
