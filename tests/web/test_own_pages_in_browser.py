"""Booking in Chromium: by keyboard alone, and what axe finds on the pages of forms."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from tests.support.browser import running_browser
from tests.support.people import PASSWORD, People, Person
from tests.web.browser_visits import DESK, PHONE, Visit, visiting_by_browser
from tests.web.test_event_pages import event_of


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


async def tab_to(visit: Visit, role: Any, name: str) -> None:
    """Moves the focus by the tabulator key, at most once around the page."""
    target = visit.page.get_by_role(role, name=name, exact=True)
    for _ in range(60):
        await visit.page.keyboard.press("Tab")
        if await target.evaluate("target => target === document.activeElement"):
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


# Takes 6 s: Chromium starts, and types.
async def test_event_is_booked_and_cancelled_by_keyboard(
    browser: Browser, shared_api: httpx.AsyncClient, shared_people: People, john: Person
) -> None:
    person, event = await shared_people.user(), await event_of(john, title="By keys", price=0)
    async with visiting_by_browser(browser, shared_api, **DESK) as visit:
        await visit.open(f"/book/events/{event['id']}")
        await tab_to(visit, "link", "Log in to book")
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/log-in?**")
        await visit.page.get_by_label("E-mail").focus()
        await visit.page.keyboard.type(person.email)
        await visit.page.keyboard.press("Tab")
        await visit.page.keyboard.type(PASSWORD)
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/book/events/**")
        await tab_to(visit, "button", "Book")
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/me/bookings/**")
        await tab_to(visit, "button", "Cancel the booking")
        await visit.page.keyboard.press("Enter")
        await visit.page.get_by_text("Cancelled").wait_for()
        await tab_to(visit, "button", "Log out")
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/book")
        assert visit.complaints == []
        assert {url for url in visit.asked if not url.startswith(visit.address)} == set()


@pytest.mark.parametrize(("theme", "screen"), [("light", PHONE), ("dark", DESK)], ids=["light phone", "dark desk"])
# Takes 5 s: axe reads every element of six pages.
async def test_pages_with_forms_meet_wcag(
    browser: Browser,
    shared_api: httpx.AsyncClient,
    shared_people: People,
    john: Person,
    theme: str,
    screen: dict[str, Any],
) -> None:
    person = await shared_people.user()
    free, priced = await event_of(john, title="To book", price=0), await event_of(john, title="To pay", price=20)
    bookings = [await person.books(event["id"]) for event in (free, priced)]
    other = await event_of(john)
    async with visiting_by_browser(browser, shared_api, color_scheme=theme, **screen) as visit:
        await visit.open("/sign-up")
        assert await visit.violations() == []
        await visit.open("/log-in")
        await visit.page.get_by_label("E-mail").fill(person.email)
        await visit.page.get_by_label("Password").fill("wrong password")
        await visit.page.get_by_role("button", name="Log in").click()
        await visit.page.get_by_role("alert").wait_for()
        assert await visit.violations() == []
        await visit.page.get_by_label("Password").fill(PASSWORD)
        await visit.page.get_by_role("button", name="Log in").click()
        await visit.page.wait_for_url("**/me")
        for path in ("/me", *(f"/me/bookings/{each['id']}" for each in bookings), f"/book/events/{other['id']}"):
            await visit.open(path)
            assert await visit.violations() == [], path
            assert not await visit.is_wider_than_the_screen(), path
