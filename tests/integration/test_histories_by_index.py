"""Lists of appointments, busy times and calendar feeds read what they show, and not the history beside it. They show
what simple statements find."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from application.ports import PageRequest
from domain.accounts import UserId
from domain.appointments import AppointmentStatus
from domain.calendar_feed import FeedRange
from domain.time import Interval
from infrastructure.postgres.appointments.coaches import BUSY, PostgresCoaches
from infrastructure.postgres.appointments.queries import PostgresAppointmentQueries
from infrastructure.postgres.calendars.feeds import PostgresFeeds
from infrastructure.postgres.engine import Database
from tests.support.plans import ExplainedDatabase, nodes_of, rows_read

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HISTORY = 4_000
"""Appointments and events in the past, three hours apart, as many of each."""
AHEAD = 100
"""And in the future. Every 20th event takes two days, and every 30th exactly one."""
COACH, CLIENT = UserId(1), UserId(2)
LIMIT = 10

_FILL = f"""
INSERT INTO users (email, name, role)
SELECT 'user' || n || '@example.com', 'User ' || n, CASE WHEN n = 1 THEN 'facilitator' ELSE 'user' END
FROM generate_series(1, 3000) n;
INSERT INTO facilitator_profiles (user_id) VALUES (1);
INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status, payment_status,
                               price, currency, refund_policy, created_at, updated_at, cancelled_at)
SELECT CASE WHEN n % 2 = 0 THEN 2 ELSE 3 + n % 498 END, 1, at, at + interval '1 hour', at, at + interval '1 hour',
       status, 'not_required', 0, 'INR', '[]', at, at, CASE WHEN status = 'cancelled' THEN at END
FROM generate_series(1, {HISTORY + AHEAD}) n,
     LATERAL (SELECT $1::timestamptz + (n - {HISTORY}) * interval '3 hours' AS at) s,
     LATERAL (SELECT CASE WHEN n % 100 = 4 THEN 'cancelled' WHEN n < {HISTORY} - 8 THEN 'completed'
                          WHEN n % 8 < 2 THEN 'pending' ELSE 'confirmed' END AS status) t
"""
_EVENTS = f"""
INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency,
                    status, completed_at)
SELECT CASE WHEN n % 40 = 7 THEN 4 ELSE 1 END, 'Event', '', 'session', at, at + length, 10, 0, 'INR',
       CASE WHEN n % 11 = 0 THEN 'cancelled' ELSE 'active' END, CASE WHEN n < {HISTORY} - 24 THEN at END
FROM generate_series(1, {HISTORY + AHEAD}) n,
     LATERAL (SELECT $1::timestamptz + (n - {HISTORY}) * interval '3 hours' AS at,
                     CASE WHEN n % 20 = 0 THEN interval '48 hours' WHEN n % 30 = 0 THEN interval '24 hours'
                          WHEN n % 3 = 0 THEN interval '3 hours' ELSE interval '6 hours' END AS length) s
