"""The page in a real browser: photos, videos, a camera, models beside each other, keyboard, and what goes wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import skimage.data
from browser import chromium, open_page, troubles, why_not
from camera import flags, write_mjpeg
from PIL import Image
from serving import Serving, serving

import openau
from openau.demo import CLIP
from openau.weights import store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.weights, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

LENGTH = 7.96
"""Seconds from the demo clip's first frame to its last."""
LABELS = 150
"""Pixels of a timeline's labels."""
SMILE = (0.7, 1.0)
"""Seconds of the demo's clip in which it smiles (AU06, AU12) …"""
SURPRISE = (2.3, 2.6)
"""… and raises brows and lids (AU01, AU02, AU05)."""


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(live_idle_seconds=30.0) as running:
        yield running


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut <b>.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path, quality=92)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera plays the demo's clip again and again."""
    film = write_mjpeg(CLIP, tmp_path_factory.mktemp("camera") / "clip.mjpeg")
    with chromium(*flags(film)) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Serving) -> Iterator[Page]:
    """The page, ready; nothing may go wrong on it."""
    page = open_page(browser, accept_downloads=True)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready]")
    yield page
    found = troubles(page)
    page.context.close()
    assert found == []


def value(page: Page, place: str, column: str) -> float:
    """The number beside an AU's bar."""
    return float(page.inner_text(f"{place} [data-au={column}] .value").replace("–", "nan"))


def width(page: Page, place: str, column: str) -> float:
    """The share of its track that an AU's bar fills, as it is drawn."""
    bar = page.locator(f"{place} [data-au={column}] .fill").bounding_box()
    track = page.locator(f"{place} [data-au={column}] .track").bounding_box()
    assert bar is not None
    assert track is not None
    return float(bar["width"] / track["width"])


def test_a_photo_s_smile_raises_au12(page: Page, photo: Path) -> None:
    page.click("#tab-analyse")
    page.set_input_files("#files", photo)
    page.wait_for_selector("#items .au.on")
    assert page.inner_text("#items h2") == "astronaut <b>.jpg", "a file's name is not markup"
    assert value(page, "#items", "AU12") > 0.9
    assert width(page, "#items", "AU12") == pytest.approx(value(page, "#items", "AU12"), abs=0.02)
    assert value(page, "#items", "AU04") < 0.1
    assert width(page, "#items", "AU04") < 0.1
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV", exact=True).last.click()
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))
    faces = openau.Detector().detect(photo)
    assert (
        download.value.suggested_filename == "astronaut _b__aus.csv" or "_aus.csv" in download.value.suggested_filename
    )
    assert float(row["AU12"]) == pytest.approx(float(faces.column("AU12")[0]), abs=1e-3)
    page.get_by_text("Table", exact=True).click()
    assert page.locator("#items tbody tr").count() == 1


def test_a_video_s_progress_timeline_and_tables(page: Page, server: Serving) -> None:
    page.click("#tab-analyse")
    page.set_input_files("#files", CLIP)
    page.wait_for_selector("#items .what")
    shares = set()
    while not page.locator("#items canvas.timeline").count():
        text = page.inner_text("#items .what")
        if "%" in text:
            shares.add(int(text.split("%")[0]))
        page.wait_for_timeout(100)
    assert len(shares) >= 2, "progress was shown on the way"
    assert all(0 <= share <= 100 for share in shares)
    assert "200 frames, 1 face" in page.inner_text("#items .what")
    timeline = page.locator("#items canvas.timeline")
    box = timeline.bounding_box()
    assert box is not None
    for (start, end), high, low in ((SMILE, "AU12", "AU02"), (SURPRISE, "AU02", "AU12")):
        share = (start + end) / 2 / LENGTH
        timeline.click(position={"x": LABELS + share * (box["width"] - LABELS), "y": 40})
        page.wait_for_selector(f"#items [data-au={high}].on")
        assert value(page, "#items", high) > 0.8
        assert value(page, "#items", low) < 0.3
    with page.expect_download() as download:
        page.locator("#items").get_by_text("Save CSV").click()
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 201
    with page.expect_download() as download:
        page.locator("#items").get_by_text("Save Parquet").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"PAR1"
    with page.context.expect_page() as opened:
        page.locator("#items").get_by_text("Report", exact=True).click()
    report = opened.value
    report.wait_for_selector("h1")
    assert "demo.mp4" in report.inner_text("body")
    report.wait_for_selector("canvas", timeout=10_000)
    assert report.evaluate("window.origin") == "null", "a report's scripts cannot reach this server"
    report.close()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_timeout(300)
    assert server.files() == [], "what is removed from the page is removed from the disk"


