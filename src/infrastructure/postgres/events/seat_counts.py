"""The count of reserved seats in an event's row. The caller must have locked the event."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.events import EventId
from infrastructure.postgres.tables import EventRow


class PostgresSeatCounts:
    """Each change increments the event's version, the SEQUENCE of its calendar entries."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def release_seat(self, event_id: EventId) -> None:
        await self._change(event_id, -1)

    async def occupy_seat(self, event_id: EventId) -> None:
        await self._change(event_id, 1)

    async def count_change(self, event_id: EventId) -> None:
        await self._change(event_id, 0)

    async def _change(self, event_id: EventId, seats: int) -> None:
        await self._session.execute(
            update(EventRow)
            .where(EventRow.id == event_id)
            .values(booked=EventRow.booked + seats, version=EventRow.version + 1)
        )
