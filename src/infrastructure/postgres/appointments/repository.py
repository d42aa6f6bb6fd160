"""Coaching bookings as aggregates. Who has a coach's time is decided by the exclusion constraint alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentId,
    AppointmentNotFound,
    AppointmentStatus,
    Change,
    NewAppointment,
    SeriesId,
)
from domain.attachments import AttachmentId
from domain.money import Money
from domain.payments import UNPAID, PaymentId, PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.events.repository import stored_policy
from infrastructure.postgres.tables import AppointmentChangeRow, AppointmentRow

_TABLE = AppointmentRow.__table__

_HOLDS_WITH_COACH = text("""
SELECT count(DISTINCT coalesce(series_id, id)), count(DISTINCT series_id) FROM coaching_bookings
WHERE client_id = :client AND coach_id = :coach AND hold_until IS NOT NULL AND status = 'pending'
  AND payment_status IN ('pending', 'failed')
""")


class PostgresAppointments:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, new: NewAppointment, now: datetime) -> Appointment | None:
        # DO NOTHING also waits for whoever is just taking the same time, without the deadlocks of a plain insert.
        statement = (
            insert(AppointmentRow)
            .values(
                client_id=new.client_id,
                coach_id=new.coach_id,
                starts_at=new.session.starts_at,
                ends_at=new.session.ends_at,
                busy_from=new.busy.starts_at,
                busy_until=new.busy.ends_at,
                status=AppointmentStatus.PENDING,
                payment_status=new.payment_status,
                price=new.price.amount,
                currency=new.price.currency,
                refund_policy=stored_policy(new.refund_policy),
                notes=new.notes,
                series_id=new.series_id,
                hold_until=new.hold_until,
                created_at=now,
                updated_at=now,
            )
            .on_conflict_do_nothing()
            .returning(_TABLE)
        )
        row = (await self._session.execute(statement)).mappings().first()
        return _appointment(row) if row else None

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        in_all = await self._session.scalar(text("SELECT unpaid_holds(:client)"), {"client": client})
        # A statement of its own, begun under the lock that the first one took.
        of_coach = (await self._session.execute(_HOLDS_WITH_COACH, {"client": client, "coach": coach})).one()
        return in_all, HoldsWithCoach(*of_coach)

    async def ask_payment(self, appointment: Appointment, gateway: str, now: datetime) -> PaymentId:
        payment_id = await self._session.scalar(
            text("""
                INSERT INTO payments (coaching_booking_id, gateway, amount, currency, status, created_at)
                VALUES (:id, :gateway, :amount, :currency, 'pending', :now) RETURNING id"""),
            {
                "id": appointment.id,
                "gateway": gateway,
                "amount": appointment.price.amount,
                "currency": appointment.price.currency,
                "now": now,
            },
        )
        return PaymentId(payment_id)

    async def get(self, appointment_id: AppointmentId) -> Appointment:
        statement = select(_TABLE).where(_TABLE.c.id == appointment_id).with_for_update()
        row = (await self._session.execute(statement)).mappings().first()
        if row is None:
            raise AppointmentNotFound
        return _appointment(row)

    async def save(self, appointment: Appointment) -> None:
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

    async def save_time(self, appointment: Appointment) -> None:
        await self._take_turns(appointment.coach_id)
        with domain_errors():
            async with self._session.begin_nested():
                await self.save(appointment)

    async def _take_turns(self, coach_id: UserId) -> None:
        """Two that wait together for a third to give up the time they want would then wait for each other: both are
        written already, and the constraint lets neither overlook the other."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('time of coach ' || :coach, 0))"),
            {"coach": str(coach_id)},
        )

    async def record(
        self, appointment: Appointment, change: Change, *, by: UserId | None, before: Appointment | None, now: datetime
    ) -> None:
        after, earlier = _remembered(appointment), _remembered(before) if before else None
        if earlier is not None:
            changed = {name for name in after if after[name] != earlier[name]}
            after, earlier = ({name: said[name] for name in sorted(changed)} for said in (after, earlier))
        await self._remember(appointment, change, earlier, after, by=by, now=now)

    async def record_file(
        self, appointment: Appointment, change: Change, file: AttachmentId, filename: str, *, by: UserId, now: datetime
    ) -> None:
        there = {"attachment": {"id": str(file), "filename": filename}}
        before, after = (there, {}) if change is Change.ATTACHMENT_REMOVED else ({}, there)
        await self._remember(appointment, change, before, after, by=by, now=now)

    async def _remember(
        self,
        appointment: Appointment,
        change: Change,
        before: dict[str, Any] | None,
        after: dict[str, Any],
        *,
        by: UserId | None,
        now: datetime,
    ) -> None:
        self._session.add(
            AppointmentChangeRow(
                booking_id=appointment.id, change=change, actor_id=by, changed_at=now, before=before, after=after
            )
        )
        await self._session.flush()


def _remembered(appointment: Appointment) -> dict[str, Any]:
    return {
        "status": appointment.status,
        "payment_status": appointment.payment_status,
        "starts_at": appointment.session.starts_at.isoformat(),
        "ends_at": appointment.session.ends_at.isoformat(),
        "notes": appointment.notes,
        "meeting_link": appointment.meeting_link,
        "cancel_reason": appointment.cancel_reason,
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
    )
