"""What importing costs, and that the commands people are told to run are the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "lightning", "cv2", "onnxruntime", "ai_edge_litert", "pyarrow", "pandas", "numba", "scipy", "av")


def loaded_by(statement: str) -> tuple[float, set[str]]:
    """Seconds the statement took in a new Python (best of three), and the modules it left behind."""
    program = (
        f"import sys, time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start, *sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    return min(float(run[0]) for run in runs), set(runs[0][1:])


def test_importing_the_package_is_cheap() -> None:
    seconds, modules = loaded_by("import openau")
    assert seconds < 0.5
    assert not modules & set(HEAVY)


@pytest.mark.parametrize(
    "statement", ["import openau; openau.Detector", "from openau.weights import store", "import openau.cli"]
)
def test_detecting_never_imports_torch(statement: str) -> None:
    _, modules = loaded_by(statement)
    assert not modules & {"torch", "lightning", "pyarrow", "pandas", "numba", "scipy"}


def test_detecting_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry leaves an identifier in the temporary folder before it sends anything."""
    program = "import openau; openau.Detector; import onnxruntime, time; time.sleep(0.2)"
    places = dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME"), str(tmp_path))
    kept = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env={**kept, **places}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    command = next(line.strip() for line in script if "pytest" in line and not line.startswith("#"))
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
