"""API keys in PostgreSQL.

The secret is stored as its SHA-256. A slow hash such as Argon2 protects passwords, which can be guessed; 256 random
bits cannot, and each request computes the hash.
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.api_keys import ApiKey, ApiKeyId, ApiKeyNotFound, NewApiKey
from domain.audit import AuditTrail
from domain.audit_effects import record_new_key, record_revoked_key
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import LAST_UUID, cursor_of, uuid_after
from infrastructure.postgres.tables import ApiKeyRow

_COUNT = text("""
SELECT count(*) FROM api_keys
WHERE user_id = :user_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
""")

_LIST = """
SELECT * FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3
"""

REVOKE = """
UPDATE api_keys SET revoked_at = :now, revoke_reason = :reason WHERE user_id = :user_id AND revoked_at IS NULL
"""
"""All of an account."""

PRUNE_API_KEYS = """
DELETE FROM api_keys WHERE id IN (
    SELECT id FROM api_keys WHERE least(revoked_at, expires_at) < now() - $1::interval
    ORDER BY least(revoked_at, expires_at) LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: time since the key was revoked or expired, $2: at most so many rows."""


class PostgresApiKeys:
    def __init__(self, session: AsyncSession, audit: AuditTrail) -> None:
        self._session = session
        self._audit = audit

    async def add(self, user_id: UserId, new: NewApiKey, now: datetime, *, prefix: str, fingerprint: bytes) -> ApiKey:
        values = {
            "user_id": user_id,
            "name": new.name,
            "scopes": sorted(new.scopes),
            "prefix": prefix,
            "fingerprint": fingerprint,
            "created_at": now,
            "expires_at": new.expires_at,
        }
        added = await self._session.execute(insert(ApiKeyRow).values(values).returning(*ApiKeyRow.__table__.c))
        key = key_of_record(added.mappings().one())
        record_new_key(self._audit, key)
        return key

    async def count(self, user_id: UserId, now: datetime) -> int:
        found: int = (await self._session.execute(_COUNT, {"user_id": user_id, "now": now})).scalar_one()
        return found

    async def revoke(self, user_id: UserId, key_id: ApiKeyId, now: datetime, *, reason: str) -> None:
        revoked = await self._session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
            .values(revoked_at=now, revoke_reason=reason)
        )
        if not cast("CursorResult[Any]", revoked).rowcount:
            raise ApiKeyNotFound
        record_revoked_key(self._audit, user_id, key_id)


class PostgresApiKeyQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_of(self, user_id: UserId, page: PageRequest) -> Page[ApiKey]:
        before = uuid_after(page.after) or LAST_UUID
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, user_id, before, page.limit + 1)
        found = [key_of_record(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].id) if len(rows) > page.limit else None)


KEY_COLUMNS = ("id", "user_id", "name", "scopes", "prefix", "created_at", "expires_at", "last_used_at")


def key_of_record(row: Any, named: str = "") -> ApiKey:
    """The key in a row with `KEY_COLUMNS`, whose names begin with `named`."""
    values = {column: row[named + column] for column in KEY_COLUMNS}
    return ApiKey(**values | {"scopes": frozenset(values["scopes"])})
