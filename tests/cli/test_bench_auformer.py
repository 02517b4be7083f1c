"""`openau bench auformer`: all ways of a small network are timed, and mistakes are told."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CLI = Callable[..., subprocess.CompletedProcess[str]]
SMALL = (
    "--model",
    "auformer_vit_tiny_patch16_32",
    "--aus",
    "2",
    "--width",
    "2",
    "--batch",
    "2",
    "--rounds",
    "1",
    "--threads",
    "1",
)


@pytest.mark.slow
def test_every_way_is_timed(openau: CLI, tmp_path: Path) -> None:
    told = openau("bench", "auformer", *SMALL, "--dtype", "float32", "--profile", "--save", tmp_path / "n.json")
    assert told.returncode == 0, told.stderr
    numbers = json.loads((tmp_path / "n.json").read_text())
    where = "vit_tiny_patch16_32, float32, batch 2"
    for what in ("judging", "training step"):
        median = {way: numbers[f"{where}: {what}, {way}, ms (median)"] for way in ("bare ViT", "fused", "reference")}
        assert all(value > 0 for value in median.values())
        assert numbers[f"{where}: {what}: reference / fused"] == pytest.approx(median["reference"] / median["fused"])
        assert numbers[f"{where}: {what}: fused / bare ViT"] == pytest.approx(median["fused"] / median["bare ViT"])
    assert "aten::" in told.stdout


def test_mistakes_are_one_sentence(openau: CLI) -> None:
    for wrong, words in ((("--dtype", "float16"), "neither float32 nor"), (("--model", "soup"), "names no model")):
        told = openau("bench", "auformer", *SMALL, *wrong)
        assert told.returncode == 2
        assert words in told.stderr
