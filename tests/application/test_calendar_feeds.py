"""Rules of calendar feeds: their secret addresses, and which entries they have."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from application.calendars import feeds
from application.calendars.feeds import Calendar, CloseFeed, OpenFeed, ReadFeed
from domain.accounts import User
from domain.appointments import AppointmentStatus
from domain.calendar_feed import LOOKS_BACK, FeedEntry, FeedNotFound, FeedRange
from domain.errors import Unauthenticated
from domain.ids import BookingRef
from tests.application.appointment_application import AppointmentApplication
from tests.application.booking_application import DAY, HOUR, inr
from tests.support.memory.calendar_feeds import MemoryFeeds

LINK = "https://meet.example/1"


class KeepingWriter:
    """Writes no text; keeps the entries. `at_once`: the most concurrent calls."""

    def __init__(self) -> None:
        self.format = "1"
        self.written: list[Sequence[FeedEntry]] = []
        self.at_once = 0
        self._running = 0

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        self.written.append(entries)
        return f"{len(entries)} entries"


class FeedApplication(AppointmentApplication):
    def __init__(self) -> None:
        super().__init__()
        kept = MemoryFeeds(self.store)
        self.writer = KeepingWriter()
        self.open_feed = OpenFeed(kept, "https://convene.example", self.clock)
        self.close_feed = CloseFeed(kept)
        self.read_feed = ReadFeed(kept, self.writer, self.clock)

    async def token(self, user: User) -> str:
        url = await self.open_feed(user)
        return url.removeprefix("https://convene.example/calendar/feed/").removesuffix(".ics")

    async def entries(self, token: str) -> Sequence[FeedEntry]:
        await self.read(token)
        return self.writer.written[-1]

    async def read(self, token: str, *known: str) -> Calendar:
        return await self.read_feed(token, lambda version: version in known)

    async def names(self, user: User) -> list[str]:
        """Kind and title of each entry in the account's feed."""
        return [f"{entry.kind}: {entry.title}" for entry in await self.entries(await self.token(user))]


@pytest.fixture
def app() -> FeedApplication:
    return FeedApplication()


@pytest.fixture
async def user(app: FeedApplication) -> User:
    return await app.person()


# The address


async def test_address_gives_access_and_only_its_hash_is_stored(app: FeedApplication, user: User) -> None:
    token = await app.token(user)
    assert len(token) == 43
    assert (await app.read(token)).text == "0 entries"
    (stored,) = app.store.tables.of("calendar_feeds").values()
    assert len(stored) == 32
    assert token.encode() not in stored
    for unknown in ("", token[:-1], token + "x", token.swapcase()):
        with pytest.raises(FeedNotFound):
            await app.read(unknown)


async def test_new_address_replaces_the_old_one(app: FeedApplication, user: User) -> None:
    first, second = await app.token(user), await app.token(user)
    assert first != second
    await app.read(second)
    with pytest.raises(FeedNotFound):
        await app.read(first)


async def test_closed_feed_is_not_found(app: FeedApplication, user: User) -> None:
    token = await app.token(user)
    for _ in range(2):
        await app.close_feed(user)
        with pytest.raises(FeedNotFound):
            await app.read(token)


async def test_feed_is_not_opened_after_the_access_has_ended(app: FeedApplication, user: User) -> None:
    app.replace(replace(user, token_version=user.token_version + 1))
    with pytest.raises(Unauthenticated):
        await app.open_feed(user)
    assert app.store.tables.of("calendar_feeds") == {}


async def test_feed_of_a_deactivated_account_is_not_found(app: FeedApplication, user: User) -> None:
    token = await app.token(user)
    app.deactivate(user)
    with pytest.raises(FeedNotFound):
        await app.read(token)


# The entries


async def test_feed_has_seats_appointments_and_own_events(app: FeedApplication, user: User) -> None:
    coach = await app.free_coach()
    event = await app.event(coach, title="Yoga", price=inr(0))
    await app.book(event, user)
    await app.appointment(coach, user)
    assert await app.names(user) == [f"session: Coaching with {coach.name}", "place: Yoga"]
    assert await app.names(coach) == [f"session: Coaching with {user.name}", "event: Yoga"]
    assert await app.names(await app.person()) == []


