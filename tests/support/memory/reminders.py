"""Planned reminders of bookings in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from application.ports import Clock
from domain.accounts import UserId
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.events import EventId
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.reminders import Reminded, Reminder, ReminderId, ReminderStatus, SkipReason
from tests.support.memory.rows import StoredReminder, appointment_in, booking_in, bookings_of, event_in
from tests.support.memory.store import Transaction

_PLANNED_AGAIN = {SkipReason.BOOKING_CANCELLED, SkipReason.MOVED}


class MemoryReminders:
    """One row for each booking, person, offset and start."""

    def __init__(self, transaction: Transaction, clock: Clock, offsets: Sequence[timedelta] = ()) -> None:
        self._transaction = transaction
        self._clock = clock
        self._offsets = offsets

    async def align_bookings(self, bookings: Sequence[BookingId]) -> None:
        for booking_id in bookings:
            booking = booking_in(self._transaction.tables, booking_id)
            starts_at = event_in(self._transaction.tables, booking.event_id).details.interval.starts_at
            is_gone = booking.status is BookingStatus.CANCELLED
            self._align(BookingRef(booking_id), [booking.user_id], starts_at, is_gone=is_gone)

    async def align_event(self, event_id: EventId) -> None:
        await self.align_bookings([booking.id for booking in bookings_of(self._transaction.tables, event_id)])

    async def align_appointments(self, appointments: Sequence[AppointmentId]) -> None:
        for appointment_id in appointments:
            appointment = appointment_in(self._transaction.tables, appointment_id)
            people = [appointment.client_id, appointment.coach_id]
            is_gone = appointment.status is AppointmentStatus.CANCELLED
            self._align(AppointmentRef(appointment_id), people, appointment.session.starts_at, is_gone=is_gone)

    def _align(self, about: PayableRef, people: Sequence[UserId], starts_at: datetime, *, is_gone: bool) -> None:
        rows = self._transaction.tables.of("reminders")
        for key, row in list(rows.items()):
            if row.about != about or row.status is not ReminderStatus.PLANNED:
                continue
            if is_gone or row.starts_at != starts_at:
                why = SkipReason.BOOKING_CANCELLED if is_gone else SkipReason.MOVED
                rows[key] = replace(row, status=ReminderStatus.SKIPPED, reason=why)
        for user_id in people:
            for before in () if is_gone else self._offsets:
                key = (about, user_id, before, starts_at)
                if starts_at - before <= self._clock.now():
                    continue
                if key not in rows or rows[key].reason in _PLANNED_AGAIN:
                    rows[key] = StoredReminder(*key)

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        raise NotImplementedError("due reminders have no adapter in memory yet")

    async def queue(self, reminders: Sequence[ReminderId]) -> None:
        raise NotImplementedError("due reminders have no adapter in memory yet")

    async def skip(self, reminders: Sequence[ReminderId], why: SkipReason, now: datetime) -> None:
        raise NotImplementedError("due reminders have no adapter in memory yet")
