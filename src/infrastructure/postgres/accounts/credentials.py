"""Revocation of credentials: one statement for each kind, defined by the owner of its table, for all of an account."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.idempotency import owner_of
from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_revocation, record_revoked_keys
from domain.credentials import Credential
from infrastructure.postgres import idempotency
from infrastructure.postgres.accounts import account_tokens, api_keys, second_factors
from infrastructure.postgres.calendars import connections, feeds

# In the order of this mapping, so that two transactions lock in the same order.
REVOKE: Mapping[Credential, str] = {
    # The refresh tokens of a login that has ended are rejected.
    Credential.LOGINS: """
        UPDATE logins SET ended_at = :now, end_reason = :reason WHERE user_id = :user_id AND ended_at IS NULL""",
    Credential.PASSWORD: "UPDATE users SET password_hash = NULL WHERE id = :user_id",
    Credential.ACCOUNT_TOKENS: account_tokens.REVOKE,
    Credential.API_KEYS: api_keys.REVOKE,
    Credential.SECOND_FACTORS: second_factors.REVOKE,
    Credential.CALENDAR_FEED: feeds.REVOKE,
    Credential.CONNECTED_CALENDARS: connections.REVOKE,
    Credential.KNOWN_NETWORKS: "DELETE FROM login_networks WHERE user_id = :user_id",
    Credential.IDEMPOTENCY_ANSWERS: idempotency.REVOKE,
}


class PostgresAccess:
    def __init__(self, session: AsyncSession, audit: AuditTrail) -> None:
        self._session = session
        self._audit = audit

    async def revoke(self, user_id: UserId, credentials: Collection[Credential], now: datetime, *, reason: str) -> None:
        record_revocation(self._audit, user_id, credentials, reason)
        values = {"user_id": user_id, "owner": owner_of(user_id), "now": now, "reason": reason}
        for credential, statement in REVOKE.items():
            if credential in credentials:
                clause = text(statement)
                parameters = {name: values[name] for name in clause.compile().params}
                revoked = cast("CursorResult[Any]", await self._session.execute(clause, parameters))
                if credential is Credential.API_KEYS:
                    record_revoked_keys(self._audit, user_id, revoked.rowcount, reason)
