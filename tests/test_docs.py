"""What the documentation shows runs as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from long_tables import COLUMNS, recording
from PIL import Image

from openau.demo import CLIP
from openau.sinks import open_sink

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "detect.md",
    ROOT / "docs" / "evaluate.md",
    ROOT / "docs" / "report.md",
    ROOT / "docs" / "interop.md",
    ROOT / "docs" / "fan.md",
)
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files the pages speak of."""
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg")
    shutil.copy(CLIP, tmp_path / "clip.mp4")
    with open_sink(tmp_path / "clip.csv", COLUMNS) as sink:
        sink.write(recording([(12, 2, 3)]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.weights
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_run(page: Path, folder: Path) -> None:
    """The snippets of a page are one session: a later one may use an earlier one's names."""
    snippets = SNIPPET.findall(page.read_text(encoding="utf-8"))
    assert snippets
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), names)


@pytest.mark.weights
def test_the_readme_s_photo_command_prints_names(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "openau", "detect", "photo.jpg"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "lip corner puller" in run.stdout


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
