"""The table of `benchmarks/peers.py`, from measurements written by hand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openau.errors import InputError

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    found = importlib.util.spec_from_file_location("peers", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["peers"] = module
    found.loader.exec_module(module)
    return module


def run(seconds: float, covered: int = 200, megabytes: float = 300.0) -> dict[str, float]:
    return {"frames": 200, "covered": covered, "seconds": seconds, "megabytes": megabytes}


def tool(name: str, package: str, **known: Any) -> dict[str, Any]:
    return {
        "name": name,
        "versions": {package: "1.5", "numpy": "2.0"},
        "runs": [],
        "parts": [],
        "not_run": None,
        **known,
    }


def part(name: str, calls: int, needed: bool, one: list[float], two: list[float]) -> dict[str, Any]:
    times = {"1": one, "2": two}
    known = {"name": name, "shape": [1, 3, 720, 1280], "calls": calls, "needed": needed, "note": ""}
    return {**known, "milliseconds": times, "not_run": None}


@pytest.fixture
def record() -> dict[str, Any]:
    """Three repetitions on 200 frames; the second found the machine busy, for all tools alike."""
    parts = [
        part("faces", 1, True, [50.0, 100.0, 52.0], [30.0, 60.0, 31.0]),
        part("AUs", 2, True, [10.0, 20.0, 11.0], [15.0, 30.0, 15.5]),
        part("identity", 1, False, [900.0, 900.0, 900.0], [900.0, 900.0, 900.0]),
    ]
    return {
        "machine": "a quiet one, 2 cores",
        "date": "2026-11-25",
        "clip": {"name": "talk.mp4", "width": 1280, "height": 720},
        "repetitions": 3,
        "calls": 10,
        "threads": [1, 2],
        "whole": [
            tool("OpenAU", "openau", runs=[run(1.0), run(2.0, 190, 310), run(1.2)]),
            tool("OpenAU, no mirror images", "openau", runs=[run(0.8), run(1.6), run(0.96)]),
            tool("MediaPipe Face Landmarker", "mediapipe", runs=[run(2.0), run(4.4), run(2.4)]),
        ],
        "networks": [
            tool("Py-Feat", "py-feat", parts=parts),
            tool("LibreFace", "libreface", versions={}, not_run="cannot be installed: no network"),
        ],
    }


def cells(text: str, first: str) -> list[str]:
    """The one line of a table whose first cell begins like this."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    assert len(lines) == 1, lines
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_end_to_end(peers: ModuleType, record: dict[str, Any]) -> None:
    """200 frames in 1.0, 2.0 and 1.2 s: 5, 10 and 6 ms a frame."""
    text = peers.tables(record)
    assert cells(text, "OpenAU (")[1:] == ["5.0 (6.0)", "167", "1.00 [1.00 1.00]", "95.0 %", "310"]
    assert cells(text, "OpenAU, no")[3] == "0.80 [0.80 0.80]"
    # Repetition by repetition: 2.0, 2.2, 2.0. Medians against each other would give 2.0 with a range of nothing.
    assert cells(text, "MediaPipe")[0] == "MediaPipe Face Landmarker (`mediapipe` 1.5)"
    assert cells(text, "MediaPipe")[1:] == ["10.0 (12.0)", "83", "2.00 [2.00 2.20]", "100.0 %", "300"]


def test_sums_count_calls_and_leave_out_what_aus_do_not_need(peers: ModuleType, record: dict[str, Any]) -> None:
    text = peers.tables(record)
    assert cells(text, "Py-Feat: identity")[1:3] == ["1280x720", "(1 x)"]
    assert cells(text, "Py-Feat: AUs")[2:5] == ["2 x", "10.0 (11.0)", "15.0 (15.5)"]
    # One thread: 70, 140, 74; two: 60, 120, 62. The better one against 5, 10, 6.
    assert cells(text, "**Py-Feat")[3:] == ["**70.0 (74.0)**", "**60.0 (62.0)**", "12.00 [10.33 12.00]"]


def test_what_did_not_run_is_named(peers: ModuleType, record: dict[str, Any]) -> None:
    record["networks"][0]["parts"][0] |= {"not_run": "ImportError: no such thing", "milliseconds": {}}
    record["whole"][2]["not_run"] = "no model file was given (--landmarker)"
    text = peers.section(record)
    assert "- Not run: LibreFace: cannot be installed: no network." in text
    assert "- Not run: Py-Feat, faces: ImportError: no such thing; the sum is without it." in text
    assert cells(text, "MediaPipe")[1] == "not run"
    assert cells(text, "**Py-Feat")[3] == "**20.0 (22.0)**"
    assert "LibreFace finds" not in text


def test_section_says_on_what_and_what_came_out(peers: ModuleType, record: dict[str, Any]) -> None:
    text = " ".join(peers.section(record).split())
    assert "a quiet one, 2 cores; 2026-11-25. Clip: talk.mp4, 1280x720, 200 frames. 3 interleaved repetitions" in text
    assert "MediaPipe takes **2.00 [2.00 2.20] times** as long as OpenAU, and 2.50 [2.50 2.75] times" in text
    assert "MediaPipe Face Landmarker: mediapipe 1.5, numpy 2.0; Py-Feat: py-feat 1.5, numpy 2.0." in text


def test_repetitions_are_kept_in_turn(peers: ModuleType) -> None:
    """A part that fails in a later repetition is not run, and stays it."""
    row = peers.Row("Py-Feat")
    for answer in ([5.0, None], [7.0, "RuntimeError: full"], [6.0, None]):
        new = {"name": "faces", "milliseconds": {} if answer[1] else {"1": answer[0]}, "not_run": answer[1]}
        row.add(lambda new=new: {"versions": {"py-feat": "1.5"}, "parts": [new]})
    assert row.parts == [{"name": "faces", "milliseconds": {"1": [5.0, 6.0]}, "not_run": "RuntimeError: full"}]


def test_a_peer_that_fails_is_no_end_of_the_run(peers: ModuleType, tmp_path: Path) -> None:
    row = peers.Row("LibreFace")
    row.add(lambda: peers._run(Path(sys.executable), str(tmp_path / "gone.py"), {}))
    assert row.not_run is not None
    assert "No such file" in row.not_run


def test_measurements_that_are_not_there(peers: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read: no such file"):
        peers.load(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"machine": ')
    with pytest.raises(InputError, match=r"half\.json: is not JSON"):
        peers.load(tmp_path / "half.json")


def test_command_prints_the_section(record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "peers.json").write_text(json.dumps(record))
    command = [sys.executable, str(SCRIPT), "--section", "--out", str(tmp_path / "peers.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("## Beside other tools\n\n```bash\npython benchmarks/peers.py")
    assert not (tmp_path / "peers").exists()
