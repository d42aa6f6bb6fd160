"""Answers that combine several figures or rows show the state of one moment. Here every statement is followed by a
change that another client commits."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from domain.accounts import UserId
from domain.time import Interval
from infrastructure import container
from infrastructure.postgres.appointments.statistics import PostgresCoachStatistics
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.statistics import PostgresOperationalStatistics
from infrastructure.settings import Settings
from interfaces.http.app import assemble
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.people import People

Change = Callable[[], Awaitable[object]]

_PERSON = "INSERT INTO users (email, name, role) SELECT gen_random_uuid() || '@example.com', 'Eve', 'user' RETURNING id"
_BOOK = f"""
WITH person AS ({_PERSON}),
     event AS (UPDATE events SET booked = booked + 1 WHERE id = $1 RETURNING *)
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, price, currency)
SELECT event.id, person.id, 'confirmed', 'not_required', now(), 0, event.currency FROM event, person
"""
_MEET = f"""
WITH client AS ({_PERSON})
INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status, payment_status,
                               price, currency, refund_policy, created_at, updated_at)
SELECT client.id, $1, at, at + interval '1 minute', at, at + interval '1 minute', 'confirmed', 'not_required', 0, 'INR',
       '[]', now(), now()
FROM client, (SELECT $2::timestamptz + count(*) * interval '1 hour' AS at FROM coaching_bookings) t
"""
_ENQUEUE = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
VALUES ('crm', 'booking:' || gen_random_uuid(), 'booking_created', '{}', now() - interval '1 hour')
"""
_ATTEMPT = """
WITH attempted AS (UPDATE outbox SET attempts = attempts + 1 WHERE id = $1 RETURNING attempts)
INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail)
SELECT $1, attempts, now(), 12, 'failed', 400, '400 Bad Request' FROM attempted
"""


class _Followed:
    """A connection; `change` follows each of its statements."""

    def __init__(self, connection: Any, change: Change) -> None:
        self._connection = connection
        self._change = change

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        if name not in {"fetch", "fetchrow", "fetchval"}:
            return attribute

        async def call(*arguments: Any) -> Any:
            result = await attribute(*arguments)
            await self._change()
            return result

        return call


def followed(database: Database, change: Change) -> Database:
    """The database, with `change` after each statement of a pooled connection."""

    def wrapped(open_connection: Callable[[], Any]) -> Callable[[], Any]:
        @contextlib.asynccontextmanager
        async def connection() -> AsyncIterator[Any]:
            async with open_connection() as connection:
                yield _Followed(connection, change)

        return connection

    for name in ("connection", "snapshot"):
        setattr(database, name, wrapped(getattr(database, name)))
    return database


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.mark.parametrize("path", ["/facilitator/events/{event}/bookings", "/api/facilitator/dashboard"])
async def test_counter_and_list_of_bookings(
    people: People, database: asyncpg.Connection, make_settings: Callable[..., Settings], path: str
) -> None:
    john = await people.facilitator()
    event_id = (await john.creates_event(price=0))["id"]
    parts = container.build(make_settings())
    followed(parts.database, lambda: database.execute(_BOOK, event_id))
    async with serving(assemble(parts)) as address, a_client(address) as client:
        answer = await client.get(path.format(event=event_id), headers=john.headers)
    body = answer.json()
    assert answer.status_code == 200, answer.text
    if "event" in body:
        counted, listed = body["event"]["current_participants"], body["bookings"]
    else:
        counted, listed = body["metrics"]["total_bookings"], body["recent_bookings"]
    assert 0 < counted == len(listed) < 10


async def test_message_and_its_attempts(opened: Database, database: asyncpg.Connection) -> None:
    await database.execute(_ENQUEUE)
    message_id = await database.fetchval("SELECT id FROM outbox")
    letters = PostgresDeadLetters(followed(opened, lambda: database.execute(_ATTEMPT, message_id)))
    for _ in range(2):
        shown = await letters.show(message_id)
        assert shown.message.attempts == len(shown.attempts_made)


async def test_control_without_a_snapshot(opened: Database, database: asyncpg.Connection) -> None:
    """Negative control: the changes are committed between the statements."""
    await database.execute(_ENQUEUE)
    message_id = await database.fetchval("SELECT id FROM outbox")
    opened.snapshot = lambda seconds=None: opened.connection()  # type: ignore[method-assign]
    shown = await PostgresDeadLetters(followed(opened, lambda: database.execute(_ATTEMPT, message_id))).show(message_id)
    assert shown.message.attempts < len(shown.attempts_made)


async def test_sessions_and_clients_of_a_coach(people: People, opened: Database, database: asyncpg.Connection) -> None:
    coach, begins = await people.facilitator(), datetime(2030, 1, 7, tzinfo=UTC)
    queries = PostgresCoachStatistics(followed(opened, lambda: database.execute(_MEET, coach.id, begins)))
    window = Interval(begins, begins + timedelta(weeks=1))
    for _ in range(2):
        found = await queries.statistics(UserId(coach.id), window, ZoneInfo("UTC"))
        assert sum(week.bookings for week in found.weeks) == found.clients


async def test_pending_messages_and_the_oldest_of_them(opened: Database, database: asyncpg.Connection) -> None:
    statistics = await PostgresOperationalStatistics(followed(opened, lambda: database.execute(_ENQUEUE))).read()
    pending = {each.destination for each in statistics.destinations if each.pending}
    assert pending == set(statistics.oldest)
