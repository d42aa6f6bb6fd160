"""Mails about changes that wait for further changes, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from application.notifications.ports import ChangedRef
from application.ports import Clock
from domain.appointments import Appointment, AppointmentEvent
from domain.bookings import BookingStatus
from domain.change_mails import WaitingChange, due_at
from domain.events import Event, EventChanged
from domain.ids import AppointmentRef, BookingRef, PayableRef
from domain.reminders import ReminderStatus
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.rows import StoredChangeMail, StoredReminder, booking_in, bookings_of, change_mails_in
from tests.support.memory.store import Transaction


class MemoryChangeMails:
    def __init__(
        self, transaction: Transaction, messages: MemoryMessages, clock: Clock, window: timedelta = timedelta(0)
    ) -> None:
        self._transaction = transaction
        self._messages = messages
        self._clock = clock
        self._window = window

    async def add_for_event(self, change: EventChanged) -> None:
        before, after = change.before, change.after
        if before is None:
            return
        due = self._due_at(before.details.interval.starts_at, after.details.interval.starts_at)
        for booking in bookings_of(self._transaction.tables, after.id):
            if booking.status is BookingStatus.CONFIRMED:
                self._add(BookingRef(booking.id), before.details.visible, change.reason, due)
        await self.queue_for_event(after)

    async def add_for_appointment(self, change: AppointmentEvent) -> None:
        before, after = change.before, change.after
        if before is None:
            return
        due = self._due_at(before.session.starts_at, after.session.starts_at)
        self._add(AppointmentRef(after.id), before.session, change.reason, due)
        await self.queue_for_appointment(after)

    def _due_at(self, *starts: datetime) -> datetime:
        return due_at(self._clock.now(), self._window, *starts)

    def _add(self, about: PayableRef, before: object, reason: str | None, due: datetime) -> None:
        rows = change_mails_in(self._transaction.tables)
        waiting = rows.get(about)
        if waiting is None:
            rows[about] = StoredChangeMail(before, reason, self._clock.now(), due)
        else:
            rows[about] = replace(waiting, reason=reason or waiting.reason, due_at=min(waiting.due_at, due))

    async def find_due(self, now: datetime, *, limit: int) -> Sequence[ChangedRef]:
        rows = change_mails_in(self._transaction.tables)
        due = sorted((about for about in rows if rows[about].due_at <= now), key=lambda about: rows[about].due_at)
        return list(dict.fromkeys(self._changed(about) for about in due[:limit]))

    def _changed(self, about: PayableRef) -> ChangedRef:
        if isinstance(about, AppointmentRef):
            return about.id
        return booking_in(self._transaction.tables, about.id).event_id

    async def queue_for_event(self, event: Event) -> None:
        for booking in bookings_of(self._transaction.tables, event.id):
            row = self._take(BookingRef(booking.id))
            if row is None or booking.status is not BookingStatus.CONFIRMED:
                continue
            before = self._waiting(BookingRef(booking.id), row).earlier_than(event.details.visible)
            if before is not None:
                await self._messages.enqueue_event_changed([booking.id], before=before, reason=row.reason)

    async def queue_for_appointment(self, appointment: Appointment) -> None:
        about = AppointmentRef(appointment.id)
        row = self._take(about)
        if row is None or not appointment.is_live:
            return
        before = self._waiting(about, row).earlier_than(appointment.session)
        if before is not None:
            await self._messages.enqueue_appointment_moved(appointment.id, before=before, reason=row.reason)

    def _take(self, about: PayableRef) -> StoredChangeMail | None:
        rows = change_mails_in(self._transaction.tables)
        if about not in rows or rows[about].due_at > self._clock.now():
            return None
        return rows.pop(about)

    def _waiting(self, about: PayableRef, row: StoredChangeMail) -> WaitingChange[Any]:
        reminders: dict[object, StoredReminder] = self._transaction.tables.of("reminders")
        reminded = any(
            reminder.about == about
            and reminder.status is ReminderStatus.SENT
            and reminder.settled_at is not None
            and reminder.settled_at >= row.since
            for reminder in reminders.values()
        )
        return WaitingChange(row.before, row.shown, reminded=reminded)
