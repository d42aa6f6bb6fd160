"""Rate limits over all processes, counted in Redis by one atomic script. While Redis is unavailable each process counts
separately, so that there is always a limit."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from application.ports import Limit, RateLimiter
from domain.errors import TooManyRequests
from infrastructure.retries import count_once
from servicekit.queued_lookups import QueuedLookups

_log = structlog.get_logger()

# Fixed windows that begin with the first attempt. ARGV has the number and the milliseconds of each key, and then the
# number of keys of each attempt. Returns for each attempt the longest wait in milliseconds and the place of its key
# among those of the attempt, from 1; 0 and 0 if it was counted at each key.
RESERVE = """
local waits, first = {}, 1
for place = 2 * #KEYS + 1, #ARGV do
    local last, wait, longest = first + tonumber(ARGV[place]) - 1, 0, 0
    for key = first, last do
        if tonumber(redis.call('GET', KEYS[key]) or '0') >= tonumber(ARGV[2 * key - 1]) then
            local remaining = math.max(redis.call('PTTL', KEYS[key]), 1)
            if remaining > wait then
                wait, longest = remaining, key - first + 1
            end
        end
    end
    if wait == 0 then
        for key = first, last do
            if redis.call('INCR', KEYS[key]) == 1 then
                redis.call('PEXPIRE', KEYS[key], ARGV[2 * key])
            end
        end
    end
    waits[#waits + 1] = {wait, longest}
    first = last + 1
end
return waits
"""
GIVE_BACK = """
if tonumber(redis.call('GET', KEYS[1]) or '0') > 0 then
    redis.call('DECR', KEYS[1])
end
"""


class LocalLimits:
    """Limits in the memory of this process; drops the oldest counters beyond `remembered`."""

    def __init__(self, now: Callable[[], float] = time.monotonic, *, remembered: int = 20_000) -> None:
        self._now = now
        self._remembered = remembered
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def take(self, limit: Limit, who: str) -> None:
        await self.take_all([(limit, who)])

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        now, counted, wait, reached = self._now(), dict[str, tuple[int, float]](), 0.0, ""
        for limit, who in attempts:
            key = _key(limit, who)
            count, ends_at = self._counters.get(key, (0, 0.0))
            if ends_at <= now:
                count, ends_at = 0, now + limit.per.total_seconds()
            if count >= limit.times and ends_at - now > wait:
                wait, reached = ends_at - now, limit.name
            counted[key] = (count + 1, ends_at)
        if wait:
            raise TooManyRequests(math.ceil(wait), reached)
        self._counters |= counted
        while len(self._counters) > self._remembered:
            self._counters.popitem(last=False)

    async def give_back(self, limit: Limit, who: str) -> None:
        key = _key(limit, who)
        if key in self._counters:
            count, ends_at = self._counters[key]
            self._counters[key] = (max(0, count - 1), ends_at)


class _RedisUnavailable(Exception):
    pass


class _Attempt:
    """At the limits with these keys, each with its number and milliseconds."""

    def __init__(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        self.keys = [_key(limit, who) for limit, who in attempts]
        self.bounds = [value for limit, _ in attempts for value in (limit.times, int(limit.per.total_seconds() * 1000))]


class RedisLimits:
    """Limits in Redis. After a failure of Redis it uses `without_redis` for a few seconds. Attempts that come while one
    is being counted wait, and are then counted by one script, in their order and each as if it were alone."""

    PAUSE_SECONDS = 5.0
    WAIT_SECONDS = 1.0
    """The longest wait of an attempt for those before it, which is longer than Redis may take for them."""

    def __init__(self, redis: Redis, without_redis: RateLimiter) -> None:
        self._reserve = redis.register_script(RESERVE)
        self._take = QueuedLookups(
            self._count, self._count_all, unavailable=_RedisUnavailable, seconds=self.WAIT_SECONDS
        )
        self._give_back = redis.register_script(GIVE_BACK)
        self._without_redis = without_redis
        self._away_until = 0.0

    async def take(self, limit: Limit, who: str) -> None:
        await self.take_all([(limit, who)])

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        attempts = [(limit, who) for limit, who in attempts if count_once(limit.name, who)]
        if not attempts:
            return
        wait_ms = place = 0
        if not self._is_unavailable():
            try:
                wait_ms, place = await self._take(_Attempt(attempts)) or (0, 0)
            except _RedisUnavailable as error:
                self._note_unavailable(error)
        if self._is_unavailable():
            await self._without_redis.take_all(attempts)
        elif wait_ms:
            raise TooManyRequests(math.ceil(wait_ms / 1000), attempts[place - 1][0].name)

    async def give_back(self, limit: Limit, who: str) -> None:
        if not self._is_unavailable():
            try:
                await self._give_back(keys=[_key(limit, who)], args=[])
            except (RedisError, OSError) as error:
                self._note_unavailable(error)
        if self._is_unavailable():
            await self._without_redis.give_back(limit, who)

    async def _count(self, attempt: _Attempt) -> tuple[int, int]:
        return (await self._count_all([attempt]))[attempt]

    async def _count_all(self, attempts: Collection[_Attempt]) -> Mapping[_Attempt, tuple[int, int]]:
        """The milliseconds that each has to wait and the place of the limit; 0 and 0 if it was counted. Raises
        `_RedisUnavailable`."""
        keys = [key for attempt in attempts for key in attempt.keys]
        bounds = [bound for attempt in attempts for bound in attempt.bounds]
        sizes = [len(attempt.keys) for attempt in attempts]
        try:
            waits = await self._reserve(keys=keys, args=[*bounds, *sizes])
        except (RedisError, OSError) as error:
            raise _RedisUnavailable(str(error)) from error
        return {attempt: (wait, place) for attempt, (wait, place) in zip(attempts, waits, strict=True)}

    def _is_unavailable(self) -> bool:
        return time.monotonic() < self._away_until

    def _note_unavailable(self, error: Exception) -> None:
        self._away_until = time.monotonic() + self.PAUSE_SECONDS
        _log.warning("redis.away", used_for="rate limits", instead="limits of this process", error=str(error))


class CountedLimits:
    """`limiter`, with a count of refused attempts by the name of the limit that was reached."""

    def __init__(self, limiter: RateLimiter, count: Callable[[str], None]) -> None:
        self._limiter = limiter
        self._count = count

    async def take(self, limit: Limit, who: str) -> None:
        await self.take_all([(limit, who)])

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        try:
            await self._limiter.take_all(attempts)
        except TooManyRequests as error:
            self._count(error.limit or "other")
            raise

    async def give_back(self, limit: Limit, who: str) -> None:
        await self._limiter.give_back(limit, who)


class NoLimits:
    async def take(self, limit: Limit, who: str) -> None: ...

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None: ...

    async def give_back(self, limit: Limit, who: str) -> None: ...


def _key(limit: Limit, who: str) -> str:
    """The key in Redis. It contains a digest instead of personal data."""
    return f"limit:{limit.name}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"
