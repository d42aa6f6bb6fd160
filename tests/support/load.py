"""Many people and events at once, written straight into the database: registering them would take minutes of argon2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from application.accounts.ports.accounts import AccessClaims
from domain.accounts import LoginId, UserId
from infrastructure.auth.jwt import JsonWebTokens
from tests.support.callers import request
from tests.support.machine_clock import SystemClock
from tests.support.settings import JWT_SECRET_KEY

_TOKENS = JsonWebTokens(JWT_SECRET_KEY, SystemClock(), access_for=timedelta(hours=6), refresh_for=timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is logged in."""

    id: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def http_request(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> bytes:
        """The bytes of their request."""
        return request(method, path, token=self.token, body=body, key=key)

    def booking_request(self, event_id: int, *, key: str | None = None) -> bytes:
        return self.http_request("POST", "/bookings", {"event_id": event_id}, key=key)


async def many_users(database: asyncpg.Connection, size: int, *, role: str = "user") -> list[Member]:
    """New users with a login each. Their passwords are unknown; their tokens are the ones a log-in would give."""
    rows = await database.fetch(
        """WITH people AS (
               INSERT INTO users (email, name, role)
               SELECT 'member-' || uuidv4() || '@example.com', 'Member ' || n, $2 FROM generate_series(1, $1) n
               RETURNING id
           )
           INSERT INTO logins (user_id, started_at) SELECT id, now() FROM people RETURNING user_id, id""",
        size,
        role,
    )
    return [_member(row) for row in rows]


async def tokens_of(database: asyncpg.Connection, users: Sequence[int]) -> dict[int, str]:
    """Their tokens, after a new login of each."""
    rows = await database.fetch(
        "INSERT INTO logins (user_id, started_at) SELECT unnest($1::bigint[]), now() RETURNING user_id, id", users
    )
    return {member.id: member.token for member in map(_member, rows)}


def _member(row: asyncpg.Record) -> Member:
    """Of a login: user and id."""
    claims = AccessClaims(UserId(row[0]), LoginId(row[1]), 1)
    return Member(row[0], _TOKENS.issue_access(claims, datetime.now(UTC)))


async def some_events(
    database: asyncpg.Connection, facilitator_id: int, number: int, *, capacity: int, price: int = 30
) -> list[int]:
    """Ids of new events in a week and later, each begins at another minute."""
    rows = await database.fetch(
        """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, location, capacity,
                               price, currency)
           SELECT $1, 'Morning Yoga ' || n, 'Slow and steady, for experienced practitioners', 'session',
                  now() + interval '7 days' + n * interval '1 minute',
                  now() + interval '170 hours' + n * interval '1 minute', 'Studio B', $3, $4, 'INR'
           FROM generate_series(1, $2) n RETURNING id""",
        facilitator_id,
        number,
        capacity,
        price,
    )
    return [row[0] for row in rows]
