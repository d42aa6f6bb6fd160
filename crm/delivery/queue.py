"""A lease queue in a table.

Such a table has the columns `status`, `response`, `sent_at`, `attempts`, `next_attempt_at` and `lease`. A lease is a
pending row whose next attempt was moved past the time the claimant needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg

from crm.database import Database, DatabaseUnavailable
from servicekit.batches import Batches

GATHER_SECONDS = 0.002
"""The first of several results waits this long for others, which share its statement."""


class Status(StrEnum):
    """Pending, delivered, given up, or without a delivery."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


class Claim(Protocol):
    """A delivery that this process has claimed until the lease ends. `attempts` includes the present one."""

    @property
    def id(self) -> int: ...

    @property
    def received_at(self) -> datetime: ...

    @property
    def attempts(self) -> int: ...


C = TypeVar("C", bound=Claim)


def claim_due(table: str, columns: str, which: str) -> str:
    """SQL that takes up to $1 due rows for the lease $2 of length $3, the longest due first."""
    return f"""
WITH due AS MATERIALIZED (
    SELECT id FROM {table} n
    WHERE status = 'pending' AND next_attempt_at <= now() AND {which}
    ORDER BY next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE {table} n
SET lease = $2, next_attempt_at = now() + $3::interval, attempts = attempts + 1
FROM due WHERE n.id = due.id
RETURNING {columns}
"""  # noqa: S608


def record_results(table: str) -> str:
    """SQL that records results of the rows $1: status $2, response $3, for pending ones the delay $4. A delivery is
    recorded also after the lease $5."""
    return f"""
UPDATE {table} n SET
    status = own.status, response = own.response, lease = NULL,
    sent_at = CASE WHEN own.status = 'sent' THEN now() ELSE sent_at END,
    next_attempt_at = CASE WHEN own.status = 'pending' THEN now() + own.delay END
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::interval[]) AS own (id, status, response, delay)
WHERE n.id = own.id AND CASE WHEN own.status = 'sent' THEN n.status = 'pending' ELSE n.lease = $5 END
"""  # noqa: S608


class Queue(Generic[C]):
    """The deliveries to one destination: the rows of `table` for which the condition `which` holds.

    `columns` of a row, which is called `n`, are what `read` makes a claim of. `lease` is this process's name in the
    rows it has claimed.
    """

    def __init__(
        self,
        database: Database,
        *,
        table: str,
        columns: str,
        read: Callable[[asyncpg.Record], C],
        lease: UUID,
        lease_time: timedelta,
        which: str = "true",
    ) -> None:
        self._database = database
        self._read = read
        self._lease = lease
        self._lease_time = lease_time
        self._claim_due = claim_due(table, columns, which)
        self._claim_one = (
            f"UPDATE {table} n SET lease = $2, next_attempt_at = now() + $3::interval, attempts = attempts + 1 "  # noqa: S608
            f"WHERE n.id = $1 AND status = 'pending' AND next_attempt_at <= now() RETURNING {columns}"
        )
        self._state = (
            f"SELECT status, lease IS NOT NULL AND next_attempt_at > now() AS leased FROM {table} WHERE id = $1"  # noqa: S608
        )
        own = "unnest($1::bigint[]) AS own (id) WHERE n.id = own.id AND lease = $2 AND status = 'pending'"
        self._renew = f"UPDATE {table} n SET next_attempt_at = now() + $3::interval FROM {own}"  # noqa: S608
        self._release = f"UPDATE {table} n SET lease = NULL, next_attempt_at = now() FROM {own}"  # noqa: S608
        self._record = record_results(table)
        self._renewals = Batches(self._renew_all, unavailable=DatabaseUnavailable)
        self._releases = Batches(self._release_all, unavailable=DatabaseUnavailable)
        self._results = Batches(self._record_all, unavailable=DatabaseUnavailable, window=GATHER_SECONDS)

    async def claim_due(self, limit: int) -> list[C]:
        """Take up to `limit` rows that are due, the longest due first; no two processes get the same one."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._claim_due, limit, self._lease, self._lease_time)
        return [self._read(row) for row in rows]

    async def claim(self, row_id: int) -> C | None:
        """Take this one row if it is due, else None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._claim_one, row_id, self._lease, self._lease_time)
        return self._read(row) if row else None

    async def state(self, row_id: int) -> tuple[Status, bool]:
        """The row's status, and whether a lease on it is active."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._state, row_id)
        return (Status(row["status"]), row["leased"]) if row else (Status.SKIPPED, False)

    async def mark_sent(self, claim: C, response: str) -> None:
        """Records the delivery, also if the lease has expired meanwhile."""
        await self._results((claim.id, Status.SENT, _storable(response), None))

    async def mark_failed(self, claim: C, response: str) -> None:
        """Records that no more attempts are made."""
        await self._results((claim.id, Status.FAILED, _storable(response), None))

    async def retry_later(self, claim: C, delay: timedelta, response: str) -> None:
        """Makes the row due again after `delay`."""
        await self._results((claim.id, Status.PENDING, _storable(response), delay))

    async def renew(self, claim: C) -> None:
        """Extends the lease."""
        await self._renewals(claim.id)

    async def release(self, claim: C) -> None:
        """Ends the lease of a row that was not delivered; it is due immediately."""
        await self._releases(claim.id)

    async def _record_all(self, results: Sequence[tuple[int, Status, str, timedelta | None]]) -> Sequence[None]:
        async with self._database.connection() as connection:
            await connection.execute(self._record, *map(list, zip(*results, strict=True)), self._lease)
        return [None] * len(results)

    async def _renew_all(self, ids: Sequence[int]) -> Sequence[None]:
        async with self._database.connection() as connection:
            await connection.execute(self._renew, ids, self._lease, self._lease_time)
        return [None] * len(ids)

    async def _release_all(self, ids: Sequence[int]) -> Sequence[None]:
        async with self._database.connection() as connection:
            await connection.execute(self._release, ids, self._lease)
        return [None] * len(ids)


def _storable(text: str) -> str:
    """The text of a server's response without characters that PostgreSQL cannot store."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
