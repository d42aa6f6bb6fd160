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
from sqlalchemy import text

from application.bookings.reservation import NewBooking
from application.events.management import UpdateEvent
from application.payments.payables import PayableBooking
from application.payments.refunds import RefundBooking, ShowCancellation
from application.payments.settlement import Settled
from domain.accounts import Role, User
from domain.errors import Forbidden
from domain.events import RESCHEDULED, EventDetails, EventId
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import NothingToPay, NothingToRefund, RefundExceedsPayment
from domain.refunds import PAID_AFTER_START, RefundPolicy
from domain.time import Interval
from infrastructure.clock import SystemClock
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.events.queries import PostgresBookingQueries, PostgresEventQueries
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.payments.repository import PostgresPayments, _payment
from infrastructure.settings import Settings
from tests.support.app_harness import House, open_house, order_of, ref_of
from tests.support.appointment_harness import Practice
from tests.support.local_gateway import Till, TillGateway, running_till
from tests.support.messages import a_message
from tests.support.without_locks import units_with, unlocked

SOON = timedelta(minutes=10)
OTHER_POLICY = [(1, 10)]


async def update(house: House, event_id: EventId, **changes: Any) -> None:
    worker = house.worker
    reader = PostgresEventQueries(worker.database)
    change = UpdateEvent(worker.open_work, worker.gateways.named("till"), reader, house.wake_ups, SystemClock())
    await change(house.facilitator, event_id, lambda plan: replace(plan, **changes))


def later(plan: EventDetails, by: timedelta) -> Interval:
    return Interval(plan.interval.starts_at + by, plan.interval.ends_at + by)


async def reschedule(house: House, event_id: EventId, by: timedelta = timedelta(hours=1)) -> None:
    worker = house.worker
    reader = PostgresEventQueries(worker.database)
    change = UpdateEvent(worker.open_work, worker.gateways.named("till"), reader, house.wake_ups, SystemClock())
    await change(house.facilitator, event_id, lambda plan: replace(plan, interval=later(plan, by)))


async def terms(house: House, user: User, booking_id: BookingId) -> tuple[int, Decimal]:
    shown = await ShowCancellation(house.worker.open_work, SystemClock())(user, booking_id)
    return shown.percent, shown.refund.amount


async def starts(house: House, event_id: EventId, ago: timedelta) -> None:
    """The event began that long ago; what was held for it ended then."""
    await house.records.execute(
        "UPDATE events SET starts_at = now() - $2::interval, ends_at = now() - $2::interval + interval '1 hour' "
        "WHERE id = $1",
        event_id,
        ago,
    )
    await house.records.execute("UPDATE bookings SET hold_until = now() - $1::interval WHERE hold_until > now()", ago)


async def before_terms_were_stored(house: House) -> None:
    """The bookings that there are look as those made by the version before."""
    await house.records.execute("UPDATE bookings SET price = NULL, currency = NULL, refund_policy = NULL")


@pytest.mark.parametrize("old", [False, True], ids=["new", "from before"])
async def test_the_price_of_a_booking_is_the_agreed_one_whatever_the_event_costs_now(house: House, old: bool) -> None:
    event = await house.event(price="10", currency="EUR")
    paid, held = await house.paid(await house.person(), event), await house.book(await house.person(), event)
    free_event = await house.event(price="0", currency="EUR")
    free = await house.book(await house.person(), free_event)
    assert not await house.records.fetchval(
        "SELECT count(*) FROM bookings WHERE price IS NULL OR currency IS NULL OR refund_policy IS NULL"
    )
    if old:
        await before_terms_were_stored(house)
    for each in (event, free_event):
        await update(house, each, price=Money(Decimal(50), "EUR"))
        await reschedule(house, each)

    reader = PostgresBookingQueries(house.worker.database)
    for new, price in ((paid, "10"), (held, "10"), (free, "0")):
        view = await reader.get(new.placed.id)
        assert (view.price, view.event.price) == (Money(Decimal(price), "EUR"), Decimal(50))
        async with house.worker.open_work() as work:
            assert (await work.bookings.get(new.placed.id)).price == view.price
        row = await house.records.fetchrow(
            "SELECT snapshot::text FROM outbox WHERE lane = $1 AND fact = 'booking_moved'", f"booking:{new.placed.id}"
        )
        assert row is not None
        payload = json.loads(row["snapshot"])
        body = to_payload(replace(a_message(MessageType.BOOKING_MOVED, destination=Destination.CRM), payload=payload))
        assert (body["price"], body["currency"], body["event"]["price"]) == (Decimal(price), "EUR", Decimal(50))


