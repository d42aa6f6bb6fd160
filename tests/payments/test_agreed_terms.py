"""What was agreed when booking stays: price, refund policy, and a hold that never lasts beyond the start."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from application.bookings.reservation import NewBooking
from application.payments.payables import PayableBooking
from application.payments.settlement import Settled
from domain.accounts import User
from domain.events import RESCHEDULED, EventDetails, EventId
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import NothingToPay
from domain.refunds import PAID_AFTER_START, RefundPolicy
from domain.time import Interval
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.events.queries import PostgresBookingQueries
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.settings import Settings
from tests.support.app_harness import AppHarness, open_app_harness, order_of, ref_of
from tests.support.appointment_harness import AppointmentHarness
from tests.support.local_gateway import LocalGateway, LocalGatewayClient
from tests.support.messages import a_message
from tests.support.process_harness import LONG_RUN
from tests.support.without_locks import units_with, unlocked

SOON = timedelta(minutes=10)
OTHER_POLICY = [(1, 10)]


async def update(harness: AppHarness, event_id: EventId, **changes: Any) -> None:
    change = harness.worker.use_cases.update_event
    await change(harness.facilitator, event_id, lambda details: replace(details, **changes))


def later(details: EventDetails, by: timedelta) -> Interval:
    return Interval(details.interval.starts_at + by, details.interval.ends_at + by)


async def reschedule(harness: AppHarness, event_id: EventId, by: timedelta = timedelta(hours=1)) -> None:
    change = harness.worker.use_cases.update_event
    await change(harness.facilitator, event_id, lambda details: replace(details, interval=later(details, by)))


async def terms(harness: AppHarness, user: User, booking_id: BookingId) -> tuple[int, Decimal]:
    shown = await harness.worker.money.show_cancellation(user, booking_id)
    return shown.percent, shown.refund.amount


async def before_terms_were_stored(harness: AppHarness) -> None:
    """The bookings that there are look as those made by the version before."""
    await harness.records.execute("UPDATE bookings SET price = NULL, currency = NULL, refund_policy = NULL")


@pytest.mark.parametrize("old", [False, True], ids=["new", "from before"])
async def test_booking_keeps_its_agreed_price_when_the_event_price_changes(harness: AppHarness, old: bool) -> None:
    event = await harness.event(price="10", currency="EUR")
    paid, held = await harness.paid(await harness.person(), event), await harness.book(await harness.person(), event)
    free_event = await harness.event(price="0", currency="EUR")
    free = await harness.book(await harness.person(), free_event)
    assert not await harness.records.fetchval(
        "SELECT count(*) FROM bookings WHERE price IS NULL OR currency IS NULL OR refund_policy IS NULL"
    )
    if old:
        await before_terms_were_stored(harness)
    for each in (event, free_event):
        await update(harness, each, price=Money(Decimal(50), "EUR"))
        await reschedule(harness, each)

    reader = PostgresBookingQueries(harness.worker.database)
    for new, price in ((paid, "10"), (held, "10"), (free, "0")):
        view = await reader.get(new.reserved.id)
        assert (view.price, view.event.price) == (Money(Decimal(price), "EUR"), Decimal(50))
        async with harness.worker.open_work() as work:
            assert (await work.bookings.get(new.reserved.id)).price == view.price
        row = await harness.records.fetchrow(
            "SELECT snapshot::text FROM outbox WHERE lane = $1 AND fact = 'booking_moved'", f"booking:{new.reserved.id}"
        )
        assert row is not None
        payload = json.loads(row["snapshot"])
        body = to_payload(replace(a_message(MessageType.BOOKING_MOVED, destination=Destination.CRM), payload=payload))
        assert (body["price"], body["currency"], body["event"]["price"]) == (Decimal(price), "EUR", Decimal(50))


@pytest.mark.parametrize("old", [False, True], ids=["new", "from before"])
async def test_new_refund_policy_applies_to_later_bookings_only(harness: AppHarness, old: bool) -> None:
    event = await harness.event()
    ada, bela = await harness.people(2)
    before = await harness.paid(ada, event)
    if old:
        await before_terms_were_stored(harness)

    await update(harness, event, refund_policy=RefundPolicy(()))
    await update(harness, event, refund_policy=RefundPolicy.of(OTHER_POLICY))
    after = await harness.paid(bela, event)

    assert await terms(harness, ada, before.reserved.id) == (100, Decimal(30))
    assert await terms(harness, bela, after.reserved.id) == (10, Decimal(3))
    assert (await harness.cancel(ada, before)).amount == Money(Decimal(30), "INR")
    assert (await harness.cancel(bela, after)).amount == Money(Decimal(3), "INR")
    await harness.until_dry()
    assert await harness.wrongs() == []


@pytest.mark.parametrize(("change", "percent"), [("time", 100), ("title", 0)])
async def test_change_of_time_or_location_gives_earlier_bookings_a_full_refund(
    harness: AppHarness, change: str, percent: int
) -> None:
    event = await harness.event(policy=())
    ada, bela = await harness.people(2)
    before = await harness.paid(ada, event)
    if change == "time":
        await reschedule(harness, event)
    else:
        await update(harness, event, title="Y")
    after = await harness.paid(bela, event)

    assert await terms(harness, ada, before.reserved.id) == (percent, Decimal(30) * percent / 100)
    assert await terms(harness, bela, after.reserved.id) == (0, Decimal(0))
    moved = [reason for fact, reason in await harness.messages(before, "email") if fact == "booking_moved"]
    assert moved == [RESCHEDULED if change == "time" else None]


async def test_hold_ends_at_the_start_also_when_the_event_is_moved_earlier(harness: AppHarness) -> None:
    near = await harness.event(starts_in=SOON)
    far = await harness.event(starts_in=timedelta(days=1))
    starts_at = await harness.records.fetchval("SELECT starts_at FROM events WHERE id = $1", near)
    assert (await harness.book(await harness.person(), near)).reserved.hold_until == starts_at

    held = await harness.book(await harness.person(), far)
    await reschedule(harness, far, -timedelta(days=1) + SOON)
    assert held.reserved.hold_until is not None
    assert await harness.records.fetchval(
        "SELECT b.hold_until = e.starts_at FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1",
        held.reserved.id,
    )


@pytest.mark.parametrize(
    ("ago", "noticed"),
    [(timedelta(minutes=5), False), (timedelta(hours=3), True)],
    ids=["started, still held", "over, given up"],
)
async def test_payment_received_after_the_start_is_refunded(harness: AppHarness, ago: timedelta, noticed: bool) -> None:
    event = await harness.event()
    new = await harness.book(await harness.person(), event)
    await harness.event_started(event, ago)
    if noticed:
        assert await harness.worker.money.expire_holds() == 1
    with pytest.raises(NothingToPay):
        await harness.worker.money.open_checkout.for_payable(ref_of(new))

    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None
    await harness.take(webhook)
    await harness.until_dry()

    assert await harness.booking(new) == ("cancelled", "refunded")
    assert await harness.refunds(new) == [(Decimal(30), "processed", PAID_AFTER_START)]
    assert [fact for fact, _ in await harness.messages(new)] == [
        "booking_created",
        "booking_cancelled",
        "booking_refunded",
    ]
    assert await harness.records.fetchval("SELECT booked FROM events WHERE id = $1", event) == 0
    assert await harness.wrongs() == []


async def test_payment_received_before_the_start_counts_when_processed_later(harness: AppHarness) -> None:
    event = await harness.event()
    held, given_up = [await harness.book(person, event) for person in await harness.people(2)]
    for new in (held, given_up):
        webhook = harness.local_gateway.pay(order_of(new))
        assert webhook is not None
        await harness.take(webhook)
    await harness.records.execute("UPDATE gateway_events SET received_at = now() - interval '6 minutes'")
    await harness.event_started(event, timedelta(minutes=5))
    await harness.records.execute(
        "UPDATE bookings SET hold_until = now() + interval '1 hour' WHERE id = $1", held.reserved.id
    )
    assert await harness.worker.money.expire_holds() == 1

    await harness.until_dry()

    assert await harness.booking(held) == ("confirmed", "completed")
    assert await harness.booking(given_up) == ("confirmed", "completed")
    assert await harness.wrongs() == []


@pytest.mark.parametrize("asked_by", ["closing the checkout", "reconciliation"])
async def test_payment_counts_from_its_webhook_when_a_look_up_finds_it_first(
    harness: AppHarness, asked_by: str
) -> None:
    """The webhook is stored before the start and not applied yet; after the start the gateway is asked."""
    new = await harness.book(await harness.person(), await harness.event())
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None
    await harness.take(webhook)
    await harness.minutes_pass(6)
    await harness.records.execute("UPDATE gateway_events SET received_at = now() - interval '6 minutes'")
    await harness.event_started(EventId(new.reserved.event_id), timedelta(minutes=5))

    if asked_by == "reconciliation":
        assert await harness.worker.money.reconcile() == 1
    else:
        assert await harness.worker.money.expire_holds() == 1
        await harness.records.execute(
            "UPDATE outbox SET due_at = now() + interval '1 day' WHERE fact = 'gateway_event'"
        )
        await harness.worker.run()

    assert await harness.booking(new) == ("confirmed", "completed")
    await harness.until_dry()
    assert await harness.booking(new) == ("confirmed", "completed")
    assert await harness.wrongs() == []


async def test_late_payment_does_not_confirm_a_started_appointment(harness: AppHarness) -> None:
    appointment_harness = AppointmentHarness(harness)
    person, coach = await harness.person(), await appointment_harness.coach()
    new = await appointment_harness.book(person, coach)
    await harness.records.execute(
        """UPDATE coaching_bookings SET starts_at = starts_at - d, ends_at = ends_at - d, busy_from = busy_from - d,
               busy_until = busy_until - d, hold_until = now() - interval '1 minute'
           FROM (SELECT starts_at - now() + interval '1 minute' AS d FROM coaching_bookings WHERE id = $1) moved
           WHERE id = $1""",
        new.reserved.id,
    )

    assert await harness.settle("till", harness.received(new)) is Settled.GIVEN_BACK
    await harness.until_dry()

    assert await harness.booking(new) == ("cancelled", "refunded")
    assert await harness.refunds(new) == [(Decimal(30), "processed", PAID_AFTER_START)]
    assert await appointment_harness.history(new) == ["created", "cancelled", "refunded"]
    assert await harness.wrongs() == []


# Races


async def pay_at_the_start(harness: AppHarness) -> NewBooking:
    """The event begins while the payment arrives, the hold ends, and gateways are asked."""
    event = await harness.event(capacity=1)
    new = await harness.book(await harness.person(), event)
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None
    await harness.event_started(event, timedelta(milliseconds=1))
    await asyncio.gather(
        harness.take(webhook),
        *(worker.money.expire_holds() for worker in harness.workers),
        *(worker.run() for worker in harness.workers),
        *(worker.money.reconcile() for worker in harness.workers),
        return_exceptions=True,
    )
    await harness.until_dry()
    return new


STARTED_AND_PAID = """
SELECT count(*) FROM bookings b JOIN events e ON e.id = b.event_id
WHERE b.status = 'confirmed' AND b.payment_status = 'completed' AND e.starts_at < now()
"""


async def test_payment_at_the_moment_of_the_start_is_refunded_once(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
) -> None:
    async with open_app_harness(make_settings(), database, *local_gateway, workers=3) as harness:
        for _ in range(8 if LONG_RUN else 4):
            new = await pay_at_the_start(harness)
            assert await harness.booking(new) == ("cancelled", "refunded")
            assert [amount for amount, _, _ in await harness.refunds(new)] == [Decimal(30)]
        assert await harness.wrongs() == []


async def test_without_the_start_check_a_late_payment_confirms_a_started_event(
    harness: AppHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PayableBooking, "has_started", False)
    event = await harness.event()
    new = await harness.book(await harness.person(), event)
    await harness.event_started(event, timedelta(minutes=1))
    assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED
    assert await harness.records.fetchval(STARTED_AND_PAID) == 1


async def test_without_locks_a_payment_at_the_start_breaks_the_invariants(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
) -> None:
    await database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings))
    async with open_app_harness(make_settings(), database, *local_gateway, workers=3, units=units) as harness:
        for _ in range(15):
            await pay_at_the_start(harness)
            if await harness.wrongs():
                return
    raise AssertionError("the locks guard nothing")


# Cancellations by an organiser


async def test_cancelling_user_is_recorded(harness: AppHarness) -> None:
    person, member = await harness.people(2)
    event = await harness.event()
    own, other = await harness.book(person, event), await harness.book(member, event)
    await harness.cancel(person, own)
    await harness.cancel_event(event)
    rows = await harness.records.fetch("SELECT cancel_reason, cancelled_by FROM bookings ORDER BY id")
    assert [tuple(row) for row in rows] == [("by_person", person.id), ("event_cancelled", harness.facilitator.id)]
    assert await harness.booking(other) == ("cancelled", "pending")


async def test_appointment_moved_by_the_coach_gives_a_full_refund(harness: AppHarness) -> None:
    appointment_harness = AppointmentHarness(harness)
    person, coach = await harness.person(), await appointment_harness.coach(policy=[(0, 50)])
    own, moved = await appointment_harness.paid(person, coach, 1), await appointment_harness.paid(person, coach, 4)
    await appointment_harness.move(person, own, 2)
    await appointment_harness.move(coach, moved, 5)
    reasons = [
        reason for fact, reason in await harness.messages(moved, "email", "client") if fact == "booking_rescheduled"
    ]
    assert reasons == ["by_coach"]

    await appointment_harness.cancel(person, own)
    await appointment_harness.cancel(person, moved)
    await harness.until_dry()

    assert await harness.refunds(own) == [(Decimal(15), "processed", "booking_cancelled")]
    assert await harness.refunds(moved) == [(Decimal(30), "processed", "booking_cancelled")]
    assert await harness.wrongs() == []
