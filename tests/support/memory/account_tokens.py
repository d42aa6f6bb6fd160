"""Tokens of mails about accounts in memory, by the hash of their secret."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from domain.account_tokens import SURVIVE_ACCESS_END, AccountToken, TokenKind
from domain.accounts import UserId
from tests.support.memory.store import Tables, Transaction

BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TokenRow:
    token: AccountToken
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class MemoryAccountTokens:
    def __init__(self, transaction: Transaction) -> None:
        self._tables = transaction.tables
        self._rows: dict[bytes, TokenRow] = transaction.tables.of("account_tokens")

    async def add(self, token: AccountToken, now: datetime, *, expires_at: datetime) -> None:
        assert token.fingerprint not in self._rows, "a primary key"
        self._rows[token.fingerprint] = TokenRow(token, now, expires_at)

    async def find_owner(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> UserId | None:
        row = self._valid(fingerprint, kind, now)
        return row.token.user_id if row else None

    async def use(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> AccountToken | None:
        row = self._valid(fingerprint, kind, now)
        if row is None:
            return None
        self._rows[fingerprint] = replace(row, used_at=now)
        return row.token

    async def revoke(self, user_id: UserId, kinds: Collection[TokenKind], now: datetime) -> None:
        revoke_tokens(self._tables, user_id, now, kinds)

    async def revoke_younger(self, token: AccountToken, now: datetime) -> None:
        since = self._rows[token.fingerprint].created_at
        revoke_tokens(self._tables, token.user_id, now, {token.kind}, since=since)

    async def renew(
        self, fingerprint: bytes, kind: TokenKind, now: datetime, *, expires_at: datetime
    ) -> AccountToken | None:
        row = self._valid(fingerprint, kind, now)
        if row is None:
            return None
        self._rows[fingerprint] = replace(row, expires_at=expires_at)
        return row.token

    def _valid(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> TokenRow | None:
        row = self._rows.get(fingerprint)
        is_valid = row is not None and row.token.kind is kind and row.used_at is None and row.expires_at > now
        return row if is_valid else None


def revoke_tokens(
    tables: Tables,
    user_id: UserId,
    now: datetime,
    kinds: Collection[TokenKind] = frozenset(TokenKind) - SURVIVE_ACCESS_END,
    *,
    since: datetime = BEGINNING,
) -> None:
    rows: dict[bytes, TokenRow] = tables.of("account_tokens")
    for fingerprint, row in rows.items():
        is_meant = row.token.user_id == user_id and row.token.kind in kinds and row.created_at >= since
        if is_meant and row.used_at is None:
            rows[fingerprint] = replace(row, used_at=now)


def is_reserved(tables: Tables, email: str, now: datetime, *, but: UserId | None) -> bool:
    """Whether another account than `but` can get this address back."""
    rows: dict[bytes, TokenRow] = tables.of("account_tokens")
    return any(
        row.token.email == email
        and row.token.kind is TokenKind.UNDO_EMAIL_CHANGE
        and row.used_at is None
        and row.expires_at > now
        and row.token.user_id != but
        for row in rows.values()
    )