"""
_SEATS = """
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, facilitator_id)
SELECT id, 1, 'confirmed', 'not_required', $1, 1 FROM events
WHERE id % 9 = 0 AND ends_at > $1::timestamptz - interval '100 days'
"""
_OVERLAPPING = """
SELECT busy_from, busy_until FROM coaching_bookings
WHERE coach_id = 1 AND status IN ('pending', 'confirmed') AND busy_from < $2 AND busy_until > $1
UNION ALL
SELECT starts_at, ends_at FROM events
WHERE facilitator_id = 1 AND status = 'active' AND hidden_at IS NULL AND starts_at < $2 AND ends_at > $1
ORDER BY 1, 2
"""
_IN_FEED = """
SELECT kind, id FROM (
    SELECT 'place' AS kind, b.id::text AS id, e.starts_at, e.ends_at
    FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.user_id = $1 AND b.status <> 'cancelled'
    UNION ALL
    SELECT 'event', e.id::text, e.starts_at, e.ends_at FROM events e
    WHERE e.facilitator_id = $1 AND e.status = 'active' AND e.hidden_at IS NULL
    UNION ALL
    SELECT 'session', s.id::text, s.starts_at, s.ends_at FROM coaching_bookings s
    WHERE $1 IN (s.client_id, s.coach_id) AND s.status <> 'cancelled'
) entries
WHERE ends_at > $2
ORDER BY ends_at <= $3::timestamptz, abs(extract(epoch FROM ends_at - $3::timestamptz)), starts_at, kind, id LIMIT $4
"""


# Takes 3 s: an index shows in a plan only where a table has many rows.
@pytest.fixture(scope="module")
async def filled(shared_database: asyncpg.Connection, shared_database_url: str) -> AsyncIterator[ExplainedDatabase]:
    people, appointments = _FILL.rsplit(";", 1)
    await shared_database.execute(people)
    for statement in (appointments, _EVENTS, _SEATS):
        await shared_database.execute(statement, NOW)
    await shared_database.execute("VACUUM ANALYZE coaching_bookings, events, bookings, users")
    database = ExplainedDatabase(shared_database_url)
    yield database
    await database.close()


@pytest.fixture
def explained(filled: ExplainedDatabase) -> ExplainedDatabase:
    filled.asked.clear()
    return filled


@pytest.fixture
async def uuids(shared_database: asyncpg.Connection, filled: ExplainedDatabase) -> dict[str, UUID]:
    rows = await shared_database.fetch("SELECT id, uuid FROM users WHERE id <= 2 ORDER BY id")
    return dict(zip(("coach", "client"), (row["uuid"] for row in rows), strict=True))


@pytest.mark.parametrize("status", [None, *AppointmentStatus])
@pytest.mark.parametrize("whose", ["client", "coach"])
async def test_page_of_appointments_is_read_by_an_index(
    explained: ExplainedDatabase, uuids: dict[str, UUID], whose: str, status: AppointmentStatus | None
) -> None:
    queries = PostgresAppointmentQueries(explained)
    list_of = queries.list_of_client if whose == "client" else queries.list_of_coach
    first = await list_of(uuids[whose], status=status, skip=0, page=PageRequest(LIMIT))
    await list_of(uuids[whose], status=status, skip=0, page=PageRequest(LIMIT, first.next))
    await list_of(uuids[whose], status=status, skip=30, page=PageRequest(LIMIT))
    # The total counts entries of an index; without rows of the table if these are visible to everybody.
    explained.asked = [(query, values) for query, values in explained.asked if "count(*)" not in query]
    # In the index, the row, client and coach, payment; and the owner's id.
    assert await explained.rows_read() < 3 * 6 * (LIMIT + 1) + 30


@pytest.mark.parametrize("status", [None, *AppointmentStatus])
async def test_pages_of_appointments_have_all_in_their_order(
    explained: ExplainedDatabase,
    shared_database: asyncpg.Connection,
    uuids: dict[str, UUID],
    status: AppointmentStatus | None,
) -> None:
    expected = await shared_database.fetch(
        """SELECT id FROM coaching_bookings WHERE client_id = $1 AND ($2::text IS NULL OR status = $2)
           ORDER BY starts_at DESC, id DESC""",
        CLIENT,
        status,
    )
    queries, seen, cursor = PostgresAppointmentQueries(explained), list[UUID](), None
    for _ in range(30):
        page = await queries.list_of_client(uuids["client"], status=status, skip=0, page=PageRequest(100, cursor))
        assert page.total == len(expected)
        seen += [each.id for each in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [row["id"] for row in expected]
    skipped = await queries.list_of_client(uuids["client"], status=status, skip=7, page=PageRequest(LIMIT))
    assert [each.id for each in skipped.items] == seen[7 : 7 + LIMIT]


async def busy(database: Database, window: Interval) -> Sequence[tuple[datetime, datetime]]:
    async with database.session() as session:
        times = await PostgresCoaches(session, "INR").busy(COACH, window)
    return sorted((each.starts_at, each.ends_at) for each in times)


async def test_busy_times_are_all_that_overlap(
    explained: ExplainedDatabase, shared_database: asyncpg.Connection
) -> None:
    chosen = random.Random(1)
    for _ in range(60):
        since = NOW + chosen.randrange(-200, 200) * HOUR
        window = Interval(since, since + chosen.choice([HOUR, 5 * HOUR, DAY, 30 * DAY]))
        expected = await shared_database.fetch(_OVERLAPPING, window.starts_at, window.ends_at)
        assert await busy(explained, window) == [tuple(row) for row in expected], window


@pytest.mark.parametrize("ahead", [timedelta(0), 10 * DAY], ids=["now", "later"])
async def test_busy_times_are_read_by_an_index(explained: ExplainedDatabase, ahead: timedelta) -> None:
    values = {"coach": COACH, "since": NOW + ahead, "until": NOW + ahead + DAY, "apart_from": None}
    async with explained.session() as session:
        await session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        plan = (await session.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {BUSY}"), values)).scalar_one()
    # Of a day: appointments, events that end until a day later, and events of more than a day ahead.
    assert sum(rows_read(node) for node in nodes_of(plan) if "Index Name" in node) < 8 + 20 + AHEAD // 10


@pytest.mark.parametrize("limit", [1, 7, 40, 500])
@pytest.mark.parametrize("user", [COACH, CLIENT, UserId(4), UserId(500)])
async def test_feed_has_the_nearest_entries(
    explained: ExplainedDatabase, shared_database: asyncpg.Connection, user: UserId, limit: int
) -> None:
    for moment in (NOW, NOW + timedelta(minutes=1), NOW - 20 * DAY, NOW + 20 * DAY):
        wanted = FeedRange(moment - 90 * DAY, moment, limit)
        entries = await PostgresFeeds(explained).entries(user, wanted)
        expected = await shared_database.fetch(_IN_FEED, user, wanted.since, wanted.now, limit)
        assert {(entry.kind, entry.id) for entry in entries} == {tuple(row) for row in expected}


async def test_feed_is_read_by_an_index(explained: ExplainedDatabase, shared_database: asyncpg.Connection) -> None:
    feeds, wanted = PostgresFeeds(explained), FeedRange(NOW - 90 * DAY, NOW, LIMIT)
    await feeds.digest(CLIENT, wanted)
    await feeds.entries(UserId(4), wanted)
    # Of each of three sources the nearest before and after, with the last one's equals, and the other person.
    assert await explained.rows_read() < 2 * (3 * 2 * 2 * (LIMIT + 3) + 10)
