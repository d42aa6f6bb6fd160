"""Bookings as aggregates, and what is owed because of them."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.bookings import Booking, BookingId, BookingNotFound, BookingStatus
from domain.events import EventId
from domain.messages import Fact, Owed
from domain.payments import PaymentStatus
from domain.users import UserId
from infrastructure.database import snapshots
from infrastructure.database.tables import BookingRow, EventRow


class PostgresBookings:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        event_id = await self._session.scalar(select(BookingRow.event_id).where(BookingRow.id == booking_id))
        return EventId(event_id) if event_id is not None else None

    async def get(self, booking_id: BookingId) -> Booking:
        row = await self._session.scalar(select(BookingRow).where(BookingRow.id == booking_id).with_for_update())
        if row is None:
            raise BookingNotFound
        return Booking(
            id=BookingId(row.id),
            reference=row.reference,
            event_id=EventId(row.event_id),
            user_id=UserId(row.user_id),
            status=BookingStatus(row.status),
            payment_status=PaymentStatus(row.payment_status),
            notes=row.notes,
            created_at=row.created_at,
            cancelled_at=row.cancelled_at,
        )

    async def save(self, booking: Booking) -> None:
        await self._session.execute(
            update(BookingRow)
            .where(BookingRow.id == booking.id)
            .values(
                status=booking.status,
                payment_status=booking.payment_status,
                cancelled_at=booking.cancelled_at,
            )
        )

    async def free_place(self, event_id: EventId) -> None:
        await self._session.execute(
            update(EventRow)
            .where(EventRow.id == event_id)
            .values(booked=EventRow.booked - 1, version=EventRow.version + 1)
        )

    async def cancel_all(self, event_id: EventId, now: datetime) -> int:
        result = await self._session.execute(
            update(BookingRow)
            .where(BookingRow.event_id == event_id, BookingRow.status == BookingStatus.CONFIRMED)
            .values(status=BookingStatus.CANCELLED, cancelled_at=now)
        )
        return cast("CursorResult[Any]", result).rowcount


class PostgresMessages:
    def __init__(self, session: AsyncSession, owed: Owed, *, now: datetime, request_id: str | None) -> None:
        self._session = session
        self._owed = owed
        self._when = {"now": now, "request_id": request_id}

    async def owe_for_booking(self, fact: Fact, booking_id: BookingId, *, reason: str | None = None) -> None:
        await self._owe_bookings(fact, "b.id = :booking_id", reason=reason, booking_id=booking_id)

    async def owe_for_bookings_of(
        self, fact: Fact, event_id: EventId, *, cancelled_at: datetime | None = None, reason: str | None = None
    ) -> None:
        which = "b.status = 'confirmed'" if cancelled_at is None else "b.cancelled_at = :cancelled_at"
        extra = {} if cancelled_at is None else {"cancelled_at": cancelled_at}
        await self._owe_bookings(fact, f"b.event_id = :event_id AND {which}", reason=reason, event_id=event_id, **extra)

    async def owe_for_event(self, fact: Fact, event_id: EventId) -> None:
        statement = f"""
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, {snapshots.EVENT_LANE}, '{fact}', {snapshots.event_snapshot()}, :request_id, :now
            FROM events e JOIN users f ON f.id = e.facilitator_id, {snapshots.destinations(self._owed[fact])}
            WHERE e.id = :event_id"""  # noqa: S608 (composed of constants)
        await self._session.execute(text(statement), {**self._when, "event_id": event_id})

    async def _owe_bookings(self, fact: Fact, which: str, *, reason: str | None, **values: Any) -> None:
        snapshot = snapshots.booking_snapshot(reason="CAST(:reason AS text)")
        statement = f"""
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, {snapshots.BOOKING_LANE}, '{fact}', {snapshot}, :request_id, :now
            FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
                 JOIN users f ON f.id = e.facilitator_id, {snapshots.destinations(self._owed[fact])}
            WHERE {which}
            ORDER BY b.id"""  # noqa: S608 (composed of constants)
        await self._session.execute(text(statement), {**self._when, "reason": reason, **values})
