"""API keys in memory, by their ids. A key that was revoked keeps its row."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.api_keys import ApiKey, ApiKeyId, ApiKeyNotFound, NewApiKey
from domain.audit import AuditTrail
from domain.audit_effects import record_new_key, record_revoked_key
from infrastructure.postgres.pages import LAST_UUID, cursor_of, uuid_after
from tests.support.memory.store import Store, Tables, Transaction


@dataclass(frozen=True, slots=True)
class KeyRow:
    key: ApiKey
    fingerprint: bytes
    revoked_at: datetime | None = None
    revoke_reason: str | None = None


class MemoryApiKeys:
    def __init__(self, transaction: Transaction, audit: AuditTrail) -> None:
        self._transaction = transaction
        self._audit = audit
        self._rows: dict[ApiKeyId, KeyRow] = transaction.tables.of("api_keys")

    async def add(self, user_id: UserId, new: NewApiKey, now: datetime, *, prefix: str, fingerprint: bytes) -> ApiKey:
        key = ApiKey(
            id=ApiKeyId(UUID(int=self._transaction.store.next_id("api_keys"))),
            user_id=user_id,
            name=new.name,
            scopes=frozenset(new.scopes),
            prefix=prefix,
            created_at=now,
            expires_at=new.expires_at,
        )
        self._rows[key.id] = KeyRow(key, fingerprint)
        record_new_key(self._audit, key)
        return key

    async def count(self, user_id: UserId, now: datetime) -> int:
        return sum(not row.key.is_expired(now) for row in valid_keys(self._transaction.tables, user_id))

    async def revoke(self, user_id: UserId, key_id: ApiKeyId, now: datetime, *, reason: str) -> None:
        row = self._rows.get(key_id)
        if row is None or row not in valid_keys(self._transaction.tables, user_id):
            raise ApiKeyNotFound
        self._rows[key_id] = replace(row, revoked_at=now, revoke_reason=reason)
        record_revoked_key(self._audit, user_id, key_id)


class MemoryApiKeyQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_of(self, user_id: UserId, page: PageRequest) -> Page[ApiKey]:
        before = uuid_after(page.after) or LAST_UUID
        keys = sorted(
            (row.key for row in valid_keys(self._store.tables, user_id) if row.key.id < before),
            key=lambda key: key.id,
            reverse=True,
        )
        shown = keys[: page.limit]
        return Page(shown, cursor_of(shown[-1].id) if len(keys) > page.limit else None)


class MemoryKeyUses:
    """Stores each use when it is noted; `noted` has them all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.noted: list[tuple[ApiKeyId, datetime]] = []

    def note(self, key_id: ApiKeyId, minute: datetime) -> None:
        self.noted.append((key_id, minute))
        rows: dict[ApiKeyId, KeyRow] = self._store.tables.of("api_keys")
        rows[key_id] = replace(rows[key_id], key=replace(rows[key_id].key, last_used_at=minute))


def valid_keys(tables: Tables, user_id: UserId) -> list[KeyRow]:
    """Those that were not revoked."""
    rows: dict[ApiKeyId, KeyRow] = tables.of("api_keys")
    return [row for row in rows.values() if row.key.user_id == user_id and row.revoked_at is None]


def find_by_fingerprint(tables: Tables, fingerprint: bytes) -> tuple[User, ApiKey] | None:
    rows: dict[ApiKeyId, KeyRow] = tables.of("api_keys")
    for row in rows.values():
        if row.fingerprint == fingerprint and row.revoked_at is None:
            return tables.of("users")[row.key.user_id], row.key
    return None


def revoke_keys(tables: Tables, user_id: UserId, now: datetime, reason: str) -> int:
    """All of an account; returns their number."""
    rows: dict[ApiKeyId, KeyRow] = tables.of("api_keys")
    revoked = valid_keys(tables, user_id)
    for row in revoked:
        rows[row.key.id] = replace(row, revoked_at=now, revoke_reason=reason)
    return len(revoked)
