"""What an operator watches, in figures; and how deliveries come to be counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from application.outbox.ports import DestinationStatistics
from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics

# Only what is pending is read, and an index has it: however much was delivered, it stays small.
_OLDEST = """
SELECT destination, extract(epoch FROM now() - min(occurred_at))::float8 AS seconds
FROM outbox WHERE status = 'pending' GROUP BY destination
"""
_HOLDS = """
SELECT count(*) AS open, count(*) FILTER (WHERE hold_until < now() - interval '1 minute') AS overdue
FROM bookings WHERE hold_until IS NOT NULL
"""
_REMINDERS = "SELECT count(*) FROM reminders WHERE status = 'planned' AND due_at < now() - interval '1 minute'"
_DIFFERENCES = "SELECT count(*) FROM payment_differences"
_COUNTS = "SELECT destination, what, total FROM delivery_counts"
_ADD = """
INSERT INTO delivery_counts (destination, what, total)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (destination, what) DO UPDATE SET total = delivery_counts.total + excluded.total
"""


@dataclass(frozen=True, slots=True)
class OperationalStatistics:
    """`oldest`: seconds since the oldest pending message of a destination came to be. `counts`: how often deliveries to
    a destination came to what. `holds_overdue` and `reminders_late` are past their time by a minute or more."""

    destinations: Sequence[DestinationStatistics]
    oldest: Mapping[str, float]
    counts: Mapping[tuple[str, str], int]
    holds_open: int
    holds_overdue: int
    reminders_late: int
    payment_differences: int


class PostgresOperationalStatistics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> OperationalStatistics:
        """Raises `Unavailable`."""
        destinations = await PostgresDeliveryStatistics(self._database).by_destination()
        async with self._database.connection() as connection:
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
            )


class DeliveryCounts:
    """What one worker counted since it last told. Counting in each settlement would make workers queue for a row."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: Counter[tuple[str, str]] = Counter()

    def add(self, destination: str, what: str) -> None:
        self._counted[destination, what] += 1

    async def keep(self) -> None:
        """Adds it to everybody's. What cannot be kept now is kept next time; raises `Unavailable` then."""
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
