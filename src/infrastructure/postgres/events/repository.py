"""Events as aggregates."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import asyncpg
from sqlalchemy import ColumnElement, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_event
from domain.bookings import CancelReason
from domain.event_effects import EFFECTS
from domain.events import (
    Event,
    EventChange,
    EventChanged,
    EventDetails,
    EventId,
    EventNotFound,
    EventStatus,
    EventType,
)
from domain.ids import BookingId
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.bookings.invitations import PostgresInvitations
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.domain_events import WrittenEvents
from infrastructure.postgres.events.seat_counts import PostgresSeatCounts
from infrastructure.postgres.outbox.change_mails import PostgresChangeMails
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.payments.refunds import PostgresRefunds
from infrastructure.postgres.reminders.repository import PostgresReminders
from infrastructure.postgres.tables import EventRow, UserRow
from infrastructure.postgres.tables.columns import stored_policy

EVENTS_OF_COACH = "hashtextextended('events of coach ' || :id, 0)"
"""The key of the lock between a facilitator's events and their appointments."""
_TAKE_TIME = text(f"SELECT pg_advisory_xact_lock({EVENTS_OF_COACH})")

_COMPLETE = """
WITH ended AS (
    SELECT e.id FROM events e
    WHERE e.ends_at <= :now AND e.completed_at IS NULL AND NOT EXISTS (
        SELECT FROM bookings b WHERE b.event_id = e.id AND b.status = 'confirmed' AND b.hold_until IS NOT NULL)
    ORDER BY e.ends_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE events SET completed_at = :now FROM ended WHERE events.id = ended.id RETURNING events.id
"""


class PostgresEvents(PostgresSeatCounts):
    """`add`, `save` and `complete_ended` also write the effects of the change."""

    def __init__(
        self,
        session: AsyncSession,
        messages: PostgresMessages,
        reminders: PostgresReminders,
        bookings: PostgresBookings,
        invitations: PostgresInvitations,
        refunds: PostgresRefunds,
        change_mails: PostgresChangeMails,
        audit: AuditTrail,
    ) -> None:
        super().__init__(session)
        self._messages = messages
        self._reminders = reminders
        self._bookings = bookings
        self._invitations = invitations
        self._refunds = refunds
        self._change_mails = change_mails
        self._audit = audit
        self._written = WrittenEvents()

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event:
        await self._take_time(facilitator_id)
        row = EventRow(facilitator_id=facilitator_id, created_at=now, **_columns(details))
        self._session.add(row)
        await self._session.flush()
        await self._session.refresh(row)
        event = _event(row).created()
        for change in self._written.take(event):
            await self._write_effects(change)
        return event

    async def get(self, event_id: EventId) -> Event:
        return await self._locked(EventRow.id == event_id, EventRow.deleted_at.is_(None))

    async def get_including_deleted(self, event_id: EventId) -> Event:
        return await self._locked(EventRow.id == event_id)

    async def _locked(self, *which: ColumnElement[bool]) -> Event:
        found = await self._session.execute(
            select(EventRow, UserRow.is_active)
            .join(UserRow, UserRow.id == EventRow.facilitator_id)
            .where(*which)
            .with_for_update(key_share=True, of=EventRow)
        )
        row = found.one_or_none()
        if row is None:
            raise EventNotFound
        event = _event(row[0])
        return replace(event, facilitator_active=event.facilitator_active and row[1])

    async def set_facilitator_active(self, facilitator_id: UserId, *, active: bool) -> None:
        await self._session.execute(
            update(EventRow)
            .where(EventRow.facilitator_id == facilitator_id, EventRow.facilitator_active.is_not(active))
            .values(facilitator_active=active)
        )

    async def save(self, event: Event) -> None:
        changes = self._written.take(event)
        if any(change.takes_time for change in changes):
            await self._take_time(event.facilitator_id)
        await self._session.execute(
            update(EventRow)
            .where(EventRow.id == event.id)
            .values(
                booked=event.booked,
                status=event.status,
                revision=event.revision,
                version=event.version,
                updated_at=event.updated_at,
                schedule_revision=event.schedule_revision,
                deleted_at=event.deleted_at,
                **_columns(event.details),
            )
        )
        for change in changes:
            await self._write_effects(change)

    async def complete_ended(self, now: datetime, *, limit: int) -> int:
        completed = await self._mark_completed(now, limit)
        change = EFFECTS[EventChange.COMPLETED].bookings
        if completed and change is not None:
            await self._bookings.change_with_events(completed, change, now)
        return len(completed)

    async def _mark_completed(self, now: datetime, limit: int) -> Sequence[EventId]:
        rows = await self._session.execute(text(_COMPLETE), {"now": now, "limit": limit})
        return [EventId(row) for row in rows.scalars()]

    async def _take_time(self, facilitator_id: UserId) -> None:
        """Waits for concurrent bookings of appointments with the facilitator, and blocks further ones until the
        transaction ends."""
        await self._session.execute(_TAKE_TIME, {"id": str(facilitator_id)})

    async def _write_effects(self, event: EventChanged) -> None:
        effects, event_id = EFFECTS[event.change], event.after.id
        refunded: Sequence[BookingId] = ()
        record_event(self._audit, event)
        if effects.keeps_policy and event.before is not None:
            await self._bookings.keep_policy(event_id, event.before.details.refund_policy)
        if effects.payments:
            await self._messages.enqueue_checkout_closes_of(event_id)
            reason = CancelReason.EVENT_CANCELLED
            refunded = await self._refunds.add_for_event(event_id, reason=reason, by=event.by, now=event.at)
        if effects.message is not None:
            await self._messages.enqueue_for_event(effects.message, event_id)
        if effects.bookings is not None:
            await self._bookings.change_with_events(
                [event_id], effects.bookings, event.at, by=event.by, refunded=refunded
            )
        if effects.start:
            await self._bookings.shorten_holds(event_id, event.after.details.interval.starts_at)
            await self._reminders.align_event(event_id)
        if effects.participants:
            await self._change_mails.add_for_event(event)
        if effects.invitations:
            await self._invitations.withdraw_of_event(event_id, event.at)


