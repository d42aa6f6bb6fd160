"""Delivery statistics by destination, in one query over pending, held and dead messages, not over delivered ones."""

from collections.abc import Sequence

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from domain.outbox import Destination
from infrastructure.postgres.engine import Database
from servicekit.database import Connection

_STATISTICS = """
SELECT d.name, waiting.pending, coalesce(held.number, 0) AS held, coalesce(letters.dead, 0) AS dead,
       CASE WHEN waiting.oldest_due <= now() THEN extract(epoch FROM now() - waiting.oldest_due)::float8 END
           AS oldest_due_seconds,
       CASE WHEN state.tripped_at IS NULL THEN 'closed' WHEN state.probe_at > now() THEN 'open' ELSE 'half_open' END
           AS circuit,
       CASE WHEN state.paused_until > now() THEN state.paused_until END AS paused_until,
       state.halted_at IS NOT NULL AS halted,
       CASE WHEN coalesce(state.tripped_at, state.halted_at) IS NOT NULL OR state.paused_until > now()
           THEN state.reason END AS reason
FROM unnest($1::text[]) WITH ORDINALITY AS d (name, place)
     LEFT JOIN destinations state ON state.name = d.name
     CROSS JOIN LATERAL (SELECT count(*) AS pending, min(due_at) AS oldest_due FROM outbox
                         WHERE status = 'pending' AND destination = d.name) waiting
     LEFT JOIN (SELECT destination, count(*) AS dead FROM outbox WHERE status = 'dead' GROUP BY destination) letters
               ON letters.destination = d.name
     LEFT JOIN (SELECT destination, count(*) AS number FROM outbox WHERE status = 'held' GROUP BY destination) held
               ON held.destination = d.name
ORDER BY d.place
"""


class PostgresDeliveryStatistics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_destination(self) -> Sequence[DestinationStatistics]:
        async with self._database.connection() as connection:
            return await read_statistics(connection)


async def read_statistics(connection: Connection) -> Sequence[DestinationStatistics]:
    return [
        DestinationStatistics(
            destination=Destination(row["name"]),
            pending=row["pending"],
            oldest_due_seconds=row["oldest_due_seconds"],
            held=row["held"],
            dead=row["dead"],
            circuit=CircuitBreaker(row["circuit"]),
            paused_until=row["paused_until"],
            halted=row["halted"],
            reason=row["reason"],
        )
        for row in await connection.fetch(_STATISTICS, list(Destination))
    ]