@pytest.mark.parametrize("old", [False, True], ids=["new", "from before"])
async def test_a_new_refund_policy_is_for_later_bookings(house: House, old: bool) -> None:
    event = await house.event()
    ada, bela = await house.people(2)
    before = await house.paid(ada, event)
    if old:
        await before_terms_were_stored(house)

    await update(house, event, refund_policy=RefundPolicy(()))
    await update(house, event, refund_policy=RefundPolicy.of(OTHER_POLICY))
    after = await house.paid(bela, event)

    assert await terms(house, ada, before.placed.id) == (100, Decimal(30))
    assert await terms(house, bela, after.placed.id) == (10, Decimal(3))
    assert (await house.cancel(ada, before)).amount == Money(Decimal(30), "INR")
    assert (await house.cancel(bela, after)).amount == Money(Decimal(3), "INR")
    await house.until_dry()
    assert await house.wrongs() == []


@pytest.mark.parametrize(("change", "percent"), [("time", 100), ("place", 100), ("link", 0), ("title", 0)])
async def test_a_change_of_time_or_place_lets_those_who_booked_before_cancel_for_a_full_refund(
    house: House, change: str, percent: int
) -> None:
    event = await house.event(policy=())
    ada, bela = await house.people(2)
    before = await house.paid(ada, event)
    changes = {
        "place": {"location": "Studio C"},
        "link": {"virtual_link": "https://x.example"},
        "title": {"title": "Y"},
    }
    if change == "time":
        await reschedule(house, event)
    else:
        await update(house, event, **changes[change])
    after = await house.paid(bela, event)

    assert await terms(house, ada, before.placed.id) == (percent, Decimal(30) * percent / 100)
    assert await terms(house, bela, after.placed.id) == (0, Decimal(0))
    moved = [reason for fact, reason in await house.told(before, "email") if fact == "booking_moved"]
    assert moved == {"time": [RESCHEDULED], "place": [RESCHEDULED], "link": [None]}.get(change, moved)
    assert RESCHEDULED not in moved or percent == 100


async def test_a_hold_ends_at_the_start_and_at_an_earlier_one_when_the_event_moves(house: House) -> None:
    near = await house.event(starts_in=SOON)
    far = await house.event(starts_in=timedelta(days=1))
    starts_at = await house.records.fetchval("SELECT starts_at FROM events WHERE id = $1", near)
    assert (await house.book(await house.person(), near)).placed.hold_until == starts_at

    held = await house.book(await house.person(), far)
    await reschedule(house, far, -timedelta(days=1) + SOON)
    assert held.placed.hold_until is not None
    assert await house.records.fetchval(
        "SELECT b.hold_until = e.starts_at FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1",
        held.placed.id,
    )


@pytest.mark.parametrize("noticed", [False, True], ids=["still held", "given up"])
@pytest.mark.parametrize("ago", [timedelta(minutes=5), timedelta(hours=3)], ids=["started", "over"])
async def test_money_that_arrives_after_the_start_is_refunded(house: House, ago: timedelta, noticed: bool) -> None:
    event = await house.event()
    new = await house.book(await house.person(), event)
    await starts(house, event, ago)
    if noticed:
        assert await house.worker.expire_holds() == 1
    with pytest.raises(NothingToPay):
        await house.worker.open_checkout.for_payable(ref_of(new))

    webhook = house.till.pay(order_of(new))
    assert webhook is not None
    await house.take(webhook)
    await house.until_dry()

    assert await house.booking(new) == ("cancelled", "refunded")
    assert await house.refunds(new) == [(Decimal(30), "processed", PAID_AFTER_START)]
    assert [fact for fact, _ in await house.told(new)] == ["booking_created", "booking_cancelled", "booking_refunded"]
    assert await house.records.fetchval("SELECT booked FROM events WHERE id = $1", event) == 0
    assert await house.wrongs() == []


