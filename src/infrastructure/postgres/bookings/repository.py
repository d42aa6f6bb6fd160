"""Bookings as aggregates."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Numeric, RowMapping, Text, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_booking
from domain.booking_effects import EFFECTS, SeatEffect
from domain.bookings import Booking, BookingChange, BookingNotFound, BookingStatus, CancelReason
from domain.disputes import DisputeStatus
from domain.events import EventId
from domain.ids import BookingId
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from infrastructure.postgres.domain_events import WrittenEvents
from infrastructure.postgres.events.seat_counts import PostgresSeatCounts
from infrastructure.postgres.outbox.payloads import AGREED, AGREED_POLICY
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.reminders.repository import PostgresReminders
from infrastructure.postgres.tables import BookingRow, EventRow
from infrastructure.postgres.tables.columns import stored_policy

_END_HOLDS = """
UPDATE bookings SET hold_until = :now FROM events e
WHERE e.id = bookings.event_id AND e.facilitator_id = :facilitator_id AND bookings.hold_until > :now
  AND bookings.status = 'confirmed' AND bookings.payment_status IN ('pending', 'failed')
"""


# The seat is counted since the person was added by hand. Its payment is settled outside Convene.
_ADD_INVITED = """
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, price, currency, refund_policy,
                      schedule_revision, facilitator_id)
