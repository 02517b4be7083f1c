"""Recipes from names, files and the command line: typed, complete, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from openau.cli import app
from openau.errors import InputError, UsageError
from openau.training.configuration import read_recipe, to_yaml
from openau.training.recipes import FANTRANS, FANTRANS_RECORDINGS, RECIPES, recipe_for


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_survives_its_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(RECIPES[name]))
    assert read_recipe(str(file)) == read_recipe(name) == RECIPES[name]


def test_changes_are_typed_and_the_rest_stays() -> None:
    changes = ["learning_rate=1e-3", "aus=[1, 2, 4]", "ramps={43: [0.1, 0.5]}", "ema=0.99", "model.depth=3"]
    changed = read_recipe("fantrans", changes)
    assert (changed.learning_rate, changed.aus, changed.ramps, changed.ema) == (1e-3, (1, 2, 4), {43: (0.1, 0.5)}, 0.99)
    assert changed.model == {**FANTRANS.model, "depth": 3}
    assert changed.epochs == FANTRANS.epochs
    assert read_recipe("fantrans", ["ema=0.9", "ema=null"]) == FANTRANS


def test_the_printed_configuration_is_complete() -> None:
    printed = CliRunner().invoke(app, ["train", "fantrans", "--set", "model.heads=8", "--print-config"])
    assert printed.exit_code == 0
    document = yaml.safe_load(printed.stdout)
    assert document["model"]["heads"] == 8
    assert document["model"]["token_width"] == 64  # nobody has set it
    assert document["weight_decay"] == 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lr=3", "lr"), ("learning_rate=fast", "float"), ("model.dropou=0.3", "dropou"), ("epochs=2.5", "int"),
        ("epochs=0", "at least 1"), ("model.geometry=soup", "soup"), ("epochs", "NAME=VALUE"), ("ramp=[1]", "2 elements"),
        ("epochs.x=3", "no settings of its own"), ("ema=1.5", "between 0 and 1"), ("epochs=[1", "cannot be read"),
        ("model=3", "must hold settings"), ("model.aus=[1]", "aus"), ("early_stopping=0", "at least 1"),
        ("precision=8", "precision"), ("targets=maybe", "maybe"),
    ],
)  # fmt: skip
def test_a_wrong_change_is_one_sentence_that_names_it(change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_recipe("fantrans", ["weight_decay=0.1", change])
    assert "\n" not in str(caught.value)
    assert change.partition("=")[0] in str(caught.value)
    assert "weight_decay" not in str(caught.value)


def test_a_wrong_file_is_one_sentence_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    for text, words in (("a: [", "YAML"), ("- 1", "no settings"), ("epochs: x", "epochs"), ("epoch: 3", "epoch")):
        file.write_text(text)
        with pytest.raises(InputError, match=words) as caught:
            read_recipe(str(file))
        assert str(caught.value).startswith(f"{file}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_recipe(str(tmp_path / "absent.yaml"))
    with pytest.raises(UsageError, match="there is no recipe 'soup'"):
        read_recipe("soup")


def test_the_data_set_decides_the_recipe() -> None:
    """Renders are trained on a ramp over their intensity; what people coded, on what they coded."""
    assert recipe_for(None) == recipe_for("facs-bench-small") == FANTRANS
    assert recipe_for("disfa").name == "fantrans_disfa"
    assert recipe_for("disfa").aus == (1, 2, 4, 6, 9, 12, 25, 26)
    assert recipe_for("casme2") == FANTRANS_RECORDINGS
    assert {recipe_for(name).targets for name in ("bp4d", "disfa", "casme2", "folder")} == {"occurrence"}
