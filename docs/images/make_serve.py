"""Make `serve_live.jpg`, `serve_photo.jpg`, `serve_video.jpg` and `serve_models.jpg`: what `openau serve` looks like in Chromium.

    python docs/images/make_serve.py [FOLDER]

Every picture is of the real page: the camera plays the demo's clip, the photograph is scikit-image's `astronaut` (NASA, public domain).
With FOLDER, all pages in light, dark and on a telephone go there instead, to be looked at.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import skimage.data
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from browser import chromium, open_page
from camera import flags, write_mjpeg
from serving import serving

from openau.demo import CLIP

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE, TELEPHONE = (1280, 900), (390, 844)
WIDTH = 1000
"""Pixels of a picture."""
LARGEST = 200_000
"""Bytes of a picture for the documentation."""


def main() -> None:
    """Write the pictures."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        photo = Path(folder) / "astronaut.jpg"
        Image.fromarray(skimage.data.astronaut()).save(photo, quality=92)
        with chromium(*flags(write_mjpeg(CLIP, Path(folder) / "clip.mjpeg"))) as browser:
            if out is None:
                here = Path(__file__).parent
                shoot(browser, server.address, photo, here, "light", WIDE, ("live", "models"))
                shoot(browser, server.address, photo, here, "dark", WIDE, ("photo",))
                shoot(browser, server.address, photo, here, "light", WIDE, ("video",))
                return
            for scheme, size in (("light", WIDE), ("dark", WIDE), ("light", TELEPHONE)):
                target = out / f"{scheme}-{size[0]}"
                target.mkdir(parents=True, exist_ok=True)
                shoot(browser, server.address, photo, target, scheme, size, ("live", "photo", "video", "models"))


def shoot(
    browser: Browser, address: str, photo: Path, out: Path, scheme: str, size: tuple[int, int], views: tuple[str, ...]
) -> None:
    """Photograph some views of the page."""
    page = open_page(browser, color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    for view in views:
        {"live": live, "photo": analyse_photo, "video": analyse_video, "models": models}[view](page, photo)
        save(page.screenshot(full_page=True), out / f"serve_{view}.jpg")
    page.context.close()


def live(page: Page, photo: Path) -> None:
    """The camera, once the clip has run through and smiles again."""
    page.click("#live-start")
    page.wait_for_selector("#live-bars [data-au=AU12].on", timeout=30_000)
    page.wait_for_timeout(14_000)
    page.wait_for_selector("#live-bars [data-au=AU12].on", timeout=30_000)


def analyse_photo(page: Page, photo: Path) -> None:
    """A photograph."""
    page.click("#tab-analyse")
    page.set_input_files("#files", photo)
    page.wait_for_selector("#items .au.on")
    page.wait_for_timeout(300)


def analyse_video(page: Page, photo: Path) -> None:
    """The demo's clip at its surprise."""
    page.click("#tab-analyse")
    while page.locator("#items .item").count():
        page.get_by_role("button", name="Remove").first.click()
    page.set_input_files("#files", CLIP)
    timeline = page.locator("#items canvas.timeline")
    timeline.wait_for(timeout=60_000)
    box = timeline.bounding_box()
    assert box is not None
    labels = 150 if box["width"] >= 520 else 52
    timeline.click(position={"x": labels + (box["width"] - labels) * 2.45 / 7.96, "y": 40})
    page.wait_for_selector("#items [data-au=AU02].on")
    page.wait_for_timeout(800)
    page.evaluate("document.activeElement.blur()")


def models(page: Page, photo: Path) -> None:
    """The cards and a comparison."""
    page.click("#tab-models")
    page.set_input_files("#compare-file", photo)
    page.wait_for_selector("#compare-result .au.on", timeout=60_000)
    page.wait_for_timeout(300)


def save(picture: bytes, path: Path) -> None:
    """As a JPEG that is not too large."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    for quality in range(88, 40, -4):
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size < LARGEST:
            return
    raise ValueError(f"{path}: is too large")


if __name__ == "__main__":
    main()
