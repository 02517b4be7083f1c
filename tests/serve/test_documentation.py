"""What docs/serve.md tells people to type does what it says."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from clips import write_clip
from PIL import Image
from serving import Serving, serving

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
ADDRESS = "127.0.0.1:8765"

pytestmark = pytest.mark.weights


def snippets(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files the page speaks of."""
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg")
    write_clip(tmp_path / "clip.mp4", 20)
    (tmp_path / "notes.txt").write_text("no picture\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_commands(server: Serving, folder: Path) -> None:
    commands = [snippet for snippet in snippets("bash") if "curl" in snippet]
    assert len(commands) == 4
    said = []
    for command in commands:
        script = command.replace(ADDRESS, f"127.0.0.1:{server.port}")
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        said.append(run.stdout)
    photo, others, _, problem = said
    assert json.loads(photo)["rows"][0]["AU12"] > 0.9
    table, _, landmarks = others.rpartition("\n{")
    (row,) = csv.DictReader(table.splitlines())
    assert row["source"] == "photo.jpg"
    assert len(json.loads("{" + landmarks)["landmarks"][0]) == 2 * 468
    assert len((folder / "clip.csv").read_text(encoding="utf-8").splitlines()) == 21
    assert (folder / "clip.parquet").read_bytes()[:4] == b"PAR1"
    assert (folder / "report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert json.loads(problem) == json.loads(snippets("json")[1])
    assert server.files() == []


def test_the_answer_that_is_shown_has_the_form_of_the_real_one(server: Serving, folder: Path) -> None:
    shown = json.loads(snippets("json")[0])
    real = server.client.post("/v1/detect", files={"file": ("photo.jpg", Path("photo.jpg").read_bytes())}).json()
    assert {key: type(value) for key, value in shown.items()} == {key: type(real[key]) for key in shown}
    row = real["rows"][0]
    for name, value in shown["rows"][0].items():
        if name != "…":
            assert row[name] == (pytest.approx(value, abs=0.1) if isinstance(value, float) else value), name


def test_the_python_snippet(server: Serving, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = snippets("python")
    exec(compile(snippet.replace(ADDRESS, f"127.0.0.1:{server.port}"), str(PAGE), "exec"), {})
    assert float(capsys.readouterr().out) > 0.9


def test_the_table_of_routes_is_complete(server: Serving) -> None:
    told = PAGE.read_text(encoding="utf-8")
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert f"{path}`" in told or f"{path}?" in told, path
