"""Queries about accounts for operators."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from application.ports import Page, PageRequest
from domain.accounts import Role, User
from infrastructure.postgres.accounts.repository import user_of_record
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, id_after
from servicekit.mailboxes import confusable_form, is_mailable

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
        """Accounts, newest first. None disables the filter by role or by activity. `requested`: only accounts that
        await approval. Raises `Invalid` for a cursor of another list."""
        before = id_after(page.after)
        async with self._database.connection() as connection:
            first = 2**63 - 1 if before is None else before
            rows = await connection.fetch(_NEWEST, first, role, active, requested, page.limit + 1)
        found = [user_of_record(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].id) if len(rows) > page.limit else None)

    async def count_requested(self) -> int:
        """The number of accounts that await approval."""
        async with self._database.connection() as connection:
            waiting: int = await connection.fetchval(_REQUESTED)
        return waiting


# An ASCII address can be confused with another one only if the other one has letters beyond ASCII.
_BEYOND_ASCII = "SELECT id, email FROM users WHERE email ~ '[^\\x01-\\x7f].*@' ORDER BY id"

_WITH_ADDRESS = "SELECT id, email FROM users WHERE email = ANY($1) ORDER BY id"


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    email: str

    def __str__(self) -> str:
        return f"{self.email} (id {self.id})"


@dataclass(frozen=True, slots=True)
class FormerFacilitators:
    """`unmailable`: accounts to which no mail can be sent. `look_alikes`: groups of accounts whose addresses are equal
    under the present rules; each stays a separate account."""

    unmailable: list[Account]
    look_alikes: list[list[Account]]


async def old_addresses(database: Database, *, smtputf8: bool) -> FormerFacilitators:
    """Raises `Unavailable`."""
    async with database.connection() as connection:
        beyond_ascii = [Account(*row) for row in await connection.fetch(_BEYOND_ASCII)]
        forms = sorted({confusable_form(account.email) for account in beyond_ascii})
        others = [Account(*row) for row in await connection.fetch(_WITH_ADDRESS, forms)]
    groups = defaultdict[str, dict[int, Account]](dict)
    for account in (*beyond_ascii, *others):
        groups[confusable_form(account.email)][account.id] = account
    return FormerFacilitators(
        unmailable=[account for account in beyond_ascii if not is_mailable(account.email, smtputf8=smtputf8)],
        look_alikes=[list(group.values()) for group in groups.values() if len(group) > 1],
    )


_AHEAD = """
WITH booked AS (
    SELECT e.facilitator_id AS user_id, b.payment_status
    FROM bookings b JOIN events e ON e.id = b.event_id JOIN users f ON f.id = e.facilitator_id
    WHERE NOT f.is_active AND b.status = 'confirmed' AND e.ends_at > now()
    UNION ALL
    SELECT c.coach_id, c.payment_status
    FROM coaching_bookings c JOIN users f ON f.id = c.coach_id
    WHERE NOT f.is_active AND c.status IN ('pending', 'confirmed') AND c.ends_at > now()
)
SELECT u.id, u.email, count(*) AS bookings, count(*) FILTER (WHERE payment_status = 'completed') AS paid
FROM booked JOIN users u ON u.id = booked.user_id GROUP BY u.id ORDER BY paid DESC, bookings DESC, u.id
"""


@dataclass(frozen=True, slots=True)
class BookingsAhead:
    """A deactivated facilitator's live bookings and appointments that have not ended, and the number of paid ones."""

    facilitator_id: int
    email: str
    bookings: int
    paid: int


class PostgresDeactivatedFacilitators:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def bookings_ahead(self) -> Sequence[BookingsAhead]:
        """Facilitators with the most paid bookings first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_AHEAD)
        return [BookingsAhead(row["id"], row["email"], row["bookings"], row["paid"]) for row in rows]
