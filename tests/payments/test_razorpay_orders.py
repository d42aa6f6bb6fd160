"""Razorpay's webhooks arrive twice, late and in any order: all orders end in one state."""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Select, TextClause, text

from application.payments.settlement import SettlePayment
from application.unit_of_work import UnitOfWork
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.payments.gateway_harness import PAID
from tests.payments.razorpay_harness import GatewayHarness
from tests.support.gateway_server import Entity
from tests.support.load import many_users
from tests.support.machine_clock import SystemClock
from tests.support.process_harness import LONG_RUN
from tests.support.razorpay_server import FakeRazorpay, Webhook

EVENTS = (
    "payment.created",
    "payment.authorized",
    "payment.failed",
    "payment.captured",
    "order.paid",
    "refund.processed",
)
SEED = 20261120
EVERY_ORDER = bool(os.environ.get("EVERY_ORDER"))
"""All 720 orders take a minute. Without it a few are chosen by the seed; `tests/application/test_webhook_orders.py`
applies every order of a gateway's updates in memory."""


@pytest.fixture
def gateway_harness(razorpay_harness: GatewayHarness) -> GatewayHarness:
    return razorpay_harness


@dataclass(frozen=True)
class Unpaid:
    booking_id: int
    payment_id: UUID
    order_id: str


async def unpaid_bookings(gateway_harness: GatewayHarness, number: int) -> list[Unpaid]:
    """Written straight into the database, each with an order of its own."""
    event_id = await gateway_harness.event(capacity=number + 10)
    people = await many_users(gateway_harness.database, number)
    rows = await gateway_harness.database.fetch(
        """WITH made AS (
               INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, hold_until)
               SELECT $1, person, 'confirmed', 'pending', now(), now() + interval '30 minutes'
               FROM unnest($2::bigint[]) person RETURNING id
           )
           INSERT INTO payments (booking_id, gateway, gateway_reference, amount, currency, status, created_at)
           SELECT id, 'razorpay', 'order_of_' || id, 30, 'INR', 'pending', now() FROM made
           RETURNING booking_id, id, gateway_reference""",
        event_id,
        [person.id for person in people],
    )
    return [Unpaid(*row) for row in rows]


def story(razorpay: FakeRazorpay, unpaid: Unpaid, events: Iterable[str]) -> dict[str, Webhook]:
    """One order at Razorpay: a first payment failed, was authorized after all, and was refunded at Razorpay at the end.
    Each webhook is a snapshot of its moment."""
    order: Entity = {"id": unpaid.order_id, "receipt": str(unpaid.payment_id), "amount": 3_000, "currency": "INR"}
    payment = {"id": f"pay_{unpaid.booking_id}", "order_id": unpaid.order_id, "amount": 3_000, "currency": "INR"}
    payment |= {"notes": [], "amount_refunded": 0}
    refund = {"id": f"rfnd_{unpaid.booking_id}", "payment_id": payment["id"], "amount": 3_000, "currency": "INR"}
    after = {"payment.created": "created", "payment.failed": "failed", "payment.authorized": "authorized"}
    webhooks = {}
    for event in events:
        snapshot = payment | {"status": after.get(event, "captured")}
        match event.partition(".")[0]:
            case "payment":
                webhooks[event] = razorpay.webhook(event, payment=snapshot)
            case "order":
                webhooks[event] = razorpay.webhook(
                    event, payment=snapshot, order=order | {"status": "paid", "notes": []}
                )
            case "refund":
                given_back = snapshot | {"status": "refunded", "amount_refunded": 3_000}
                webhooks[event] = razorpay.webhook(event, payment=given_back, refund=refund | {"status": "processed"})
    return webhooks


async def send_and_settle(gateway_harness: GatewayHarness, webhooks: Sequence[Webhook]) -> None:
    """Takes each as the API does and applies it as the worker does, whether or not it is there already."""
    money = gateway_harness.parts.money
    for webhook in webhooks:
        headers = {name.lower(): value for name, value in webhook.headers.items()}
        event = await money.receive_webhook("razorpay", webhook.body, headers)
        await money.jobs.apply_gateway_event("razorpay", event.id)


def with_doubles(chance: random.Random, order: Sequence[Webhook]) -> list[Webhook]:
    """Each perhaps twice: under its id or, as a replay of the unsigned header, under another; somewhere later."""
    webhooks = list(order)
    for webhook in order:
        if chance.random() < 0.5:
            again = replace(webhook, id=f"{webhook.id}_again") if chance.random() < 0.5 else webhook
            webhooks.insert(chance.randint(webhooks.index(webhook) + 1, len(webhooks)), again)
    return webhooks


async def outcomes(gateway_harness: GatewayHarness, bookings: Sequence[Unpaid]) -> set[tuple[Any, ...]]:
    rows = await gateway_harness.database.fetch(
        """SELECT b.status, b.payment_status, p.status, p.refunded, p.gateway_payment_id = 'pay_' || b.id,
                  (SELECT array_agg((r.status, r.amount, r.gateway_refund_id = 'rfnd_' || b.id)::text)
                   FROM refunds r WHERE r.payment_id = p.id),
                  (SELECT count(*) FROM outbox o WHERE o.lane = 'booking:' || b.id AND o.destination = 'crm'
                   AND o.fact = 'payment_completed')
           FROM bookings b JOIN payments p ON p.booking_id = b.id WHERE b.id = ANY($1)""",
        [unpaid.booking_id for unpaid in bookings],
    )
    return {tuple(str(value) for value in row) for row in rows}