def test_a_broken_file_is_told_and_the_next_one_is_judged(
    browser: Browser, server: Serving, photo: Path, tmp_path: Path
) -> None:
    page = open_page(browser)
    page.goto(f"{server.address}#/analyse")
    page.wait_for_selector("body[data-ready]")
    broken, text = tmp_path / "broken.jpg", tmp_path / "text.png"
    broken.write_bytes(photo.read_bytes()[:9000])
    text.write_text("no picture")
    page.set_input_files("#files", [broken, text, photo])
    page.wait_for_selector("#items .au.on")
    told = page.locator("#items .failed .notice").all_inner_texts()
    assert told[0] == "text.png: this is neither a photo nor a video OpenAU can read"
    assert told[1].startswith("broken.jpg: the image file is truncated")
    found = troubles(page)
    page.context.close()
    assert len(found) == 2, found
    assert all("Failed to load resource" in one for one in found), (
        "Chromium notes what was answered with 4xx, and nothing else"
    )


def snapshot(page: Page) -> dict[str, tuple[float, float]]:
    """Number and drawn share of each live bar, at one moment."""
    read = """() => Object.fromEntries([...document.querySelectorAll('#live-bars .au')].map(row => [row.dataset.au, [
        parseFloat(row.querySelector('.value').textContent),
        row.querySelector('.fill').getBoundingClientRect().width / row.querySelector('.track').getBoundingClientRect().width]]))"""
    return {column: (number, drawn) for column, (number, drawn) in page.evaluate(read).items()}


def test_bars_move_with_the_camera(page: Page) -> None:
    page.click("#live-start")
    page.wait_for_selector("#live-bars .au.on", timeout=30_000)
    waited_for = {("AU12", "AU02"), ("AU02", "AU12"), ("AU04", "AU12"), ("AU10", "AU01")}
    for _ in range(400):
        bars = snapshot(page)
        for number, drawn in bars.values():
            assert drawn == pytest.approx(number, abs=0.03)
        waited_for -= {(high, low) for high, low in waited_for if bars[high][0] > 0.8 and bars[low][0] < 0.5}
        if not waited_for:
            break
        page.wait_for_timeout(50)
    assert waited_for == set(), "the clip smiles, is surprised, frowns and is disgusted"
    page.wait_for_timeout(300)
    assert float(page.inner_text("#live-fps")) > 0  # how many depends on what else the machine does
    assert page.inner_text("#live-latency").endswith(" ms")
    assert page.inner_text("#live-who") == "Action Units"


def test_a_recording_is_a_table(page: Page) -> None:
    page.click("#live-start")
    page.wait_for_selector("#live-bars .au.on", timeout=30_000)
    page.click("#live-record")
    page.wait_for_timeout(1500)
    page.click("#live-record")
    with page.expect_download() as download:
        page.click("#live-save")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert len(rows) > 5
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    times = [float(row["timestamp"]) for row in rows]
    assert times == sorted(times)
    assert 0.5 < times[-1] < 3
    detected = openau.Detector().columns.names
    assert list(rows[0])[12:] == list(detected)
    page.click("#live-stop")
    assert page.is_visible("#live-start")


