"""The ports of mail to addresses that are not verified, in memory and in PostgreSQL."""

import asyncio
from dataclasses import replace
from itertools import count
from uuid import UUID, uuid4

import pytest

from application.notifications.ports import AddressOwner, SessionRef
from domain.accounts import Role, User
from domain.events import Event
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef
from domain.invitations import InvitationId
from domain.outbox import Delivered, Held, Message, MessageId, MessageStatus
from domain.unverified_mail import BookedSession
from infrastructure.postgres.engine import Database
from tests.conformance.appointment_adapters import (
    AppointmentAdapters,
    appointments_in_memory,
    appointments_in_postgres,
    cancelled,
)
from tests.conformance.booking_adapters import HOUR, NOW
from tests.conformance.outbox_adapters import LONG, NONE, Outbox

_numbers = count(1)


async def limited(outbox: Outbox) -> User:
    async with outbox.units() as work:
        email = f"limited{next(_numbers)}@example.com"
        user = await work.users.add(email=email, name="Ada", role=Role.USER, password_hash="", now=NOW)
        await work.commit()
    return user


async def verify(outbox: Outbox, user: User, *, commit: bool = True) -> None:
    async with outbox.units() as work:
        await work.users.save(replace(user, is_verified=True))
        if commit:
            await work.commit()


async def hold(outbox: Outbox, address: str, number: int = 1) -> Message:
    """The last of so many messages that are held for this address."""
    await outbox.enqueue(*[1] * number)
    messages = await outbox.claim(limit=number)
    for message in messages:
        assert await outbox.record(message, Held(address, "held: reason")) is False
    return messages[-1]


async def status(outbox: Outbox, message: Message) -> MessageStatus:
    return (await outbox.show(message)).message.status


# Addresses


async def test_address_of_a_new_account_is_limited_until_it_is_verified(outbox: Outbox) -> None:
    user = await limited(outbox)
    assert await outbox.addresses.find(user.email) == AddressOwner(is_limited=True, user_id=user.id)
    await verify(outbox, user)
    assert await outbox.addresses.find(user.email) == AddressOwner(is_limited=False, user_id=user.id)


async def test_address_without_an_account_is_limited(outbox: Outbox) -> None:
    assert await outbox.addresses.find("stranger@example.com") == AddressOwner(is_limited=True, user_id=None)


async def test_mails_to_an_address_are_counted_once_each(outbox: Outbox) -> None:
    address, other = f"{uuid4()}@example.com", f"{uuid4()}@example.com"
    first, second, third = (MessageId(uuid4()) for _ in range(3))
    for message_id in (first, second, first, first, second):
        assert await outbox.addresses.count(address, message_id, at_most=2, per=LONG)
    assert not await outbox.addresses.count(address, third, at_most=2, per=LONG)
    assert await outbox.addresses.count(address, second, at_most=2, per=LONG)
    assert await outbox.addresses.count(other, third, at_most=2, per=LONG)


async def test_only_the_last_mails_count(outbox: Outbox) -> None:
    address = f"{uuid4()}@example.com"
    ids = [MessageId(uuid4()) for _ in range(5)]
    for message_id in ids:
        assert await outbox.addresses.count(address, message_id, at_most=2, per=NONE)
    assert not await outbox.addresses.count(address, MessageId(uuid4()), at_most=2, per=LONG)
    assert await outbox.addresses.count(address, MessageId(uuid4()), at_most=9, per=LONG), "of another limit"


async def test_concurrent_mails_do_not_exceed_the_limit(outbox: Outbox) -> None:
    address = f"{uuid4()}@example.com"
    counts = [outbox.addresses.count(address, MessageId(uuid4()), at_most=5, per=LONG) for _ in range(30)]
    assert sum(await asyncio.gather(*counts)) == 5


# Held messages


async def test_held_message_is_not_claimed_and_lets_the_next_one_pass(outbox: Outbox) -> None:
    user = await limited(outbox)
    await outbox.enqueue(2)
    first = await outbox.claimed()
    assert not first.was_held
    assert await outbox.record(first, Held(user.email, "held: reason")) is True
    second = await outbox.claimed()
    await outbox.record(second, Delivered())
    detail = await outbox.show(first)
    assert (detail.message.status, detail.message.attempts, detail.message.last_error) == (
        MessageStatus.HELD,
        0,
        "held: reason",
    )
    assert detail.attempts_made == [] or detail.attempts_made == ()
    assert (await outbox.statistics.by_destination())[1].held == 1


