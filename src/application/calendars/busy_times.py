"""Busy times from the connected calendars of coaches: read periodically and before a booking."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import field
from datetime import timedelta
from uuid import UUID

from application.calendars.ports import BusyTimeStore, CoachCalendar
from application.calendars.tokens import CalendarAccess
from application.ports import Clock
from application.use_cases import use_case
from domain.calendars import ConnectionId
from domain.errors import DomainError
from domain.time import Interval

AHEAD = timedelta(days=366)
EVERY = timedelta(minutes=5)
LONGEST_PAUSE = timedelta(hours=1)
FRESH = timedelta(seconds=30)
PATIENCE_SECONDS = 2


@use_case
class ReadBusyTimes:
    """Reads the busy times of the next year from the connected calendars of coaches.

    - Each calendar is read every five minutes, by one worker. After failures the interval grows.
    - The stored busy times are used until newer ones are read.
    """

    book: BusyTimeStore
    access: CalendarAccess
    clock: Clock
    at_once: int = 8
    _under_way: dict[ConnectionId, asyncio.Task[bool]] = field(default_factory=dict)

    async def __call__(self) -> int:
        """Reads the calendars that are due; returns their number."""
        due = await self.book.claim_due(limit=self.at_once, every=EVERY)
        return sum(await asyncio.gather(*(self.read(calendar) for calendar in due)))

    async def read(self, calendar: CoachCalendar) -> bool:
        """Concurrent calls share one refresh, which continues when a caller is cancelled."""
        under_way = self._under_way.get(calendar.id)
        if under_way is None:
            under_way = asyncio.create_task(self._read(calendar))
            self._under_way[calendar.id] = under_way
            under_way.add_done_callback(lambda _: self._under_way.pop(calendar.id))
        return await asyncio.shield(under_way)

    async def _read(self, calendar: CoachCalendar) -> bool:
        began = self.clock.now()
        window = Interval(began, began + AHEAD)
        try:
            before = await self.book.own_entries(calendar, window)
            busy = await self.access(calendar.id, lambda at, token: at.busy(token, window, before))
            await self.book.keep(calendar, busy, began=began, next_in=EVERY)
        except DomainError as error:
            await self._put_off(calendar, error)
            return False
        return True

    async def _put_off(self, calendar: CoachCalendar, error: DomainError) -> None:
        try:
            await self.book.postpone(calendar, error.message, at_most=LONGEST_PAUSE)
        except DomainError:
            return  # the database is unavailable; the claim expires


@use_case
class ConnectedCalendars:
    """The port `BusyTimes`: refreshes stored busy times older than 30 s before a booking. A calendar that could not be
    read is not read again in that time."""

    read: ReadBusyTimes
    _failed_at: dict[ConnectionId, float] = field(default_factory=dict)

    async def refresh(self, coach: UUID) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stale = await self.read.book.list_stale(coach, older_than=FRESH)
                await asyncio.gather(*(self._ask(calendar) for calendar in self._due_for_refresh(stale)))
        except (DomainError, TimeoutError):
            return

    def _due_for_refresh(self, stale: Sequence[CoachCalendar]) -> list[CoachCalendar]:
        just_now = time.monotonic() - FRESH.total_seconds()
        return [each for each in stale if self._failed_at.get(each.id, just_now) <= just_now]

    async def _ask(self, calendar: CoachCalendar) -> None:
        done = False
        try:
            done = await self.read.read(calendar)
        finally:
            if done:
                self._failed_at.pop(calendar.id, None)
            else:
                self._failed_at[calendar.id] = time.monotonic()
