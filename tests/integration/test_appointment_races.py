"""Guards of a coach's time under concurrency, each with a negative control."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain.accounts import User, UserId
from domain.attachments import (
    MAX_ATTACHMENTS,
    AttachmentQuota,
    AttachmentQuotaExceeded,
    AttachmentUsage,
    NewAttachment,
    TooManyAttachments,
)
from domain.availability import SlotUnavailable
from domain.coaches import Coach
from domain.events import Event, EventDetails, EventId
from domain.ids import AppointmentId
from domain.money import Money
from domain.time import Interval
from infrastructure.postgres.appointments.attachments import PostgresAttachments
from infrastructure.postgres.appointments.coaches import PostgresCoaches
from infrastructure.postgres.appointments.repository import PostgresAppointments
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.retries import TransactionConflict
from infrastructure.settings import Settings
from servicekit import conflicts
from tests.support.app_harness import AppHarness, NewSession, open_app_harness
from tests.support.appointment_harness import HOUR, AppointmentHarness, at
from tests.support.local_gateway import running_local_gateway
from tests.support.without_locks import units_with, unlocked


@dataclass(frozen=True)
class Scene:
    """A coach who takes nothing, and a client."""

    appointment_harness: AppointmentHarness
    coach: User
    client: User

    @property
    def harness(self) -> AppHarness:
        return self.appointment_harness.harness

    async def books(self, hour: float) -> NewSession:
        return await self.appointment_harness.book(self.client, self.coach, hour)

    async def makes_event(self, hour: float) -> EventId:
        create = self.harness.worker.use_cases.create_event
        return (await create(self.coach, a_plan(hour))).id

    async def moves_event(self, event: EventId, hour: float) -> None:
        update = self.harness.worker.use_cases.update_event
        await update(self.coach, event, lambda details: replace(details, interval=a_plan(hour).interval))

    async def until_blocked(self, *, people: int = 1) -> None:
        """For a lock of another transaction. Seen a hundred times in a row: a write may also wait for a moment for
        what maintains it, and goes on."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        seen = 0
        # Its own connection: the bookings that it watches use the harness's.
        async with asyncio.timeout(60), self.harness.worker.parts.database.connection() as connection:
            while seen < 100:
                seen = seen + 1 if await connection.fetchval(waiting) >= people else 0
                await asyncio.sleep(0.01)

    async def through_or_waiting(self, task: asyncio.Task[Any]) -> None:
        waits = asyncio.create_task(self.until_blocked())
        await asyncio.wait([task, waits], return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        with suppress(asyncio.CancelledError):
            await waits


@asynccontextmanager
async def a_scene(
    settings: Settings, database: asyncpg.Connection, units: type[UnitsOfWork] = UnitsOfWork
) -> AsyncIterator[Scene]:
    async with (
        running_local_gateway() as local_gateway,
        open_app_harness(settings, database, *local_gateway, units=units) as harness,
    ):
        appointment_harness = AppointmentHarness(harness)
        yield Scene(appointment_harness, await appointment_harness.coach(price="0"), await harness.person())


def a_plan(hour: float) -> EventDetails:
    return EventDetails("Yoga", Interval(at(hour), at(hour) + HOUR), 5, Money.from_minor_units(0, "INR"))


@dataclass
class Pause:
    """Holds the first unit of work up that comes here, in the middle of it, until the test says so."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()


# A session and an event of its coach at the same moment


class SlowEvents(PostgresEvents):
    """Written, and not committed for a while."""

    pause = Pause()

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event:
        event = await super().add(facilitator_id, details, now)
        await self.pause()
        return event

    async def save(self, event: Event) -> None:
        await super().save(event)
        await self.pause()


class SlowLook(PostgresCoaches):
    """What the coach does was looked at, and nothing is done about it for a while."""

    pause = Pause()

    async def busy(self, user_id: UserId, window: Interval, **which: Any) -> list[Interval]:
        found = await super().busy(user_id, window, **which)
        await self.pause()
        return found


class Heedless(PostgresCoaches):
    """Takes neither the lock on the coach's events nor the one on the account."""

    async def get_to_book(self, coach: UUID) -> Coach:
        return await self.get(coach)

    async def lock_out_events(self, user_id: UserId) -> None:
        pass


class SlowAndHeedless(SlowLook, Heedless):
    pass


def coaches(kind: type[PostgresCoaches]) -> Callable[..., PostgresCoaches]:
    return lambda session: kind(session, "INR")


async def amid(
    scene: Scene, pause: Pause, held_up: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]
) -> tuple[bool, Any]:
    """Starts the one and, while it is held up, the other: whether that had to wait, and what came of it."""
    first = asyncio.create_task(held_up)
    await pause.reached.wait()
    second = asyncio.create_task(other)
    await scene.through_or_waiting(second)
    waited = not second.done()
    pause.go_on.set()
    await first
    return waited, (await asyncio.gather(second, return_exceptions=True))[0]


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("how", ["made", "moved"])
async def test_time_of_an_uncommitted_event_cannot_be_booked(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, guarded: bool, how: str
) -> None:
    pause = Pause()
    pause.go_on.set()
    SlowEvents.pause = pause
    units = units_with(events=SlowEvents, coaches=coaches(PostgresCoaches if guarded else Heedless))
    async with a_scene(make_settings(), database, units) as scene:
        event = await scene.makes_event(2)
        SlowEvents.pause = pause = Pause()
        putting = scene.makes_event(10) if how == "made" else scene.moves_event(event, 10)
        waited, booked = await amid(scene, pause, putting, scene.books(10.5))
    # The negative control has not seen the event, and the appointment is booked over it.
    assert (waited, isinstance(booked, SlotUnavailable)) == (guarded, guarded), booked


