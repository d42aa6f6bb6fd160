"""Queries about accounts for operators and admins."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from application.accounts.ports.accounts import AccountFilter
from application.ports import Page, PageRequest
from domain.accounts import User
from infrastructure.postgres.accounts.repository import user_of_record
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, id_after
from infrastructure.postgres.search_words import SEARCH_WORDS, no_search_word
from servicekit.mailboxes import confusable_form, is_mailable

_REQUESTED = "SELECT count(*) FROM users WHERE requested_role IS NOT NULL"
# Materialised: a plan for any words would read all accounts in the order of their ids, until enough have the words.
_FOUND = """
WITH found AS MATERIALIZED (SELECT id FROM users WHERE search_vector(name || ' ' || email) @@ $3::text::tsquery)
"""


class PostgresAccountQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, filter_: AccountFilter, page: PageRequest) -> Page[User]:
        before = id_after(page.after)
        conditions, found = _conditions(filter_), ""
        values: list[Any] = [2**63 - 1 if before is None else before, page.limit + 1]
        async with self._database.connection() as connection:
            if filter_.search is not None:
                words = await connection.fetch(SEARCH_WORDS, filter_.search)
                if not words:
                    raise no_search_word()
                values.append(" & ".join(word["query"] for word in words))
                conditions.append("id IN (SELECT id FROM found)")
                found = _FOUND
            where = " AND ".join(["id < $1", *conditions])
            statement = f"{found} SELECT * FROM users WHERE {where} ORDER BY id DESC LIMIT $2"  # noqa: S608 (constants)
            rows = await connection.fetch(statement, *values)
        users = [user_of_record(row) for row in rows[: page.limit]]
        return Page(users, cursor_of(users[-1].id) if len(rows) > page.limit else None)

    async def count_requested(self) -> int:
        """The number of accounts that await approval."""
        async with self._database.connection() as connection:
            waiting: int = await connection.fetchval(_REQUESTED)
        return waiting


def _conditions(filter_: AccountFilter) -> list[str]:
    """Literals, not parameters, because the indexes of rare values are partial."""
    found = []
    if filter_.role is not None:
        found.append(f"role = '{filter_.role.value}'")
    if filter_.active is not None:
        found.append("is_active" if filter_.active else "NOT is_active")
    if filter_.verified is not None:
        found.append("is_verified" if filter_.verified else "NOT is_verified")
    if filter_.requested:
        found.append("requested_role IS NOT NULL")
    return found


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