async def in_every_order(
    gateway_harness: GatewayHarness, events: Sequence[str], orders: Sequence[tuple[str, ...]]
) -> set[tuple[Any, ...]]:
    chance = random.Random(SEED)
    bookings = await unpaid_bookings(gateway_harness, len(orders))
    waiting = [
        with_doubles(chance, [by_event[event] for event in order])
        for unpaid, order in zip(bookings, orders, strict=True)
        for by_event in [story(gateway_harness.razorpay, unpaid, events)]
    ]

    async def one_after_the_other() -> None:
        while waiting:
            await send_and_settle(gateway_harness, waiting.pop())

    await asyncio.gather(*(one_after_the_other() for _ in range(4)))
    return await outcomes(gateway_harness, bookings)


async def test_orders_of_six_repeated_events_end_in_one_state(gateway_harness: GatewayHarness) -> None:
    orders = list(itertools.permutations(EVENTS))
    assert len(orders) == 720
    if not EVERY_ORDER:
        orders = random.Random(SEED).sample(orders, 120 if LONG_RUN else 8)
    refunded = ("confirmed", "refunded", "refunded", "30.0000", "True", "['(processed,30.0000,t)']", "1")
    assert await in_every_order(gateway_harness, EVENTS, orders) == {refunded}


async def test_orders_without_a_refund_end_paid(gateway_harness: GatewayHarness) -> None:
    events = EVENTS[1:-1]
    paid = ("confirmed", "completed", "completed", "0.0000", "True", "None", "1")
    orders = list(itertools.permutations(events))
    if not LONG_RUN:
        orders = random.Random(SEED).sample(orders, 6)
    assert await in_every_order(gateway_harness, events, orders) == {paid}


# Callback and webhooks at once


async def at_once(gateway_harness: GatewayHarness, bookings: Sequence[Unpaid], settle: SettlePayment) -> int:
    """How many payments had more than one message, if their callback and two webhooks are settled at one moment."""
    for unpaid in bookings:
        by_event = story(gateway_harness.razorpay, unpaid, EVENTS[3:5])
        reports = [
            gateway_harness.parts.money.gateways.named("razorpay")
            .read_webhook(each.body, {"x-razorpay-signature": each.headers["X-Razorpay-Signature"]})
            .report
            for each in by_event.values()
        ]
        await asyncio.gather(*(settle("razorpay", report) for report in [*reports, *reports]))  # type: ignore[arg-type]
    return sum(int(outcome[-1]) != 1 for outcome in await outcomes(gateway_harness, bookings))


class Unlocked(UnitsOfWork):
    """Reads without locking what it reads."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with super().__call__() as work:
            session: Any = work._session  # type: ignore[attr-defined]
            execute, scalar = session.execute, session.scalar

            async def unlocked_execute(statement: Any, *values: Any) -> Any:
                if isinstance(statement, TextClause):
                    statement = text(statement.text.replace("FOR UPDATE", ""))
                elif isinstance(statement, Select):
                    statement = statement._generate()
                    statement._for_update_arg = None
                return await execute(statement, *values)

            async def unlocked_scalar(statement: Any) -> Any:
                statement._for_update_arg = None
                return await scalar(statement)

            session.execute, session.scalar = unlocked_execute, unlocked_scalar
            yield work


async def test_concurrent_callback_and_webhooks_have_one_effect(gateway_harness: GatewayHarness) -> None:
    assert (
        await at_once(
            gateway_harness, await unpaid_bookings(gateway_harness, 20), gateway_harness.parts.money.settle_payment
        )
        == 0
    )


async def test_without_locks_concurrent_callback_and_webhooks_have_more(gateway_harness: GatewayHarness) -> None:
    parts = gateway_harness.parts
    open_work = Unlocked(parts.database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None)
    naive = replace(parts.money.settle_payment, open_work=open_work)
    assert await at_once(gateway_harness, await unpaid_bookings(gateway_harness, 20), naive) > 0


async def test_concurrent_callback_webhooks_and_worker_over_http_have_one_effect(
    gateway_harness: GatewayHarness,
) -> None:
    for _ in range(5 if LONG_RUN else 2):
        booked, order = await gateway_harness.a_booking()
        payment = gateway_harness.razorpay.pays(order["id"])
        webhooks, gateway_harness.razorpay.webhooks = gateway_harness.razorpay.webhooks, []
        answers = await asyncio.gather(
            *(gateway_harness.post("/payment/success", gateway_harness.razorpay.callback(payment)) for _ in range(4)),
            *(webhook.send(gateway_harness.api) for webhook in webhooks),
            gateway_harness.run_worker(),
        )
        assert {answer.status_code for answer in answers if answer is not None} == {200}
        await gateway_harness.run_worker()
        assert await gateway_harness.state(booked) == PAID
        assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.mismatches() == []
