"""Counts of facilitators: added up from their changes, counted anew, and compared. docs/decisions/0016 has the design.

Changes are rows that are only inserted and deleted. So a full count needs no lock against writers: one statement counts
and deletes the changes that it sees, which are those of the rows that it counts.
"""

from collections.abc import Sequence
from datetime import timedelta

from domain.accounts import UserId
from infrastructure.postgres.engine import Database

RECOUNT_AFTER = timedelta(days=7)
BATCH = 5_000
"""Changes that one statement adds up."""

_SECONDS_TO_COUNT = 120
_RECOUNTED_AT_ONCE = 10
_COMPARED_AT_ONCE = 200

_COLUMNS = "sessions, active_sessions, sessions_ahead, bookings, payments, revenue"
_SUMS = ", ".join(f"sum({column}) AS {column}" for column in _COLUMNS.split(", "))

KEPT = f"""
    SELECT facilitator_id, month, currency, {_COLUMNS} FROM facilitator_counts WHERE facilitator_id = ANY($1::bigint[])
    UNION ALL
    SELECT facilitator_id, month, currency, {_COLUMNS} FROM facilitator_count_changes
    WHERE facilitator_id = ANY($1::bigint[])
"""  # noqa: S608 (composed of constants)
"""What adds up to the counts of the facilitators `$1`."""

COUNTED = """
    SELECT e.facilitator_id, month_of(e.starts_at) AS month, '' AS currency, 1 AS sessions,
           (e.status = 'active')::int AS active_sessions,
           (e.status = 'active' AND e.completed_at IS NULL)::int AS sessions_ahead,
           0 AS bookings, 0 AS payments, 0::numeric AS revenue
    FROM events e WHERE e.facilitator_id = ANY($1::bigint[]) AND e.hidden_at IS NULL
    UNION ALL
    SELECT e.facilitator_id, month_of(b.created_at), '', 0, 0, 0, 1, 0, 0
    FROM events e JOIN bookings b ON b.event_id = e.id
    WHERE e.facilitator_id = ANY($1::bigint[]) AND b.status <> 'cancelled'
    UNION ALL
    SELECT e.facilitator_id, month_of(p.created_at), p.currency, 0, 0, 0, 0, 1, p.amount - p.refunded - p.charged_back
    FROM events e JOIN bookings b ON b.event_id = e.id JOIN payments p ON p.booking_id = b.id
    WHERE e.facilitator_id = ANY($1::bigint[]) AND p.status IN ('completed', 'refunded')
"""
"""The same, counted in the tables. A payment is counted when it was received, less what was refunded and what lost
disputes took back."""


def _by_month(source: str) -> str:
    return f"SELECT facilitator_id, month, currency, {_SUMS} FROM ({source}) AS c GROUP BY 1, 2, 3"  # noqa: S608


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('facilitator counts', 0))"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('facilitator counts', 0))"

_ADD_UP = f"""
WITH added AS (
    DELETE FROM facilitator_count_changes WHERE (facilitator_id, id) IN (
        SELECT facilitator_id, id FROM facilitator_count_changes LIMIT $1)
    RETURNING *
), stored AS (
    INSERT INTO facilitator_counts AS counts (facilitator_id, month, currency, {_COLUMNS})
    {_by_month("SELECT * FROM added")} ORDER BY 1, 2, 3
    ON CONFLICT (facilitator_id, month, currency) DO UPDATE SET
        {", ".join(f"{column} = counts.{column} + excluded.{column}" for column in _COLUMNS.split(", "))}
)
SELECT count(*) FROM added
"""  # noqa: S608 (composed of constants)

_FORGET = "DELETE FROM facilitator_counts WHERE facilitator_id = ANY($1::bigint[])"
_COUNT = f"""
WITH included AS (
    DELETE FROM facilitator_count_changes WHERE facilitator_id = ANY($1::bigint[])
), complete AS (
    INSERT INTO counted_facilitators (facilitator_id, counted_at) SELECT unnest($1::bigint[]), now()
    ON CONFLICT (facilitator_id) DO UPDATE SET counted_at = excluded.counted_at
)
INSERT INTO facilitator_counts (facilitator_id, month, currency, {_COLUMNS}) {_by_month(COUNTED)}
"""  # noqa: S608 (composed of constants)

