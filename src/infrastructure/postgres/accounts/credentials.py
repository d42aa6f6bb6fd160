"""Revocation of credentials: one statement for each kind, which revokes all of an account."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from application.idempotency import owner_of
from domain.accounts import UserId
from domain.credentials import Credential

# In the order of this mapping, so that two transactions lock in the same order.
REVOKE: Mapping[Credential, str] = {
    # The refresh tokens of a login that has ended are rejected.
    Credential.LOGINS: """
        UPDATE logins SET ended_at = :now, end_reason = :reason WHERE user_id = :user_id AND ended_at IS NULL""",
    Credential.PASSWORD: "UPDATE users SET password_hash = NULL WHERE id = :user_id",
    Credential.CALENDAR_FEED: "DELETE FROM calendar_feeds WHERE user_id = :user_id",
    # The stored data of a calendar is deleted with its connection.
    Credential.CONNECTED_CALENDARS: "DELETE FROM calendar_connections WHERE user_id = :user_id",
    Credential.KNOWN_NETWORKS: "DELETE FROM login_networks WHERE user_id = :user_id",
    # A locked row belongs to a running request. The statement skips it, because the caller's access has ended.
    Credential.IDEMPOTENCY_ANSWERS: """
        DELETE FROM idempotency_keys k USING (
            SELECT owner, key FROM idempotency_keys WHERE owner = :owner FOR UPDATE SKIP LOCKED
        ) held WHERE k.owner = held.owner AND k.key = held.key""",
}


class PostgresAccess:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def revoke(self, user_id: UserId, credentials: Collection[Credential], now: datetime, *, reason: str) -> None:
        values = {"user_id": user_id, "owner": owner_of(user_id), "now": now, "reason": reason}
        for credential, statement in REVOKE.items():
            if credential in credentials:
                clause = text(statement)
                await self._session.execute(clause, {name: values[name] for name in clause.compile().params})
