"""Units of work with a guard taken out, for the twins of race tests: they must go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from application.ports.persistence import UnitOfWork
from domain.bookings import Booking, BookingId
from domain.coaching import Coaching, CoachingId
from domain.events import Event, EventId
from infrastructure.database import bookings, coaching, events
from infrastructure.database.tables import BookingRow, EventRow
from infrastructure.database.unit_of_work import UnitsOfWork

PAUSE = 0.02
"""Seconds between a look and what is done about it: long enough for somebody else to do something."""


def units_with(**parts: Callable[[AsyncSession], Any]) -> type[UnitsOfWork]:
    """Units of work with some of their parts replaced."""

    class Changed(UnitsOfWork):
        @asynccontextmanager
        async def __call__(self) -> AsyncIterator[UnitOfWork]:
            async with super().__call__() as work:
                for name, part in parts.items():
                    setattr(work, name, part(work._session))  # type: ignore[attr-defined]
                yield work

    return Changed


class UnlockedEvents(events.PostgresEvents):
    async def get_even_hidden(self, event_id: EventId) -> Event:
        row = await self._session.scalar(select(EventRow).where(EventRow.id == event_id))
        assert row is not None
        await asyncio.sleep(PAUSE)
        return events._event(row)


class UnlockedBookings(bookings.PostgresBookings):
    async def get(self, booking_id: BookingId) -> Booking:
        row = await self._session.scalar(select(BookingRow).where(BookingRow.id == booking_id))
        assert row is not None
        await asyncio.sleep(PAUSE)
        return bookings._booking(row)


class UnlockedCoachings(coaching.PostgresCoachings):
    async def get(self, coaching_id: CoachingId) -> Coaching:
        found = await self._session.execute(select(coaching._TABLE).where(coaching._TABLE.c.id == coaching_id))
        await asyncio.sleep(PAUSE)
        return coaching._coaching(found.mappings().one())