# Steps from one facilitator to the next in the index of events.
_DUE = """
WITH RECURSIVE owners AS (
    SELECT min(facilitator_id) AS id FROM events
    UNION ALL
    SELECT (SELECT min(facilitator_id) FROM events WHERE facilitator_id > owners.id) FROM owners WHERE id IS NOT NULL
)
SELECT owners.id FROM owners LEFT JOIN counted_facilitators c ON c.facilitator_id = owners.id
WHERE owners.id IS NOT NULL AND (c.counted_at IS NULL OR c.counted_at < now() - $1::interval)
ORDER BY c.counted_at NULLS FIRST, owners.id LIMIT $2
"""

_NEXT = "SELECT facilitator_id FROM counted_facilitators WHERE facilitator_id > $1 ORDER BY facilitator_id LIMIT $2"
_KEPT_BY_MONTH = f"""
SELECT * FROM ({_by_month(KEPT)}) AS kept WHERE ({_COLUMNS}) IS DISTINCT FROM (0, 0, 0, 0, 0, 0)
"""  # noqa: S608 (composed of constants)
_DIFFERING = f"""
WITH kept AS MATERIALIZED ({_KEPT_BY_MONTH}), counted AS MATERIALIZED ({_by_month(COUNTED)})
SELECT DISTINCT facilitator_id FROM (
    (SELECT * FROM kept EXCEPT SELECT * FROM counted) UNION ALL (SELECT * FROM counted EXCEPT SELECT * FROM kept)
) AS differences ORDER BY facilitator_id
"""  # noqa: S608 (composed of constants)


class FacilitatorCounts:
    """One process adds up or counts at a time; readers and writers wait for neither."""

    def __init__(self, database: Database, *, batch: int = BATCH) -> None:
        self._database = database
        self._batch = batch

    async def add_up(self) -> int:
        """Adds the changes to the counts. Returns their number."""
        total = 0
        while True:
            async with self._database.connection() as connection, connection.transaction():
                if not await connection.fetchval(_TRY_LOCK):
                    return total
                added: int = await connection.fetchval(_ADD_UP, self._batch)
            total += added
            if added < self._batch:
                return total

    async def count_due(self) -> int:
        """Counts facilitators that were never counted, and some whose last count is a week old: an error, such as
        after a change by hand, ends then. Returns their number."""
        counted = 0
        while True:
            async with self._database.connection() as connection:
                due = [row["id"] for row in await connection.fetch(_DUE, RECOUNT_AFTER, _RECOUNTED_AT_ONCE)]
            for facilitator in due:
                await self.count(UserId(facilitator))
            counted += len(due)
            if len(due) < _RECOUNTED_AT_ONCE:
                return counted

    async def count(self, facilitator: UserId) -> None:
        # The statements after the lock have a new snapshot, so nothing is added up between it and what they write.
        async with self._database.connection_for(_SECONDS_TO_COUNT) as connection, connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS_TO_COUNT}s'")
            await connection.execute(f"SET LOCAL lock_timeout = '{_SECONDS_TO_COUNT}s'")
            await connection.execute(_LOCK)
            await connection.execute(_FORGET, [facilitator])
            await connection.execute(_COUNT, [facilitator])

    async def differing(self) -> Sequence[UserId]:
        """The facilitators whose counts are not those of the tables."""
        found: list[UserId] = []
        last = 0
        while True:
            async with self._database.connection_for(_SECONDS_TO_COUNT) as connection, connection.transaction():
                await connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS_TO_COUNT}s'")
                batch = [row["facilitator_id"] for row in await connection.fetch(_NEXT, last, _COMPARED_AT_ONCE)]
                found += [UserId(row["facilitator_id"]) for row in await connection.fetch(_DIFFERING, batch)]
            if len(batch) < _COMPARED_AT_ONCE:
                return found
            last = batch[-1]
