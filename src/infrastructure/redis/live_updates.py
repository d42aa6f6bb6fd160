"""Subscription to live updates in Redis; wakes the followers of a facilitator in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import Context

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from domain.accounts import UserId
from infrastructure.delivery.live_updates import CHANNEL
from servicekit.tasks import LongLivedTasks

_log = structlog.get_logger(__name__)


class _Follower:
    def __init__(self) -> None:
        self.rung = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.rung.wait(), seconds)
        except TimeoutError:
            return False
        self.rung.clear()
        return True


class RedisLiveUpdateListeners:
    """One subscription a process, from the first follower on; renewed after Redis was unavailable."""

    def __init__(
        self, url: str, *, tasks: LongLivedTasks | None = None, back_off: float = 1, silence: float = 3
    ) -> None:
        self._tasks = tasks or LongLivedTasks()
        self._url = url
        self._back_off = back_off
        self._silence = silence
        self._followers: dict[UserId, set[_Follower]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._unavailable = False

    @contextlib.asynccontextmanager
    async def listening(self, facilitator_id: UserId) -> AsyncIterator[_Follower]:
        if self._hearing is None or self._hearing.done():
            # The task outlives the request that started it, so it gets a separate context.
            self._hearing = self._tasks.start("live updates", self._receive(), context=Context())
        follower = _Follower()
        self._followers.setdefault(facilitator_id, set()).add(follower)
        try:
            yield follower
        finally:
            followers = self._followers[facilitator_id]
            followers.discard(follower)
            if not followers:
                del self._followers[facilitator_id]

    async def close(self) -> None:
        if self._hearing is not None:
            await self._tasks.stop([self._hearing])

    async def _receive(self) -> None:
        while True:
            redis = Redis.from_url(self._url, socket_timeout=5, socket_connect_timeout=1)
            try:
                await self._receive_from(redis)
            except (RedisError, OSError) as error:
                if not self._unavailable:
                    _log.warning("redis_unavailable", part="live_updates", error=str(error) or type(error).__name__)
                self._unavailable = True
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await redis.aclose()
            await asyncio.sleep(self._back_off)

    async def _receive_from(self, redis: Redis) -> None:
        """Receives until the connection breaks or a ping is not answered (a half-open connection). Raises
        `RedisError`."""
        async with redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            if self._unavailable:
                _log.info("redis_recovered", part="live_updates")
            self._unavailable = False
            for followers in self._followers.values():
                _wake(followers)  # signals during the interruption were lost
            pinged = False
            while True:
                heard = await subscription.get_message(timeout=self._silence)
                if heard is not None:
                    pinged = False
                    if heard["type"] == "message":
                        self._signal(heard["data"])
                elif pinged:
                    raise RedisTimeout("a ping was not answered")
                else:
                    await subscription.ping()
                    pinged = True

    def _signal(self, said: bytes) -> None:
        if said.isdigit():
            _wake(self._followers.get(UserId(int(said)), set()))


def _wake(followers: set[_Follower]) -> None:
    for follower in followers:
        follower.rung.set()
