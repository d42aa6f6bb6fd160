"""Seats held for payments: they expire in time and once, and a late payment is never lost.

Each race has a negative control without its guard.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import asyncpg
import pytest

from application.payments.payables import Payable, PayableBooking
from application.payments.ports.records import PaymentTarget
from application.payments.settlement import Settled, SettlePayment
from application.unit_of_work import UnitOfWork
from domain.events import EventId
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.settings import Settings
from tests.support.app_harness import AppHarness, open_app_harness, order_of
from tests.support.local_gateway import LocalGateway, LocalGatewayClient
from tests.support.process_harness import LONG_RUN
from tests.support.without_locks import units_with, unlocked

ROUNDS = 15 if LONG_RUN else 5
SEATS = 30 if LONG_RUN else 12


async def test_hold_expires_once_with_several_workers(harness: AppHarness) -> None:
    event = await harness.event(capacity=SEATS)
    bookings = [await harness.book(person, event) for person in await harness.people(SEATS)]
    await harness.minutes_pass(29)
    assert await harness.worker.money.expire_holds() == 0
    await harness.minutes_pass(2)

    expired = await asyncio.gather(*(worker.money.expire_holds() for worker in harness.workers * 3))
    await harness.until_dry()

    assert sum(expired) == SEATS
    for new in bookings:
        assert await harness.booking(new) == ("cancelled", "pending")
        assert await harness.messages(new, "email") == [
            ("booking_created", None),
            ("booking_cancelled", "payment_expired"),
        ]
        assert harness.local_gateway.orders[order_of(new)].state == "closed"
        assert harness.local_gateway.pay(order_of(new)) is None
    assert await harness.records.fetchval("SELECT booked FROM events WHERE id = $1", event) == 0
    assert await harness.jobs() == [("checkout_ended", "delivered")] * SEATS


async def test_expired_seat_can_be_booked_again(harness: AppHarness) -> None:
    event = await harness.event(capacity=1)
    person = await harness.person()
    await harness.expired(person, event)

    again = await harness.book(person, event)

    assert await harness.booking(again) == ("confirmed", "pending")


async def test_offline_or_free_booking_has_no_hold(harness: AppHarness) -> None:
    offline = await harness.book(await harness.person(), await harness.event(), gateway="offline")
    free = await harness.book(await harness.person(), await harness.event(price="0"))
    await harness.minutes_pass(100_000)

    assert await harness.worker.money.expire_holds() == 0

    assert (offline.reserved.hold_until, free.reserved.hold_until) == (None, None)
    assert (offline.payment_url, free.payment_url) == (None, None)
    assert await harness.booking(offline) == ("confirmed", "pending")
    assert await harness.booking(free) == ("confirmed", "not_required")


async def test_paid_seat_is_kept(harness: AppHarness) -> None:
    new = await harness.paid(await harness.person(), await harness.event())
    await harness.minutes_pass(1000)

    assert await harness.worker.money.expire_holds() == 0
    assert await harness.booking(new) == ("confirmed", "completed")


async def test_failed_payment_does_not_extend_the_hold(harness: AppHarness) -> None:
    new = await harness.book(await harness.person(), await harness.event())
    webhook = harness.local_gateway.pay(order_of(new), "declined")
    assert webhook is not None
    await harness.take(webhook)
    await harness.until_dry()
    assert await harness.booking(new) == ("confirmed", "failed")
    await harness.minutes_pass(31)

    assert await harness.worker.money.expire_holds() == 1
    assert (await harness.booking(new))[0] == "cancelled"


async def test_unavailable_gateway_delays_closing_the_checkout(harness: AppHarness) -> None:
    new = await harness.expired(await harness.person(), await harness.event())
    harness.local_gateway.unavailable = True
    await harness.worker.run()
    assert harness.local_gateway.orders[order_of(new)].state == "open"
    harness.local_gateway.unavailable = False

    await harness.until_dry()

    assert harness.local_gateway.orders[order_of(new)].state == "closed"


async def test_payment_before_the_checkout_was_closed_is_found_without_webhook(
    harness: AppHarness,
) -> None:
    new = await harness.expired(await harness.person(), await harness.event())
    harness.local_gateway.pay(order_of(new))

    await harness.until_dry()

    assert await harness.booking(new) == ("confirmed", "completed")
    assert await harness.wrongs() == []


@pytest.mark.parametrize("decided", [None, "paid"])
async def test_checkout_with_a_lost_answer_is_closed_after_the_hold(harness: AppHarness, decided: str | None) -> None:
    harness.local_gateway.lose_answers = True
    new = await harness.expired(await harness.person(), await harness.event())
    harness.local_gateway.lose_answers = False
    await harness.book(await harness.person(), EventId(new.reserved.event_id))
    if decided:
        harness.local_gateway.pay(order_of(new), decided)

    await harness.worker.money.reconcile()

    assert harness.local_gateway.orders[order_of(new)].state == (decided or "closed")
    assert await harness.booking(new) == (("confirmed", "completed") if decided else ("cancelled", "pending"))


async def two_late_payments(harness: AppHarness, kind: type[SettlePayment] = SettlePayment) -> Counter[object]:
    """Two users held the only seat one after the other and pay now at the same time."""
    event = await harness.event(capacity=1)
    late = [await harness.expired(person, event) for person in await harness.people(2)]
    reports = [harness.received(new) for new in late]
    usual = [worker.money.settle_payment for worker in harness.workers]
    settles = [kind(each.open_work, each.refunds, each.wake_ups, each.clock) for each in usual]
    return Counter(
        await asyncio.gather(
            *(settle("till", report) for settle, report in zip(settles, reports, strict=True)), return_exceptions=True
        )
    )


async def test_of_two_late_payments_for_one_seat_one_is_refunded(harness: AppHarness) -> None:
    for _ in range(ROUNDS):
        assert await two_late_payments(harness) == {Settled.REINSTATED: 1, Settled.GIVEN_BACK: 1}
    await harness.until_dry()
    assert harness.local_gateway.kept("INR") == ROUNDS * 3000
    assert await harness.wrongs() == []


async def pay_while_the_hold_ends(harness: AppHarness) -> None:
    """A webhook, a look-up and the end of the hold at once, while another user waits for the seat."""
    event = await harness.event(capacity=1)
    person, waiting = await harness.people(2)
    new = await harness.book(person, event)
    await harness.minutes_pass(31)
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None

    async def book_when_free() -> None:
        for _ in range(10):
            try:
                await harness.book(waiting, event)
            except Exception:
                await asyncio.sleep(0.002)
            else:
                return

    await asyncio.gather(
        harness.take(webhook),
        *(worker.money.expire_holds() for worker in harness.workers),
        *(worker.run() for worker in harness.workers),
        *(worker.money.reconcile() for worker in harness.workers),
        book_when_free(),
        return_exceptions=True,
    )
    await harness.until_dry()


class Reckless(PayableBooking):
    async def _can_reserve_again(self) -> bool:
        return True


class AlwaysAPlace(SettlePayment):
    async def _lock(self, work: UnitOfWork, place: PaymentTarget, arrived_at: datetime | None) -> Payable:
        payable = await super()._lock(work, place, arrived_at)
        assert isinstance(payable, PayableBooking)
        return Reckless(payable.work, payable.event, payable.booking, payable.now)


async def test_payment_during_hold_expiry_keeps_the_seat_or_is_refunded(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
) -> None:
    async with open_app_harness(make_settings(), database, *local_gateway, workers=4) as harness:
        for _ in range(ROUNDS):
            await pay_while_the_hold_ends(harness)
        assert await harness.wrongs() == []
        ends = await harness.records.fetch(
            """SELECT b.status, b.payment_status FROM payments p JOIN bookings b ON b.id = p.booking_id
               WHERE p.received_at IS NOT NULL"""
        )
    assert {tuple(row) for row in ends} <= {("confirmed", "completed"), ("cancelled", "refunded")}
    assert len(ends) == ROUNDS


async def test_without_locks_payment_during_hold_expiry_breaks_the_invariants(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
    no_backstop: None,
) -> None:
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings))
    async with open_app_harness(make_settings(), database, *local_gateway, workers=4, units=units) as harness:
        for _ in range(15):
            await pay_while_the_hold_ends(harness)
            if await harness.wrongs():
                return
    raise AssertionError("the locks guard nothing")


@pytest.fixture
async def no_backstop(database: asyncpg.Connection) -> None:
    await database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")


async def test_without_lock_two_late_payments_get_one_seat(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
    no_backstop: None,
) -> None:
    units = units_with(events=unlocked(PostgresEvents))
    async with open_app_harness(make_settings(), database, *local_gateway, workers=2, units=units) as harness:
        for _ in range(15):
            if await two_late_payments(harness) == {Settled.REINSTATED: 2}:
                assert any("2 live" in wrong for wrong in await harness.wrongs())
                return
    raise AssertionError("the lock guards nothing")


async def test_without_seat_check_one_seat_is_reserved_twice(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
    no_backstop: None,
) -> None:
    async with open_app_harness(make_settings(), database, *local_gateway, workers=2) as harness:
        assert await two_late_payments(harness, AlwaysAPlace) == {Settled.REINSTATED: 2}
        assert any("2 live" in wrong for wrong in await harness.wrongs())


async def test_database_constraint_rejects_overbooking(harness: AppHarness) -> None:
    outcomes = await two_late_payments(harness, AlwaysAPlace)

    assert outcomes[Settled.REINSTATED] == 1
    assert "never_oversold" in str(next(iter(outcomes - Counter([Settled.REINSTATED]))))
