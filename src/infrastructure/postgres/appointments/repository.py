"""Appointments as aggregates. Only the exclusion constraint decides whether a coach's time is free."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import RowMapping, Table, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.appointment_effects import EFFECTS
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentEvent,
    AppointmentNotFound,
    AppointmentStatus,
    NewAppointment,
    SeriesId,
)
from domain.audit import AuditTrail
from domain.audit_effects import record_appointment
from domain.change_mails import MERGED
from domain.disputes import DisputeStatus
from domain.ids import AppointmentId
from domain.money import Money
from domain.payments import UNPAID, PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach
from infrastructure.postgres.appointments.history import difference
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.domain_events import WrittenEvents
from infrastructure.postgres.outbox.change_mails import PostgresChangeMails
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.reminders.repository import PostgresReminders
from infrastructure.postgres.tables import AppointmentChangeRow, AppointmentRow
from infrastructure.postgres.tables.columns import stored_policy

_TABLE = cast("Table", AppointmentRow.__table__)

_HOLDS_WITH_COACH = text("""
SELECT count(DISTINCT coalesce(series_id, id)), count(DISTINCT series_id) FROM coaching_bookings
WHERE client_id = :client AND coach_id = :coach AND hold_until IS NOT NULL AND status = 'pending'
  AND payment_status IN ('pending', 'failed')
""")


class PostgresAppointments:
    """Each save also writes the effects of the appointment's domain events."""

    def __init__(
        self,
        session: AsyncSession,
        messages: PostgresMessages,
        reminders: PostgresReminders,
        change_mails: PostgresChangeMails,
        audit: AuditTrail,
    ) -> None:
        self._session = session
        self._audit = audit
        self._messages = messages
        self._reminders = reminders
        self._change_mails = change_mails
        self._written = WrittenEvents()

    async def add(self, new: Sequence[NewAppointment], now: datetime) -> Sequence[Appointment | None]:
        # DO NOTHING also waits for a concurrent insert of the same time, without the deadlocks of a plain insert.
        statement = insert(_TABLE).on_conflict_do_nothing().returning(_TABLE)
        rows = await self._session.execute(statement, [_columns(each, now) for each in new])
        booked = [_appointment(row).booked() for row in rows.mappings()]
        await self._write_effects([event for appointment in booked for event in self._written.take(appointment)])
        added = {appointment.session.starts_at: appointment for appointment in booked}
        return [added.pop(each.session.starts_at, None) for each in new]

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        in_all = await self._session.scalar(text("SELECT unpaid_holds(:client)"), {"client": client})
        # A second statement, so that its snapshot is taken under the lock of the first one.
        of_coach = (await self._session.execute(_HOLDS_WITH_COACH, {"client": client, "coach": coach})).one()
        return in_all, HoldsWithCoach(*of_coach)

    async def get(self, appointment_id: AppointmentId) -> Appointment:
        statement = select(_TABLE).where(_TABLE.c.id == appointment_id).with_for_update()
        row = (await self._session.execute(statement)).mappings().first()
        if row is None:
            raise AppointmentNotFound
        return _appointment(row)

    async def save(self, appointment: Appointment) -> None:
        events = self._written.take(appointment)
        if any(event.takes_time for event in events):
            await self._update_time(appointment)
        elif any(event.after != event.before for event in events):
            await self._update(appointment)
        for event in events:
            record_appointment(self._audit, event)
            await self._write_effects([event])

    async def _update_time(self, appointment: Appointment) -> None:
        await self._lock_coach(appointment.coach_id)
        with domain_errors():
            async with self._session.begin_nested():
                await self._update(appointment)

    async def _update(self, appointment: Appointment) -> None:
        await self._session.execute(
            update(AppointmentRow)
            .where(AppointmentRow.id == appointment.id)
            .values(
                starts_at=appointment.session.starts_at,
                ends_at=appointment.session.ends_at,
                busy_from=appointment.busy.starts_at,
                busy_until=appointment.busy.ends_at,
                status=appointment.status,
                payment_status=appointment.payment_status,
                refund_policy=stored_policy(appointment.refund_policy),
                notes=appointment.notes,
                meeting_link=appointment.meeting_link,
                sequence=appointment.sequence,
                hold_until=appointment.hold_until,
                cancelled_at=appointment.cancelled_at,
                cancel_reason=appointment.cancel_reason,
                dispute=appointment.dispute,
                updated_at=appointment.updated_at,
            )
        )

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        await self._session.execute(
            update(AppointmentRow)
            .where(
                AppointmentRow.coach_id == coach_id,
                AppointmentRow.hold_until > now,
                AppointmentRow.status == AppointmentStatus.PENDING,
                AppointmentRow.payment_status.in_(UNPAID),
            )
            .values(hold_until=now)
        )

    async def _lock_coach(self, coach_id: UserId) -> None:
        """Serialises moves of one coach's appointments. Otherwise two transactions that wait for a third to release a
        time would deadlock, because both have written their rows and the constraint checks each against the other."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('time of coach ' || :coach, 0))"),
            {"coach": str(coach_id)},
        )

    async def _write_effects(self, events: Sequence[AppointmentEvent]) -> None:
        """Writes the effects of one change, or of the same change of several appointments."""
        if not events:
            return
        first, appointments = events[0], [event.after.id for event in events]
        effects = EFFECTS[first.change]
        await self._session.execute(insert(AppointmentChangeRow), [_history(event) for event in events])
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


def _columns(new: NewAppointment, now: datetime) -> dict[str, Any]:
    return {
        "client_id": new.client_id,
        "coach_id": new.coach_id,
        "starts_at": new.session.starts_at,
        "ends_at": new.session.ends_at,
        "busy_from": new.busy.starts_at,
        "busy_until": new.busy.ends_at,
        "status": AppointmentStatus.PENDING,
        "payment_status": new.payment_status,
        "price": new.price.amount,
        "currency": new.price.currency,
        "refund_policy": stored_policy(new.refund_policy),
        "notes": new.notes,
        "series_id": new.series_id,
        "hold_until": new.hold_until,
        "created_at": now,
        "updated_at": now,
    }


def _earlier_time(event: AppointmentEvent) -> Interval | None:
    before = event.before
    return before.session if before is not None and before.session != event.after.session else None


def _history(event: AppointmentEvent) -> dict[str, Any]:
    before, after = difference(event)
    return {
        "booking_id": event.after.id,
        "change": event.change,
        "actor_id": event.by,
        "changed_at": event.at,
        "before": before,
        "after": after,
    }


def _appointment(row: RowMapping) -> Appointment:
    return Appointment(
        id=AppointmentId(row["id"]),
        client_id=UserId(row["client_id"]),
        coach_id=UserId(row["coach_id"]),
        session=Interval(row["starts_at"], row["ends_at"]),
        busy=Interval(row["busy_from"], row["busy_until"]),
        status=AppointmentStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        price=Money(row["price"], row["currency"]),
        refund_policy=RefundPolicy.of(row["refund_policy"]),
        notes=row["notes"],
        meeting_link=row["meeting_link"],
        series_id=SeriesId(row["series_id"]) if row["series_id"] else None,
        sequence=row["sequence"],
        hold_until=row["hold_until"],
        cancelled_at=row["cancelled_at"],
        cancel_reason=AppointmentCancelReason(row["cancel_reason"]) if row["cancel_reason"] else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
    )
