"""Health of the servers that this process needs."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database


class ServersHealth:
    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def database_answers(self) -> bool:
        with contextlib.suppress(Unavailable):
            async with self._database.connection() as connection:
                await connection.fetchval("SELECT 1")
            return True
        return False

    async def redis_answers(self) -> bool:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.ping()
            return True
        return False
