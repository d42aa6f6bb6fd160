"""The sandbox's page in a real browser: what its buttons do is seen at the booking."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest
from playwright.async_api import Browser, Page

from domain.outbox import Destination
from infrastructure import container
from tests.payments.gateway_harness import SandboxDeployment
from tests.support.browser import running_browser
from tests.support.messages import deliver_due
from tests.support.people import People, Person


@dataclass
class GatewayHarness:
    """A booking API with the sandbox, and a browser in front of it."""

    page: Page
    people: People
    parts: container.DeliveryParts
    address: str
    public_url: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def books(self) -> tuple[Person, int]:
        """A user with an unpaid booking, and its id; the browser is on its payment page."""
        john, ada = await self.people.facilitator(), await self.people.user()
        event = await john.creates_event(title="Yoga & <b>Tea</b>", price=1250.5, currency="EUR")
        answer = (await ada.post("/bookings", json={"event_id": event["id"]})).json()
        await self.page.goto(answer["payment_url"].replace(self.public_url, self.address, 1))
        return ada, answer["booking"]["id"]

    async def presses(self, button: str) -> None:
        await self.page.get_by_role("button", name=button).click()
        await self.page.wait_for_load_state()

    async def payment_status(self, person: Person, booking_id: int) -> str:
        """After the worker has applied the webhooks."""
        await deliver_due(self.parts.deliver_due, Destination.PAYMENTS)
        shown: str = (await person.get(f"/bookings/{booking_id}")).json()["payment_status"]
        return shown


@pytest.fixture
async def gateway_harness(sandbox_deployment: SandboxDeployment, browser: Browser) -> AsyncIterator[GatewayHarness]:
    """With a page that knows nothing of the last test."""
    on = sandbox_deployment
    async with httpx.AsyncClient(base_url=on.address) as api, await browser.new_context() as context:
        page = await context.new_page()
        gateway_harness = GatewayHarness(page, People(api), on.parts, on.address, on.settings.public_url)
        page.on("console", lambda message: gateway_harness.complaints.append(message.text))
        page.on("request", lambda request: gateway_harness.asked.append(request.url))
        yield gateway_harness


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


# Takes 4 s: the browser starts, and the page reloads itself every three seconds.
async def test_payment_on_the_sandbox_page_completes_the_booking(gateway_harness: GatewayHarness) -> None:
    """Then "Continue" leads to a page that reloads by itself until the worker has applied the confirmation."""
    ada, booking_id = await gateway_harness.books()
    assert await gateway_harness.page.get_by_role("heading").inner_text() == "Yoga & <b>Tea</b>"
    assert await gateway_harness.page.get_by_text("1,250.50 EUR").count() == 1
    assert await gateway_harness.payment_status(ada, booking_id) == "pending"
    await gateway_harness.presses("Pay")
    assert "Paid" in await gateway_harness.page.locator("#state").inner_text()
    assert await gateway_harness.page.get_by_role("button").all_inner_texts() == ["Dispute the payment"]
    back = await gateway_harness.page.get_by_role("link", name="Continue").get_attribute("href")
    assert back is not None
    await gateway_harness.page.goto(back.replace(gateway_harness.public_url, gateway_harness.address, 1))
    state = gateway_harness.page.locator("#state")
    assert "waiting for the confirmation" in await state.inner_text()
    assert await gateway_harness.payment_status(ada, booking_id) == "completed"
    await state.filter(has_text="paid and confirmed").wait_for(timeout=30_000)
    assert await gateway_harness.page.get_by_text("1,250.50 EUR, paid").count() == 1
    assert gateway_harness.complaints == []


async def test_declined_payment_can_be_paid_afterwards(gateway_harness: GatewayHarness) -> None:
    ada, booking_id = await gateway_harness.books()
    await gateway_harness.presses("Decline")
    assert await gateway_harness.page.locator("#state").inner_text() == "Declined. You can try again."
    assert await gateway_harness.payment_status(ada, booking_id) == "failed"
    await gateway_harness.presses("Pay")
    assert await gateway_harness.payment_status(ada, booking_id) == "completed"


async def test_button_pressed_after_the_hold_shows_an_error(
    gateway_harness: GatewayHarness, emptied_database: asyncpg.Connection
) -> None:
    ada, booking_id = await gateway_harness.books()
    await emptied_database.execute("UPDATE bookings SET hold_until = now()")
    assert await gateway_harness.parts.money.expire_holds() == 1
    assert await gateway_harness.payment_status(ada, booking_id) == "pending"
    await gateway_harness.presses("Pay")
    assert "can no longer be paid" in await gateway_harness.page.locator("#state").inner_text()
    assert await gateway_harness.page.get_by_role("button").count() == 0
    assert await gateway_harness.payment_status(ada, booking_id) == "pending"
    assert (await ada.get(f"/bookings/{booking_id}")).json()["status"] == "cancelled"


async def test_page_loads_nothing_external_and_violates_no_policy(gateway_harness: GatewayHarness) -> None:
    await gateway_harness.books()
    await gateway_harness.presses("Decline")
    await gateway_harness.presses("Pay")
    assert {url for url in gateway_harness.asked if not url.startswith(gateway_harness.address)} == set()
    assert len(gateway_harness.asked) >= 5
    assert gateway_harness.complaints == []