async def test_money_that_arrived_before_the_start_counts_however_late_a_worker_sees_it(house: House) -> None:
    event = await house.event()
    held, given_up = [await house.book(person, event) for person in await house.people(2)]
    for new in (held, given_up):
        webhook = house.till.pay(order_of(new))
        assert webhook is not None
        await house.take(webhook)
    await house.records.execute("UPDATE gateway_events SET received_at = now() - interval '6 minutes'")
    await starts(house, event, timedelta(minutes=5))
    await house.records.execute(
        "UPDATE bookings SET hold_until = now() + interval '1 hour' WHERE id = $1", held.placed.id
    )
    assert await house.worker.expire_holds() == 1

    await house.until_dry()

    assert await house.booking(held) == ("confirmed", "completed")
    assert await house.booking(given_up) == ("confirmed", "completed")
    assert await house.wrongs() == []


@pytest.mark.parametrize("asked_by", ["closing the checkout", "reconciliation"])
async def test_money_counts_from_its_webhook_when_another_task_finds_it_first(house: House, asked_by: str) -> None:
    """The webhook is stored before the start and not applied yet; after the start the gateway is asked."""
    new = await house.book(await house.person(), await house.event())
    webhook = house.till.pay(order_of(new))
    assert webhook is not None
    await house.take(webhook)
    await house.minutes_pass(6)
    await house.records.execute("UPDATE gateway_events SET received_at = now() - interval '6 minutes'")
    await starts(house, EventId(new.placed.event_id), timedelta(minutes=5))

    if asked_by == "reconciliation":
        assert await house.worker.reconcile() == 1
    else:
        assert await house.worker.expire_holds() == 1
        await house.records.execute("UPDATE outbox SET due_at = now() + interval '1 day' WHERE fact = 'gateway_event'")
        await house.worker.run()

    assert await house.booking(new) == ("confirmed", "completed")
    await house.until_dry()
    assert await house.booking(new) == ("confirmed", "completed")
    assert await house.wrongs() == []


async def test_an_unpaid_session_that_has_begun_is_not_confirmed_by_late_money(house: House) -> None:
    practice = Practice(house)
    person, coach = await house.person(), await practice.coach()
    new = await practice.book(person, coach)
    await house.records.execute(
        """UPDATE coaching_bookings SET starts_at = starts_at - d, ends_at = ends_at - d, busy_from = busy_from - d,
               busy_until = busy_until - d, hold_until = now() - interval '1 minute'
           FROM (SELECT starts_at - now() + interval '1 minute' AS d FROM coaching_bookings WHERE id = $1) moved
           WHERE id = $1""",
        new.placed.id,
    )

    assert await house.settle("till", house.received(new)) is Settled.GIVEN_BACK
    await house.until_dry()

    assert await house.booking(new) == ("cancelled", "refunded")
    assert await house.refunds(new) == [(Decimal(30), "processed", PAID_AFTER_START)]
    assert await practice.history(new) == ["created", "cancelled", "refunded"]
    assert await house.wrongs() == []


# Races


@pytest.fixture
async def till() -> object:
    async with running_till() as running:
        yield running


async def pay_at_the_start(house: House) -> NewBooking:
    """The event begins while the payment arrives, the hold ends, and gateways are asked."""
    event = await house.event(capacity=1)
    new = await house.book(await house.person(), event)
    webhook = house.till.pay(order_of(new))
    assert webhook is not None
    await starts(house, event, timedelta(milliseconds=1))
    await asyncio.gather(
        house.take(webhook),
        *(worker.expire_holds() for worker in house.workers),
        *(worker.run() for worker in house.workers),
        *(worker.reconcile() for worker in house.workers),
        return_exceptions=True,
    )
    await house.until_dry()
    return new


