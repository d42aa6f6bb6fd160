"""Appointments and their attachments in memory, with the exclusion of overlapping times of one coach."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.accounts import UserId
from domain.appointment_effects import EFFECTS
from domain.appointments import (
    LIVE,
    Appointment,
    AppointmentChange,
    AppointmentEvent,
    AppointmentNotFound,
    AppointmentStatus,
    NewAppointment,
)
from domain.attachments import Attachment, AttachmentId, AttachmentNotFound, AttachmentUsage, NewAttachment
from domain.audit import AuditTrail
from domain.audit_effects import record_appointment
from domain.availability import SlotUnavailable
from domain.change_mails import MERGED
from domain.ids import AppointmentId
from domain.payments import UNPAID
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach
from infrastructure.postgres.appointments.history import difference
from infrastructure.postgres.domain_events import WrittenEvents
from tests.support.memory.change_mails import MemoryChangeMails
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.reminders import MemoryReminders
from tests.support.memory.rows import ConstraintViolated, appointment_in, appointments_in, user_in
from tests.support.memory.store import Tables, Transaction
from tests.support.memory.unpaid_holds import unpaid_appointments, unpaid_holds


@dataclass(frozen=True, slots=True)
class StoredChange:
    """An entry of the history, by its number."""

    appointment_id: AppointmentId
    change: AppointmentChange
    by: UserId | None
    at: datetime
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    attachment: Attachment
    content: bytes


def overlap(one: Interval, other: Interval) -> bool:
    return one.starts_at < other.ends_at and other.starts_at < one.ends_at


class MemoryAppointments:
    """Each save also writes the effects of the appointment's domain events."""

    def __init__(
        self,
        transaction: Transaction,
        messages: MemoryMessages,
        reminders: MemoryReminders,
        change_mails: MemoryChangeMails,
        audit: AuditTrail,
    ) -> None:
        self._transaction = transaction
        self._audit = audit
        self._messages = messages
        self._reminders = reminders
        self._change_mails = change_mails
        self._written = WrittenEvents()

    async def add(self, new: Sequence[NewAppointment], now: datetime) -> Sequence[Appointment | None]:
        added = [self._add(each, now) for each in new]
        events = [event for each in added if each is not None for event in self._written.take(each)]
        await self._write_effects(events)
        return added

    def _add(self, new: NewAppointment, now: datetime) -> Appointment | None:
        for person in (new.client_id, new.coach_id):
            user_in(self._transaction.tables, person)
        appointment = Appointment(
            id=AppointmentId(UUID(int=self._transaction.store.next_id("appointments"))),
            client_id=new.client_id,
            coach_id=new.coach_id,
            session=new.session,
            busy=new.busy,
            status=AppointmentStatus.PENDING,
            payment_status=new.payment_status,
            price=new.price,
            refund_policy=new.refund_policy,
            notes=new.notes,
            meeting_link=None,
            series_id=new.series_id,
            sequence=0,
            hold_until=new.hold_until,
            cancelled_at=None,
            cancel_reason=None,
            created_at=now,
            updated_at=now,
        )
        if not self._is_free(appointment):
            return None
        self._save_row(appointment)
        return appointment.booked()

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        tables = self._transaction.tables
        with_coach = [each for each in unpaid_appointments(tables, client) if each.coach_id == coach]
        series = {each.series_id for each in with_coach if each.series_id is not None}
        bookings = {each.series_id or each.id for each in with_coach}
        return unpaid_holds(tables, client), HoldsWithCoach(len(bookings), len(series))

    async def get(self, appointment_id: AppointmentId) -> Appointment:
        if appointment_id not in self._transaction.tables.of("appointments"):
            raise AppointmentNotFound
        return appointment_in(self._transaction.tables, appointment_id)

    async def save(self, appointment: Appointment) -> None:
        events = self._written.take(appointment)
        if not self._is_free(appointment):
            if any(event.takes_time for event in events):
                raise SlotUnavailable
            raise ConstraintViolated("ex_coaching_bookings_one_at_a_time")
        stored = appointment_in(self._transaction.tables, appointment.id)
        unchanged = {"client_id", "coach_id", "price", "series_id", "created_at"}
        self._save_row(replace(appointment, **{name: getattr(stored, name) for name in unchanged}))
        for event in events:
            record_appointment(self._audit, event)
            await self._write_effects([event])

    def _is_free(self, appointment: Appointment) -> bool:
        if appointment.status not in LIVE:
            return True
        return not any(
            other.id != appointment.id
            and other.coach_id == appointment.coach_id
            and other.status in LIVE
            and overlap(other.busy, appointment.busy)
            for other in appointments_in(self._transaction.tables)
        )

    def _save_row(self, appointment: Appointment) -> None:
        session, busy = appointment.session, appointment.busy
        if busy.starts_at > session.starts_at or busy.ends_at < session.ends_at:
            raise ConstraintViolated("busy")
        if (appointment.status is AppointmentStatus.CANCELLED) != (appointment.cancelled_at is not None):
            raise ConstraintViolated("cancelled_at")
        self._transaction.tables.of("appointments")[appointment.id] = replace(appointment, events=())

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        for each in appointments_in(self._transaction.tables):
            held = each.hold_until is not None and each.hold_until > now
            unpaid = each.status is AppointmentStatus.PENDING and each.payment_status in UNPAID
            if each.coach_id == coach_id and held and unpaid:
                self._save_row(replace(each, hold_until=now))

    async def _write_effects(self, events: Sequence[AppointmentEvent]) -> None:
        if not events:
            return
        first, appointments = events[0], [event.after.id for event in events]
        effects = EFFECTS[first.change]
        for event in events:
            change = StoredChange(event.after.id, event.change, event.by, event.at, *difference(event))
            number = self._transaction.store.next_id("appointment_changes")
            self._transaction.tables.of("appointment_changes")[number] = change
        if effects.message is not None:
            await self._messages.enqueue_for_appointments(
                effects.message, appointments, before=_earlier_time(first), reason=first.reason, money=first.money
            )
        if effects.calendars:
            await self._messages.enqueue_calendar_syncs_of(appointments)
        if effects.reminders:
            await self._reminders.align_appointments(appointments)
        if effects.message in MERGED:
            for event in events:
                await self._change_mails.add_for_appointment(event)