def event_of_record(record: asyncpg.Record) -> Event:
    return _event(_Columns(record))


class _EventColumns(Protocol):
    """The columns of `events` in a row of either driver."""

    def __getattr__(self, name: str) -> Any: ...


_STORED_AS = {"deleted_at": "hidden_at"}


class _Columns:
    def __init__(self, record: asyncpg.Record) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return self._record[_STORED_AS.get(name, name)]


def _columns(details: EventDetails) -> dict[str, Any]:
    return {
        "title": details.title,
        "description": details.description,
        "event_type": details.event_type,
        "category": details.category,
        "starts_at": details.interval.starts_at,
        "ends_at": details.interval.ends_at,
        "location": details.location,
        "virtual_link": details.virtual_link,
        "capacity": details.capacity,
        "price": details.price.amount,
        "currency": details.price.currency,
        "refund_policy": stored_policy(details.refund_policy),
    }


def _event(row: _EventColumns | EventRow) -> Event:
    return Event(
        id=EventId(row.id),
        facilitator_id=UserId(row.facilitator_id),
        details=EventDetails(
            title=row.title,
            interval=Interval(row.starts_at, row.ends_at),
            capacity=row.capacity,
            price=Money(row.price, row.currency),
            event_type=EventType(row.event_type),
            description=row.description,
            category=row.category,
            location=row.location,
            virtual_link=row.virtual_link,
            refund_policy=RefundPolicy.of(row.refund_policy),
        ),
        booked=row.booked,
        status=EventStatus(row.status),
        revision=row.revision,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        facilitator_active=row.facilitator_active,
        schedule_revision=row.schedule_revision,
        deleted_at=row.deleted_at,
    )
