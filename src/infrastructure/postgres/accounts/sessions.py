"""The list of the sessions of an account."""

from datetime import datetime

from application.ports import Page, PageRequest
from domain.accounts import LoginId, UserId
from domain.sessions import Client, Session
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import LAST_UUID, cursor_of, uuid_after

# Ids of logins are UUIDv7, in the order of their time.
LIST = """
SELECT l.id, l.started_at, COALESCE(l.last_used_at, l.started_at) AS last_used_at, l.network, l.user_agent
FROM logins l
WHERE l.user_id = $1 AND l.ended_at IS NULL AND l.id < $2 AND l.started_at > $3
  AND (COALESCE(l.last_used_at, l.started_at) > $4 OR EXISTS (
      SELECT FROM refresh_tokens t WHERE t.login_id = l.id AND t.retired_at IS NULL AND t.expires_at > $5))
ORDER BY l.id DESC LIMIT $6
"""


class PostgresSessionQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_of(
        self, user_id: UserId, page: PageRequest, *, now: datetime, started_after: datetime, used_after: datetime
    ) -> Page[Session]:
        before = uuid_after(page.after) or LAST_UUID
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIST, user_id, before, started_after, used_after, now, page.limit + 1)
        found = [
            Session(
                LoginId(row["id"]), row["started_at"], row["last_used_at"], Client(row["network"], row["user_agent"])
            )
            for row in rows[: page.limit]
        ]
        return Page(found, cursor_of(found[-1].id) if len(rows) > page.limit else None)