@pytest.mark.parametrize("guarded", [True, False])
async def test_event_of_the_coach_waits_for_a_booking_in_progress(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, guarded: bool
) -> None:
    """Who has looked already is booked first: the event waits, and is put over a session that is there."""
    SlowLook.pause = pause = Pause()
    units = units_with(coaches=coaches(SlowLook if guarded else SlowAndHeedless))
    async with a_scene(make_settings(), database, units) as scene:
        waited, event = await amid(scene, pause, scene.books(10), scene.makes_event(10))
    assert isinstance(event, int), event
    assert waited is guarded


async def test_appointments_of_one_coach_do_not_wait_for_each_other(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    SlowLook.pause = pause = Pause()
    async with a_scene(make_settings(), database, units_with(coaches=coaches(SlowLook))) as scene:
        first = asyncio.create_task(scene.books(10))
        await pause.reached.wait()
        await scene.books(11)
        pause.go_on.set()
        await first


# Two sessions that are moved to one time, which a third is about to take


class OutOfTurn(PostgresAppointments):
    async def _lock_coach(self, coach_id: UserId) -> None:
        pass


@pytest.mark.parametrize(
    ("units", "loser"),
    [(UnitsOfWork, SlotUnavailable), (units_with(appointments=OutOfTurn), TransactionConflict)],
    ids=["", "twin"],
)
async def test_of_two_waiting_for_one_time_one_gets_it_and_one_gets_unavailable(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    units: type[UnitsOfWork],
    loser: type[Exception],
) -> None:
    """The negative control ends in a deadlock, and one caller gets a 503 where nothing is repeated."""
    monkeypatch.setattr(conflicts, "TRIES", 1)
    async with a_scene(make_settings(), database, units) as scene:
        two = [await scene.books(hour) for hour in (1, 2)]
        third = await asyncpg.connect(database_url)
        taking = third.transaction()
        await taking.start()
        await third.execute(
            """INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
                   payment_status, price, currency, refund_policy, created_at, updated_at)
               SELECT client_id, coach_id, $2, $3, $2, $3, status, payment_status, price, currency, refund_policy,
                   created_at, updated_at FROM coaching_bookings WHERE id = $1""",
            *(two[0].reserved.id, at(10), at(11)),
        )
        moves = [asyncio.create_task(scene.appointment_harness.move(scene.coach, new, 10)) for new in two]
        await scene.until_blocked(people=2)
        await taking.rollback()
        outcomes = await asyncio.gather(*moves, return_exceptions=True)
        await third.close()
    assert Counter(map(type, outcomes)) == {type(None): 1, loser: 1}


# The last file


class SlowCount(PostgresAttachments):
    pause = Pause()

    async def count(self, booking: AppointmentId) -> int:
        number = await super().count(booking)
        await self.pause()
        return number


@pytest.mark.parametrize("guarded", [True, False])
async def test_last_free_attachment_slot_is_used_once(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, guarded: bool
) -> None:
    kind = PostgresAppointments if guarded else unlocked(PostgresAppointments)
    async with a_scene(make_settings(), database, units_with(appointments=kind, attachments=SlowCount)) as scene:
        booking = AppointmentId((await scene.books(10)).reserved.id)
        attach = scene.harness.worker.appointment.attach
        file = NewAttachment("goals.txt", "text/plain", b"x")
        SlowCount.pause.reached.set()
        for _ in range(MAX_ATTACHMENTS - 1):
            await attach(scene.client, booking, file)
        SlowCount.pause = pause = Pause()
        two = (attach(scene.client, booking, file) for _ in range(2))
        waited, second = await amid(scene, pause, *two)
        kept = await database.fetchval("SELECT count(*) FROM coaching_attachments WHERE booking_id = $1", booking)
    assert (waited, isinstance(second, TooManyAttachments)) == (guarded, guarded), second
    assert kept == MAX_ATTACHMENTS + (not guarded)


# The last room in an account's quota


class SlowUsage(PostgresAttachments):
    pause = Pause()

    async def usage(self, account: UserId) -> AttachmentUsage:
        used = await super().usage(account)
        await self.pause()
        return used


class UnlockedUsage(SlowUsage):
    async def lock_usage(self, account: UserId) -> None:
        """Lets other uploads of the account go on."""


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("quota", [AttachmentQuota(files=1), AttachmentQuota(megabytes=1)])
async def test_last_room_of_an_account_is_used_once_by_uploads_to_two_appointments(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, quota: AttachmentQuota, guarded: bool
) -> None:
    """Each appointment is locked by its own upload, so only the account's lock makes them wait."""
    attachments = SlowUsage if guarded else UnlockedUsage
    async with a_scene(make_settings(), database, units_with(attachments=attachments)) as scene:
        bookings = [AppointmentId((await scene.books(hour)).reserved.id) for hour in (10, 12)]
        attach = replace(scene.harness.worker.appointment.attach, quota=quota)
        file = NewAttachment("goals.txt", "text/plain", b"x" * 600_000)
        attachments.pause = pause = Pause()
        two = (attach(scene.client, booking, file) for booking in bookings)
        waited, second = await amid(scene, pause, *two)
        kept = await database.fetchval("SELECT count(*) FROM coaching_attachments")
    assert (waited, isinstance(second, AttachmentQuotaExceeded)) == (guarded, guarded), second
    assert kept == 1 + (not guarded)
