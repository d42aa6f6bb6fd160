"""The port of calendar feeds, in memory and in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest

from application.calendars.ports import Feeds
from domain.accounts import Role, User, UserId
from domain.appointments import Appointment, AppointmentCancelReason, NewAppointment
from domain.calendar_feed import LOOKS_BACK, EntryKind, FeedEntry, FeedRange
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.calendars.feeds import PostgresFeeds
from infrastructure.postgres.engine import Database
from tests.conformance.booking_adapters import DAY, HOUR, NOW, BookingAdapters, in_memory, in_postgres, inr
from tests.support.memory.calendar_feeds import MemoryFeeds
from tests.support.memory.store import SettableClock, Store

RANGE = FeedRange.at(NOW)
DOMAIN = "convene.example"
LINK = "https://meet.example/1"
_hours = count(1)


@dataclass
class FeedAdapters:
    adapters: BookingAdapters
    feeds: Feeds
    uid_domain: str

    async def person(self, role: Role = Role.USER) -> User:
        return await self.adapters.person(role)

    async def appointment(self, client: User, coach: User) -> Appointment:
        starts_at = NOW + DAY + next(_hours) * HOUR
        session = Interval(starts_at, starts_at + HOUR)
        new = NewAppointment(client.id, coach.id, session, session, inr(0), RefundPolicy(), "Notes", hold_until=None)
        async with self.adapters.changing() as work:
            (added,) = await work.appointments.add([new], NOW)
        assert added is not None
        return added

    async def entries(self, user: User, wanted: FeedRange = RANGE) -> Sequence[FeedEntry]:
        return await self.feeds.entries(user.id, wanted)

    async def open(self, user: User, *, token_version: int | None = None) -> bytes | None:
        """The fingerprint of the account's address; None if it was not opened."""
        fingerprint = uuid4().bytes * 2
        version = user.token_version if token_version is None else token_version
        return fingerprint if await self.feeds.open(user.id, version, fingerprint, NOW) else None


@pytest.fixture(scope="module")
async def domain_of_uids(postgres_database: Database) -> str:
    """The first migration of a new database stores one."""
    async with postgres_database.connection() as connection:
        domain: str = await connection.fetchval("SELECT uid_domain FROM calendar_identity")
    return domain


@pytest.fixture(params=["memory", "postgres"])
def feeds(request: pytest.FixtureRequest) -> FeedAdapters:
    if request.param == "memory":
        store = Store()
        return FeedAdapters(in_memory(store, SettableClock(NOW)), MemoryFeeds(store, uid_domain=DOMAIN), DOMAIN)
    database, domain = request.getfixturevalue("postgres_database"), request.getfixturevalue("domain_of_uids")
    return FeedAdapters(in_postgres(database), PostgresFeeds(database), domain)


async def test_newest_address_of_an_account_finds_it(feeds: FeedAdapters) -> None:
    user = await feeds.person()
    first, second = await feeds.open(user), await feeds.open(user)
    assert first is not None
    assert second is not None
    assert (await feeds.feeds.find(first), await feeds.feeds.find(second)) == (None, user.id)
    for _ in range(2):
        await feeds.feeds.close(user.id)
        assert await feeds.feeds.find(second) is None


async def test_address_is_not_opened_with_another_token_version(feeds: FeedAdapters) -> None:
    user = await feeds.person()
    kept = await feeds.open(user)
    assert kept is not None
    assert await feeds.open(user, token_version=user.token_version + 1) is None
    assert await feeds.feeds.find(kept) == user.id


async def test_address_of_a_deactivated_account_is_not_found(feeds: FeedAdapters) -> None:
    user = await feeds.person()
    kept = await feeds.open(user)
    async with feeds.adapters.changing() as work:
        await work.users.save(replace(await work.users.get(user.id), is_active=False))
    assert kept is not None
    assert await feeds.feeds.find(kept) is None
    assert await feeds.open(user) is None


async def test_seat_is_an_entry(feeds: FeedAdapters) -> None:
    user = await feeds.person()
    event = await feeds.adapters.event(title="Yoga", description="Slow", location="Studio B", virtual_link=LINK)
    booked = await feeds.adapters.booked(event, user)
    (entry,) = await feeds.entries(user)
    facilitator = await feeds.adapters.events.get(event.id)
    assert entry == FeedEntry(
        kind=EntryKind.PLACE,
        id=str(booked.id),
        title="Yoga",
        text="Slow",
        reference=f"Booking {booked.reference}, with {facilitator.facilitator_name}",
        starts_at=event.details.interval.starts_at,
        ends_at=event.details.interval.ends_at,
        location="Studio B",
        link=None,
        is_tentative=True,
        sequence=(await feeds.adapters.stored_event(event)).version,
        written_at=NOW,
        uid=f"booking-{booked.id}@{feeds.uid_domain}",
    )


