"""Rules of reminders: when they are planned and queued, which are skipped, what their mails are written from."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from application.bookings.queries import ShowBooking
from application.notifications import reminders
from application.notifications.reminders import (
    MailWithReminders,
    QueueReminders,
    ShowAppointmentReminders,
    ShowBookingReminders,
)
from application.ports import PageRequest
from domain.accounts import Role, User
from domain.appointments import AppointmentNotFound, AppointmentStatus, AppointmentViewForbidden
from domain.bookings import BookingForbidden, BookingNotFound
from domain.events import Event
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef
from domain.outbox import Delivered, Destination, Failed, Message, MessageType, Outcome
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import DAY, HOUR, BookingApplication, inr
from tests.application.deliveries import AnsweringSender, attempt_each
from tests.support.memory.claims import MemoryDeadLetters, MemoryOutboxClaims
from tests.support.memory.reminders import MemoryReminderQueries, MemoryReminderResults

MINUTE = timedelta(minutes=1)
Rows = Sequence[tuple[float, str, str | None]]
PLANNED: Rows = [(24, "planned", None), (1, "planned", None)]


class Reminding:
    """Reminders 24 hours and 1 hour before the start."""

    def __init__(self, *offsets: timedelta) -> None:
        self.app = BookingApplication(reminder_offsets=offsets or (DAY, HOUR))
        self.queries, self.mail = MemoryReminderQueries(self.app.store), AnsweringSender()
        results = MemoryReminderResults(self.app.store)
        self.queue = QueueReminders(self.app.open_work, self.app.wake_ups, self.app.clock)
        self.sender = MailWithReminders(self.mail, self.queries, results, self.app.clock)
        self.claims = MemoryOutboxClaims(self.app.store, self.app.clock)

    async def event(self, starts_in: timedelta) -> Event:
        return await self.app.event(starts_in=starts_in, price=inr(0))

    async def booking(self, starts_in: timedelta) -> BookingId:
        return await self.book(await self.event(starts_in))

    async def book(self, event: Event) -> BookingId:
        return (await self.app.book(event)).reserved.id

    async def move(self, event: Event, by: timedelta) -> None:
        interval = self.app.stored_event(event.id).details.interval
        interval = replace(interval, starts_at=interval.starts_at + by, ends_at=interval.ends_at + by)
        await self.app.update_event(
            self.app.facilitator(event), event.id, lambda details: replace(details, interval=interval)
        )

    async def views(self, booking: BookingId) -> Rows:
        """Hours before the start, status and reason of each reminder, the next one first."""
        page = await self.queries.list_of(BookingRef(booking), PageRequest())
        return [(view.before / HOUR, view.status, view.reason) for view in page.items]

    async def deliver(self) -> Sequence[Outcome]:
        """Attempts each queued reminder once."""
        return await attempt_each(self.claims, Destination.EMAIL, self.sender, only=MessageType.BOOKING_REMINDER)

    async def pass_(self, time: timedelta) -> None:
        self.app.clock.advance(time)
        await self.queue()
        await self.deliver()

    async def queued(self) -> tuple[BookingId, Message]:
        """A booking with a queued reminder, and its message."""
        booking = await self.booking(DAY + MINUTE)
        self.app.clock.advance(MINUTE)
        await self.queue()
        (row,) = self.app.messages(MessageType.BOOKING_REMINDER)
        (message,) = [
            each
            for each in await self.claims.claim(Destination.EMAIL, limit=100, lease=MINUTE, probe_every=MINUTE)
            if each.id == row.id
        ]
        return booking, message


@pytest.fixture
def reminding() -> Reminding:
    return Reminding()


# Planned with the booking


@pytest.mark.parametrize(
    ("starts_in", "hours"),
    [(2 * DAY, [24, 1]), (DAY + MINUTE / 60, [24, 1]), (DAY, [1]), (2 * HOUR, [1]), (HOUR, []), (MINUTE, [])],
)
async def test_booking_has_a_reminder_for_each_future_offset(
    reminding: Reminding, starts_in: timedelta, hours: Sequence[int]
) -> None:
    booking = await reminding.booking(starts_in)
    assert await reminding.views(booking) == [(hour, "planned", None) for hour in hours]


async def test_moved_event_gets_new_reminders_and_its_old_ones_when_it_is_moved_back(reminding: Reminding) -> None:
    event = await reminding.event(3 * DAY)
    booking = await reminding.book(event)
    moved: Rows = [(24, "skipped", "moved"), (1, "skipped", "moved")]
    await reminding.move(event, DAY)
    assert await reminding.views(booking) == [*moved, *PLANNED]
    await reminding.move(event, -DAY)
    assert await reminding.views(booking) == [*PLANNED, *moved]


async def test_new_location_changes_no_reminder(reminding: Reminding) -> None:
    event = await reminding.event(3 * DAY)
    booking = await reminding.book(event)
    await reminding.app.update_event(
        reminding.app.facilitator(event), event.id, lambda details: replace(details, location="Garden")
    )
    assert await reminding.views(booking) == PLANNED


async def test_cancelled_booking_skips_its_reminders_and_a_new_one_has_its_own(reminding: Reminding) -> None:
    event = await reminding.event(3 * DAY)
    booking = await reminding.book(event)
    person = reminding.app.owner(booking)
    await reminding.app.cancel_booking(person, booking)
    again = (await reminding.app.book(event, person)).reserved.id
    cancelled = [(hour, "skipped", "booking_cancelled") for hour in (24, 1)]
    assert (await reminding.views(booking), await reminding.views(again)) == (cancelled, PLANNED)


async def test_cancelled_event_skips_the_reminders_of_all_its_bookings(reminding: Reminding) -> None:
    event = await reminding.event(3 * DAY)
    bookings = [await reminding.book(event) for _ in range(3)]
    await reminding.app.cancel_event(reminding.app.facilitator(event), event.id)
    for booking in bookings:
        assert await reminding.views(booking) == [(hour, "skipped", "booking_cancelled") for hour in (24, 1)]


# Queued when they are due


async def test_due_reminder_is_queued_once(reminding: Reminding) -> None:
    booking = await reminding.booking(2 * DAY)
    reminding.app.clock.advance(DAY - MINUTE)
    calls = reminding.app.wake_ups.calls
    assert await reminding.queue() == 0
    assert reminding.app.wake_ups.calls == calls
    reminding.app.clock.advance(MINUTE)
    assert (await reminding.queue(), await reminding.queue()) == (1, 0)
    assert reminding.app.wake_ups.calls == calls + 1
    assert await reminding.views(booking) == [(24, "queued", None), (1, "planned", None)]
    (message,) = reminding.app.messages(MessageType.BOOKING_REMINDER)
    assert message.destination is Destination.EMAIL


async def test_run_ends_when_no_reminder_is_due(reminding: Reminding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reminders, "AT_ONCE", 2)
    event = await reminding.event(2 * DAY)
    for _ in range(5):
        await reminding.book(event)
    reminding.app.clock.advance(DAY)
    assert await reminding.queue() == 5
    assert len(reminding.app.messages(MessageType.BOOKING_REMINDER)) == 5


async def test_reminder_is_superseded_when_the_next_one_is_due(reminding: Reminding) -> None:
    booking = await reminding.booking(2 * DAY)
    reminding.app.clock.advance(2 * DAY - HOUR)
    assert await reminding.queue() == 2
    assert await reminding.views(booking) == [(24, "skipped", "superseded"), (1, "queued", None)]


async def test_reminder_of_a_session_that_has_started_is_skipped(reminding: Reminding) -> None:
    booking = await reminding.booking(2 * DAY)
    calls = reminding.app.wake_ups.calls
    reminding.app.clock.advance(2 * DAY)
    assert await reminding.queue() == 2
    assert await reminding.views(booking) == [(hour, "skipped", "too_late") for hour in (24, 1)]
    assert reminding.app.wake_ups.calls == calls, "there is nothing to deliver"


async def test_expired_hold_is_not_reminded(reminding: Reminding) -> None:
    booking = (await reminding.app.book(await reminding.app.event(starts_in=DAY + HOUR))).reserved.id
    reminding.app.clock.advance(HOUR)
    await reminding.queue()
    assert (await reminding.views(booking))[0] == (24, "skipped", "not_confirmed")


# Checked again at send time


async def test_reminder_is_sent_once_per_offset(reminding: Reminding) -> None:
    booking = await reminding.booking(2 * DAY)
    for time in (DAY, MINUTE, 23 * HOUR, MINUTE):
        await reminding.pass_(time)
    assert len(reminding.mail.received) == 2
    assert await reminding.views(booking) == [(24, "sent", None), (1, "sent", None)]


async def test_mail_shows_the_booking_and_the_moment_at_send_time(reminding: Reminding) -> None:
    booking, message = await reminding.queued()
    reminding.app.clock.advance(5 * HOUR)
    await reminding.sender.deliver(message)
    (mail,) = reminding.mail.received
    now = reminding.app.clock.now()
    assert mail.payload == {"booking": {"id": str(booking)}, "as_of": now.isoformat()}
    (sent, _) = (await reminding.queries.list_of(BookingRef(booking), PageRequest())).items
    assert sent.settled_at == now


async def test_reminder_sent_before_is_not_sent_again(reminding: Reminding) -> None:
    booking, message = await reminding.queued()
    await reminding.sender.deliver(message)
    assert await reminding.sender.deliver(message) == Delivered("was sent before")
    assert len(reminding.mail.received) == 1
    assert (await reminding.views(booking))[0] == (24, "sent", None)


async def test_reminder_sent_for_a_start_is_not_repeated(reminding: Reminding) -> None:
    event = await reminding.event(25 * HOUR)
    booking = await reminding.book(event)
    await reminding.pass_(HOUR + MINUTE)
    for by in (3 * DAY, -3 * DAY):
        await reminding.move(event, by)
    await reminding.pass_(MINUTE)
    assert (24, "sent", None) in await reminding.views(booking)
    assert len(reminding.mail.received) == 1


@pytest.mark.parametrize("way", ["cancel", "move"])
async def test_change_between_queueing_and_delivery_is_respected(reminding: Reminding, way: str) -> None:
    booking, message = await reminding.queued()
    if way == "cancel":
        await reminding.app.cancel_booking(reminding.app.owner(booking), booking)
    else:
        await reminding.move(reminding.app.stored_event(reminding.app.booking(booking).event_id), DAY)
    reason = {"cancel": "booking_cancelled", "move": "moved"}[way]
    assert await reminding.sender.deliver(message) == Delivered(f"not sent: {reason}")
    assert reminding.mail.received == []
    assert (24, "skipped", reason) in await reminding.views(booking)


@pytest.mark.parametrize(
    ("outage", "views", "mails"),
    [
        (5 * HOUR, [(24, "sent", None), (1, "planned", None)], 1),
        (DAY - HOUR + MINUTE, [(24, "skipped", "superseded"), (1, "sent", None)], 1),
        (DAY + MINUTE, [(24, "skipped", "too_late"), (1, "skipped", "too_late")], 0),
    ],
)
@pytest.mark.parametrize("what", ["mail", "worker"])
async def test_after_an_outage_useful_reminders_are_sent_and_others_skipped(
    reminding: Reminding, outage: timedelta, views: Rows, mails: int, what: str
) -> None:
    booking = await reminding.booking(2 * DAY)
    reminding.app.clock.advance(DAY)
    if what == "mail":
        reminding.mail.outcome = Failed("unavailable")
        await reminding.pass_(timedelta(0))
        assert (await reminding.views(booking))[0] == (24, "queued", None)
        reminding.mail.outcome = Delivered()
        reminding.mail.received.clear()
    await reminding.pass_(outage)
    assert await reminding.views(booking) == views
    assert len(reminding.mail.received) == mails


async def test_hold_that_expires_between_queueing_and_delivery_is_respected(reminding: Reminding) -> None:
    booking = (await reminding.app.book(await reminding.app.event(starts_in=DAY + MINUTE))).reserved.id
    reminding.app.clock.advance(MINUTE)
    await reminding.queue()
    reminding.app.clock.advance(HOUR)
    await reminding.deliver()
    assert reminding.mail.received == []
    assert (await reminding.views(booking))[0] == (24, "skipped", "not_confirmed")


async def test_replayed_reminder_is_not_sent_after_the_start(reminding: Reminding) -> None:
    booking = await reminding.booking(DAY + MINUTE)
    reminding.mail.outcome = Failed("no such address", permanent=True)
    await reminding.pass_(MINUTE)
    reminding.mail.outcome = Delivered()
    reminding.app.clock.advance(DAY)
    (message,) = reminding.app.messages(MessageType.BOOKING_REMINDER)
    await MemoryDeadLetters(reminding.app.store, reminding.app.clock).replay(message.id)
    await reminding.deliver()
    assert (await reminding.views(booking))[0] == (24, "skipped", "too_late")


async def test_undeliverable_reminder_is_recorded_until_it_is_sent(reminding: Reminding) -> None:
    booking = await reminding.booking(DAY + MINUTE)
    reminding.mail.outcome = Failed("no such address", permanent=True)
    await reminding.pass_(MINUTE)
    assert (await reminding.views(booking))[0] == (24, "failed", "undeliverable")
    (message,) = reminding.app.messages(MessageType.BOOKING_REMINDER)
    letters = MemoryDeadLetters(reminding.app.store, reminding.app.clock)
    await letters.replay(message.id)
    assert (await reminding.views(booking))[0] == (24, "queued", None)
    reminding.mail.outcome = Delivered()
    await reminding.deliver()
    assert (await reminding.views(booking))[0] == (24, "sent", None)


async def test_other_mails_pass_unchanged(reminding: Reminding) -> None:
    _, message = await reminding.queued()
    other = replace(message, message_type=MessageType.BOOKING_CREATED)
    reminding.mail.outcome = Failed("busy")
    assert await reminding.sender.deliver(other) == Failed("busy")
    assert reminding.mail.received == [other]


# The list


async def test_reminders_are_shown_to_the_owner_the_facilitator_and_admins(reminding: Reminding) -> None:
    app = reminding.app
    booking = await reminding.booking(2 * DAY)
    show = ShowBookingReminders(ShowBooking(app.bookings), reminding.queries)
    allowed: list[User] = [app.owner(booking), app.facilitator(app.stored_event(app.booking(booking).event_id))]
    for user in (*allowed, await app.person(Role.ADMIN)):
        page = await show(user, booking, PageRequest())
        assert [view.before for view in page.items] == [DAY, HOUR], "the next one comes first"
        assert {view.user_name for view in page.items} == {app.owner(booking).name}
    for user in (await app.person(), await app.person(Role.FACILITATOR)):
        with pytest.raises(BookingForbidden):
            await show(user, booking, PageRequest())
    with pytest.raises(BookingNotFound):
        await show(allowed[0], BookingId(999), PageRequest())


async def test_appointment_reminders_of_both_are_shown_to_client_coach_and_admins() -> None:
    app = AppointmentApplication()
    appointment_id, stranger = await app.appointment(), await app.person()
    show = ShowAppointmentReminders(app.show, MemoryReminderQueries(app.store))
    people = await app.participants(appointment_id)
    for user in people.values():
        page = await show(user, appointment_id, PageRequest())
        assert [view.before for view in page.items] == [DAY, DAY, HOUR, HOUR]
        assert {view.user_name for view in page.items} == {people["client"].name, people["coach"].name}
    with pytest.raises(AppointmentViewForbidden):
        await show(stranger, appointment_id, PageRequest())
    with pytest.raises(AppointmentNotFound):
        await show(people["client"], AppointmentId(UUID(int=999)), PageRequest())


# Appointments


async def test_reminders_of_an_appointment_follow_its_changes() -> None:
    app = AppointmentApplication()
    appointment_id, queries = await app.appointment(), MemoryReminderQueries(app.store)

    async def states() -> Rows:
        page = await queries.list_of(AppointmentRef(appointment_id), PageRequest())
        return [(view.before / HOUR, view.status, view.reason) for view in page.items]

    both = [(24, "planned", None), (24, "planned", None), (1, "planned", None), (1, "planned", None)]
    assert await states() == both
    await app.reschedule(app.client_of(appointment_id), appointment_id, at(10, days=1), None)
    moved = [(hour, "skipped", "moved") for hour in (24, 24, 1, 1)]
    assert await states() == [*moved, *both]
    await app.cancel(app.client_of(appointment_id), appointment_id)
    cancelled = [(hour, "skipped", "booking_cancelled") for hour in (24, 24, 1, 1)]
    assert await states() == [*moved, *cancelled]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (AppointmentStatus.PENDING, ("skipped", "not_confirmed")),
        (AppointmentStatus.CONFIRMED, ("queued", None)),
        (AppointmentStatus.COMPLETED, ("skipped", "too_late")),
    ],
)
async def test_only_confirmed_appointments_that_have_not_taken_place_are_reminded(
    status: AppointmentStatus, state: tuple[str, str | None]
) -> None:
    app = AppointmentApplication()
    appointment_id = await app.in_status(status)
    app.clock.moment = app.stored(appointment_id).session.starts_at - DAY
    await QueueReminders(app.open_work, app.wake_ups, app.clock)()
    page = await MemoryReminderQueries(app.store).list_of(AppointmentRef(appointment_id), PageRequest())
    assert [(view.status, view.reason) for view in page.items if view.before == DAY] == [state] * 2
