"""Idempotency keys in PostgreSQL. docs/decisions/0004 describes the states of a row."""

import json
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import asyncpg
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.idempotency import (
    REFUSALS_UP_TO,
    Claim,
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    KeptAnswer,
    KeyedRequest,
    Made,
)
from infrastructure.postgres.engine import Database
from servicekit.database import Connection

# One round trip for a new key, and for every read of a known one. A row that a concurrent request is inserting is
# visible neither to the INSERT nor in the snapshot: then `owner` is null, and the next read finds the row.
_CLAIM = """
WITH begun AS (
    INSERT INTO idempotency_keys (owner, key, request, runner, leased_until)
    VALUES ($1, $2, $3, $4, now() + $5::interval)
    ON CONFLICT (owner, key) DO NOTHING
    RETURNING runner
)
SELECT (SELECT runner FROM begun) AS begun, k.*, k.made::text AS made_text,
       k.created_at <= now() - $6::interval AS is_over, k.leased_until <= now() AS is_free
FROM (VALUES (1)) one LEFT JOIN idempotency_keys k ON k.owner = $1 AND k.key = $2
"""

# SKIP LOCKED from here on: the booking statement holds the row while it waits for the row of the event; a connection
# must not wait for that.
_TAKE_OVER = """
WITH held AS (
    SELECT owner, key FROM idempotency_keys
    WHERE owner = $1 AND key = $2 AND status IS NULL AND leased_until <= now() AND (made IS NOT NULL OR NOT committed)
    FOR UPDATE SKIP LOCKED
)
UPDATE idempotency_keys k SET runner = $3, leased_until = now() + $4::interval
FROM held WHERE k.owner = held.owner AND k.key = held.key
RETURNING k.made::text AS made_text
"""
_RELEASE = """
WITH held AS (
    SELECT owner, key, committed FROM idempotency_keys
    WHERE owner = $1 AND key = $2 AND runner = $3 AND (made IS NOT NULL OR NOT committed) AND status IS NULL
    FOR UPDATE SKIP LOCKED
), freed AS (
    UPDATE idempotency_keys k SET leased_until = now()
    FROM held WHERE k.owner = held.owner AND k.key = held.key AND held.committed
)
DELETE FROM idempotency_keys k USING held WHERE k.owner = held.owner AND k.key = held.key AND NOT held.committed
"""
_START_ANEW = """
WITH held AS (
    SELECT owner, key FROM idempotency_keys
    WHERE owner = $1 AND key = $2 AND created_at <= now() - $3::interval
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING held WHERE k.owner = held.owner AND k.key = held.key
"""
# A locked row belongs to a running request. The statement skips it, because the caller's access has ended.
REVOKE = """
DELETE FROM idempotency_keys k USING (
    SELECT owner, key FROM idempotency_keys WHERE owner = :owner FOR UPDATE SKIP LOCKED
) held WHERE k.owner = held.owner AND k.key = held.key
"""
# Beside the answers to the account: those to requests without one, such as the registration.
ERASE = (
    REVOKE,
    """DELETE FROM idempotency_keys WHERE EXISTS (
        SELECT FROM unnest(CAST(:addresses AS text[])) AS found(address)
        WHERE position(convert_to(address, 'UTF8') IN body) > 0)""",
)

_PRUNE = """
WITH held AS (
    SELECT owner, key FROM idempotency_keys WHERE created_at <= now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM idempotency_keys k USING held WHERE k.owner = held.owner AND k.key = held.key RETURNING true
)
SELECT count(*) FROM pruned
"""
_KEEP = """
UPDATE idempotency_keys SET status = $4, headers = $5, body = $6 WHERE owner = $1 AND key = $2 AND runner = $3
"""
_HAS_FEW = "SELECT count(*) <= $2 FROM (SELECT FROM idempotency_keys WHERE owner = $1 LIMIT $2 + 1) AS keys"
_COMMIT = text("""
UPDATE idempotency_keys SET committed = true, made = coalesce(CAST(:made AS jsonb), made)
WHERE owner = :owner AND key = :key AND runner = :runner
""")
_IS_HELD = "SELECT EXISTS (SELECT FROM idempotency_keys WHERE owner = $1 AND key = $2 AND runner = $3)"


class PostgresIdempotencyKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, request: KeyedRequest, *, lease: timedelta, kept_for: timedelta) -> Claim | KeptAnswer | None:
        owner, key, runner = request.owner, request.key, uuid4()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_CLAIM, owner, key, request.fingerprint, runner, lease, kept_for)
            assert row is not None, "a LEFT JOIN from one row has a row"
            if row["begun"] is not None:
                return Claim(owner, key, runner, None)
            if row["owner"] is None:
                return None
            if row["is_over"]:
                await connection.execute(_START_ANEW, owner, key, kept_for)
                return None
            if row["request"] != request.fingerprint:
                raise IdempotencyKeyReused
            if row["status"] is not None:
                return _answer(row)
            if not row["is_free"]:
                return None
            if row["committed"] and row["made_text"] is None:
                raise IdempotencyAnswerLost
            taken = await connection.fetchrow(_TAKE_OVER, owner, key, runner, lease)
        return Claim(owner, key, runner, taken["made_text"]) if taken else None

    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        async with self._database.connection() as connection:
            if answer.status >= 400 and not await connection.fetchval(_HAS_FEW, claim.owner, REFUSALS_UP_TO):
                await connection.execute(_RELEASE, claim.owner, claim.key, claim.runner)
                return
            await connection.execute(
                _KEEP, claim.owner, claim.key, claim.runner, answer.status, answer.headers, answer.body
            )

    async def release(self, claim: Claim) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, claim.owner, claim.key, claim.runner)

    async def prune(self, *, older_than: timedelta, limit: int) -> int:
        async with self._database.connection() as connection:
            pruned: int = await connection.fetchval(_PRUNE, older_than, limit)
        return pruned


async def require_claim(connection: Connection, claim: Claim) -> None:
    """Raises `IdempotencyKeyInUse` if the claim was taken over."""
    if not await connection.fetchval(_IS_HELD, claim.owner, claim.key, claim.runner):
        raise IdempotencyKeyInUse


async def commit_under_key(session: AsyncSession, claim: Claim, made: Made | None) -> None:
    """Records the completion of the work in its transaction. Raises `IdempotencyKeyInUse` if the claim was taken over;
    then the transaction must not be committed."""
    named = None if made is None else json.dumps(made)
    parameters = {"owner": claim.owner, "key": claim.key, "runner": claim.runner, "made": named}
    said = cast("CursorResult[Any]", await session.execute(_COMMIT, parameters))
    if said.rowcount == 0:
        raise IdempotencyKeyInUse


def _answer(row: asyncpg.Record) -> KeptAnswer:
    return KeptAnswer(row["status"], tuple((name, value) for name, value in row["headers"]), row["body"])
