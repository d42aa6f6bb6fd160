"""The port of mails about changes, in memory and in PostgreSQL."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from application.audit.ports import UNKEYED_TRAIL
from application.erasure.ports import ErasureStore
from application.outbox.ports import MessageFilter
from application.ports import PageRequest
from domain.accounts import User
from domain.appointments import Appointment
from domain.bookings import Booking
from domain.change_mails import MERGED
from domain.events import Event
from domain.ids import BookingId
from domain.outbox import Destination
from infrastructure.container.erasure import STATEMENTS
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.store import PostgresErasureStore
from tests.conformance.appointment_adapters import (
    AppointmentAdapters,
    appointments_in_memory,
    appointments_in_postgres,
    cancelled,
    moved,
)
from tests.conformance.booking_adapters import NOW, details
from tests.support.memory.erasure import MemoryErasureStore
from tests.support.memory.store import SettableClock, Store

WINDOW = timedelta(minutes=5)
ALL = 1_000_000


def paid(appointment: Appointment) -> Appointment:
    return appointment.paid(NOW, appointment.price)


@dataclass
class Changes:
    adapters: AppointmentAdapters
    clock: SettableClock
    erasures: ErasureStore

    async def change(self, event: Event, **changes: Any) -> None:
        async with self.adapters.changing() as work:
            stored = await work.events.get(event.id)
            changed = replace(stored.details, **changes)
            await work.events.save(stored.with_details(changed, self.clock.now()))

    async def cancel(self, booking_id: BookingId) -> None:
        async with self.adapters.changing() as work:
            booking: Booking = await work.bookings.get(booking_id)
            await work.events.get(booking.event_id)
            starts_at = NOW + timedelta(days=7)
            await work.bookings.save(booking.cancelled(NOW, event_starts_at=starts_at, by=booking.user_id))

    async def due(self, limit: int = ALL) -> list[Any]:
        async with self.adapters.open_work() as work:
            return list(await work.change_mails.find_due(self.clock.now(), limit=limit))

    async def queue(self, *changed: Event | Appointment) -> None:
        for each in changed:
            async with self.adapters.changing() as work:
                if isinstance(each, Event):
                    await work.change_mails.queue_for_event(await work.events.get(each.id))
                else:
                    await work.change_mails.queue_for_appointment(await work.appointments.get(each.id))

    async def erase(self, user: User) -> None:
        async with self.adapters.changing() as work:
            await work.users.save(replace(await work.users.get_locked(user.id), is_active=False))
            await work.erasures.add(user.id, NOW, due_at=NOW)
        assert await self.erasures.erase(user.id, await self.erasures.find_identifiers(user.id))

    async def mails(self, *about: object) -> list[str]:
        """The ordering keys of the mails about changes of these bookings and appointments, oldest first."""
        page = await self.adapters.stored_messages.list(
            MessageFilter(destination=Destination.EMAIL), PageRequest(limit=ALL)
        )
        keys = [each.ordering_key for each in reversed(page.items) if each.message_type in MERGED]
        return [key for key in keys if key.split(":")[1] in {str(each) for each in about}]


@pytest.fixture(params=["memory", "postgres"])
def changes(request: pytest.FixtureRequest) -> Changes:
    clock = SettableClock(NOW)
    if request.param == "memory":
        store = Store()
        adapters = appointments_in_memory(clock, change_mail_window=WINDOW, store=store)
        return Changes(adapters, clock, MemoryErasureStore(store, clock))
    database: Database = request.getfixturevalue("postgres_database")
    adapters = appointments_in_postgres(database, clock, change_mail_window=WINDOW)
    return Changes(adapters, clock, PostgresErasureStore(database, STATEMENTS, UNKEYED_TRAIL))


async def test_mail_is_due_after_the_window_and_queued_once(changes: Changes) -> None:
    event = await changes.adapters.event()
    booking = await changes.adapters.booked(event)
    await changes.change(event, title="Pilates")
    await changes.change(event, title="Tai Chi")
    await changes.queue(event)
    assert event.id not in await changes.due()
    changes.clock.advance(WINDOW)
    assert (await changes.due()).count(event.id) == 1
    for _ in range(2):
        await changes.queue(event)
    assert await changes.mails(booking.id) == [f"booking:{booking.id}"]
    assert event.id not in await changes.due()


async def test_those_that_have_waited_longest_are_first(changes: Changes) -> None:
    events = [await changes.adapters.event() for _ in range(3)]
    for event in reversed(events):
        await changes.adapters.booked(event)
        await changes.adapters.booked(event)
        await changes.change(event, title="Pilates")
        changes.clock.advance(timedelta(minutes=1))
    changes.clock.advance(WINDOW)
    own = {event.id for event in events}
    assert [each for each in await changes.due() if each in own] == [event.id for event in reversed(events)]
    assert len(await changes.due(1)) == 1


async def test_only_confirmed_bookings_are_mailed(changes: Changes) -> None:
    event = await changes.adapters.event()
    bookings = [await changes.adapters.booked(event) for _ in range(3)]
    await changes.cancel(bookings[0].id)
    await changes.change(event, title="Pilates")
    await changes.cancel(bookings[1].id)
    changes.clock.advance(WINDOW)
    await changes.queue(event)
    assert await changes.mails(*(each.id for each in bookings)) == [f"booking:{bookings[2].id}"]


async def test_undone_change_is_forgotten(changes: Changes) -> None:
    event = await changes.adapters.event(location="Hall")
    booking = await changes.adapters.booked(event)
    await changes.change(event, title="Pilates", location=None, virtual_link="https://meet.example/1")
    await changes.change(event, title="Yoga", location="Hall", virtual_link=None)
    changes.clock.advance(WINDOW)
    await changes.queue(event)
    assert await changes.mails(booking.id) == []
    assert event.id not in await changes.due()


async def test_undone_change_that_a_receipt_has_shown_is_mailed(changes: Changes) -> None:
    event = await changes.adapters.event()
    with_receipt, other = await changes.adapters.booked(event), await changes.adapters.booked(event)
    await changes.change(event, title="Pilates")
    async with changes.adapters.changing() as work:
        await work.events.get(event.id)
        booking = await work.bookings.get(with_receipt.id)
        await work.bookings.save(booking.paid(booking.price))
    await changes.change(event, title="Yoga")
    changes.clock.advance(WINDOW)
    await changes.queue(event)
    assert await changes.mails(with_receipt.id, other.id) == [f"booking:{with_receipt.id}"]


async def test_urgent_change_is_mailed_with_the_waiting_ones(changes: Changes) -> None:
    event = await changes.adapters.event()
    booking = await changes.adapters.booked(event)
    await changes.change(event, title="Pilates")
    await changes.change(event, interval=details(starts_in=timedelta(minutes=30)).interval)
    assert await changes.mails(booking.id) == [f"booking:{booking.id}"]


async def test_moved_appointment_has_a_mail_to_each_side(changes: Changes) -> None:
    appointment = await changes.adapters.appointment()
    for hours in (3, 5):
        await changes.adapters.changed(appointment, moved(hours))
    assert await changes.mails(appointment.id) == []
    changes.clock.advance(WINDOW)
    assert appointment.id in await changes.due()
    for _ in range(2):
        await changes.queue(appointment)
    key = f"coaching:{appointment.id}"
    assert await changes.mails(appointment.id) == [f"{key}:client", f"{key}:coach"]
    assert appointment.id not in await changes.due()


@pytest.mark.parametrize(("between", "mailed"), [([], 0), ([paid], 2)])
async def test_appointment_that_was_moved_back(changes: Changes, between: list[Any], mailed: int) -> None:
    appointment = await changes.adapters.appointment()
    await changes.adapters.changed(appointment, moved(3), *between)

    def back(present: Appointment) -> Appointment:
        session, now = appointment.session, changes.clock.now()
        return present.rescheduled_by_client(session, session, now, by=present.client_id)

    await changes.adapters.changed(appointment, back)
    changes.clock.advance(WINDOW)
    await changes.queue(appointment)
    assert len(await changes.mails(appointment.id)) == mailed


async def test_cancelled_appointment_has_no_mail(changes: Changes) -> None:
    appointment = await changes.adapters.appointment()
    await changes.adapters.changed(appointment, moved(3), cancelled)
    changes.clock.advance(WINDOW)
    await changes.queue(appointment)
    assert await changes.mails(appointment.id) == []


@pytest.mark.parametrize(
    ("part", "mailed"),
    [("client", [0, 2]), ("facilitator", [0, 2]), ("client of the appointment", [1, 0]), ("coach", [1, 0])],
)
async def test_erased_person_has_none_that_wait(changes: Changes, part: str, mailed: list[int]) -> None:
    adapters, person = changes.adapters, await changes.adapters.coach()
    found = []
    for people in ({part: person}, {}):
        event = await adapters.event(facilitator=people.get("facilitator"))
        booking = await adapters.booked(event, people.get("client"))
        appointment = await adapters.appointment(people.get("coach"), people.get("client of the appointment"))
        await changes.change(event, title="Pilates")
        await adapters.changed(appointment, moved(3))
        found.append((event, booking, appointment))
    await changes.erase(person)
    changes.clock.advance(WINDOW)
    for (event, booking, appointment), expected in zip(found, (mailed, [1, 2]), strict=True):
        await changes.queue(event, appointment)
        assert [len(await changes.mails(each.id)) for each in (booking, appointment)] == expected
