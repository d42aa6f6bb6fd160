"""A deployment that takes payments by Stripe."""

import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import asyncpg

from infrastructure.settings import Settings
from tests.payments.gateway_harness import PAID, Booked, PaymentsHarness, opened
from tests.support.gateway_server import Entity
from tests.support.load import Member
from tests.support.stripe_server import FakeStripe, fake_stripe


class GatewayHarness(PaymentsHarness):
    gateway: FakeStripe

    @property
    def stripe(self) -> FakeStripe:
        return self.gateway

    async def a_booking(self) -> tuple[Booked, Entity]:
        """Somebody's new booking, unpaid, and its session at Stripe."""
        booked = await self.books(await self.person(), await self.event())
        return booked, self.session_of(booked)

    async def a_paid_booking(self, person: Member, event_id: int) -> tuple[Booked, Entity]:
        """And the intent behind it."""
        booked = await self.books(person, event_id)
        intent = self.stripe.pays(self.session_of(booked))
        await self.process_webhooks()
        assert await self.state(booked) == PAID
        return booked, intent

    def session_of(self, booked: Booked) -> Entity:
        [session] = self.sessions_of(booked)
        return session

    def sessions_of(self, booked: Booked) -> list[Entity]:
        booking_id = str(booked["booking"]["id"])
        return [each for each in self.stripe.sessions.values() if each["client_reference_id"] == booking_id]

    async def cancels(self, person: Member, booked: Booked) -> dict[str, Any] | None:
        """What is given back."""
        answer = await self.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
        assert answer.status_code == 200, answer.text
        refund: dict[str, Any] | None = answer.json()["refund"]
        return refund

    async def the_hold_ends(self) -> None:
        await self.database.execute("UPDATE bookings SET hold_until = now() - '1 second'::interval")
        await self.parts.money.expire_holds()
        await self.run_worker()

    async def refunds(self) -> list[tuple[str, Decimal, str]]:
        """Status, amount and reason of each."""
        rows = await self.database.fetch("SELECT status, amount, reason FROM refunds ORDER BY requested_at")
        return [tuple(row) for row in rows]


@contextlib.asynccontextmanager
async def open_gateway_harness(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, **changes: str
) -> AsyncIterator[GatewayHarness]:
    async with (
        fake_stripe() as stripe,
        opened(GatewayHarness, stripe, make_settings, database, **changes) as gateway_harness,
    ):
        yield gateway_harness