async def test_entries_have_the_uid_and_the_sequence_of_the_invitations(app: FeedApplication, user: User) -> None:
    coach = await app.free_coach()
    event = await app.event(coach, price=inr(0))
    booking = (await app.book(event, user)).reserved
    appointment_id = await app.appointment(coach, user)
    session, place = await app.entries(await app.token(user))
    assert place.uid == f"booking-{booking.id}@convene.example"
    assert session.uid == f"coaching-{appointment_id}@convene.example"
    assert place.sequence == app.stored_event(event.id).version
    assert session.sequence == app.stored(appointment_id).sequence


async def test_cancelled_bookings_and_events_are_omitted(app: FeedApplication, user: User) -> None:
    coach = await app.free_coach()
    event = await app.event(coach, price=inr(0))
    booking_id = (await app.book(event, user)).reserved.id
    appointment_id = await app.appointment(coach, user)
    await app.cancel_booking(user, booking_id)
    await app.cancel(user, appointment_id)
    assert await app.names(user) == []
    assert await app.names(coach) == ["event: Yoga"]
    await app.cancel_event(coach, event.id)
    assert await app.names(coach) == []
    deleted = await app.event(coach)
    await app.delete_event(coach, deleted.id)
    assert await app.names(coach) == []


async def test_entry_is_tentative_and_without_link_until_it_is_paid(app: FeedApplication, user: User) -> None:
    event = await app.event(virtual_link=LINK)
    booking_id = (await app.book(event, user)).reserved.id
    token = await app.token(user)
    (before,) = await app.entries(token)
    app.clock.advance(timedelta(minutes=1))
    await app.settle(app.gateway.name, app.gateway.pay(app.payment_id(booking_id)))
    (after,) = await app.entries(token)
    assert [(each.is_tentative, each.link) for each in (before, after)] == [(True, None), (False, LINK)]
    assert after.written_at == app.payments_of(BookingRef(booking_id).id)[-1].received_at
    assert after.written_at > before.written_at


async def test_unconfirmed_appointment_is_tentative(app: FeedApplication, user: User) -> None:
    coach = await app.free_coach()
    appointment_id, token = await app.appointment(coach, user), await app.token(user)
    (before,) = await app.entries(token)
    await app.change_status(coach, appointment_id, AppointmentStatus.CONFIRMED)
    (after,) = await app.entries(token)
    assert (before.is_tentative, after.is_tentative) == (True, False)


async def test_feed_reaches_back_ninety_days(app: FeedApplication) -> None:
    event = await app.event()
    token = await app.token(app.facilitator(event))
    app.clock.moment = event.details.interval.ends_at + LOOKS_BACK - timedelta(seconds=1)
    assert len(await app.entries(token)) == 1
    app.clock.advance(timedelta(seconds=1))
    assert await app.entries(token) == []


async def test_future_and_near_entries_have_priority(app: FeedApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    john = await app.coach()
    for title, starts_in in (("past", HOUR), ("soon", 2 * DAY), ("later", 3 * DAY), ("last", 9 * DAY)):
        await app.event(john, title=title, starts_in=starts_in)
    app.clock.advance(DAY)
    token, shown = await app.token(john), {}
    for limit in range(1, 5):
        monkeypatch.setattr(FeedRange, "at", lambda now, limit=limit: FeedRange(now - LOOKS_BACK, now, limit))
        shown[limit] = [entry.title for entry in await app.entries(token)]
    assert shown == {
        1: ["soon"],
        2: ["soon", "later"],
        3: ["soon", "later", "last"],
        4: ["past", "soon", "later", "last"],
    }


# Versions


async def test_version_that_the_client_has_is_not_written(app: FeedApplication, user: User) -> None:
    token = await app.token(user)
    first = await app.read(token)
    assert first.text is not None
    again = await app.read(token, first.version)
    assert again == Calendar(first.version, None)
    assert len(app.writer.written) == 1


async def test_version_changes_with_the_entries_and_with_the_format(app: FeedApplication, user: User) -> None:
    token, event = await app.token(user), await app.event(price=inr(0))
    versions = [(await app.read(token)).version]
    await app.book(event, user)
    versions.append((await app.read(token)).version)
    await app.update_event(app.facilitator(event), event.id, lambda details: replace(details, location="Garden"))
    versions.append((await app.read(token)).version)
    app.writer.format = "2"
    versions.append((await app.read(token)).version)
    assert len(set(versions)) == 4
    assert (await app.read(token)).version == versions[-1]


async def test_few_calendars_are_written_at_once(app: FeedApplication, user: User) -> None:
    token = await app.token(user)
    await asyncio.gather(*(app.read(token) for _ in range(6)))
    assert (len(app.writer.written), app.writer.at_once) == (6, feeds.BUILT_AT_ONCE)
