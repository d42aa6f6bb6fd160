"""Deletes delivered messages after their retention time, ended invitations and old login networks. Dead letters stay
until an operator replays or discards them."""

from datetime import timedelta

from domain.credentials import KNOWN_NETWORK_LIFETIME
from infrastructure.postgres.accounts.login_networks import PRUNE_NETWORKS
from infrastructure.postgres.bookings.invitations import PRUNE_INVITATIONS
from infrastructure.postgres.engine import Database

# In small batches with short locks. The attempts are deleted with their messages.
_PRUNE_MESSAGES = """
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox
    WHERE status IN ('delivered', 'discarded') AND settled_at < now() - $1::interval
    ORDER BY settled_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

_PRUNE_MINUTES = "DELETE FROM destination_minutes WHERE minute < now() - $1::interval"

_MINUTES_RETENTION = timedelta(hours=1)


class PostgresRetention:
    """`days`: retention of delivered and discarded messages and of ended invitations."""

    def __init__(self, database: Database, *, days: int, step: int = 500, most_steps: int = 20) -> None:
        self._database = database
        self._retention = timedelta(days=days)
        self._step = step
        self._most_steps = most_steps

    async def prune(self, overdue: timedelta = timedelta(0)) -> int:
        """Deletes rows that expired at least `overdue` ago, up to 10,000 messages a call; returns the number of
        messages."""
        expired = self._retention + overdue
        pruned = await delete_in_steps(
            self._database, _PRUNE_MESSAGES, expired, step=self._step, most_steps=self._most_steps
        )
        async with self._database.connection() as connection:
            await connection.execute(_PRUNE_MINUTES, _MINUTES_RETENTION + overdue)
            await connection.execute(PRUNE_INVITATIONS, expired, self._step)
            await connection.execute(PRUNE_NETWORKS, KNOWN_NETWORK_LIFETIME + overdue, self._step)
        return pruned


async def delete_in_steps(
    database: Database, statement: str, expired: timedelta, *, step: int = 500, most_steps: int = 20
) -> int:
    """Repeats a DELETE of rows older than $1, at most $2 of them, until none is left or `most_steps` are done. Returns
    the number of rows. Each step is a short transaction."""
    deleted = 0
    for _ in range(most_steps):
        async with database.connection() as connection:
            done = int((await connection.execute(statement, expired, step)).rpartition(" ")[2])
        deleted += done
        if done < step:
            break
    return deleted
