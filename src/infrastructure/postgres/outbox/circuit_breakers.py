"""Circuit breakers, pauses and halts of destinations in PostgreSQL, shared by all workers, by its clock."""

from datetime import timedelta

import structlog

from domain.circuit_breaker import AttemptCounts
from domain.outbox import Destination
from infrastructure.postgres.engine import Database, storable

_log = structlog.get_logger(__name__)

_LONGEST_REASON = 300

_PAUSE = """
INSERT INTO destinations AS kept (name, paused_until, reason) VALUES ($1, now() + $2::interval, $3)
ON CONFLICT (name) DO UPDATE
    SET paused_until = greatest(kept.paused_until, excluded.paused_until), reason = excluded.reason
"""

_HALT = """
INSERT INTO destinations AS kept (name, halted_at, reason) VALUES ($1, now(), $2)
ON CONFLICT (name) DO UPDATE SET halted_at = now(), reason = excluded.reason WHERE kept.halted_at IS NULL
RETURNING name
"""

# Whole minutes: the window is up to one minute shorter than requested.
_TALLY = """
SELECT coalesce(sum(attempts), 0)::int AS attempts, coalesce(sum(failures), 0)::int AS failures
FROM destination_minutes WHERE destination = $1 AND minute > now() - $2::interval
"""

_TRIP = """
INSERT INTO destinations AS kept (name, tripped_at, probe_at, reason) VALUES ($1, now(), now() + $2::interval, $3)
ON CONFLICT (name) DO UPDATE SET tripped_at = now(), probe_at = excluded.probe_at, reason = excluded.reason
    WHERE kept.tripped_at IS NULL
RETURNING name
"""

_CLOSE = """
WITH closed AS (
    UPDATE destinations SET tripped_at = NULL, probe_at = NULL WHERE name = $1 AND tripped_at IS NOT NULL
    RETURNING name
), forgotten AS (
    DELETE FROM destination_minutes WHERE destination = $1 AND EXISTS (SELECT FROM closed)
)
SELECT name FROM closed
"""

_RESUME = """
WITH kept_from AS (
    UPDATE destinations SET tripped_at = NULL, probe_at = NULL, paused_until = NULL, halted_at = NULL
    WHERE name = $1 AND (tripped_at IS NOT NULL OR halted_at IS NOT NULL OR paused_until > now())
    RETURNING name
), forgotten AS (
    DELETE FROM destination_minutes WHERE destination = $1 AND EXISTS (SELECT FROM kept_from)
)
SELECT name FROM kept_from
"""


class PostgresCircuitBreakers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def pause(self, destination: Destination, wait: timedelta, *, reason: str) -> None:
        await self._change(_PAUSE, destination, wait, storable(reason, _LONGEST_REASON))
        _log.warning("destination_paused", destination=str(destination), seconds=round(wait.total_seconds()))

    async def halt(self, destination: Destination, *, reason: str) -> None:
        if await self._change(_HALT, destination, storable(reason, _LONGEST_REASON)):
            _log.error(
                "destination_halted",
                destination=str(destination),
                error=storable(reason, _LONGEST_REASON),
                advice=f"convene outbox resume {destination}",
            )

    async def counts(self, destination: Destination, *, window: timedelta) -> AttemptCounts:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_TALLY, destination, window)
        assert row is not None
        return AttemptCounts(row["attempts"], row["failures"])

    async def trip(self, destination: Destination, *, probe_in: timedelta, reason: str) -> None:
        if await self._change(_TRIP, destination, probe_in, storable(reason, _LONGEST_REASON)):
            _log.error("circuit_opened", destination=str(destination), error=storable(reason, _LONGEST_REASON))

    async def close(self, destination: Destination) -> None:
        if await self._change(_CLOSE, destination):
            _log.info("circuit_closed", destination=str(destination))

    async def resume(self, destination: Destination) -> bool:
        """Ends pause, halt and open circuit. False if there was none."""
        return await self._change(_RESUME, destination)

    async def _change(self, statement: str, *values: object) -> bool:
        async with self._database.connection() as connection:
            return await connection.fetchval(statement, *values) is not None
