"""Wake-ups from the API to the workers: an arq job in Redis without content.

The messages are in PostgreSQL, which every worker polls every few seconds. A lost wake-up therefore costs seconds only;
Redis may be unavailable, restarted or emptied at any time.
"""

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from servicekit.tasks import LongLivedTasks

WAKE = "wake"
QUEUE = "convene:wake-ups"

# arq drops a job whose id is still queued or running. Rotating ids bound the queue while no worker runs, and a wake-up
# during the execution of another one is not dropped.
_JOB_IDS = tuple(f"{WAKE}-{number}" for number in range(16))

_LONG_AGO = datetime.fromtimestamp(1, UTC)
"""When each job is due. arq compares it with the clock of the worker's machine, which may be behind that of ours."""
_EXPIRES = timedelta(days=1)

_log = structlog.get_logger(__name__)


def connect(url: str, *, seconds: float) -> ArqRedis:
    """Connects on first use. `seconds` bounds every call, also when Redis accepts a connection and does not answer."""
    pool = ConnectionPool.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
    return ArqRedis(
        pool,
        job_serializer=msgspec.json.Encoder(enc_hook=repr).encode,
        job_deserializer=msgspec.json.decode,
        default_queue_name=QUEUE,
    )


class RedisWakeUps:
    """Sends at most one wake-up every `pause` seconds, from a task that the first `notify` starts. A wake-up is three
    commands to Redis; one every 10 ms took a tenth of the API's time under load."""

    def __init__(
        self, url: str, *, tasks: LongLivedTasks | None = None, pause: float = 0.025, seconds: float = 1
    ) -> None:
        self._tasks = tasks or LongLivedTasks()
        self._redis = connect(url, seconds=seconds)
        self._pause = pause
        self._requested = asyncio.Event()
        self._job_ids = itertools.cycle(_JOB_IDS)
        self._sending: asyncio.Task[None] | None = None
        self._redis_unavailable = False
        self._is_closed = False

    def notify(self) -> None:
        """Does nothing once closed: work that outlives its request must not start the task again."""
        if self._is_closed:
            return
        self._requested.set()
        if self._sending is None or self._sending.done():
            self._sending = self._tasks.start("wake-ups", self._send_when_requested())

    async def close(self) -> None:
        self._is_closed = True
        if self._sending is not None:
            await self._tasks.stop([self._sending])
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)

    async def _send_when_requested(self) -> None:
        while True:
            await self._requested.wait()
            self._requested.clear()
            try:
                await self._redis.enqueue_job(
                    WAKE, _job_id=next(self._job_ids), _defer_until=_LONG_AGO, _expires=_EXPIRES
                )
            except (RedisError, OSError) as error:
                if not self._redis_unavailable:
                    _log.warning("redis_unavailable", part="wake_ups", error=str(error) or type(error).__name__)
                self._redis_unavailable = True
            else:
                if self._redis_unavailable:
                    _log.info("redis_recovered", part="wake_ups")
                self._redis_unavailable = False
            await asyncio.sleep(self._pause)
