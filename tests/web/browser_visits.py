"""A browser window of a visitor, for the tests of pages."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_USUAL = {"timezone_id": "Asia/Tokyo", "locale": "en-GB"}
_LIMIT = 90_000
"""Milliseconds, for a busy machine."""


@dataclass
class Visit:
    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    """Messages of the browser's console."""
    asked: list[str] = field(default_factory=list)
    """Addresses of all requests."""

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.address}{path}")

    async def violations(self) -> list[str]:
        """What axe-core finds on the present page."""
        results = await Axe().run(self.page, options=_RULES)
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in results.response["violations"]]

    async def is_wider_than_the_screen(self) -> bool:
        wider: bool = await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return wider


@contextlib.asynccontextmanager
async def visiting_by_browser(
    browser: Browser, api: httpx.AsyncClient, *, is_first: bool = False, **options: Any
) -> AsyncIterator[Visit]:
    """A visitor in Tokyo. `is_first`: the server does not know the time zone yet, so that the first page is loaded
    twice."""
    context = await browser.new_context(**(_USUAL | options))
    context.set_default_timeout(_LIMIT)
    visit = Visit(await context.new_page(), str(api.base_url).rstrip("/"))
    if not is_first:
        await context.add_cookies([{"name": "time_zone", "value": "Asia/Tokyo", "url": visit.address}])
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    try:
        yield visit
    finally:
        await context.close()
