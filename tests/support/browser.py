"""A real browser for tests of pages: Debian's Chromium, headless, driven by Playwright.

Playwright's own browsers are never downloaded. Where Playwright or Chromium is missing, tests that use these fixtures are skipped and
say which. A test asks for `page`, or opens more with `browser`; one that needs other flags (a fake camera) uses `chromium(...)`:

    with chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as camera_browser:
        page = open_page(camera_browser, permissions=["camera"])

A page keeps what went wrong on it in `troubles(page)`: messages of level error, exceptions, and requests that left this machine. The
`page` fixture checks at its end that there were none.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = os.environ.get("OPENAU_CHROMIUM") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
"""The browser's program; None where there is none. `OPENAU_CHROMIUM` names another one."""

_FLAGS = (
    "--no-sandbox",  # containers run tests as root, which Chromium's sandbox refuses
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOCAL = {"", "localhost", "127.0.0.1", "::1"}
TIMEOUT = 20_000
"""Milliseconds any step may take."""


def why_not() -> str | None:
    """Why there is no browser here; None if there is one."""
    if CHROMIUM is None:
        return "Chromium is not installed (Debian: apt-get install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed (pip install 'openau[dev]')"
    return None


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A browser of its own, with further flags; the test is skipped where there is none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    browser = _playwright().chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()


def open_page(browser: Browser, **options: Any) -> Page:
    """A page in a context of its own (no cookies, no cache of others) that keeps its troubles.

    Args:
        browser: where to open it.
        options: of Playwright's `new_context`: viewport, color_scheme, permissions, has_touch …
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: found.append(f"asked for {request.url}") if _leaves(request.url) else None)
    _TROUBLES[page] = found
    return page


def troubles(page: Page) -> list[str]:
    """What went wrong on a page so far."""
    return _TROUBLES[page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file of tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page; the test fails if anything went wrong on it."""
    page = open_page(browser)
    yield page
    page.context.close()
    assert _TROUBLES.pop(page) == []


@functools.cache
def _playwright() -> Playwright:
    """Playwright's driver, one for all tests of a process: its synchronous interface cannot be started twice."""
    from playwright.sync_api import sync_playwright

    manager = sync_playwright()
    atexit.register(manager.__exit__)
    return manager.start()


_TROUBLES: dict[Page, list[str]] = {}


def _leaves(url: str) -> bool:
    """Whether a request goes beyond this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and (parts.hostname or "") not in _LOCAL
