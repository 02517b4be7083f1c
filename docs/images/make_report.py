"""Makes `report.jpg`: the report of the demo's clip, in a browser (Chromium and Playwright; `pip install 'openau[dev]'`).

python docs/images/make_report.py
"""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from openau.cli import app
from openau.demo import CLIP

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

from browser import chromium, open_page  # noqa: E402


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, page = folder / "demo.mp4", folder / "report.html"
        shutil.copy(CLIP, clip)
        done = CliRunner().invoke(app, ["report", str(clip), "-o", str(page)])
        assert done.exit_code == 0, done.output
        text = page.read_text(encoding="utf-8").replace(str(clip), clip.name)
        page.write_text(text, encoding="utf-8")
        with chromium() as browser:
            tab = open_page(browser, viewport={"width": 1180, "height": 1750}, color_scheme="light")
            tab.goto(page.as_uri())
            tab.locator(".moment").nth(1).click()
            tab.wait_for_timeout(400)
            tab.screenshot(path=folder / "seen.png")
        picture = Image.open(folder / "seen.png").convert("RGB")
        picture.save(HERE / "report.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
