"""The command line as a whole: help, exit codes, and what a user sees when something is wrong."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import openau as package
from openau.cli import VERBS

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LAUNCH = """
import sys
import openau.cli
openau.cli.__path__.insert(0, sys.argv.pop(1))
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(","), None))
sys.argv[0] = "openau"
openau.cli.main()
"""


@pytest.fixture
def with_verb(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line with one verb's module replaced, and some packages missing."""

    def start(verb: str, source: str, *arguments: str, missing: str = "nothing_at_all") -> subprocess.Popen[str]:
        (tmp_path / f"{verb}.py").write_text(source)
        command = [sys.executable, "-c", LAUNCH, str(tmp_path), missing, verb, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_help_names_every_verb_and_shows_examples(openau: Run) -> None:
    run = openau("--help")
    assert run.returncode == 0
    for verb in VERBS:
        assert f" {verb.name} " in run.stdout
    assert "openau detect photo.jpg" in run.stdout


def test_help_is_fast_because_no_verb_is_loaded() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import openau.cli\n"
        "try: openau.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.perf_counter() - start, *sys.modules, file=sys.stderr)"
    )
    best, modules = 9.0, []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr.split()
        best, modules = min(best, float(out[0])), out[1:]
    assert best < 0.5
    loaded = {f"openau.cli.{verb.name}" for verb in VERBS} | {"torch", "numpy", "cv2", "onnxruntime", "numba"}
    assert not loaded & set(modules)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_explains_itself(openau: Run, verb: object) -> None:
    name = verb.name  # type: ignore[attr-defined]
    assert importlib.util.find_spec(f"openau.cli.{name}") is not None
    run = openau(name, "--help")
    assert run.returncode == 0, run.stderr
    assert f"openau {name}" in run.stdout


def test_version(openau: Run) -> None:
    assert openau("--version").stdout.strip() == f"openau {package.__version__}"


@pytest.mark.parametrize(
    "arguments", [("paint",), ("models", "--colour"), ("fetch", "a", "--all"), ("models", "nonsense")]
)
def test_wrong_usage_is_2_and_no_traceback(openau: Run, arguments: tuple[str, ...], empty_cache: Path) -> None:
    run = openau(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr.strip()
    assert run.stdout == ""


def test_an_error_is_one_line_and_its_code(with_verb: Callable[..., subprocess.Popen[str]]) -> None:
    source = (
        "from openau.errors import InputError\ndef command() -> None:\n    raise InputError('x.jpg: is not an image')\n"
    )
    process = with_verb("bench", source)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (1, "", "openau: x.jpg: is not an image\n")


def test_a_group_of_commands_works_too(with_verb: Callable[..., subprocess.Popen[str]]) -> None:
    source = (
        "import typer\nfrom openau.errors import UsageError\napp = typer.Typer()\n"
        "@app.command()\ndef one() -> None:\n    print('one')\n"
        "@app.command()\ndef two() -> None:\n    raise UsageError('not both')\n"
    )
    process = with_verb("bench", source, "one")
    assert process.communicate(timeout=60)[0] == "one\n"
    process = with_verb("bench", source, "two")
    assert process.communicate(timeout=60)[1] == "openau: not both\n"
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("verb", "package_name", "extra"),
    [
        ("train", "torch", "train"),
        ("serve", "fastapi", "serve"),
        ("bench", "numba", "synth"),
        ("bench", "pyarrow", "tables"),
    ],
)
def test_a_missing_extra_names_the_pip_install(
    with_verb: Callable[..., subprocess.Popen[str]], verb: str, package_name: str, extra: str
) -> None:
    process = with_verb(verb, f"import {package_name}\ndef command() -> None: ...\n", missing=package_name)
    err = process.communicate(timeout=60)[1]
    expected = (
        f"openau: `openau {verb}` needs {package_name}, which is not installed; run: pip install 'openau[{extra}]'\n"
    )
    assert (process.returncode, err) == (1, expected)


def test_a_defect_is_not_passed_off_as_a_missing_extra(with_verb: Callable[..., subprocess.Popen[str]]) -> None:
    process = with_verb("bench", "import openau.no_such_room\ndef command() -> None: ...\n")
    assert "ModuleNotFoundError: No module named 'openau.no_such_room'" in process.communicate(timeout=60)[1]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is delivered differently")
def test_ctrl_c_is_130(with_verb: Callable[..., subprocess.Popen[str]]) -> None:
    source = "import time\ndef command() -> None:\n    print('ready', flush=True)\n    time.sleep(60)\n"
    process = with_verb("bench", source)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=20)[1]
    assert (process.returncode, err) == (130, "openau: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently")
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_ends_it_quietly(with_verb: Callable[..., subprocess.Popen[str]], lines: int) -> None:
    source = f"import time\ndef command() -> None:\n    time.sleep(.3)\n    for i in range({lines}): print(i)\n"
    process = with_verb("bench", source)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 141
