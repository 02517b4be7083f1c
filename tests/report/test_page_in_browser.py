"""The report in a real browser: it draws, zooms by keyboard, mouse and touch, and complains about nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import browser, open_page, page, troubles
from long_tables import recording

from openau.report import write_report
from openau.result import Faces

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser", "page"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people: smiles at 2 and 6 s; raised brows at 4 s."""
    one = recording([(12, 2.0, 3.0), (6, 2.2, 2.8), (12, 6.0, 6.5)])
    two = recording([(1, 4.0, 4.5)], seconds=8, face_id=1)
    both = Faces.concatenate([one, two])
    order = sorted(range(len(both)), key=lambda i: (both.frame[i], both.face_id[i]))
    return write_report(both[order], tmp_path_factory.mktemp("report") / "report.html")


def shown(page: Page) -> tuple[float, float]:
    """The part of the recording that the timeline shows, seconds."""
    page.wait_for_timeout(60)
    rows = page.locator(".rows:visible")
    return float(rows.get_attribute("data-min") or 0), float(rows.get_attribute("data-max") or 9.96)


def muscle(page: Page, number: int, side: str = "L") -> float:
    found = page.locator(f'.person:visible .muscle[data-au="{number}"][data-side="{side}"]')
    return float(found.evaluate("m => m.style.getPropertyValue('--v')"))


def ink(page: Page, row: int) -> int:
    """Pixels that a row's canvas has drawn."""
    canvas = page.locator(".rows:visible canvas").nth(row)
    return int(
        canvas.evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v).length"
        )
    )


def test_it_draws_a_row_per_active_au_and_all_on_request(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    assert page.locator(".rows:visible .label b").all_inner_texts() == ["AU6", "AU12"]
    assert ink(page, 0) > 500
    page.get_by_label("all AUs").check()
    assert page.locator(".rows:visible .label b").all_inner_texts() == ["AU1", "AU6", "AU12", "AU26"]
    before = ink(page, 2)
    page.get_by_role("checkbox", name="left and right").check()
    assert ink(page, 2) > before


def test_the_keyboard_zooms_moves_and_walks_through_events(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.locator(".rows:visible").focus()
    page.keyboard.press("+")
    low, high = shown(page)
    assert high - low == pytest.approx(9.96 / 2, abs=0.01)
    page.keyboard.press("ArrowRight")
    assert shown(page)[0] == pytest.approx(low + (high - low) * 0.2, abs=0.01)
    page.keyboard.press("-")
    page.keyboard.press("Home")
    assert shown(page) == pytest.approx((0, 9.96), abs=0.01)
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.locator(".readout:visible").inner_text().startswith("2.")
    assert muscle(page, 12) == pytest.approx(0.95, abs=0.01)
    assert muscle(page, 12, "R") < 0.2
    assert "left only" in page.locator(".acting:visible").inner_text()
    page.keyboard.press("Escape")
    assert muscle(page, 6) == pytest.approx(15 / 38, abs=0.01)


def test_dragging_zooms_and_double_clicking_shows_everything(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.locator(".rows:visible").scroll_into_view_if_needed()
    plot, rows = (page.locator(f".rows:visible{part}").bounding_box() for part in (" .axis .plot", ""))
    assert plot
    assert rows
    left, width, y = plot["x"] + 34, plot["width"] - 44, rows["y"] + 30
    page.mouse.move(left + 0.2 * width, y)
    page.mouse.down()
    page.mouse.move(left + 0.3 * width, y, steps=4)
    page.mouse.up()
    assert shown(page) == pytest.approx((0.2 * 9.96, 0.3 * 9.96), abs=0.05)
    page.mouse.dblclick(left + 0.5 * width, y)
    assert shown(page) == pytest.approx((0, 9.96), abs=0.01)


def test_another_face_has_a_timeline_of_its_own(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.get_by_label("Shown below").select_option("1")
    assert page.locator(".rows:visible .label b").all_inner_texts() == ["AU1"]
    page.locator(".moment:visible").first.click()
    assert muscle(page, 1) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_it_without_sideways_scrolling(browser: Browser, report: Path, scheme: str) -> None:
    phone = open_page(browser, viewport={"width": 390, "height": 800}, color_scheme=scheme, has_touch=True)
    phone.goto(report.as_uri())
    phone.locator(".rows:visible").tap(position={"x": 150, "y": 40})
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.evaluate("document.documentElement.dataset.theme") == scheme
    assert troubles(phone) == []
    phone.context.close()


def test_it_prints_in_light_colours(browser: Browser, report: Path) -> None:
    dark = open_page(browser, color_scheme="dark")
    dark.goto(report.as_uri())
    pdf = dark.pdf()
    assert pdf.startswith(b"%PDF")
    assert dark.evaluate("document.documentElement.dataset.theme") == "dark"
    assert troubles(dark) == []
    dark.context.close()
