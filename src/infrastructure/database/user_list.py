"""The accounts, for an operator."""

from application.ports import Page, PageRequest
from domain.accounts import Role, User
from infrastructure.database.engine import Database
from infrastructure.database.pages import cursor_of, id_after
from infrastructure.database.users import user_of_record

_NEWEST = """
SELECT * FROM users
WHERE id < $1 AND ($2::text IS NULL OR role = $2) AND ($3::boolean IS NULL OR is_active = $3)
  AND (NOT $4 OR requested_role IS NOT NULL)
ORDER BY id DESC LIMIT $5
"""


_REQUESTED = "SELECT count(*) FROM users WHERE requested_role IS NOT NULL"


class PostgresUserList:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(
        self, page: PageRequest, *, role: Role | None, active: bool | None, requested: bool = False
    ) -> Page[User]:
        """None for any role, and for accounts whether active or not. `requested`: only accounts that wait for approval.
        Raises Invalid for a cursor of another list."""
        before = id_after(page.after)
        async with self._database.connection() as connection:
            first = 2**63 - 1 if before is None else before
            rows = await connection.fetch(_NEWEST, first, role, active, requested, page.limit + 1)
        found = [user_of_record(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].id) if len(rows) > page.limit else None)

    async def count_requested(self) -> int:
        """The accounts that wait for approval."""
        async with self._database.connection() as connection:
            waiting: int = await connection.fetchval(_REQUESTED)
        return waiting
