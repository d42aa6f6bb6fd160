"""The accounts that wrote in the last ten seconds: they read lists from the primary, so that they see what they wrote.

A mark is in Redis, for all processes, and in this process. Without Redis each reader counts as one that wrote.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

WINDOW_SECONDS = 10
"""Longer than the replica may lag and a check of it may be old, together."""

_KEY = "convene:wrote:"
_REMEMBERED = 20_000

_log = structlog.get_logger(__name__)

_READER: ContextVar[str | None] = ContextVar("account_that_reads", default=None)


class RedisRecentWriters:
    def __init__(self, redis: Redis, now: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._now = now
        self._until: OrderedDict[str, float] = OrderedDict()

    def reads(self, account: str | None) -> None:
        """Names the account of the request in progress; None for an anonymous one."""
        _READER.set(account)

    async def wrote(self, account: str) -> None:
        """To be called before the account receives the answer to its write."""
        self._until.pop(account, None)
        self._until[account] = self._now() + WINDOW_SECONDS
        while len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)
        try:
            await self._redis.set(_KEY + account, 1, px=1000 * WINDOW_SECONDS)
        except (RedisError, OSError) as error:
            _log.warning("recent_writers.unavailable", error=type(error).__name__)

    async def reader_wrote(self) -> bool:
        account = _READER.get()
        if account is None:
            return False
        if self._until.get(account, 0.0) > self._now():
            return True
        try:
            return bool(await self._redis.exists(_KEY + account))
        except (RedisError, OSError):
            return True
