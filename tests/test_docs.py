"""What the documentation shows runs as it stands: Python as a session per page; commands are parsed, and those that can be are run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import skimage.data
from long_tables import COLUMNS, recording
from PIL import Image

import openau.cli
from openau.cli import voice
from openau.cli.voice import Loudness
from openau.demo import CLIP
from openau.sinks import open_sink
from openau.weights import store

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
LISTS = ("architecture.md", "serve.md")
"""Pages whose Python is a list of signatures, or speaks to a server (`tests/serve` runs it)."""

CHEAP = ("detect", "report", "convert", "models")
"""Verbs that are run, where the files they name are there; the others are parsed."""

LASTING = ("--install-completion",)
"""What would change the machine of whoever runs the tests."""

FRAMES = 30
"""Of the clip in the working folder, enough for `--calibrate`'s sentence about people who are seen too briefly."""


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `openau` of every command in a page's shell blocks."""
    for block in fenced(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for words in split(line) if "openau " in line else ():
                if words[:1] == ["openau"] and not set(words) & set(LASTING):
                    yield words[1:]


def split(line: str) -> Iterator[list[str]]:
    """A line's commands: without comments, settings before them, and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;<>"):
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]
            yield words
            words = []
        else:
            words.append(word)


def at_hand(words: list[str], folder: Path) -> bool:
    """Whether the inputs and the model that a cheap command names are in the working folder."""
    if words[0] == "models":
        return len(words) == 1 or words[1] in ("default", "--json", *store.names())
    models = [word for word in words if word.endswith(".onnx")]
    return all((folder / name).exists() for name in (words[1], *models)) and "--device" not in words


WITH_PYTHON = [page for page in PAGES if fenced(page, "python") and page.name not in LISTS]
WITH_COMMANDS = [page for page in PAGES if any(commands(page))]
WITH_CHEAP = [page for page in WITH_COMMANDS if any(words[0] in CHEAP for words in commands(page))]


def short_clip(out: Path) -> None:
    """The first frames of the demo's clip."""
    with av.open(str(CLIP)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        frames = source.decode(video=0)
        first = next(frames)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        for index, frame in zip(range(FRAMES), [first, *(next(frames) for _ in range(FRAMES - 1))], strict=True):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files the pages speak of."""
    folder = tmp_path_factory.mktemp("material")
    Image.fromarray(skimage.data.astronaut()).save(folder / "photo.jpg")
    short_clip(folder / "clip.mp4")
    with open_sink(folder / "clip.csv", COLUMNS) as sink:
        sink.write(recording([(12, 2, 3)]))
    (folder / "study").mkdir()
    shutil.copy(folder / "photo.jpg", folder / "study" / "monday.jpg")
    backbone = store.FILES / "vit_tiny_face.synth.safetensors"
    (folder / "runs" / "tiny").mkdir(parents=True)
    shutil.copy(backbone, folder / "runs" / "tiny" / "backbone.safetensors")
    return folder


@pytest.fixture
def folder(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files the pages speak of; loudness is as it was afterwards."""
    shutil.copytree(material, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(voice, "_loudness", Loudness.USUAL)
    return tmp_path / "here"


def run(words: list[str]) -> int:
    """Run the command line in this process; its exit code."""
    try:
        openau.cli.app(words)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.mark.weights
@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_python_snippets_run(page: Path, folder: Path) -> None:
    """The snippets of a page are one session: a later one may use an earlier one's names."""
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in fenced(page, "python"):
        exec(compile(snippet, str(page), "exec"), names)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=named)
def test_commands_are_such_as_the_command_line_takes(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verbs, options, numbers of arguments and types; nothing is done."""
    load = openau.cli._load

    def load_idle(verb: openau.cli.Verb) -> Any:
        command = load(verb)
        for one in (command, *openau.cli._leaves(command)):  # a group of verbs may do something itself
            one.callback = lambda **_: None
        return command

    monkeypatch.setattr(openau.cli, "_load", load_idle)
    for words in commands(page):
        assert run(words) == 0, f"openau {shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.weights
@pytest.mark.parametrize("page", WITH_CHEAP, ids=named)
def test_commands_run_where_their_inputs_are_at_hand(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in commands(page):
        if words[0] not in CHEAP or not at_hand(words, folder):
            continue
        code = run(words)
        printed = capsys.readouterr()
        assert code == 0, f"openau {shlex.join(words)}: {printed.err}"
        if words == ["detect", "photo.jpg"]:
            assert "lip corner puller" in printed.out
        for option in ("-o", "--overlay"):
            if option in words:
                assert (folder / words[words.index(option) + 1]).exists(), f"openau {shlex.join(words)}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
