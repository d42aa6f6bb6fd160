"""Coaching bookings as aggregates. Who has a coach's time is decided by the exclusion constraint alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.appointments import (
    Change,
    Coaching,
    CoachingCancelReason,
    CoachingId,
    CoachingNotFound,
    CoachingStatus,
    NewCoaching,
    SeriesId,
)
from domain.attachments import AttachmentId
from domain.availability import SlotUnavailable
from domain.money import Money
from domain.payments import UNPAID, PaymentId, PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach
from infrastructure.postgres.engine import violated_constraint
from infrastructure.postgres.events.repository import stored_policy
from infrastructure.postgres.tables import CoachingBookingRow, CoachingChangeRow

ONE_AT_A_TIME = "ex_coaching_bookings_one_at_a_time"

_TABLE = CoachingBookingRow.__table__

_HOLDS_WITH_COACH = text("""
SELECT count(DISTINCT coalesce(series_id, id)), count(DISTINCT series_id) FROM coaching_bookings
WHERE client_id = :client AND coach_id = :coach AND hold_until IS NOT NULL AND status = 'pending'
  AND payment_status IN ('pending', 'failed')
""")


class PostgresCoachings:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, new: NewCoaching, now: datetime) -> Coaching | None:
        # DO NOTHING also waits for whoever is just taking the same time, without the deadlocks of a plain insert.
        statement = (
            insert(CoachingBookingRow)
            .values(
                client_id=new.client_id,
                coach_id=new.coach_id,
                starts_at=new.session.starts_at,
                ends_at=new.session.ends_at,
                busy_from=new.busy.starts_at,
                busy_until=new.busy.ends_at,
                status=CoachingStatus.PENDING,
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
        return _coaching(row) if row else None

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        in_all = await self._session.scalar(text("SELECT unpaid_holds(:client)"), {"client": client})
        # A statement of its own, begun under the lock that the first one took.
        of_coach = (await self._session.execute(_HOLDS_WITH_COACH, {"client": client, "coach": coach})).one()
        return in_all, HoldsWithCoach(*of_coach)

    async def ask_payment(self, coaching: Coaching, gateway: str, now: datetime) -> PaymentId:
        payment_id = await self._session.scalar(
            text("""
                INSERT INTO payments (coaching_booking_id, gateway, amount, currency, status, created_at)
                VALUES (:id, :gateway, :amount, :currency, 'pending', :now) RETURNING id"""),
            {
                "id": coaching.id,
                "gateway": gateway,
                "amount": coaching.price.amount,
                "currency": coaching.price.currency,
                "now": now,
            },
        )
        return PaymentId(payment_id)

    async def get(self, coaching_id: CoachingId) -> Coaching:
        statement = select(_TABLE).where(_TABLE.c.id == coaching_id).with_for_update()
        row = (await self._session.execute(statement)).mappings().first()
        if row is None:
            raise CoachingNotFound
        return _coaching(row)

    async def save(self, coaching: Coaching) -> None:
        await self._session.execute(
            update(CoachingBookingRow)
            .where(CoachingBookingRow.id == coaching.id)
            .values(
                starts_at=coaching.session.starts_at,
                ends_at=coaching.session.ends_at,
                busy_from=coaching.busy.starts_at,
                busy_until=coaching.busy.ends_at,
                status=coaching.status,
                payment_status=coaching.payment_status,
                refund_policy=stored_policy(coaching.refund_policy),
                notes=coaching.notes,
                meeting_link=coaching.meeting_link,
                sequence=coaching.sequence,
                hold_until=coaching.hold_until,
                cancelled_at=coaching.cancelled_at,
                cancel_reason=coaching.cancel_reason,
                updated_at=coaching.updated_at,
            )
        )

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        await self._session.execute(
            update(CoachingBookingRow)
            .where(
                CoachingBookingRow.coach_id == coach_id,
                CoachingBookingRow.hold_until > now,
                CoachingBookingRow.status == CoachingStatus.PENDING,
                CoachingBookingRow.payment_status.in_(UNPAID),
            )
            .values(hold_until=now)
        )

    async def save_time(self, coaching: Coaching) -> None:
        await self._take_turns(coaching.coach_id)
        try:
            async with self._session.begin_nested():
                await self.save(coaching)
        except IntegrityError as error:
            if violated_constraint(error) == ONE_AT_A_TIME:
                raise SlotUnavailable from None
            raise

    async def _take_turns(self, coach_id: UserId) -> None:
        """Two that wait together for a third to give up the time they want would then wait for each other: both are
        written already, and the constraint lets neither overlook the other."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('time of coach ' || :coach, 0))"),
            {"coach": str(coach_id)},
        )

    async def record(
        self, coaching: Coaching, change: Change, *, by: UserId | None, before: Coaching | None, now: datetime
    ) -> None:
        after, earlier = _remembered(coaching), _remembered(before) if before else None
        if earlier is not None:
            changed = {name for name in after if after[name] != earlier[name]}
            after, earlier = ({name: said[name] for name in sorted(changed)} for said in (after, earlier))
        await self._remember(coaching, change, earlier, after, by=by, now=now)

    async def record_file(
        self, coaching: Coaching, change: Change, file: AttachmentId, filename: str, *, by: UserId, now: datetime
    ) -> None:
        there = {"attachment": {"id": str(file), "filename": filename}}
        before, after = (there, {}) if change is Change.ATTACHMENT_REMOVED else ({}, there)
        await self._remember(coaching, change, before, after, by=by, now=now)

    async def _remember(
        self,
        coaching: Coaching,
        change: Change,
        before: dict[str, Any] | None,
        after: dict[str, Any],
        *,
        by: UserId | None,
        now: datetime,
    ) -> None:
        self._session.add(
            CoachingChangeRow(
                booking_id=coaching.id, change=change, actor_id=by, changed_at=now, before=before, after=after
            )
        )
        await self._session.flush()


def _remembered(coaching: Coaching) -> dict[str, Any]:
    return {
        "status": coaching.status,
        "payment_status": coaching.payment_status,
        "starts_at": coaching.session.starts_at.isoformat(),
        "ends_at": coaching.session.ends_at.isoformat(),
        "notes": coaching.notes,
        "meeting_link": coaching.meeting_link,
        "cancel_reason": coaching.cancel_reason,
    }


def _coaching(row: RowMapping) -> Coaching:
    return Coaching(
        id=CoachingId(row["id"]),
        client_id=UserId(row["client_id"]),
        coach_id=UserId(row["coach_id"]),
        session=Interval(row["starts_at"], row["ends_at"]),
        busy=Interval(row["busy_from"], row["busy_until"]),
        status=CoachingStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        price=Money(row["price"], row["currency"]),
        refund_policy=RefundPolicy.of(row["refund_policy"]),
        notes=row["notes"],
        meeting_link=row["meeting_link"],
        series_id=SeriesId(row["series_id"]) if row["series_id"] else None,
        sequence=row["sequence"],
        hold_until=row["hold_until"],
        cancelled_at=row["cancelled_at"],
        cancel_reason=CoachingCancelReason(row["cancel_reason"]) if row["cancel_reason"] else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
