"""The documentation's site: it builds without a warning, whole, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from openau.facs import AUS
from openau.synth.labels import SIDED_AUS
from openau.synth.parameters import RENDERED_AUS
from openau.weights import store

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
    "embed": "src",
}
"""What a browser fetches by itself, by element and attribute; links with these relations as well."""
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preconnect",
    "dns-prefetch",
    "preload",
    "modulepreload",
    "prefetch",
    "manifest",
    "prev",
    "next",
}
NEEDED = ("zensical", "mkdocstrings", "mkdocstrings_handlers.python")


def missing() -> str | None:
    """The first package the site needs and does not find."""
    for name in NEEDED:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return name
    return None


needs_generator = pytest.mark.skipif(
    missing() is not None, reason=f"the site needs {missing()}: pip install 'openau[docs]'"
)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made of, so that nothing is written into the checkout."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copytree(
        ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.safetensors", "*.mp4")
    )
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


@pytest.fixture(scope="module")
def site(project: Path) -> Path:
    run = build(project)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout + run.stderr
    return project / "site"


class Loader(HTMLParser):
    """Collects the addresses that a browser loads by itself, and the names of what is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.styles: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADS and LOADS[tag] in given:
            self.loaded.append(given[LOADS[tag]])
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loaded.append(given.get("href", ""))
        self.loaded += [entry.split()[0] for entry in given.get("srcset", "").split(",") if entry.strip()]
        self.styles.append(given.get("style", ""))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)


def pages(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from pages(value)
    else:
        assert isinstance(nav, list)
        for entry in nav:
            yield from pages(entry)


def elsewhere(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))


@needs_generator
def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    built = sorted(site.rglob("*.html"))
    assert len(built) > 30
    for page in built:
        loader = Loader()
        loader.feed(page.read_text(encoding="utf-8"))
        assert loader.loaded, page
        outside = [address for address in loader.loaded if elsewhere(address)]
        assert not outside, f"{page.relative_to(site)} loads {outside}"
        for address in loader.loaded:
            if address and not address.startswith("data:"):
                start = site if address.startswith("/") else page.parent  # the page of wrong addresses knows no folder
                assert (start / address.split("?")[0].split("#")[0].lstrip("/")).exists(), f"{page.name}: {address}"
        assert not [style for style in loader.styles if re.search(r"url\(\s*['\"]?(https?:)?//", style)]
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8"), "diagrams' script comes from a CDN"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), sheet


@needs_generator
def test_every_page_is_in_the_navigation_and_built(site: Path) -> None:
    nav = list(pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    written = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert sorted(nav) == written
    for page in nav:
        assert (site / page).with_suffix(".html").is_file()


@needs_generator
def test_the_reference_knows_what_people_import(site: Path) -> None:
    for page, names in {
        "detect": ("Detector.detect", "Detector.stream", "Faces.to_pandas", "InputError"),
        "models": ("create_model", "FANTrans", "AUFormer", "MDWALoss"),
        "synth": ("Studio.shoot", "sample_person"),
        "tables": ("TableSink.write", "find_events"),
    }.items():
        text = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf'id="openau\.[\w.]*\b{re.escape(name)}"', text), f"api/{page}.md does not show {name}"


@needs_generator
@pytest.mark.parametrize("defect", ["[x](nowhere.md)", "[x](#nowhere)", "::: openau.facs.nowhere"])
def test_a_defect_stops_the_build(project: Path, tmp_path: Path, defect: str) -> None:
    folder = tmp_path / "small"
    shutil.copytree(project / "docs" / "assets", folder / "docs" / "assets")
    (folder / "src").symlink_to(project / "src")
    settings = (project / "zensical.toml").read_text()
    one_page = re.sub(r"^nav = \[.*?^\]", 'nav = ["index.md"]', settings, flags=re.DOTALL | re.MULTILINE)
    (folder / "zensical.toml").write_text(one_page)
    page = folder / "docs" / "index.md"
    page.write_text("# Fine\n")
    assert build(folder).returncode == 0
    page.write_text(f"# Bad\n\n{defect}\n")
    assert build(folder).returncode != 0


def test_every_action_unit_has_its_words_and_its_picture() -> None:
    text = (DOCS / "aus.md").read_text(encoding="utf-8")
    chapters = {
        match[1]: match[2]
        for match in re.finditer(r"^### AU(\d+) [^\n]*\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    }
    assert sorted(map(int, chapters)) == sorted(AUS)
    for number, unit in AUS.items():
        chapter = chapters[str(number)]
        assert f"### AU{number} {unit.name}\n" in text
        assert unit.muscle in chapter
        assert (f"images/aus/{unit.column}.jpg" in chapter) == (number in RENDERED_AUS)
        assert (f"images/aus/{unit.column}_sides.jpg" in chapter) == (number in SIDED_AUS)
        if number in RENDERED_AUS:
            assert (DOCS / "images" / "aus" / f"{unit.column}.jpg").is_file()
    assert sum(picture.stat().st_size for picture in (DOCS / "images" / "aus").iterdir()) < 1_500_000


def test_the_page_of_model_cards_is_what_the_cards_say() -> None:
    spec = importlib.util.spec_from_file_location("make_cards", DOCS / "make_cards.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (DOCS / "cards.md").read_text(encoding="utf-8")
    assert script.page() == written, "run python docs/make_cards.py"
    assert store.card("default").limits in written
