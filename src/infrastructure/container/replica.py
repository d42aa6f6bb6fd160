"""The parts of an API process that use a streaming replica."""

from dataclasses import dataclass

from redis.asyncio import Redis

from infrastructure.observability.metrics import Metrics
from infrastructure.postgres.engine import Database
from infrastructure.postgres.replica import ReplicaReads, ReplicaWatch
from infrastructure.redis.recent_writers import RedisRecentWriters
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReplicaParts:
    database: Database
    watch: ReplicaWatch
    reads: ReplicaReads
    writers: RedisRecentWriters


def build_replica(settings: Settings, primary: Database, redis: Redis, metrics: Metrics) -> ReplicaParts | None:
    """None without DATABASE_REPLICA_URL."""
    if settings.database_replica_url is None:
        return None
    database = Database(
        settings.database_replica_url,
        pool_size=settings.database_pool_size,
        # The other half is left for the primary, if the replica does not answer.
        timeout=settings.database_timeout_seconds / 2,
        pooler=settings.pooler,
    )
    watch = ReplicaWatch(primary, database, most_lag_seconds=settings.database_replica_lag_seconds, report=metrics)
    writers = RedisRecentWriters(redis)
    return ReplicaParts(database, watch, ReplicaReads(watch, writers, metrics), writers)