STARTED_AND_PAID = """
SELECT count(*) FROM bookings b JOIN events e ON e.id = b.event_id
WHERE b.status = 'confirmed' AND b.payment_status = 'completed' AND e.starts_at < now()
"""


async def test_a_payment_that_lands_at_the_start_is_refunded_once(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, till: tuple[Till, TillGateway]
) -> None:
    async with open_house(make_settings(), database, *till, workers=3) as house:
        for _ in range(8):
            new = await pay_at_the_start(house)
            assert await house.booking(new) == ("cancelled", "refunded")
            assert [amount for amount, _, _ in await house.refunds(new)] == [Decimal(30)]
        assert await house.wrongs() == []


async def test_without_the_look_at_the_start_a_late_payment_buys_what_has_begun(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PayableBooking, "has_started", False)
    event = await house.event()
    new = await house.book(await house.person(), event)
    await starts(house, event, timedelta(minutes=1))
    assert await house.settle("till", house.received(new)) is Settled.RECEIVED
    assert await house.records.fetchval(STARTED_AND_PAID) == 1


async def test_without_the_locks_a_payment_that_lands_at_the_start_breaks_the_books(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, till: tuple[Till, TillGateway]
) -> None:
    await database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings))
    async with open_house(make_settings(), database, *till, workers=3, units=units) as house:
        for _ in range(15):
            await pay_at_the_start(house)
            if await house.wrongs():
                return
    raise AssertionError("the locks guard nothing")


# Refunds that an organiser asks for


async def refund(house: House, new: NewBooking, amount: str | None = None, *, by: User | None = None) -> Any:
    ask = RefundBooking(house.worker.open_work, house.worker.refunds, house.wake_ups)
    return await ask(by or house.facilitator, new.placed.id, Decimal(amount) if amount else None)


@pytest.mark.parametrize("gateway", ["till", "offline"])
async def test_a_past_event_is_refunded_in_parts_until_nothing_is_left(house: House, gateway: str) -> None:
    event = await house.event()
    new = await house.book(await house.person(), event, gateway=gateway)
    if gateway == "till":
        await house.settle("till", house.received(new))
    else:
        await house.worker.record_offline_payment.by_facilitator(house.facilitator, ref_of(new))
    await starts(house, event, timedelta(days=3))

    first = await refund(house, new, "12.50")
    assert (first.amount, await house.booking(new)) == (Money(Decimal("12.5"), "INR"), ("confirmed", "completed"))
    with pytest.raises(RefundExceedsPayment, match=r"At most 17\.50 INR"):
        await refund(house, new, "17.51")
    assert (await refund(house, new)).amount == Money(Decimal("17.5"), "INR")
    with pytest.raises(NothingToRefund):
        await refund(house, new)
    await house.until_dry()

    assert await house.booking(new) == ("confirmed", "refunded")
    why = "by_organiser"
    assert await house.refunds(new) == [(Decimal("12.5"), "processed", why), (Decimal("17.5"), "processed", why)]
    rows = await house.records.fetch("SELECT DISTINCT requested_by FROM refunds")
    assert [row["requested_by"] for row in rows] == [house.facilitator.id]
    assert await house.wrongs() == []


async def test_only_the_organiser_refunds_and_only_what_was_paid(house: House) -> None:
    person, stranger = await house.people(2)
    new = await house.book(person, await house.event())
    with pytest.raises(NothingToRefund):
        await refund(house, new)
    with pytest.raises(NothingToRefund):
        await refund(house, await house.book(person, await house.event(price="0")))
    await house.settle("till", house.received(new))
    for other in (person, stranger, replace(stranger, role=Role.FACILITATOR)):
        with pytest.raises(Forbidden):
            await refund(house, new, by=other)
    await refund(house, new, "1", by=replace(stranger, role=Role.ADMIN))
    await house.until_dry()
    assert (await house.cancel(person, new)).amount == Money(Decimal(29), "INR")
    await house.until_dry()
    assert house.till.orders[order_of(new)].refunded == 3000
    assert await house.wrongs() == []


