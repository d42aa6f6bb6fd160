"""Deletes delivered messages after their retention time, ended invitations and old login networks. Dead letters stay
until an operator replays or discards them."""

from domain.credentials import KNOWN_NETWORK_LIFETIME
from infrastructure.postgres.engine import Database

# In small batches with short locks. The attempts are deleted with their messages.
_PRUNE_MESSAGES = """
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox
    WHERE status IN ('delivered', 'discarded') AND settled_at < now() - make_interval(days => $1)
    ORDER BY settled_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

_PRUNE_NETWORKS = """
DELETE FROM login_networks WHERE (user_id, network) IN (
    SELECT user_id, network FROM login_networks WHERE last_login_at < now() - make_interval(secs => $1)
    ORDER BY last_login_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

_PRUNE_INVITATIONS = """
DELETE FROM invitations WHERE id IN (
    SELECT id FROM invitations WHERE status <> 'pending' AND answered_at < now() - make_interval(days => $1)
    ORDER BY answered_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

_PRUNE_MINUTES = "DELETE FROM destination_minutes WHERE minute < now() - interval '1 hour'"


class PostgresRetention:
    """`days`: retention of delivered and discarded messages and of ended invitations."""

    def __init__(self, database: Database, *, days: int, step: int = 500, most_steps: int = 20) -> None:
        self._database = database
        self._days = days
        self._step = step
        self._most_steps = most_steps

    async def prune(self) -> int:
        """Deletes expired rows, up to 10,000 messages a call; returns the number of messages."""
        pruned = 0
        for _ in range(self._most_steps):
            async with self._database.connection() as connection:
                done = _number(await connection.execute(_PRUNE_MESSAGES, self._days, self._step))
            pruned += done
            if done < self._step:
                break
        async with self._database.connection() as connection:
            await connection.execute(_PRUNE_MINUTES)
            await connection.execute(_PRUNE_INVITATIONS, self._days, self._step)
            await connection.execute(_PRUNE_NETWORKS, KNOWN_NETWORK_LIFETIME.total_seconds(), self._step)
        return pruned


def _number(tag: str) -> int:
    """The number of rows in a command tag."""
    return int(tag.rpartition(" ")[2])