async def test_verification_releases_what_is_held_for_the_address(outbox: Outbox) -> None:
    user, other = await limited(outbox), await limited(outbox)
    message, others = await hold(outbox, user.email), await hold(outbox, other.email)
    await verify(outbox, user, commit=False)
    assert await status(outbox, message) is MessageStatus.HELD
    await verify(outbox, user)
    released = await outbox.claimed()
    assert (released.id, released.attempt, released.was_held) == (message.id, 1, True)
    assert await status(outbox, others) is MessageStatus.HELD


async def test_new_account_with_a_proven_address_releases_too(outbox: Outbox) -> None:
    address = f"{uuid4()}@example.com"
    message = await hold(outbox, address)
    async with outbox.units() as work:
        await work.users.add_without_password(email=address, name="Ada", now=NOW)
        await work.commit()
    assert (await outbox.claimed()).id == message.id


async def test_periodic_release_finds_addresses_that_are_not_limited_any_more(outbox: Outbox) -> None:
    user, other = await limited(outbox), await limited(outbox)
    await verify(outbox, user)
    await hold(outbox, user.email, 3)
    kept = await hold(outbox, other.email)
    strangers = await hold(outbox, "stranger@example.com")
    assert await outbox.held.release(limit=2) == 2
    assert await outbox.held.release(limit=2) == 1
    assert await outbox.held.release(limit=2) == 0
    assert len(await outbox.claim()) == 3
    assert await status(outbox, kept) is await status(outbox, strangers) is MessageStatus.HELD


# The present state


@pytest.fixture(params=["memory", "postgres"])
def sessions(request: pytest.FixtureRequest) -> AppointmentAdapters:
    if request.param == "memory":
        return appointments_in_memory()
    database: Database = request.getfixturevalue("postgres_database")
    return appointments_in_postgres(database)


def at(event: Event, *, is_live: bool, payment_status: str | None) -> BookedSession:
    times = event.details.interval
    return BookedSession(times.starts_at, times.ends_at, is_live, payment_status)


async def test_state_of_a_booking(sessions: AppointmentAdapters) -> None:
    event = await sessions.event()
    ref = BookingRef((await sessions.booked(event)).id)
    assert await sessions.sessions.find(ref) == at(event, is_live=True, payment_status="pending")
    async with sessions.changing() as work:
        booking = await work.bookings.get(ref.id)
        await work.bookings.save(
            booking.cancelled(NOW, event_starts_at=event.details.interval.starts_at, by=booking.user_id)
        )
    found = await sessions.sessions.find(ref)
    assert found is not None
    assert not found.is_live


async def test_state_of_an_appointment(sessions: AppointmentAdapters) -> None:
    appointment = await sessions.appointment()
    ref, times = AppointmentRef(appointment.id), appointment.session
    live = BookedSession(times.starts_at, times.ends_at, True, "pending")
    assert await sessions.sessions.find(ref) == live
    await sessions.changed(appointment, cancelled)
    found = await sessions.sessions.find(ref)
    assert found is not None
    assert not found.is_live


async def test_state_of_an_invitation(sessions: AppointmentAdapters) -> None:
    event = await sessions.event()
    async with sessions.changing() as work:
        invitation = await work.invitations.add(
            event.id, name="Ada", email="ada@example.com", by=event.facilitator_id, now=NOW, expires_at=NOW + HOUR
        )
    assert await sessions.sessions.find(invitation.id) == at(event, is_live=True, payment_status=None)


@pytest.mark.parametrize(
    "ref", [BookingRef(BookingId(2**62)), AppointmentRef(AppointmentId(UUID(int=7))), InvitationId(UUID(int=7))]
)
async def test_unknown_session_has_no_state(sessions: AppointmentAdapters, ref: SessionRef) -> None:
    assert await sessions.sessions.find(ref) is None