async def refund_all_at_once(house: House) -> NewBooking:
    """Twelve ask for 7 of 30 while the person cancels."""
    person = await house.person()
    new = await house.paid(person, await house.event())
    await asyncio.gather(
        *(refund(house, new, "7") for _ in range(12)), house.cancel(person, new), return_exceptions=True
    )
    await house.until_dry()
    return new


async def test_many_refunds_at_once_are_never_more_than_what_was_paid(house: House) -> None:
    for _ in range(3):
        new = await refund_all_at_once(house)
        assert sum(amount for amount, _, _ in await house.refunds(new)) == Decimal(30)
        assert house.till.orders[order_of(new)].refunded == 3000
    assert await house.wrongs() == []


async def test_without_the_locks_many_refunds_at_once_break_the_books(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, till: tuple[Till, TillGateway]
) -> None:
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings), payments=_UnlockedPayments)
    async with open_house(make_settings(), database, *till, units=units) as house:
        new = await house.paid(await house.person(), await house.event())
        await asyncio.gather(*(refund(house, new, "7") for _ in range(12)), return_exceptions=True)
        assert sum(amount for amount, _, _ in await house.refunds(new)) > Decimal(30)
        assert any("promised" in wrong for wrong in await house.wrongs())


class _UnlockedPayments(PostgresPayments):
    """Looks at a payment without its lock, and a while before anything is done about it."""

    async def find_for(self, payable: Any) -> Any:
        row = await self._session.execute(
            text("SELECT * FROM payments WHERE booking_id = :id ORDER BY id DESC LIMIT 1"), {"id": payable.id}
        )
        found = row.mappings().first()
        await asyncio.sleep(0.05)
        return _payment(found) if found else None


# Cancellations by an organiser


async def test_an_admin_cancels_for_the_organiser_with_a_full_refund(house: House) -> None:
    person, member = await house.people(2)
    admin = replace(member, role=Role.ADMIN)
    new = await house.paid(person, await house.event(policy=()))
    assert await terms(house, person, new.placed.id) == (0, Decimal(0))
    assert await terms(house, admin, new.placed.id) == (100, Decimal(30))

    back = await house.cancel(admin, new)
    await house.until_dry()

    assert back.amount == Money(Decimal(30), "INR")
    row = await house.records.fetchrow("SELECT cancel_reason, cancelled_by FROM bookings WHERE id = $1", new.placed.id)
    assert row is not None
    assert tuple(row) == ("by_organiser", admin.id)
    for destination in ("crm", "email"):
        assert (await house.told(new, destination))[-2:] == [
            ("booking_cancelled", "by_organiser"),
            ("booking_refunded", "by_organiser"),
        ]
    assert await house.wrongs() == []


async def test_who_cancelled_is_recorded(house: House) -> None:
    person, member = await house.people(2)
    event = await house.event()
    own, other = await house.book(person, event), await house.book(member, event)
    await house.cancel(person, own)
    await house.cancel_event(event)
    rows = await house.records.fetch("SELECT cancel_reason, cancelled_by FROM bookings ORDER BY id")
    assert [tuple(row) for row in rows] == [("by_person", person.id), ("event_cancelled", house.facilitator.id)]
    assert await house.booking(other) == ("cancelled", "pending")


async def test_a_coach_who_moves_a_session_lets_its_client_cancel_for_a_full_refund(house: House) -> None:
    practice = Practice(house)
    person, coach = await house.person(), await practice.coach(policy=[(0, 50)])
    own, moved = await practice.paid(person, coach, 1), await practice.paid(person, coach, 4)
    await practice.move(person, own, 2)
    await practice.move(coach, moved, 5)
    reasons = [reason for fact, reason in await house.told(moved, "email", "client") if fact == "booking_rescheduled"]
    assert reasons == ["by_coach"]

    await practice.cancel(person, own)
    await practice.cancel(person, moved)
    await house.until_dry()

    assert await house.refunds(own) == [(Decimal(15), "processed", "booking_cancelled")]
    assert await house.refunds(moved) == [(Decimal(30), "processed", "booking_cancelled")]
    assert await house.wrongs() == []