def _earlier_time(event: AppointmentEvent) -> Interval | None:
    before = event.before
    return before.session if before is not None and before.session != event.after.session else None


def attachments_of(tables: Tables, appointment_id: AppointmentId) -> list[StoredAttachment]:
    """Oldest first."""
    rows: Iterable[StoredAttachment] = tables.of("attachments").values()
    return [row for row in rows if row.attachment.booking_id == appointment_id]


class MemoryAttachments:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count(self, booking: AppointmentId) -> int:
        return len(attachments_of(self._transaction.tables, booking))

    async def usage(self, account: UserId) -> AttachmentUsage:
        rows: Iterable[StoredAttachment] = self._transaction.tables.of("attachments").values()
        sizes = [row.attachment.size for row in rows if row.attachment.uploaded_by == account]
        return AttachmentUsage(len(sizes), sum(sizes))

    async def add(self, booking: AppointmentId, by: UserId, new: NewAttachment, now: datetime) -> AttachmentId:
        appointment_in(self._transaction.tables, booking)
        user_in(self._transaction.tables, by)
        attachment_id = AttachmentId(UUID(int=self._transaction.store.next_id("attachments")))
        attachment = Attachment(attachment_id, booking, by, new.filename, new.media_type, len(new.content), now)
        self._transaction.tables.of("attachments")[attachment_id] = StoredAttachment(attachment, new.content)
        return attachment_id

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> Attachment:
        return find_attachment(self._transaction.tables, booking, attachment).attachment

    async def remove(self, attachment: AttachmentId) -> None:
        self._transaction.tables.of("attachments").pop(attachment, None)


def find_attachment(tables: Tables, booking: AppointmentId, attachment: AttachmentId) -> StoredAttachment:
    for row in attachments_of(tables, booking):
        if row.attachment.id == attachment:
            return row
    raise AttachmentNotFound
