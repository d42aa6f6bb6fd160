"""Chromium for tests of pages."""

import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """The browser of the machine. Without one the test fails."""
    paths = [found for found in map(shutil.which, BROWSERS) if found]
    if not paths:
        pytest.fail(
            "no Chromium on the PATH: install it, on Debian and Ubuntu with: apt install chromium", pytrace=False
        )
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=paths[0], args=FLAGS)
        yield browser
        await browser.close()
