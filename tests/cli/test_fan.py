"""`openau fan`: from a run or a published file to an extractor, and sentences where that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dotted_faces import make
from typer.testing import CliRunner

from openau.cli.fan import app
from openau.errors import InputError, UsageError, WeightsError
from openau.models.fan import FAN, FANConfig
from openau.training.fan.checkpoint import load_fan
from openau.weights import store

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TINY = FANConfig(stacks=1, width=8, depth=1, stem=2, pooling="max")


def call(*arguments: object) -> str:
    """Run a sub-command in this process; its output, or its exception."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(FAN(TINY).state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def test_where_the_network_is_out_of_reach_one_sentence_says_so(
    openau: Run, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    run = openau("fan", "convert", "2dfan4", "-o", tmp_path / "fan_2dfan4.published.onnx")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "2dfan4 is not in the weight cache" in run.stderr
    assert "Traceback" not in run.stderr


class Attack:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2), "x": Attack(tmp_path / "was_run")}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth: refused"):
        call("convert", tmp_path / "evil.pth", "--pooling", "avg", "-o", tmp_path / "a.b.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.pth"]


def test_a_published_file_becomes_an_extractor(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "fan_tiny.ours.onnx"
    assert "max pooling" in call("convert", published, "--pooling", "max", "-o", out)
    card, _ = store.resolve_extractor(out)
    assert (card.template, card.channels, card.licence) == ("fan256_wide", 16, "LicenseRef-unknown")
    assert "tiny.pth" in card.recipe
    again = tmp_path / "tiny.safetensors"
    call("convert", published, "--pooling", "max", "-o", again)
    fan = load_fan(again).fan
    assert fan.config == TINY
    for name, tensor in torch.load(published, weights_only=True).items():
        assert torch.equal(tensor, fan.state_dict()[name]), name


def test_what_cannot_be_converted_is_told(published: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say what its network pools with"):
        call("convert", published, "-o", tmp_path / "a.b.onnx")
    with pytest.raises(UsageError, match=r"must end in \.onnx or \.safetensors"):
        call("convert", published, "--pooling", "max", "-o", tmp_path / "a.pt")
    with pytest.raises(InputError, match="no such file"):
        call("convert", tmp_path / "none.pth", "-o", tmp_path / "a.b.onnx")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the weights of a FAN"):
        call("convert", tmp_path / "other.pth", "--pooling", "max", "-o", tmp_path / "a.b.onnx")


def test_from_pictures_to_an_extractor(tmp_path: Path) -> None:
    faces = make(tmp_path / "faces", people=4, each=2)
    small = ["images=8", "round_size=4", "batch=2", "model.width=8", "model.stem=2", "model.depth=1", "precision=32"]
    settings = [part for change in small for part in ("--set", change)]
    said = call("train", "--data", faces, "-o", tmp_path / "run", "--hold-out", "subjects=0.5", *settings)
    assert "8 pictures: loss" in said
    measures = tmp_path / "measured.json"
    number = {"value": 0.05, "low": 0.04, "high": 0.06, "n": 7, "command": "openau fan evaluate x"}
    measures.write_text(json.dumps({"NME": number}))
    call("export", tmp_path / "run", "-o", tmp_path / "fan_dots.mine.onnx", "--measured", measures)
    card, _ = store.resolve_extractor(tmp_path / "fan_dots.mine.onnx")
    assert card.trained_on == "4 rendered faces of 2 people; 2 more were held out"
    assert "images 8" in card.recipe
    assert card.template == "fan256"
    assert card.measured["NME"].n == 7


def test_settings_are_checked() -> None:
    assert (
        json.loads(call("train", "--data", "x", "-o", "y", "--set", "model.stacks=2", "--print-config"))["model"][
            "stacks"
        ]
        == 2
    )
    for wrong in ("imges=3", "model=3", "images", "images=many", "model.stacks=9"):
        with pytest.raises(UsageError):
            call("train", "--data", "x", "-o", "y", "--set", wrong, "--print-config")
