"""Each list of contracts A and C asks the database as often for sixty rows as for one; PostgreSQL itself counts."""

import asyncpg
import httpx
import pytest

from tests.support.load import many_users, some_events
from tests.support.people import People, Person
from tests.support.statement_log import StatementLog


@pytest.fixture
async def john(statements: StatementLog, people: People) -> Person:
    """A facilitator whose API's every statement is in the log."""
    return await people.facilitator()


# The login of the caller, the facilitator's profile where one is needed, and the list itself: one statement each.
LISTS = {
    "/events": 2,
    "/api/events": 2,
    "/api/my-bookings": 2,
    "/api/sessions": 2,
    "/api/bookings/my": 2,
    "/api/facilitator/bookings": 3,
    "/api/facilitator/sessions": 3,
    "/api/facilitator/sessions/{id}/bookings": 2,
    # The key figures and the last ten bookings, in a transaction: its begin and end count, too. Before a worker has
    # counted a facilitator, the figures take a statement more.
    "/api/facilitator/dashboard": 7,
}


async def test_number_of_queries_does_not_depend_on_the_number_of_rows(
    statements: StatementLog, john: Person, api: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    (first,) = await some_events(database, john.id, 1, capacity=1000)
    await fill(database, john, first, [first], 1)
    counted = {1: await count(statements, john, first, rows=1)}
    more = await some_events(database, john.id, 59, capacity=1000)
    await fill(database, john, first, more, 59)
    counted[60] = await count(statements, john, first, rows=60)
    assert counted[1] == LISTS
    assert counted[60] == LISTS


async def fill(database: asyncpg.Connection, john: Person, first: int, booked_by_john: list[int], users: int) -> None:
    """John books events, and a crowd the first one, so that each list grows by as many rows."""
    members = [member.id for member in await many_users(database, users - (first in booked_by_john))]
    places = [(event_id, john.id) for event_id in booked_by_john] + [(first, member) for member in members]
    await database.executemany(
        """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
           VALUES ($1, $2, 'confirmed', 'not_required', now())""",
        places,
    )


async def count(statements: StatementLog, john: Person, event_id: int, *, rows: int) -> dict[str, int]:
    counted = {}
    for path in LISTS:
        here = path.format(id=event_id)
        await john.get(here)  # prepares the statement; asyncpg may look up its types then
        statements.since_last_time()
        answer = await john.get(here)
        counted[path] = len(statements.since_last_time())
        body = answer.json()
        listed = body if isinstance(body, list) else body.get("events") or body["recent_bookings"]
        assert len(listed) >= (min(rows, 10) if path.endswith("dashboard") else rows), path
    return counted
