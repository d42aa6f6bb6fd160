"""Many requests of one account at the same time hold no more than the limits. Each race has a negative control with
its guard removed, which must go wrong."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import pytest

from application.bookings.reservation import NewBooking
from domain.accounts import UserId
from domain.events import EventId
from domain.unpaid_holds import DEFAULT_LIMITS, HoldsWithCoach, TooManyUnpaidHolds
from infrastructure.postgres.appointments.repository import PostgresAppointments
from infrastructure.postgres.bookings.seats import RESERVE, UNDER_LIMIT, PostgresSeatInventory
from infrastructure.settings import Settings
from tests.support.app_harness import AppHarness, open_app_harness
from tests.support.appointment_harness import AppointmentHarness, at
from tests.support.local_gateway import running_local_gateway
from tests.support.machine_clock import SystemClock
from tests.support.without_locks import PAUSE, units_with

# Counts in the snapshot of the whole statement, without waiting for the account's other requests.
_COUNTED_BEFORE = (
    f"(SELECT count(*) FROM bookings WHERE user_id = $2 AND hold_until IS NOT NULL AND pg_sleep({PAUSE}) IS NOT NULL) "
    "< $8"
)
_UNGUARDED = RESERVE.replace(UNDER_LIMIT, _COUNTED_BEFORE)
assert _UNGUARDED != RESERVE, "the booking statement has another shape now: take its guard out here as well"


async def seats_held(harness: AppHarness, take: str) -> int:
    """Of 16 seats in 16 events that one person asks for at the same time, over the connections of two workers."""
    person, events = await harness.person(), [await harness.event() for _ in range(16)]

    async def hold(number: int, event_id: EventId) -> bool:
        seats = PostgresSeatInventory(harness.workers[number % 2].database, gateway="till", reserve=take)
        reserved = await seats.reserve(
            event_id=event_id,
            user_id=person.id,
            notes=None,
            now=SystemClock().now(),
            hold_for=timedelta(minutes=30),
            request_id=None,
            unpaid_at_most=5,
        )
        return reserved is not None

    return sum(await asyncio.gather(*(hold(number, event_id) for number, event_id in enumerate(events))))


async def test_concurrent_bookings_hold_at_most_five_seats(harness: AppHarness) -> None:
    for _ in range(5):
        assert await seats_held(harness, RESERVE) == 5


async def test_without_guard_more_seats_are_held(harness: AppHarness) -> None:
    assert await seats_held(harness, _UNGUARDED) > 5


class CountsWithoutWaiting(PostgresAppointments):
    """Counts the client's holds without keeping other requests of theirs from adding one."""

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        counted = await super().count_unpaid_holds(client, coach)
        await self._session.rollback()
        await asyncio.sleep(PAUSE)
        return counted


async def sessions_held(harness: AppHarness) -> int:
    """Of eight sessions with one coach that one client asks for at the same time, at two workers."""
    client, coach = await harness.person(), await AppointmentHarness(harness).coach()

    async def hold(number: int) -> bool:
        book = harness.workers[number % 2].appointment.book_appointment
        try:
            await book(client, coach.uuid, at(number), timedelta(hours=1), None)
        except TooManyUnpaidHolds:
            return False
        return True

    return sum(await asyncio.gather(*map(hold, range(8))))


@pytest.mark.parametrize("guarded", [True, False])
async def test_concurrent_appointments_with_a_coach_hold_at_most_two(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, guarded: bool
) -> None:
    units = units_with(appointments=PostgresAppointments if guarded else CountsWithoutWaiting)
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(make_settings(), database, *local_gateway, workers=2, units=units) as harness,
    ):
        held = await sessions_held(harness)
        assert held == 2 if guarded else held > 2


async def test_payment_allows_another_hold(harness: AppHarness) -> None:
    person = await harness.person()
    new: list[NewBooking] = [await harness.book(person, await harness.event(), limits=DEFAULT_LIMITS) for _ in range(5)]
    event = await harness.event()
    with pytest.raises(TooManyUnpaidHolds):
        await harness.book(person, event, limits=DEFAULT_LIMITS)
    harness.local_gateway.pay(f"till_{new[0].reserved.payment_id}")
    await harness.settle("till", harness.received(new[0]))
    assert (await harness.book(person, event, limits=DEFAULT_LIMITS)).reserved.hold_until is not None
