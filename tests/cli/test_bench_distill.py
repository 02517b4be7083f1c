"""`openau bench distill`, small."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest


@pytest.mark.slow
@pytest.mark.weights
def test_peers_are_timed_beside_the_extractor(openau: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    done = openau("bench", "distill", "--peers", "2", "--rounds", "2", "--save", numbers, timeout=200)
    assert done.returncode == 0, done.stderr
    saved = json.loads(numbers.read_text())
    extractor, one, two = (
        saved[f"{name}, ms per {unit}"]
        for name, unit in (("extractor", "batch"), ("1 peer", "step"), ("2 peers", "step"))
    )
    assert saved["2 peers: times one, with the extractor"] == pytest.approx((extractor + two) / (extractor + one))
    assert saved["2 peers: together / apart"] == pytest.approx(two / saved["2 peers: apart, ms per step"])
