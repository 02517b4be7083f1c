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
from openau.cli.page import GROUPS

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

    def start(
        verb: str, source: str, *arguments: str, missing: str = "nothing_at_all", words: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        (tmp_path / f"{verb}.py").write_text(source)
        command = [sys.executable, "-c", LAUNCH, str(tmp_path), missing, *(words or (verb, *arguments))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_help_names_every_verb_and_shows_examples(openau: Run) -> None:
    run = openau("--help")
    assert run.returncode == 0
    for verb in VERBS:
        assert f" {verb.name} " in run.stdout
    assert "openau detect photo.jpg" in run.stdout


def test_help_is_a_page_of_groups_with_examples_that_fits_a_terminal(openau: Run) -> None:
    lines = openau("--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sorted(name for purpose in GROUPS.values() for name in purpose.verbs) == sorted(verb.name for verb in VERBS)
    at = [lines.index(group) for group in GROUPS]
    assert at == sorted(at)
    for start, end, purpose in zip(at, [*at[1:], len(lines)], GROUPS.values(), strict=True):
        inside = lines[start:end]
        for verb in VERBS:
            assert any(line.startswith(f"  {verb.name} ") for line in inside) == (verb.name in purpose.verbs)
        assert purpose.examples
        shown = [line.strip() for line in inside if line.strip().startswith("$")]
        assert shown == [f"$ {example}" for example in purpose.examples]
    for option in ("-q, --quiet", "-v, --verbose", "--install-completion"):
        assert any(line.strip().startswith(option) for line in lines)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("detct", "detect"),
        ("MODELS", "models"),
        ("predict", "detect"),
        ("webcam", "detect 0"),
        ("eval", "evaluate"),
        ("help", "--help"),
    ],
)
def test_a_wrong_verb_is_answered_with_the_right_one(openau: Run, typed: str, meant: str) -> None:
    run = openau(typed, "x")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"openau: there is no verb {typed!r}; did you mean `openau {meant}`?\n"


def test_a_file_instead_of_a_verb_is_meant_for_detect(openau: Run, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").touch()
    run = openau(tmp_path / "me.jpg", "-o", "me.csv")
    assert f"did you mean `openau detect {tmp_path / 'me.jpg'} -o me.csv`?" in run.stderr
    assert "did you mean" not in openau("zzz").stderr


def test_a_wrong_option_is_answered_with_the_right_one(openau: Run) -> None:
    run = openau("models", "--jsn")
    assert run.returncode == 2
    assert "--json" in run.stderr


LOUD = """
import time, typer
from openau.cli import complain, voice
from openau.cli.progress import working
from openau.errors import InputError
def command(fail: bool = False) -> None:
    with working("working"):
        voice.note("a note")
        voice.detail("a detail")
        complain("a complaint")
    print("a result")
    if fail:
        raise InputError("x.jpg: is not an image")
"""


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(
    ("option", "heard", "unheard"),
    [
        ("-q", (), ("a note", "a detail", "OpenAU")),
        ("--verbose", ("a note", "a detail", "OpenAU", "numpy", "MB of memory"), ()),
    ],
)
def test_loudness_goes_before_and_after_every_verb(
    with_verb: Callable[..., subprocess.Popen[str]],
    where: str,
    option: str,
    heard: tuple[str, ...],
    unheard: tuple[str, ...],
) -> None:
    words = (option, "bench") if where == "before" else ("bench", option)
    out, err = with_verb("bench", LOUD, words=words).communicate(timeout=60)
    assert out == "a result\n"
    assert "openau: a complaint" in err
    for word in heard:
        assert word in err
    for word in unheard:
        assert word not in err


def test_verbose_shows_where_an_error_comes_from(with_verb: Callable[..., subprocess.Popen[str]]) -> None:
    err = with_verb("bench", LOUD, "--fail", "-v").communicate(timeout=60)[1]
    assert "Traceback" in err
    assert "\nopenau: x.jpg: is not an image\n" in err
    assert "Traceback" not in with_verb("bench", LOUD, "--fail").communicate(timeout=60)[1]


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(settings: dict[str, str], coloured: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {
        "TERM": "xterm-256color",
        **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")},
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "openau", "--help"], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert (b"\x1b[36m" in said) == coloured
    assert b"detect" in said


def test_there_are_no_colours_in_a_pipe(openau: Run) -> None:
    for arguments in (("--help",), ("models",), ("detect", "--help")):
        assert "\x1b" not in openau(*arguments).stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("openau fi", ["finetune"]), ("openau models --js", ["--json"]), ("openau detect --stri", ["--stride"])],
)
def test_the_tab_key_completes_verbs_and_their_options(words: str, expected: list[str]) -> None:
    program = "import sys; sys.argv[0] = 'openau'; import openau.cli; openau.cli.main()"
    asked = {"_OPENAU_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == expected, run.stderr


def test_help_is_fast_because_no_verb_is_loaded() -> None:
    program = (
        "import sys, time; start = time.process_time(); import openau.cli\n"
        "try: openau.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.process_time() - start, *sys.modules, file=sys.stderr)"
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
