"""Payments of appointments in races with other requests. Each race has a negative control without its guard."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from application.payments.settlement import Settled
from domain.accounts import UserId
from domain.availability import SlotUnavailable
from domain.time import Interval
from infrastructure.postgres.appointments.coaches import PostgresCoaches
from infrastructure.postgres.appointments.repository import PostgresAppointments
from infrastructure.settings import Settings
from tests.support.app_harness import NewSession, open_app_harness, order_of
from tests.support.appointment_harness import AppointmentHarness
from tests.support.local_gateway import running_local_gateway
from tests.support.process_harness import LONG_RUN
from tests.support.without_locks import units_with, unlocked

PAID = ("confirmed", "completed")
GIVEN_BACK = ("cancelled", "refunded")
ROUNDS = 10 if LONG_RUN else 4
MOST_ROUNDS = 20
"""Of a race without its guard, which ends when the guard is missed."""
WITHOUT_BACKSTOP = "ALTER TABLE coaching_bookings DROP CONSTRAINT ex_coaching_bookings_one_at_a_time"


class LooksTogether(PostgresCoaches):
    """No caller books before `together` callers have looked at the calendar of the coach."""

    together: asyncio.Barrier | None = None

    async def busy(self, user_id: UserId, window: Interval, **which: object) -> list[Interval]:
        found = await super().busy(user_id, window, **which)  # type: ignore[arg-type]
        if self.together is not None:
            await self.together.wait()
        return found


ALL_READ_FIRST = units_with(coaches=lambda session: LooksTogether(session, "INR"))


@contextmanager
def two_look_together() -> Iterator[None]:
    LooksTogether.together = asyncio.Barrier(2)
    try:
        yield
    finally:
        LooksTogether.together = None


async def two_late_payments(appointment_harness: AppointmentHarness, hour: int) -> Counter[object]:
    """Two clients had the same time one after the other and pay now, at once."""
    harness = appointment_harness.harness
    coach = await appointment_harness.coach()
    late = [await appointment_harness.expired(client, coach, hour) for client in await harness.people(2)]
    reports = [harness.received(new) for new in late]
    with two_look_together():
        settled = await asyncio.gather(
            *(
                worker.money.settle_payment("till", report)
                for worker, report in zip(harness.workers, reports, strict=True)
            )
        )
    return Counter(settled)


@pytest.mark.parametrize("constraint", [True, False])
async def test_of_two_late_payments_for_one_time_one_is_refunded(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, constraint: bool
) -> None:
    if not constraint:
        await database.execute(WITHOUT_BACKSTOP)
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(make_settings(), database, *local_gateway, workers=2, units=ALL_READ_FIRST) as harness,
    ):
        appointment_harness = AppointmentHarness(harness)
        if not constraint:
            assert await two_late_payments(appointment_harness, 0) == {Settled.REINSTATED: 2}
            assert any("2 live sessions" in wrong for wrong in await harness.wrongs())
            return
        for hour in range(ROUNDS):
            assert await two_late_payments(appointment_harness, hour) == {Settled.REINSTATED: 1, Settled.GIVEN_BACK: 1}
        await harness.until_dry()
        assert harness.local_gateway.kept("INR") == ROUNDS * 3000
        assert await harness.wrongs() == []


async def test_of_two_appointments_moved_to_one_time_one_is_rejected(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(make_settings(), database, *local_gateway, workers=2, units=ALL_READ_FIRST) as harness,
    ):
        appointment_harness = AppointmentHarness(harness)
        for _ in range(ROUNDS):
            coach = await appointment_harness.coach()
            two = [
                await appointment_harness.book(client, coach, hour)
                for hour, client in enumerate(await harness.people(2))
            ]
            with two_look_together():
                outcomes = await asyncio.gather(
                    *(appointment_harness.move(coach, new, 5) for new in two), return_exceptions=True
                )
            assert Counter(map(type, outcomes)) == {SlotUnavailable: 1, type(None): 1}


async def pay_while_the_hold_ends(appointment_harness: AppointmentHarness, hour: int) -> None:
    harness = appointment_harness.harness
    coach = await appointment_harness.coach()
    client, waiting = await harness.people(2)
    new = await appointment_harness.book(client, coach, hour)
    await harness.minutes_pass(31)
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None

    async def book_when_free() -> NewSession | None:
        for _ in range(10):
            try:
                return await appointment_harness.book(waiting, coach, hour)
            except SlotUnavailable:
                await asyncio.sleep(0.002)
        return None

    await asyncio.gather(
        harness.take(webhook),
        *(appointment_harness.expire(worker) for worker in harness.workers),
        *(worker.run() for worker in harness.workers),
        *(worker.money.reconcile() for worker in harness.workers),
        book_when_free(),
    )
    await harness.until_dry()


async def test_payment_during_hold_expiry_keeps_the_time_or_is_refunded(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(make_settings(), database, *local_gateway, workers=4) as harness,
    ):
        for hour in range(ROUNDS):
            await pay_while_the_hold_ends(AppointmentHarness(harness), hour)
        assert await harness.wrongs() == []
        ends = await harness.records.fetch(
            """SELECT c.status, c.payment_status FROM payments p JOIN coaching_bookings c
               ON c.id = p.coaching_booking_id WHERE p.received_at IS NOT NULL"""
        )
    assert {tuple(row) for row in ends} <= {PAID, GIVEN_BACK}
    assert len(ends) == ROUNDS


async def test_without_lock_payment_during_hold_expiry_breaks_the_invariants(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    await database.execute(WITHOUT_BACKSTOP)
    units = units_with(appointments=unlocked(PostgresAppointments))
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(make_settings(), database, *local_gateway, workers=4, units=units) as harness,
    ):
        for hour in range(MOST_ROUNDS):
            await pay_while_the_hold_ends(AppointmentHarness(harness), hour)
            if await harness.wrongs():
                return
    raise AssertionError("the lock guards nothing")
