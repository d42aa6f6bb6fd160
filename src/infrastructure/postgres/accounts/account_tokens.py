"""Tokens of mails about accounts in PostgreSQL."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.account_tokens import SURVIVE_ACCESS_END, AccountToken, TokenKind
from domain.accounts import UserId

_ADD = text("""
INSERT INTO account_tokens (fingerprint, kind, user_id, email, created_at, expires_at)
VALUES (:fingerprint, :kind, :user_id, :email, :now, :expires_at)
""")
_VALID = "fingerprint = :fingerprint AND kind = :kind AND used_at IS NULL AND expires_at > :now"
_FIND_OWNER = text(f"SELECT user_id FROM account_tokens WHERE {_VALID}")  # noqa: S608
_USE = text(f"UPDATE account_tokens SET used_at = :now WHERE {_VALID} RETURNING user_id, email")  # noqa: S608
_REVOKE = text("""
UPDATE account_tokens SET used_at = :now WHERE user_id = :user_id AND kind = ANY(:kinds) AND used_at IS NULL
""")
_REVOKE_YOUNGER = text("""
UPDATE account_tokens SET used_at = :now WHERE user_id = :user_id AND kind = :kind AND used_at IS NULL
    AND created_at >= (SELECT created_at FROM account_tokens WHERE fingerprint = :fingerprint)
""")
_RENEW = text(f"UPDATE account_tokens SET expires_at = :expires_at WHERE {_VALID} RETURNING user_id, email")  # noqa: S608

REVOKE = f"""
UPDATE account_tokens SET used_at = :now
WHERE user_id = :user_id AND used_at IS NULL AND kind NOT IN ({", ".join(f"'{kind}'" for kind in SURVIVE_ACCESS_END)})
"""  # noqa: S608 (composed of constants)

RESERVED = text(f"""
SELECT EXISTS (SELECT FROM account_tokens WHERE email = :email AND kind = '{TokenKind.UNDO_EMAIL_CHANGE}'
    AND used_at IS NULL AND expires_at > :now AND user_id IS DISTINCT FROM :but)
""").bindparams(bindparam("but", type_=BigInteger))  # noqa: S608 (composed of constants)
"""Whether another account than :but can get this address back."""

PRUNE_ACCOUNT_TOKENS = """
DELETE FROM account_tokens WHERE fingerprint IN (
    SELECT fingerprint FROM account_tokens WHERE expires_at < now() - $1::interval
    ORDER BY expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: time since the token expired, $2: at most so many rows."""


class PostgresAccountTokens:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, token: AccountToken, now: datetime, *, expires_at: datetime) -> None:
        values = {"fingerprint": token.fingerprint, "kind": token.kind, "user_id": token.user_id, "email": token.email}
        await self._session.execute(_ADD, values | {"now": now, "expires_at": expires_at})

    async def find_owner(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> UserId | None:
        found = await self._session.scalar(_FIND_OWNER, {"fingerprint": fingerprint, "kind": kind, "now": now})
        return None if found is None else UserId(found)

    async def use(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> AccountToken | None:
        used = await self._session.execute(_USE, {"fingerprint": fingerprint, "kind": kind, "now": now})
        row = used.one_or_none()
        return None if row is None else AccountToken(fingerprint, kind, UserId(row.user_id), row.email)

    async def renew(
        self, fingerprint: bytes, kind: TokenKind, now: datetime, *, expires_at: datetime
    ) -> AccountToken | None:
        values = {"fingerprint": fingerprint, "kind": kind, "now": now, "expires_at": expires_at}
        row = (await self._session.execute(_RENEW, values)).one_or_none()
        return None if row is None else AccountToken(fingerprint, kind, UserId(row.user_id), row.email)

    async def revoke_younger(self, token: AccountToken, now: datetime) -> None:
        values = {"fingerprint": token.fingerprint, "kind": token.kind, "user_id": token.user_id, "now": now}
        await self._session.execute(_REVOKE_YOUNGER, values)

    async def revoke(self, user_id: UserId, kinds: Collection[TokenKind], now: datetime) -> None:
        await self._session.execute(_REVOKE, {"user_id": user_id, "kinds": [str(kind) for kind in kinds], "now": now})
