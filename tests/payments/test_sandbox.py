"""The whole way of a booking through the sandbox: its buttons, its signed webhook, the worker as it is built."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from domain.outbox import Destination
from infrastructure.container import DeliveryParts
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.payments.gateway_harness import SandboxDeployment
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People, Person


@dataclass
class GatewayHarness:
    api: httpx.AsyncClient
    people: People
    worker: DeliveryParts
    public_url: str

    async def run(self) -> None:
        await deliver_due(self.worker.deliver_due, Destination.PAYMENTS)

    async def press(self, url: str, button: str) -> None:
        """Presses a button of the page; then the worker applies the webhook."""
        page = url.removeprefix(self.public_url)
        assert (await self.api.get(page)).status_code == 200
        assert (await self.api.post(f"{page}/{button}")).status_code == 303
        await self.run()

    async def book(self, person: Person, event: dict[str, Any]) -> tuple[int, str]:
        answer = (await person.post("/bookings", json={"event_id": event["id"]})).json()
        return answer["booking"]["id"], answer["payment_url"]


@pytest.fixture
async def gateway_harness(sandbox_deployment: SandboxDeployment) -> AsyncIterator[GatewayHarness]:
    on = sandbox_deployment
    async with httpx.AsyncClient(base_url=on.address) as api:
        yield GatewayHarness(api, People(api), on.parts, on.settings.public_url)


async def states(person: Person, booking: int) -> tuple[str, str]:
    body = (await person.get(f"/bookings/{booking}")).json()
    return body["status"], body["payment_status"]


async def test_declined_then_paid_then_cancelled_and_refunded(
    gateway_harness: GatewayHarness, emptied_database: asyncpg.Connection
) -> None:
    facilitator, guest = await gateway_harness.people.facilitator(), await gateway_harness.people.user()
    event = await facilitator.creates_event(price=30, refund_policy=[{"hours_before": 24, "percent": 50}])
    booking, url = await gateway_harness.book(guest, event)

    await gateway_harness.press(url, "declined")
    assert await states(guest, booking) == ("confirmed", "failed")
    await gateway_harness.press(url, "paid")
    await gateway_harness.press(url, "paid")
    assert await states(guest, booking) == ("confirmed", "completed")
    refund = (await guest.post(f"/bookings/{booking}/cancel")).json()["refund"]
    assert (refund["amount"], refund["status"]) == (15, "pending")
    await gateway_harness.run()

    assert await states(guest, booking) == ("cancelled", "refunded")
    assert (
        await emptied_database.fetchval("SELECT refunds ->> (SELECT id::text FROM refunds) FROM sandbox_orders")
        == "15.00"
    )
    facts = await emptied_database.fetch(
        "SELECT fact FROM outbox WHERE destination = 'crm' AND lane LIKE 'booking:%' ORDER BY seq"
    )
    assert [row["fact"] for row in facts] == [
        *("booking_created", "payment_failed", "payment_completed", "booking_cancelled", "booking_refunded"),
    ]


async def test_expired_seat_is_released_and_its_page_closed(
    gateway_harness: GatewayHarness, emptied_database: asyncpg.Connection
) -> None:
    guest = await gateway_harness.people.user()
    booking, url = await gateway_harness.book(guest, await (await gateway_harness.people.facilitator()).creates_event())
    await emptied_database.execute("UPDATE bookings SET hold_until = now()")
    assert await gateway_harness.worker.money.expire_holds() == 1
    await gateway_harness.run()

    await gateway_harness.press(url, "paid")

    assert await states(guest, booking) == ("cancelled", "pending")
    assert await emptied_database.fetchval("SELECT state FROM sandbox_orders") == "expired"


async def test_unsigned_sandbox_webhook_is_rejected(gateway_harness: GatewayHarness) -> None:
    guest = await gateway_harness.people.user()
    booking, _ = await gateway_harness.book(guest, await (await gateway_harness.people.facilitator()).creates_event())
    for headers in ({}, {"sandbox-signature": "0" * 64}, {"sandbox-signature": "ä".encode().decode("latin-1")}):
        forged = {b"content-type": b"application/json"} | {
            name.encode(): value.encode("latin-1") for name, value in headers.items()
        }
        answer = await gateway_harness.api.post("/payment/sandbox/webhook", content=b'{"id": "x"}', headers=forged)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    await gateway_harness.run()
    assert await states(guest, booking) == ("confirmed", "pending")


async def test_deployment_with_a_real_gateway_has_no_sandbox_buttons(
    gateway_harness: GatewayHarness, make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> None:
    event = await (await gateway_harness.people.facilitator()).creates_event(price=30)
    guest = await gateway_harness.people.user()
    booking, url = await gateway_harness.book(guest, event)
    page = url.removeprefix(gateway_harness.public_url)
    async with serving(create_app(make_shared_settings())) as address, httpx.AsyncClient(base_url=address) as api:
        answers = [await api.get(page), await api.post(f"{page}/paid"), await api.post(f"{page}/declined")]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert await emptied_database.fetchval("SELECT state FROM sandbox_orders") == "open"
    await gateway_harness.run()
    assert await states(guest, booking) == ("confirmed", "pending")
