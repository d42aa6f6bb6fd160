"""Places held for payments: given up in time, given once, and money that comes too late is never lost.

Each race has a twin with its guard taken out, which must go wrong.
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
from tests.support.app_harness import House, open_house, order_of
from tests.support.local_gateway import Till, TillGateway, running_till
from tests.support.without_locks import units_with, unlocked

ROUNDS = 15


async def test_a_hold_ends_once_however_many_workers_look(house: House) -> None:
    event = await house.event(capacity=30)
    bookings = [await house.book(person, event) for person in await house.people(30)]
    await house.minutes_pass(29)
    assert await house.worker.expire_holds() == 0
    await house.minutes_pass(2)

    expired = await asyncio.gather(*(worker.expire_holds() for worker in house.workers * 3))
    await house.until_dry()

    assert sum(expired) == 30
    for new in bookings:
        assert await house.booking(new) == ("cancelled", "pending")
        assert await house.told(new, "email") == [("booking_created", None), ("booking_cancelled", "payment_expired")]
        assert house.till.orders[order_of(new)].state == "closed"
        assert house.till.pay(order_of(new)) is None
    assert await house.records.fetchval("SELECT booked FROM events WHERE id = $1", event) == 0
    assert await house.jobs() == [("checkout_ended", "delivered")] * 30


async def test_an_expired_place_is_free_for_the_next_person(house: House) -> None:
    event = await house.event(capacity=1)
    person = await house.person()
    await house.expired(person, event)

    again = await house.book(person, event)

    assert await house.booking(again) == ("confirmed", "pending")


async def test_what_is_paid_on_the_spot_or_costs_nothing_is_not_held(house: House) -> None:
    offline = await house.book(await house.person(), await house.event(), gateway="offline")
    free = await house.book(await house.person(), await house.event(price="0"))
    await house.minutes_pass(100_000)

    assert await house.worker.expire_holds() == 0

    assert (offline.placed.hold_until, free.placed.hold_until) == (None, None)
    assert (offline.payment_url, free.payment_url) == (None, None)
    assert await house.booking(offline) == ("confirmed", "pending")
    assert await house.booking(free) == ("confirmed", "not_required")


async def test_a_paid_place_is_kept(house: House) -> None:
    new = await house.paid(await house.person(), await house.event())
    await house.minutes_pass(1000)

    assert await house.worker.expire_holds() == 0
    assert await house.booking(new) == ("confirmed", "completed")


async def test_a_failed_try_does_not_prolong_the_hold(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    webhook = house.till.pay(order_of(new), "declined")
    assert webhook is not None
    await house.take(webhook)
    await house.until_dry()
    assert await house.booking(new) == ("confirmed", "failed")
    await house.minutes_pass(31)

    assert await house.worker.expire_holds() == 1
    assert (await house.booking(new))[0] == "cancelled"


async def test_a_gateway_that_is_away_delays_the_closing_of_a_checkout(house: House) -> None:
    new = await house.expired(await house.person(), await house.event())
    house.till.away = True
    await house.worker.run()
    assert house.till.orders[order_of(new)].state == "open"
    house.till.away = False

    await house.until_dry()

    assert house.till.orders[order_of(new)].state == "closed"


async def test_money_that_came_just_before_the_checkout_was_closed_is_found_without_a_webhook(house: House) -> None:
    new = await house.expired(await house.person(), await house.event())
    house.till.pay(order_of(new))

    await house.until_dry()

    assert await house.booking(new) == ("confirmed", "completed")
    assert await house.wrongs() == []


@pytest.mark.parametrize("decided", [None, "paid"])
async def test_a_checkout_whose_making_was_not_confirmed_is_closed_once_the_hold_has_ended(
    house: House, decided: str | None
) -> None:
    house.till.lose_answers = True
    new = await house.expired(await house.person(), await house.event())
    house.till.lose_answers = False
    await house.book(await house.person(), EventId(new.placed.event_id))
    if decided:
        house.till.pay(order_of(new), decided)

    await house.worker.reconcile()

    assert house.till.orders[order_of(new)].state == (decided or "closed")
    assert await house.booking(new) == (("confirmed", "completed") if decided else ("cancelled", "pending"))


async def two_late_payments(house: House) -> Counter[object]:
    """Two people had the only place one after the other and pay now, at once."""
    event = await house.event(capacity=1)
    late = [await house.expired(person, event) for person in await house.people(2)]
    reports = [house.received(new) for new in late]
    settles = [worker.settle_payment for worker in house.workers]
    return Counter(
        await asyncio.gather(
            *(settle("till", report) for settle, report in zip(settles, reports, strict=True)), return_exceptions=True
        )
    )


async def test_of_two_late_payments_for_one_place_one_gets_it_and_one_is_given_back(house: House) -> None:
    for _ in range(ROUNDS):
        assert await two_late_payments(house) == {Settled.REINSTATED: 1, Settled.GIVEN_BACK: 1}
    await house.until_dry()
    assert house.till.kept("INR") == ROUNDS * 3000
    assert await house.wrongs() == []


async def pay_while_the_hold_ends(house: House) -> None:
    """A webhook, a look-up and the end of the hold at once, while somebody else waits for the place."""
    event = await house.event(capacity=1)
    person, waiting = await house.people(2)
    new = await house.book(person, event)
    await house.minutes_pass(31)
    webhook = house.till.pay(order_of(new))
    assert webhook is not None

    async def book_when_free() -> None:
        for _ in range(10):
            try:
                await house.book(waiting, event)
            except Exception:
                await asyncio.sleep(0.002)
            else:
                return

    await asyncio.gather(
        house.take(webhook),
        *(worker.expire_holds() for worker in house.workers),
        *(worker.run() for worker in house.workers),
        *(worker.reconcile() for worker in house.workers),
        book_when_free(),
        return_exceptions=True,
    )
    await house.until_dry()


class Reckless(PayableBooking):
    async def _may_have_a_seat_again(self) -> bool:
        return True


class AlwaysAPlace(SettlePayment):
    async def _lock(self, work: UnitOfWork, place: PaymentTarget, arrived_at: datetime | None) -> Payable:
        payable = await super()._lock(work, place, arrived_at)
        assert isinstance(payable, PayableBooking)
        return Reckless(payable.work, payable.event, payable.booking, payable.now)


@pytest.fixture
async def till() -> object:
    async with running_till() as running:
        yield running


async def test_a_payment_that_lands_while_the_hold_ends_keeps_the_place_or_comes_back(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, till: tuple[Till, TillGateway]
) -> None:
    async with open_house(make_settings(), database, *till, workers=4) as house:
        for _ in range(ROUNDS):
            await pay_while_the_hold_ends(house)
        assert await house.wrongs() == []
        ends = await house.records.fetch(
            """SELECT b.status, b.payment_status FROM payments p JOIN bookings b ON b.id = p.booking_id
               WHERE p.received_at IS NOT NULL"""
        )
    assert {tuple(row) for row in ends} <= {("confirmed", "completed"), ("cancelled", "refunded")}
    assert len(ends) == ROUNDS


async def test_without_the_locks_a_payment_that_lands_while_the_hold_ends_breaks_the_books(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    till: tuple[Till, TillGateway],
    no_backstop: None,
) -> None:
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings))
    async with open_house(make_settings(), database, *till, workers=4, units=units) as house:
        for _ in range(ROUNDS):
            await pay_while_the_hold_ends(house)
            if await house.wrongs():
                return
    raise AssertionError("the locks guard nothing")


@pytest.fixture
async def no_backstop(database: asyncpg.Connection) -> None:
    await database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")


async def test_without_the_lock_two_late_payments_get_one_place(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    till: tuple[Till, TillGateway],
    no_backstop: None,
) -> None:
    units = units_with(events=unlocked(PostgresEvents))
    async with open_house(make_settings(), database, *till, workers=2, units=units) as house:
        assert await two_late_payments(house) == {Settled.REINSTATED: 2}
        assert any("2 live" in wrong for wrong in await house.wrongs())


async def test_without_a_look_whether_there_is_a_place_it_is_given_twice(house: House, no_backstop: None) -> None:
    for worker in house.workers:
        settle = worker.settle_payment
        worker.settle_payment = AlwaysAPlace(settle.open_work, settle.refunds, settle.wake_ups, settle.clock)
    assert await two_late_payments(house) == {Settled.REINSTATED: 2}
    assert any("2 live" in wrong for wrong in await house.wrongs())


async def test_the_database_itself_refuses_a_place_too_many(house: House) -> None:
    for worker in house.workers:
        settle = worker.settle_payment
        worker.settle_payment = AlwaysAPlace(settle.open_work, settle.refunds, settle.wake_ups, settle.clock)

    outcomes = await two_late_payments(house)

    assert outcomes[Settled.REINSTATED] == 1
    assert "never_oversold" in str(next(iter(outcomes - Counter([Settled.REINSTATED]))))
