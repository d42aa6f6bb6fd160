"""Logins that wait for a second factor."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.second_factors import LoginKind, LoginTicket

_ADD = text("""
INSERT INTO login_tickets (fingerprint, user_id, token_version, login, created_at, expires_at)
VALUES (:fingerprint, :user_id, :token_version, :login, :now, :expires_at)
""")
_VALID = "fingerprint = :fingerprint AND used_at IS NULL AND expires_at > :now"
_FIND = text(f"SELECT user_id, token_version, login FROM login_tickets WHERE {_VALID}")  # noqa: S608
# The row stays locked until the end of the transaction, so that attempts with one ticket follow one another.
_COUNT = text(f"""
UPDATE login_tickets SET attempts = attempts + 1 WHERE {_VALID} AND attempts < :at_most RETURNING attempts
""")  # noqa: S608
_USE = text("UPDATE login_tickets SET used_at = :now WHERE fingerprint = :fingerprint")

PRUNE_LOGIN_TICKETS = """
DELETE FROM login_tickets WHERE fingerprint IN (
    SELECT fingerprint FROM login_tickets WHERE expires_at < now() - $1::interval
    ORDER BY expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: time since the ticket expired, $2: at most so many rows."""


class PostgresLoginTickets:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, fingerprint: bytes, ticket: LoginTicket, now: datetime, *, expires_at: datetime) -> None:
        values = {"user_id": ticket.user_id, "token_version": ticket.token_version, "login": ticket.login}
        await self._session.execute(_ADD, {"fingerprint": fingerprint, "now": now, "expires_at": expires_at, **values})

    async def find(self, fingerprint: bytes, now: datetime) -> LoginTicket | None:
        row = (await self._session.execute(_FIND, {"fingerprint": fingerprint, "now": now})).one_or_none()
        return None if row is None else LoginTicket(UserId(row.user_id), row.token_version, LoginKind(row.login))

    async def take_attempt(self, fingerprint: bytes, now: datetime, *, at_most: int) -> bool:
        values = {"fingerprint": fingerprint, "now": now, "at_most": at_most}
        return await self._session.scalar(_COUNT, values) is not None

    async def use(self, fingerprint: bytes, now: datetime) -> None:
        await self._session.execute(_USE, {"fingerprint": fingerprint, "now": now})
