"""A house that takes payments by Stripe: its API over HTTP, a worker, and Stripe beside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import httpx

from domain.messages import Destination
from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.crowd import Member, a_crowd, some_events
from tests.support.http import serving
from tests.support.processes import JWT_SECRET_KEY
from tests.support.stripe_server import Entity, FakeStripe, Webhook, fake_stripe

PENDING = ("confirmed", "pending", "pending")
FAILED = ("confirmed", "failed", "failed")
PAID = ("confirmed", "completed", "completed")
REFUNDED = ("cancelled", "refunded", "refunded")

Booked = dict[str, Any]
"""The answer to a new booking."""


@dataclass
class Shop:
    api: httpx.AsyncClient
    parts: container.DeliveryParts
    stripe: FakeStripe
    database: asyncpg.Connection
    facilitator: Member

    async def event(self, *, capacity: int = 10, price: str = "30", currency: str = "INR") -> int:
        [event_id] = await some_events(self.database, self.facilitator.id, 1, capacity=capacity)
        await self.database.execute(
            "UPDATE events SET price = $2, currency = $3 WHERE id = $1", event_id, Decimal(price), currency
        )
        return event_id

    async def person(self) -> Member:
        return (await a_crowd(self.database, 1))[0]

    async def books(self, person: Member, event_id: int) -> Booked:
        answer = await self.post("/bookings", {"event_id": event_id}, by=person)
        assert answer.status_code == 201, answer.text
        booked: Booked = answer.json()
        return booked

    async def a_booking(self) -> tuple[Booked, Entity]:
        """Somebody's new booking, unpaid, and its session at Stripe."""
        booked = await self.books(await self.person(), await self.event())
        return booked, self.session_of(booked)

    async def a_paid_booking(self, person: Member, event_id: int) -> tuple[Booked, Entity]:
        """And the intent behind it."""
        booked = await self.books(person, event_id)
        intent = self.stripe.pays(self.session_of(booked))
        await self.hears_everything()
        assert await self.state(booked) == PAID
        return booked, intent

    def session_of(self, booked: Booked) -> Entity:
        [session] = self.sessions_of(booked)
        return session

    def sessions_of(self, booked: Booked) -> list[Entity]:
        booking_id = str(booked["booking"]["id"])
        return [each for each in self.stripe.sessions.values() if each["client_reference_id"] == booking_id]

    async def post(self, path: str, body: Any = None, *, by: Member) -> httpx.Response:
        return await self.api.post(path, json=body, headers={"Authorization": f"Bearer {by.token}"})

    async def cancels(self, person: Member, booked: Booked) -> dict[str, Any] | None:
        """What is given back."""
        answer = await self.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
        assert answer.status_code == 200, answer.text
        refund: dict[str, Any] | None = answer.json()["refund"]
        return refund

    async def tells(self, webhooks: Sequence[Webhook]) -> None:
        for webhook in webhooks:
            answer = await webhook.send(self.api)
            assert answer.status_code == 200, answer.text

    async def works(self) -> None:
        """The worker does every errand that is due."""
        await self.parts.deliver_due(Destination.PAYMENTS, asyncio.Event(), asyncio.Event())

    async def hears_everything(self) -> None:
        """All webhooks come in their order, and the worker applies them."""
        while self.stripe.webhooks:
            webhooks, self.stripe.webhooks = self.stripe.webhooks, []
            await self.tells(webhooks)
            await self.works()

    async def time_passes(self) -> None:
        """Three minutes for the payments, and all delays of errands."""
        await self.database.execute(
            "UPDATE payments SET created_at = created_at - '3 minutes'::interval, looked_up_at = NULL"
        )
        await self.database.execute("UPDATE outbox SET due_at = now() WHERE destination = 'payments'")

    async def the_hold_ends(self) -> None:
        await self.database.execute("UPDATE bookings SET hold_until = now() - '1 second'::interval")
        await self.parts.money.expire_holds()
        await self.works()

    async def state(self, booked: Booked) -> tuple[str, str, str]:
        """What the booking shows, and what the payment is."""
        row = await self.database.fetchrow(
            """SELECT b.status, b.payment_status, p.status AS payment FROM bookings b
               JOIN payments p ON p.booking_id = b.id WHERE b.id = $1""",
            booked["booking"]["id"],
        )
        assert row
        return tuple(row)

    async def told(self, booked: Booked, fact: str = "payment_completed") -> int:
        """How often the CRM is told."""
        count: int = await self.database.fetchval(
            "SELECT count(*) FROM outbox WHERE destination = 'crm' AND fact = $2 AND lane = 'booking:' || $1::text",
            str(booked["booking"]["id"]),
            fact,
        )
        return count

    async def differences(self) -> list[str]:
        return [row["why"] for row in await self.database.fetch("SELECT why FROM payment_differences ORDER BY id")]

    async def refunds(self) -> list[tuple[str, Decimal, str]]:
        """Status, amount and reason of each."""
        rows = await self.database.fetch("SELECT status, amount, reason FROM refunds ORDER BY requested_at")
        return [tuple(row) for row in rows]

    async def kept(self, decimals: int = 2) -> int:
        """What our books say that we have, in minor units."""
        kept: Decimal = await self.database.fetchval(
            """SELECT coalesce(sum(amount) FILTER (WHERE status IN ('completed', 'refunded')), 0)
                      - (SELECT coalesce(sum(amount), 0) FROM refunds WHERE status <> 'failed') FROM payments"""
        )
        return int(kept.scaleb(decimals))


@contextlib.asynccontextmanager
async def open_shop(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, **changes: str
) -> AsyncIterator[Shop]:
    async with fake_stripe() as stripe:
        settings = make_settings(**stripe.settings, jwt_secret_key=JWT_SECRET_KEY, **changes)
        parts = container.build_deliveries(settings)
        [facilitator] = await a_crowd(database, 1, role="facilitator")
        async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=60) as api:
            try:
                yield Shop(api, parts, stripe, database, facilitator)
            finally:
                await parts.close()