def test_a_camera_that_may_not_be_used_or_goes_away(server: Serving) -> None:
    with chromium("--use-fake-device-for-media-stream") as plain:
        page = open_page(plain)
        page.goto(server.address)
        page.wait_for_selector("body[data-ready]")
        page.click("#live-start")
        page.wait_for_selector("#live-notice:not([hidden])")
        assert "camera" in page.inner_text("#live-notice")
        page.context.grant_permissions(["camera"])
        page.click("#live-start")
        page.wait_for_selector("#live-stop:not([disabled])")
        page.evaluate("document.querySelector('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
        assert "went away" in page.inner_text("#live-notice")
        assert page.is_enabled("#live-start")
        assert troubles(page) == []


def test_models_and_their_comparison(page: Page, photo: Path) -> None:
    page.click("#tab-models")
    assert page.locator(".card").count() == len(set(store.model_names()) - {"default"})
    assert "must not be used to decide about people" in page.inner_text(".card >> nth=0")
    page.get_by_text("measured results").first.click()
    page.set_input_files("#compare-file", photo)
    page.wait_for_selector("#compare-result .au.on", timeout=60_000)
    assert len(set(page.locator("#compare-result h3").filter(has_text="synth").all_inner_texts())) == 2
    both = [
        [float(t) for t in page.locator(f"#compare-result [data-au={au}] .value").all_inner_texts()]
        for au in ("AU12", "AU09")
    ]
    assert min(both[0]) > 0.5
    assert both[1][0] != both[1][1]


def test_everything_can_be_reached_with_the_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.focus("#tab-live")
    for expected in ("tab-analyse", "tab-models", "tab-live"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == expected
        assert page.get_attribute(f"#{expected}", "aria-selected") == "true"
        assert page.is_visible(f"[aria-labelledby={expected}]")
        assert page.locator("[role=tabpanel]:visible").count() == 1
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, a, video, [role=meter], [role=img]')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel || e.alt || e.labels?.length || e.title)).map(e => e.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, server: Serving, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text."""
    page = open_page(browser, color_scheme=scheme)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready]")
    colours = page.evaluate(
        "Object.fromEntries(['ink', 'soft', 'paper', 'surface', 'sunken', 'accent', 'accent-ink', 'accent-soft', 'bad', 'bad-soft',"
        " 'warn-soft'].map(n => [n, getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim()]))"
    )
    page.context.close()
    grounds = ("paper", "surface", "sunken", "warn-soft")
    pairs = [("ink", g) for g in grounds] + [("soft", g) for g in grounds[:3]]
    pairs += [
        ("accent", "surface"),
        ("accent", "paper"),
        ("accent", "accent-soft"),
        ("accent-ink", "accent"),
        ("bad", "bad-soft"),
    ]
    weak = {pair: round(ratio, 2) for pair in pairs if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 4.5}
    assert weak == {}


def contrast(a: str, b: str) -> float:
    """WCAG's ratio of two colours #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_fits_a_telephone(browser: Browser, server: Serving) -> None:
    page = open_page(browser, viewport={"width": 360, "height": 740})
    page.goto(server.address)
    page.wait_for_selector("body[data-ready]")
    for tab in ("live", "analyse", "models"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
    page.context.close()


def test_logging_in_and_a_server_that_ends(browser: Browser) -> None:
    token = "0123456789abcdef"
    with serving(token=token) as server:
        page = open_page(browser)
        page.goto(server.address)
        page.fill("input[name=token]", "wrong")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("[role=alert]")
        page.fill("input[name=token]", token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("body[data-ready]")
        page.click("#live-start")
        page.wait_for_selector("#live-bars .au.on", timeout=30_000)
        other = page.context.new_page()
        other.goto(server.address)
        other.get_by_role("button", name="Log out").click()
        other.wait_for_selector("input[name=token]")
    page.wait_for_selector("#live-notice:not([hidden])")
    assert "connection" in page.inner_text("#live-notice")
    assert page.is_enabled("#live-start")
    page.context.close()