async def test_paid_seat_has_its_link(feeds: FeedAdapters) -> None:
    booking_id = await feeds.adapters.paid(await feeds.adapters.event(virtual_link=LINK))
    owner = (await feeds.adapters.booking(booking_id)).user_id
    (entry,) = await feeds.feeds.entries(owner, RANGE)
    assert (entry.link, entry.is_tentative, entry.written_at) == (LINK, False, NOW)


async def test_appointment_is_an_entry_of_client_and_coach(feeds: FeedAdapters) -> None:
    client, coach = await feeds.person(), await feeds.person(Role.FACILITATOR)
    appointment = await feeds.appointment(client, coach)
    (own,), (theirs,) = await feeds.entries(client), await feeds.entries(coach)
    assert own == FeedEntry(
        kind=EntryKind.SESSION,
        id=str(appointment.id),
        title=f"Coaching with {coach.name}",
        text="Notes",
        reference=f"Booking {appointment.id}",
        starts_at=appointment.session.starts_at,
        ends_at=appointment.session.ends_at,
        location=None,
        link=None,
        is_tentative=True,
        sequence=0,
        written_at=NOW,
        uid=f"coaching-{appointment.id}@{feeds.uid_domain}",
    )
    assert theirs == replace(own, title=f"Coaching with {client.name}")


async def test_event_is_an_entry_of_its_facilitator(feeds: FeedAdapters) -> None:
    facilitator = await feeds.person(Role.FACILITATOR)
    event = await feeds.adapters.event(facilitator=facilitator, virtual_link=LINK)
    (entry,) = await feeds.entries(facilitator)
    assert (entry.kind, entry.id, entry.title) == (EntryKind.EVENT, str(event.id), "Yoga")
    assert (entry.reference, entry.link, entry.is_tentative) == ("Your event", LINK, False)
    assert (entry.sequence, entry.written_at, entry.uid) == (event.version, NOW, f"event-{event.id}@{feeds.uid_domain}")


async def test_cancelled_entries_are_omitted(feeds: FeedAdapters) -> None:
    user, facilitator = await feeds.person(), await feeds.person(Role.FACILITATOR)
    event, other = [await feeds.adapters.event(facilitator=facilitator, price=inr(0)) for _ in range(2)]
    appointment = await feeds.appointment(user, facilitator)
    booked = await feeds.adapters.booked(event, user)
    assert (len(await feeds.entries(user)), len(await feeds.entries(facilitator))) == (2, 3)
    async with feeds.adapters.changing() as work:
        stored = await work.appointments.get(appointment.id)
        reason = AppointmentCancelReason.BY_PERSON
        await work.appointments.save(stored.cancelled(NOW, reason, by=user.id))
        booking = await work.bookings.get(booked.id)
        starts_at = event.details.interval.starts_at
        await work.bookings.save(booking.cancelled(NOW, event_starts_at=starts_at, by=user.id))
        await work.events.save((await work.events.get(other.id)).cancelled(NOW, by=facilitator.id))
    assert await feeds.entries(user) == []
    assert [entry.id for entry in await feeds.entries(facilitator)] == [str(event.id)]


async def test_range_has_the_nearest_entries_future_ones_first(feeds: FeedAdapters) -> None:
    facilitator = await feeds.person(Role.FACILITATOR)
    for days in (-91, -2, -1, 1, 2, 9):
        await feeds.adapters.event(facilitator=facilitator, title=f"{days}", starts_in=days * DAY)
    shown = [
        [entry.title for entry in await feeds.entries(facilitator, FeedRange(NOW - LOOKS_BACK, NOW, limit))]
        for limit in (1, 2, 3, 4, 10)
    ]
    assert shown == [["1"], ["1", "2"], ["1", "2", "9"], ["-1", "1", "2", "9"], ["-2", "-1", "1", "2", "9"]]


async def test_entry_that_ends_at_the_bound_is_omitted(feeds: FeedAdapters) -> None:
    facilitator = await feeds.person(Role.FACILITATOR)
    event = await feeds.adapters.event(facilitator=facilitator)
    ends_at, second = event.details.interval.ends_at, timedelta(seconds=1)
    assert await feeds.entries(facilitator, FeedRange(ends_at, ends_at)) == []
    assert len(await feeds.entries(facilitator, FeedRange(ends_at - second, ends_at))) == 1


async def test_digest_changes_with_the_entries(feeds: FeedAdapters) -> None:
    user, other = await feeds.person(), await feeds.person()
    digests = [await feeds.feeds.digest(user.id, RANGE)]
    event = await feeds.adapters.event(price=inr(0))
    await feeds.adapters.booked(event, user)
    digests.append(await feeds.feeds.digest(user.id, RANGE))
    async with feeds.adapters.changing() as work:
        stored = await work.events.get(event.id)
        await work.events.save(stored.with_details(replace(stored.details, location="Garden"), NOW))
    digests.append(await feeds.feeds.digest(user.id, RANGE))
    assert len(set(digests)) == 3
    assert await feeds.feeds.digest(user.id, RANGE) == digests[-1]
    assert await feeds.feeds.digest(UserId(other.id), RANGE) == digests[0]
