"""Health of the servers that this process needs."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.schema_version import VERSION_TABLE
from servicekit.write_probe import WriteProbe


class ServersHealth:
    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._write_probe = WriteProbe(database.connection, VERSION_TABLE, unavailable=Unavailable)

    async def database_answers(self) -> bool:
        with contextlib.suppress(Unavailable):
            async with self._database.connection() as connection:
                await connection.fetchval("SELECT 1")
            return True
        return False

    async def database_writes(self) -> bool:
        return await self._write_probe.succeeds()

    async def redis_answers(self) -> bool:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.ping()
            return True
        return False
