"""Operational statistics for metrics and `convene doctor`, and the delivery counters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from application.outbox.ports import DestinationStatistics
from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.statistics import read_statistics

# An index covers pending messages only, so its size does not depend on the number of delivered ones.
_OLDEST = """
SELECT destination, extract(epoch FROM now() - min(occurred_at))::float8 AS seconds
FROM outbox WHERE status = 'pending' GROUP BY destination
"""
_HOLDS = """
SELECT count(*) AS open, count(*) FILTER (WHERE hold_until < now() - interval '1 minute') AS overdue
FROM bookings WHERE hold_until IS NOT NULL
"""
_REMINDERS = "SELECT count(*) FROM reminders WHERE status = 'planned' AND due_at < now() - interval '1 minute'"
_DIFFERENCES = "SELECT count(*) FROM payment_differences WHERE settled_at IS NULL"
_DISPUTES = "SELECT count(*) FROM payments WHERE dispute = 'open'"
_UNCHAINED = "SELECT coalesce(extract(epoch FROM now() - min(at)), 0)::float8 FROM audit_log WHERE hash IS NULL"
_COUNTS = "SELECT destination, what, total FROM delivery_counts"
_ADD = """
INSERT INTO delivery_counts (destination, what, total)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (destination, what) DO UPDATE SET total = delivery_counts.total + excluded.total
"""


@dataclass(frozen=True, slots=True)
class OperationalStatistics:
    """`oldest`: age of the oldest pending message of a destination in seconds. `counts`: deliveries by destination and
    result. `holds_overdue` and `reminders_late` count rows that are overdue by a minute or more."""

    destinations: Sequence[DestinationStatistics]
    oldest: Mapping[str, float]
    counts: Mapping[tuple[str, str], int]
    holds_open: int
    holds_overdue: int
    reminders_late: int
    payment_differences: int
    disputes_open: int
    audit_unchained_seconds: float


class PostgresOperationalStatistics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> OperationalStatistics:
        """Raises `Unavailable`."""
        async with self._database.snapshot() as connection:
            destinations = await read_statistics(connection)
            (holds,) = await connection.fetch(_HOLDS)
            counts = await connection.fetch(_COUNTS)
            return OperationalStatistics(
                destinations=destinations,
                oldest={row["destination"]: row["seconds"] for row in await connection.fetch(_OLDEST)},
                counts={(row["destination"], row["what"]): row["total"] for row in counts},
                holds_open=holds["open"],
                holds_overdue=holds["overdue"],
                reminders_late=await connection.fetchval(_REMINDERS),
                payment_differences=await connection.fetchval(_DIFFERENCES),
                disputes_open=await connection.fetchval(_DISPUTES),
                audit_unchained_seconds=await connection.fetchval(_UNCHAINED),
            )


class DeliveryCounts:
    """Counts of one worker since its last write. Counting with each result would make workers wait for the same row."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: Counter[tuple[str, str]] = Counter()

    def add(self, destination: str, what: str) -> None:
        self._counted[destination, what] += 1

    async def save(self) -> None:
        """Adds the counts to the table. Raises `Unavailable` and keeps the counts for the next call."""
        counted, self._counted = self._counted, Counter()
        if not counted:
            return
        rows = sorted((*key, number) for key, number in counted.items())
        try:
            async with self._database.connection() as connection:
                await connection.execute(_ADD, *map(list, zip(*rows, strict=True)))
        except Unavailable:
            self._counted.update(counted)
            raise
