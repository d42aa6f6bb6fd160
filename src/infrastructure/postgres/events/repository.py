"""Events as aggregates."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import asyncpg
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.events import Event, EventDetails, EventId, EventNotFound, EventStatus, EventType
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.tables import EventRow, UserRow


class PostgresEvents:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event:
        row = EventRow(facilitator_id=facilitator_id, created_at=now, **_columns(details))
        self._session.add(row)
        await self._session.flush()
        await self._session.refresh(row)
        return _event(row)

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
                **_columns(event.details),
            )
        )

    async def release_seat(self, event_id: EventId) -> None:
        await self._session.execute(
            update(EventRow)
            .where(EventRow.id == event_id)
            .values(booked=EventRow.booked - 1, version=EventRow.version + 1)
        )

    async def occupy_seat(self, event_id: EventId) -> None:
        await self._session.execute(
            update(EventRow)
            .where(EventRow.id == event_id)
            .values(booked=EventRow.booked + 1, version=EventRow.version + 1)
        )

    async def count_change(self, event_id: EventId) -> None:
        await self._session.execute(
            update(EventRow).where(EventRow.id == event_id).values(version=EventRow.version + 1)
        )

    async def soft_delete(self, event_id: EventId, now: datetime) -> None:
        await self._session.execute(update(EventRow).where(EventRow.id == event_id).values(deleted_at=now))


def event_of_record(record: asyncpg.Record) -> Event:
    return _event(_Columns(record))


class _EventColumns(Protocol):
    """The columns of `events`, whichever driver brought them."""

    def __getattr__(self, name: str) -> Any: ...


class _Columns:
    def __init__(self, record: asyncpg.Record) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return self._record[name]


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


def stored_policy(policy: RefundPolicy) -> list[list[int]]:
    """As the columns `refund_policy` hold it."""
    return [[tier.hours_before, tier.percent] for tier in policy.tiers]


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
    )
