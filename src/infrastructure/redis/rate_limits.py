"""Rate limits over all processes, counted in Redis by one atomic script. While Redis is unavailable each process counts
separately, so that there is always a limit."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from application.ports import Limit, RateLimiter
from domain.errors import TooManyRequests
from infrastructure.retries import count_once

_log = structlog.get_logger()

# Fixed windows that begin with the first attempt. Returns the milliseconds to wait, 0 for an attempt that was counted.
RESERVE = """
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count >= tonumber(ARGV[1]) then
    return math.max(redis.call('PTTL', KEYS[1]), 1)
end
if redis.call('INCR', KEYS[1]) == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
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
        key = _key(limit, who)
        count, ends_at = self._counters.get(key, (0, 0.0))
        if ends_at <= self._now():
            count, ends_at = 0, self._now() + limit.per.total_seconds()
        if count >= limit.times:
            raise TooManyRequests(math.ceil(ends_at - self._now()))
        self._counters[key] = (count + 1, ends_at)
        if len(self._counters) > self._remembered:
            self._counters.popitem(last=False)

    async def give_back(self, limit: Limit, who: str) -> None:
        key = _key(limit, who)
        if key in self._counters:
            count, ends_at = self._counters[key]
            self._counters[key] = (max(0, count - 1), ends_at)


class RedisLimits:
    """Limits in Redis. After a failure of Redis it uses `without_redis` for a few seconds."""

    PAUSE_SECONDS = 5.0

    def __init__(self, redis: Redis, without_redis: RateLimiter) -> None:
        self._take = redis.register_script(RESERVE)
        self._give_back = redis.register_script(GIVE_BACK)
        self._without_redis = without_redis
        self._away_until = 0.0

    async def take(self, limit: Limit, who: str) -> None:
        if not count_once(limit.name, who):
            return
        wait_ms = 0
        if not self._is_unavailable():
            try:
                wait_ms = await self._take(
                    keys=[_key(limit, who)], args=[limit.times, int(limit.per.total_seconds() * 1000)]
                )
            except (RedisError, OSError) as error:
                self._note_unavailable(error)
        if self._is_unavailable():
            await self._without_redis.take(limit, who)
        elif wait_ms:
            raise TooManyRequests(math.ceil(wait_ms / 1000))

    async def give_back(self, limit: Limit, who: str) -> None:
        if not self._is_unavailable():
            try:
                await self._give_back(keys=[_key(limit, who)], args=[])
            except (RedisError, OSError) as error:
                self._note_unavailable(error)
        if self._is_unavailable():
            await self._without_redis.give_back(limit, who)

    def _is_unavailable(self) -> bool:
        return time.monotonic() < self._away_until

    def _note_unavailable(self, error: Exception) -> None:
        self._away_until = time.monotonic() + self.PAUSE_SECONDS
        _log.warning("redis.away", used_for="rate limits", instead="limits of this process", error=str(error))


class NoLimits:
    async def take(self, limit: Limit, who: str) -> None: ...

    async def give_back(self, limit: Limit, who: str) -> None: ...


def _key(limit: Limit, who: str) -> str:
    """The key in Redis. It contains a digest instead of personal data."""
    return f"limit:{limit.name}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"
