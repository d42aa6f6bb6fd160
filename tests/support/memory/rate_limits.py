"""Rate limits in memory, by the clock of the test."""

import math
from collections.abc import Sequence
from datetime import datetime

from application.ports import Clock, Limit
from domain.errors import TooManyRequests


class MemoryLimits:
    """Fixed windows that begin with the first attempt, as in Redis."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], tuple[int, datetime]] = {}

    async def take(self, limit: Limit, who: str) -> None:
        await self.take_all([(limit, who)])

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        now = self._clock.now()
        counted, ends = {}, list[tuple[datetime, str]]()
        for limit, who in attempts:
            count, ends_at = self._counts.get((limit.name, who), (0, now + limit.per))
            if ends_at <= now:
                count, ends_at = 0, now + limit.per
            if count >= limit.times:
                ends.append((ends_at, limit.name))
            counted[limit.name, who] = count + 1, ends_at
        if ends:
            last, reached = max(ends)
            raise TooManyRequests(math.ceil((last - now).total_seconds()), reached)
        self._counts |= counted

    async def give_back(self, limit: Limit, who: str) -> None:
        if (limit.name, who) in self._counts:
            count, ends_at = self._counts[limit.name, who]
            self._counts[limit.name, who] = max(0, count - 1), ends_at

    def counted(self, limit: Limit, who: str) -> int:
        """The number of counted attempts, for a test."""
        return self._counts.get((limit.name, who), (0, None))[0]
