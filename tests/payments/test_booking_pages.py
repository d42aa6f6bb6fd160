"""Paying for a booking on the pages: to the gateway, and back to a page that waits for its confirmation."""

import re
from html import unescape

import asyncpg
import httpx

from domain.outbox import Destination
from tests.payments.gateway_harness import SandboxDeployment
from tests.support.messages import deliver_due
from tests.support.people import People
from tests.web.visitors import visiting


async def test_booking_is_paid_from_its_page(
    sandbox_deployment: SandboxDeployment, emptied_database: asyncpg.Connection
) -> None:
    on = sandbox_deployment

    def here(address: str) -> str:
        return unescape(address).replace(on.settings.public_url, on.address, 1)

    async with httpx.AsyncClient(base_url=on.address) as api, visiting(api) as visitor:
        people = People(api)
        facilitator, ada = await people.facilitator(), await people.user()
        event = await facilitator.creates_event(price=30, currency="EUR")
        path = f"/book/events/{event['id']}"
        await visitor.log_in(ada, f"/log-in?next={path}")
        booking = (await visitor.send(path, path)).headers["location"]
        paying = await visitor.send(booking, f"{booking}/pay")
        assert paying.status_code == 200
        links = re.findall(r'href="([^"]+/sandbox/pay/[^"]+)"', paying.text)
        assert links == re.findall(r'content="0; url=([^"]+)"', paying.text), "without a click, and with one"
        checkout = await visitor.page(here(links[0]))
        [pay] = re.findall(r'action="([^"]+/paid)"', checkout)
        paid = await visitor.api.post(pay, follow_redirects=True)
        [back] = re.findall(r'<p class="back"><a href="([^"]+)"', paid.text)
        assert "Waiting for the confirmation" in await visitor.page(here(back))
        await deliver_due(on.parts.deliver_due, Destination.PAYMENTS)
        assert "Your payment has arrived" in await visitor.page(here(back))
        shown = await visitor.page(booking)
        assert re.search(r"Booked\s*, paid", shown)
        assert f"{booking}/pay" not in shown
        assert "You have paid €30.00." in shown
