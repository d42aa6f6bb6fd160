"""A deployment that takes payments: its API over HTTP, a worker, and a gateway server."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import asyncpg
import httpx

from domain.outbox import Destination
from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.load import Member, many_users, some_events
from tests.support.messages import deliver_due

PENDING = ("confirmed", "pending", "pending")
FAILED = ("confirmed", "failed", "failed")
PAID = ("confirmed", "completed", "completed")
REFUNDED = ("cancelled", "refunded", "refunded")

Booked = dict[str, Any]
"""The answer to a new booking."""


class Webhook(Protocol):
    async def send(self, api: httpx.AsyncClient) -> httpx.Response: ...


class Gateway(Protocol):
    webhooks: list[Any]

    @property
    def settings(self) -> dict[str, str]: ...

    def reset(self) -> None: ...


@dataclass
class PaymentsHarness:
    api: httpx.AsyncClient
    parts: container.DeliveryParts
    gateway: Gateway
    database: asyncpg.Connection
    facilitator: Member

    async def event(self, *, capacity: int = 10, price: str = "30", currency: str = "INR") -> int:
        [event_id] = await some_events(self.database, self.facilitator.id, 1, capacity=capacity)
        await self.database.execute(
            "UPDATE events SET price = $2, currency = $3 WHERE id = $1", event_id, Decimal(price), currency
        )
        return event_id

    async def person(self) -> Member:
        return (await many_users(self.database, 1))[0]

    async def books(self, person: Member, event_id: int) -> Booked:
        answer = await self.post("/bookings", {"event_id": event_id}, by=person)
        assert answer.status_code == 201, answer.text
        booked: Booked = answer.json()
        return booked

    async def post(self, path: str, body: Any = None, *, by: Member | None = None) -> httpx.Response:
        return await self.api.post(path, json=body, headers=by.headers if by else {})

    async def send_webhooks(self, webhooks: Sequence[Webhook]) -> None:
        for webhook in webhooks:
            answer = await webhook.send(self.api)
            assert answer.status_code == 200, answer.text

    async def run_worker(self) -> None:
        """Runs every payment job that is due."""
        await deliver_due(self.parts.deliver_due, Destination.PAYMENTS)

    async def process_webhooks(self) -> None:
        """Sends all webhooks in their order, and the worker applies them."""
        while self.gateway.webhooks:
            webhooks, self.gateway.webhooks = self.gateway.webhooks, []
            await self.send_webhooks(webhooks)
            await self.run_worker()

    async def time_passes(self) -> None:
        """Moves payments three minutes into the past, and makes all payment jobs due."""
        await self.database.execute(
            "UPDATE payments SET created_at = created_at - '3 minutes'::interval, looked_up_at = NULL"
        )
        await self.database.execute("UPDATE outbox SET due_at = now() WHERE destination = 'payments'")

    async def state(self, booked: Booked) -> tuple[str, str, str]:
        """What the booking shows, and what the payment is."""
        row = await self.database.fetchrow(
            """SELECT b.status, b.payment_status, p.status AS payment FROM bookings b
               JOIN payments p ON p.booking_id = b.id WHERE b.id = $1""",
            booked["booking"]["id"],
        )
        assert row
        return tuple(row)

    async def message_count(self, booked: Booked, message_type: str = "payment_completed") -> int:
        """The number of such messages to the CRM."""
        count: int = await self.database.fetchval(
            "SELECT count(*) FROM outbox WHERE destination = 'crm' AND fact = $2 AND lane = 'booking:' || $1::text",
            str(booked["booking"]["id"]),
            message_type,
        )
        return count

    async def mismatches(self) -> list[str]:
        return [row["why"] for row in await self.database.fetch("SELECT why FROM payment_differences ORDER BY id")]

    async def kept(self, decimals: int = 2) -> int:
        """What our books say that we have, in minor units."""
        kept: Decimal = await self.database.fetchval(
            """SELECT coalesce(sum(amount) FILTER (WHERE status IN ('completed', 'refunded')), 0)
                      - (SELECT coalesce(sum(amount), 0) FROM refunds WHERE status <> 'failed') FROM payments"""
        )
        return int(kept.scaleb(decimals))


S = TypeVar("S", bound=PaymentsHarness)


@dataclass
class SandboxDeployment:
    """One that takes payments in its sandbox. The tests of a module can share it."""

    address: str
    parts: container.DeliveryParts
    settings: Settings

    async def run_worker(self) -> None:
        """Runs every payment job that is due."""
        await deliver_due(self.parts.deliver_due, Destination.PAYMENTS)


@contextlib.asynccontextmanager
async def deployed_with_sandbox(make_settings: Callable[..., Settings]) -> AsyncIterator[SandboxDeployment]:
    settings = make_settings(payment_provider="sandbox")
    parts = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address:
        try:
            yield SandboxDeployment(address, parts, settings)
        finally:
            await parts.close()


@dataclass
class Deployment:
    """What the tests of a module can share."""

    api: httpx.AsyncClient
    parts: container.DeliveryParts
    gateway: Gateway

    async def harness(self, kind: Callable[..., S], database: asyncpg.Connection) -> S:
        """With a facilitator of its own, and a gateway that forgot what came before."""
        self.gateway.reset()
        [facilitator] = await many_users(database, 1, role="facilitator")
        return kind(self.api, self.parts, self.gateway, database, facilitator)


@contextlib.asynccontextmanager
async def deployed(
    gateway: Gateway, make_settings: Callable[..., Settings], **changes: str
) -> AsyncIterator[Deployment]:
    settings = make_settings(**gateway.settings, **changes)
    parts = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=60) as api:
        try:
            yield Deployment(api, parts, gateway)
        finally:
            await parts.close()


@contextlib.asynccontextmanager
async def opened(
    gateway_harness: Callable[..., S],
    gateway: Gateway,
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    **changes: str,
) -> AsyncIterator[S]:
    async with deployed(gateway, make_settings, **changes) as deployment:
        yield await deployment.harness(gateway_harness, database)
