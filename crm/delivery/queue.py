"""A lease queue in a table.

Such a table has the columns `status`, `response`, `sent_at`, `attempts`, `next_attempt_at` and `lease`. A lease is a
pending row whose next attempt was moved past the time the claimant needs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg

from crm.database import Database


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
        self._sent = (
            f"UPDATE {table} SET status = 'sent', sent_at = now(), response = $2, lease = NULL, "  # noqa: S608
            "next_attempt_at = NULL WHERE id = $1 AND status = 'pending'"
        )
        self._failed = (
            f"UPDATE {table} SET status = 'failed', response = $2, lease = NULL, next_attempt_at = NULL "  # noqa: S608
            "WHERE id = $1 AND lease = $3"
        )
        self._later = (
            f"UPDATE {table} SET response = $2, lease = NULL, next_attempt_at = now() + $4::interval "  # noqa: S608
            "WHERE id = $1 AND lease = $3"
        )
        held = "WHERE id = $1 AND lease = $2 AND status = 'pending'"
        self._renew = f"UPDATE {table} SET next_attempt_at = now() + $3::interval {held}"  # noqa: S608
        self._release = f"UPDATE {table} SET lease = NULL, next_attempt_at = now() {held}"  # noqa: S608

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
        async with self._database.connection() as connection:
            await connection.execute(self._sent, claim.id, _storable(response))

    async def mark_failed(self, claim: C, response: str) -> None:
        """Records that no more attempts are made."""
        async with self._database.connection() as connection:
            await connection.execute(self._failed, claim.id, _storable(response), self._lease)

    async def retry_later(self, claim: C, delay: timedelta, response: str) -> None:
        """Makes the row due again after `delay`."""
        async with self._database.connection() as connection:
            await connection.execute(self._later, claim.id, _storable(response), self._lease, delay)

    async def renew(self, claim: C) -> None:
        """Extends the lease."""
        async with self._database.connection() as connection:
            await connection.execute(self._renew, claim.id, self._lease, self._lease_time)

    async def release(self, claim: C) -> None:
        """Ends the lease of a row that was not delivered; it is due immediately."""
        async with self._database.connection() as connection:
            await connection.execute(self._release, claim.id, self._lease)


def _storable(text: str) -> str:
    """The text of a server's response without characters that PostgreSQL cannot store."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
