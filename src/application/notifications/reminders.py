"""Reminders of bookings."""

from collections import defaultdict
from dataclasses import replace
from typing import ClassVar
from uuid import UUID

from application.appointments.queries import ShowAppointment
from application.bookings.queries import ShowBooking
from application.notifications.ports import ReminderQueries, ReminderResults, ReminderView
from application.outbox.ports import Sender, WakeUps
from application.ports import Clock, Page, PageRequest
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import AppointmentNotFound, AppointmentViewForbidden
from domain.bookings import BookingForbidden, BookingNotFound
from domain.errors import Errors
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef
from domain.outbox import Delivered, Message, MessageType, Outcome
from domain.reminders import ReminderId, SkipReason, skip_reason

AT_ONCE = 200


@use_case
class QueueReminders:
    """Enqueues the e-mails of due reminders.

    - Each reminder is queued once, by one worker.
    - Useless reminders are skipped with a reason: cancelled, started, rescheduled, or replaced by the next one.
    - A run ends when no reminder is due, so a delayed worker catches up.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns the number of reminders that were due."""
        looked_at = 0
        while True:
            number = await self._some()
            looked_at += number
            if number < AT_ONCE:
                return looked_at

    async def _some(self) -> int:
        now = self.clock.now()
        wanted: list[ReminderId] = []
        useless: dict[SkipReason, list[ReminderId]] = defaultdict(list)
        async with self.open_work() as work:
            due = await work.reminders.claim_due(now, limit=AT_ONCE)
            for reminder, about in due:
                reason = skip_reason(reminder, about, now)
                (wanted if reason is None else useless[reason]).append(reminder.id)
            await work.reminders.queue(wanted)
            for reason, reminders in useless.items():
                await work.reminders.skip(reminders, reason, now)
            await work.commit()
        if wanted:
            self.wake_ups.notify()
        return len(due)


@use_case
class MailWithReminders:
    """Sender of e-mails that checks a reminder again at send time: since it was queued, the mail server may have been
    unavailable for hours, the booking cancelled, the event renamed, the session started. The e-mail is rendered at send
    time, so it shows the current booking and the time that is left."""

    mail: Sender
    book: ReminderQueries
    results: ReminderResults
    clock: Clock

    async def deliver(self, message: Message) -> Outcome:
        if message.message_type is not MessageType.BOOKING_REMINDER:
            return await self.mail.deliver(message)
        reminder_id = ReminderId(UUID(message.payload["reminder_id"]))
        now = self.clock.now()
        found = await self.book.find(reminder_id, now)
        if found is None:
            return Delivered("was sent before")
        reason = skip_reason(found.reminder, found.about, now)
        if reason is not None:
            await self.results.record(reminder_id, reason, now)
            return Delivered(f"not sent: {reason}")
        outcome = await self.mail.deliver(replace(message, payload=found.payload | {"as_of": now.isoformat()}))
        if isinstance(outcome, Delivered):
            await self.results.record(reminder_id, None, self.clock.now())
        return outcome


@use_case
class ShowBookingReminders:
    """The reminders of a booking, next one first: planned, sent, and skipped ones with the reason. For the booking's
    owner, the facilitator of its event, and admins."""

    raises: ClassVar[Errors] = (BookingNotFound, BookingForbidden)

    show_booking: ShowBooking
    book: ReminderQueries

    async def __call__(self, user: User, booking_id: BookingId, page: PageRequest) -> Page[ReminderView]:
        await self.show_booking(user, booking_id)
        return await self.book.list_of(BookingRef(booking_id), page)


@use_case
class ShowAppointmentReminders:
    """The reminders of a session to its client and its coach, next one first: planned, sent, and skipped ones with the
    reason. For its client, its coach and admins."""

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentViewForbidden)

    show_appointment: ShowAppointment
    book: ReminderQueries

    async def __call__(self, user: User, appointment_id: AppointmentId, page: PageRequest) -> Page[ReminderView]:
        await self.show_appointment(user, appointment_id)
        return await self.book.list_of(AppointmentRef(appointment_id), page)
