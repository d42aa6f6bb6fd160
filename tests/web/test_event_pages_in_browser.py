"""The public pages in Chromium: searching by keyboard, on a phone, in both themes, with and without JavaScript."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from tests.support.browser import running_browser
from tests.support.people import Person
from tests.web.browser_visits import DESK, PHONE, visiting_by_browser
from tests.web.test_event_pages import event_of


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
async def event(john: Person) -> dict[str, Any]:
    return await event_of(
        john, title="Evening breath", description="Slow.\n\nCalm.", price=20, currency="EUR", category="Breath"
    )


# Takes 4 s: Chromium starts.
async def test_event_is_found_and_read_by_keyboard(
    browser: Browser, shared_api: httpx.AsyncClient, event: dict[str, Any]
) -> None:
    """Times are in the browser's time zone. Nothing is loaded from elsewhere, and no policy is violated."""
    async with visiting_by_browser(browser, shared_api, is_first=True, **DESK) as window:
        await window.open("/book")
        await window.page.wait_for_function("document.cookie.includes('time_zone=Asia/Tokyo')")
        await window.page.wait_for_load_state()
        await window.page.keyboard.press("Tab")
        await window.page.keyboard.press("Enter")
        assert await window.page.evaluate("document.activeElement.id") == "content", (
            "the skip link leads to the content"
        )
        await window.page.keyboard.press("Tab")
        assert await window.page.evaluate("document.activeElement.name") == "q"
        await window.page.keyboard.type("breath")
        await window.page.keyboard.press("Enter")
        await window.page.wait_for_url("**q=breath**")
        link = window.page.get_by_role("link", name="Evening breath")
        while not await link.evaluate("link => link === document.activeElement"):
            await window.page.keyboard.press("Tab")
        await window.page.keyboard.press("Enter")
        await window.page.get_by_role("heading", level=1, name="Evening breath").wait_for()
        assert await window.page.get_by_text("18:00 – 19:00").count() == 1
        assert await window.page.get_by_text("Japan Standard Time").count() == 1
        assert window.complaints == []
        assert {url for url in window.asked if not url.startswith(window.address)} == set()


@pytest.mark.parametrize(("theme", "screen"), [("dark", PHONE), ("light", DESK)], ids=["dark phone", "light desk"])
# Takes 5 s: axe reads every element of five pages.
async def test_pages_meet_wcag(
    browser: Browser,
    shared_api: httpx.AsyncClient,
    event: dict[str, Any],
    theme: str,
    screen: dict[str, Any],
) -> None:
    async with visiting_by_browser(browser, shared_api, color_scheme=theme, **screen) as window:
        month = event["start_datetime"][:7]
        for path in (
            "/book",
            "/book?q=-&price=x",
            f"/book?view=calendar&month={month}",
            f"/book/events/{event['id']}",
            "/book/events/0",
        ):
            await window.open(path)
            assert await window.violations() == [], path
            assert not await window.is_wider_than_the_screen(), path


async def test_pages_work_without_javascript(
    browser: Browser, shared_api: httpx.AsyncClient, event: dict[str, Any]
) -> None:
    async with visiting_by_browser(
        browser, shared_api, is_first=True, java_script_enabled=False, locale="de-DE", **DESK
    ) as window:
        await window.open("/book")
        await window.page.get_by_role("searchbox", name="Suchen").fill("breath")
        await window.page.get_by_role("button", name="Suchen").click()
        await window.page.get_by_role("link", name="Kalender").click()
        await window.page.wait_for_url("**view=calendar**")
        await window.open(f"/book?q=breath&view=calendar&month={event['start_datetime'][:7]}")
        await window.page.get_by_role("link", name="Evening breath").click()
        await window.page.get_by_text("Koordinierte Weltzeit").wait_for()
        await window.page.get_by_text("20,00").wait_for()
        assert window.complaints == []
