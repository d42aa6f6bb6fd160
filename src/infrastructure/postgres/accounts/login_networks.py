"""The networks from which accounts have logged in."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from application.accounts.ports.accounts import Credentials
from domain.accounts import UserId
from domain.credentials import NetworksBefore
from infrastructure.postgres.accounts.repository import user_of_record
from infrastructure.postgres.engine import Database

_FIND = """
SELECT u.*, EXISTS (
    SELECT FROM login_networks n WHERE n.user_id = u.id AND n.network = $2 AND n.last_login_at > $3) AS is_known
FROM users u WHERE u.email = $1
"""
_REMEMBER = text("""
WITH before AS (
    SELECT count(*) AS number, count(*) FILTER (WHERE network = :network) AS same,
           count(*) FILTER (WHERE last_login_at > CAST(:now AS timestamptz) - interval '1 day') AS in_last_day
    FROM login_networks WHERE user_id = :user_id AND last_login_at > :since
), forgotten AS (
    DELETE FROM login_networks WHERE user_id = :user_id AND network <> :network AND (
        last_login_at <= :since OR network IN (
            SELECT network FROM login_networks WHERE user_id = :user_id AND network <> :network
            ORDER BY last_login_at DESC OFFSET :others))
), remembered AS (
    INSERT INTO login_networks (user_id, network, last_login_at) VALUES (:user_id, :network, :now)
    ON CONFLICT (user_id, network) DO UPDATE SET last_login_at = excluded.last_login_at
)
SELECT number, same, in_last_day FROM before
""")

PRUNE_NETWORKS = """
DELETE FROM login_networks WHERE (user_id, network) IN (
    SELECT user_id, network FROM login_networks WHERE last_login_at < now() - $1::interval
    ORDER BY last_login_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: age of the last login, $2: at most so many rows."""


class PostgresLoginNetworks:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def remember(
        self, user_id: UserId, network: bytes, now: datetime, *, since: datetime, at_most: int
    ) -> NetworksBefore:
        values = {"user_id": user_id, "network": network, "now": now, "since": since, "others": at_most - 1}
        before = (await self._session.execute(_REMEMBER, values)).one()
        return NetworksBefore(is_known=before.same > 0, number=before.number, in_last_day=before.in_last_day)


class PostgresGuessedAccounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, email: str, network: bytes, *, since: datetime) -> tuple[Credentials | None, bool]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, email, network, since)
        return (Credentials(user_of_record(row), row["password_hash"]), row["is_known"]) if row else (None, False)