SELECT id, :user_id, 'confirmed', 'not_required', :now, 0, currency, refund_policy, schedule_revision, facilitator_id
FROM events WHERE id = :event_id
RETURNING id
"""

_WITH_EVENTS = """
UPDATE bookings SET {}
WHERE event_id = ANY(CAST(:events AS bigint[])) AND status = 'confirmed'
RETURNING id
"""
_COLUMNS_WITH_EVENTS = {
    BookingChange.COMPLETED: "status = 'completed'",
    BookingChange.EVENT_CANCELLED: """status = 'cancelled', cancelled_at = :now, cancel_reason = 'event_cancelled',
        cancelled_by = :by, hold_until = NULL,
        payment_status = CASE WHEN id = ANY(CAST(:refunded AS bigint[])) THEN 'refunded' ELSE payment_status END""",
}
_SEATS = {
    SeatEffect.RELEASE: PostgresSeatCounts.release_seat,
    SeatEffect.OCCUPY: PostgresSeatCounts.occupy_seat,
    SeatEffect.COUNT_CHANGE: PostgresSeatCounts.count_change,
}

_B, _E = BookingRow.__table__.alias("b"), EventRow.__table__.alias("e")
_LOCKED = (
    select(
        _B,
        literal_column(AGREED[0], Numeric).label("agreed_price"),
        literal_column(AGREED[1], Text).label("agreed_currency"),
        literal_column(AGREED_POLICY, JSONB).label("agreed_policy"),
    )
    .select_from(_B.join(_E, _E.c.id == _B.c.event_id))
    .with_for_update(of=_B)
)


class PostgresBookings:
    """Each save also writes the effects of the booking's domain events."""

    def __init__(
        self, session: AsyncSession, messages: PostgresMessages, reminders: PostgresReminders, audit: AuditTrail
    ) -> None:
        self._session = session
        self._audit = audit
        self._seats = PostgresSeatCounts(session)
        self._messages = messages
        self._reminders = reminders
        self._written = WrittenEvents()

    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        event_id = await self._session.scalar(select(BookingRow.event_id).where(BookingRow.id == booking_id))
        return EventId(event_id) if event_id is not None else None

    async def get(self, booking_id: BookingId) -> Booking:
        row = (await self._session.execute(_LOCKED.where(_B.c.id == booking_id))).mappings().first()
        if row is None:
            raise BookingNotFound
        return _booking(row)

    async def save(self, booking: Booking) -> None:
        events = self._written.take(booking)
        await self._update(booking)
        for event in events:
            record_booking(self._audit, event)
            reason = event.after.cancel_reason if event.change is BookingChange.CANCELLED else None
            if reason is CancelReason.BY_PERSON:
                reason = None  # the messages name it only where another reason has to be given
            await self._write_effects(event.change, [booking.id], booking.event_id, reason=reason, money=event.money)

    async def _write_effects(
        self,
        change: BookingChange,
        bookings: Sequence[BookingId],
        event_id: EventId | None = None,
        *,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        """Writes the effects of the same change of several bookings. `event_id`: the event of a booking whose change
        concerns its seat."""
        effects = EFFECTS[change]
        if effects.seat is not None and event_id is not None:
            await _SEATS[effects.seat](self._seats, event_id)
        if effects.reminders:
            await self._reminders.align_bookings(bookings)
        if effects.message is not None:
            await self._messages.enqueue_for_bookings(effects.message, bookings, reason=reason, money=money)

    async def _update(self, booking: Booking) -> None:
        await self._session.execute(
            update(BookingRow)
            .where(BookingRow.id == booking.id)
            .values(
                status=booking.status,
                payment_status=booking.payment_status,
                cancelled_at=booking.cancelled_at,
                cancel_reason=booking.cancel_reason,
                cancelled_by=booking.cancelled_by,
                hold_until=booking.hold_until,
                dispute=booking.dispute,
            )
        )

    async def has_live_booking(self, event_id: EventId, user_id: UserId) -> bool:
        live = select(BookingRow.id).where(
            BookingRow.event_id == event_id,
            BookingRow.user_id == user_id,
            BookingRow.status != BookingStatus.CANCELLED,
        )
        return await self._session.scalar(live) is not None

    async def add_invited(self, event_id: EventId, user_id: UserId, now: datetime) -> BookingId:
        values = {"event_id": event_id, "user_id": user_id, "now": now}
        booking_id = BookingId((await self._session.execute(text(_ADD_INVITED), values)).scalar_one())
        await self._write_effects(BookingChange.INVITED, [booking_id], event_id)
        return booking_id

    async def end_holds(self, facilitator_id: UserId, now: datetime) -> None:
        await self._session.execute(text(_END_HOLDS), {"facilitator_id": facilitator_id, "now": now})

    async def keep_policy(self, event_id: EventId, policy: RefundPolicy) -> None:
        await self._session.execute(
            update(BookingRow)
            .where(BookingRow.event_id == event_id, BookingRow.refund_policy.is_(None))
            .values(refund_policy=stored_policy(policy))
        )

    async def shorten_holds(self, event_id: EventId, starts_at: datetime) -> None:
        await self._session.execute(
            update(BookingRow)
            .where(
                BookingRow.event_id == event_id,
                BookingRow.status == BookingStatus.CONFIRMED,
                BookingRow.hold_until > starts_at,
            )
            .values(hold_until=starts_at)
        )

    async def change_with_events(
        self,
        events: Sequence[EventId],
        change: BookingChange,
        now: datetime,
        *,
        by: UserId | None = None,
        refunded: Sequence[BookingId] = (),
    ) -> None:
        """Changes every confirmed booking with its event, and writes the effects. The events must be locked.
        `refunded`: bookings whose payments are refunded with the change."""
        parameters = {"events": events, "now": now, "by": by, "refunded": refunded}
        rows = await self._session.execute(text(_WITH_EVENTS.format(_COLUMNS_WITH_EVENTS[change])), parameters)
        changed = [BookingId(row) for row in rows.scalars()]
        reason = CancelReason.EVENT_CANCELLED if change is BookingChange.EVENT_CANCELLED else None
        await self._write_effects(BookingChange.REFUNDED, refunded)
        await self._write_effects(change, changed, reason=reason)


def _booking(row: RowMapping) -> Booking:
    return Booking(
        id=BookingId(row["id"]),
        reference=row["reference"],
        event_id=EventId(row["event_id"]),
        user_id=UserId(row["user_id"]),
        status=BookingStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        notes=row["notes"],
        created_at=row["created_at"],
        cancelled_at=row["cancelled_at"],
        price=Money(row["agreed_price"], row["agreed_currency"]),
        refund_policy=RefundPolicy.of(row["agreed_policy"]),
        schedule_revision=row["schedule_revision"],
        cancel_reason=CancelReason(row["cancel_reason"]) if row["cancel_reason"] else None,
        cancelled_by=UserId(row["cancelled_by"]) if row["cancelled_by"] is not None else None,
        hold_until=row["hold_until"],
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
    )
