"""The chain of hashes over the audit log.

Ids are drawn before transactions commit, so an entry may become visible after one with a higher id. Entries are chained
in the order of their ids, so those up to the highest visible id wait until no transaction that could have drawn a lower
one is in progress: `next_audit_id` gives a transaction its number before it draws an id, and transaction numbers grow.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from application.audit.ports import ChainEnds, Unchained
from domain.audit import AuditEntryId, ChainLink, StoredAuditEntry, links
from infrastructure.postgres.audit.queries import COLUMNS, stored_entry
from infrastructure.postgres.engine import Database
from servicekit.database import Connection

_LAST_VISIBLE = "SELECT max(id) FROM audit_log WHERE hash IS NULL"
_NEXT_TRANSACTION = "SELECT pg_current_xact_id()::text"
_ALL_BEFORE_HAVE_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= CAST($1 AS text)::xid8"

_LOCK = "SELECT * FROM audit_chain FOR UPDATE SKIP LOCKED"
_UNCHAINED = f"""
SELECT {COLUMNS} FROM audit_log WHERE hash IS NULL AND id > $1 AND id <= $2 ORDER BY id LIMIT $3
"""  # noqa: S608
_STORE = """
UPDATE audit_log SET previous_hash = chained.previous_hash, hash = chained.hash
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS chained (id, previous_hash, hash)
WHERE audit_log.id = chained.id
"""
_BETWEEN = f"SELECT {COLUMNS} FROM audit_log WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3"  # noqa: S608
_STATE_OF_UNCHAINED = """
SELECT count(*) AS entries, coalesce(extract(epoch FROM now() - min(at)), 0)::float8 AS seconds FROM audit_log
WHERE hash IS NULL AND id > coalesce((SELECT head_id FROM audit_chain), 0)
"""
_EXPIRED = """
SELECT id, hash FROM (
    SELECT id, at, hash FROM audit_log WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3
) oldest WHERE at <= now() - $4::interval ORDER BY id
"""

# Before the deletion: the trigger refuses that of rows behind no anchor.
_MOVE_ANCHOR = "UPDATE audit_chain SET anchor_id = $1, anchor_hash = $2"

_POLL = 0.05


class PostgresAuditChain:
    def __init__(self, database: Database, *, patience: float = 1) -> None:
        """`patience`: seconds for which a call waits for transactions in progress; the next call goes on."""
        self._database = database
        self._patience = patience

    async def extend(self, *, limit: int) -> int:
        async with self._database.connection() as connection:
            last: int | None = await connection.fetchval(_LAST_VISIBLE)
            if last is None or not await self._all_before_have_ended(connection):
                return 0
            return await self._chain(connection, last, limit)

    async def _all_before_have_ended(self, connection: Connection) -> bool:
        """Whether all transactions that have a number by now have ended."""
        number: str = await connection.fetchval(_NEXT_TRANSACTION)
        give_up = time.monotonic() + self._patience
        while not await connection.fetchval(_ALL_BEFORE_HAVE_ENDED, number):
            if time.monotonic() >= give_up:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def _chain(self, connection: Connection, last: int, limit: int) -> int:
        await connection.execute("INSERT INTO audit_chain DEFAULT VALUES ON CONFLICT DO NOTHING")
        async with connection.transaction():
            state = await connection.fetchrow(_LOCK)
            if state is None:
                return 0  # another worker chains
            head = ChainLink(AuditEntryId(state["head_id"]), state["head_hash"])
            rows = await connection.fetch(_UNCHAINED, head.id, last, limit)
            if not rows:
                return 0
            new = links(head, map(stored_entry, rows))
            before = [head.hash, *(each.hash for each in new[:-1])]
            await connection.execute(_STORE, [each.id for each in new], before, [each.hash for each in new])
            await connection.execute("UPDATE audit_chain SET head_id = $1, head_hash = $2", new[-1].id, new[-1].hash)
        return len(rows)

    async def ends(self) -> ChainEnds:
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM audit_chain")
        if row is None:
            return ChainEnds()
        return ChainEnds(
            anchor=ChainLink(AuditEntryId(row["anchor_id"]), row["anchor_hash"]),
            head=ChainLink(AuditEntryId(row["head_id"]), row["head_hash"]),
        )

    async def entries(self, after: AuditEntryId, until: AuditEntryId, *, limit: int) -> Sequence[StoredAuditEntry]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BETWEEN, after, until, limit)
        return [stored_entry(row) for row in rows]

    async def unchained(self) -> Unchained:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_STATE_OF_UNCHAINED)
        assert row is not None
        return Unchained(row["entries"], row["seconds"])

    async def prune(self, age: timedelta, *, limit: int) -> int:
        async with self._database.connection() as connection, connection.transaction():
            state = await connection.fetchrow(_LOCK)
            if state is None:
                return 0
            rows = await connection.fetch(_EXPIRED, state["anchor_id"], state["head_id"], limit, age)
            if not rows:
                return 0
            last = rows[-1]
            await connection.execute(_MOVE_ANCHOR, last["id"], last["hash"])
            await connection.execute("DELETE FROM audit_log WHERE id <= $1", last["id"])
        return len(rows)
