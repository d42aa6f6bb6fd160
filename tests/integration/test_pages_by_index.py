"""Pages of events, bookings and reviews are read by an index, however many there are: what PostgreSQL read for a page
does not depend on the rows before and beside it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from application.bookings.ports import BookingFilter
from application.events.ports import EventFilter
from application.ports import PageRequest
from domain.accounts import UserId
from domain.events import EventId
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.queries import PostgresBookingQueries, PostgresEventQueries, PostgresReviewQueries
from infrastructure.postgres.pages import cursor_of
from tests.support.plans import ExplainedDatabase

NOW = datetime.now(UTC)
EVENTS = 8_000
"""Of 4 facilitators by turns, one an hour; the last tenth is ahead. Every 20th is cancelled."""
BOOKINGS = 8_000
LIMIT = 10
BUSY, STUDENT, POPULAR = UserId(1), UserId(9), EventId(EVENTS)

_FILL = f"""
INSERT INTO users (email, name, role)
SELECT 'user' || n || '@example.com', 'User ' || n, CASE WHEN n <= 4 THEN 'facilitator' ELSE 'user' END
FROM generate_series(1, 9) n;
INSERT INTO facilitator_profiles (user_id) SELECT generate_series(1, 4);
INSERT INTO events (facilitator_id, title, description, event_type, category, starts_at, ends_at, capacity, price,
                    currency, status, completed_at)
SELECT 1 + n % 4, 'Event ' || n, '', CASE WHEN n % 10 = 1 THEN 'retreat' ELSE 'session' END,
       CASE WHEN n % 10 IN (3, 7) THEN 'Sound' ELSE 'Yoga' END, at, at + interval '30 min', 100000, 0, 'INR',
       CASE WHEN n % 20 < 4 THEN 'cancelled' ELSE 'active' END, CASE WHEN at < now() - interval '1 h' THEN now() END
FROM generate_series(1, {EVENTS}) n,
     LATERAL (SELECT now() + (n - {EVENTS} * 0.9) * interval '1 hour' AS at) s;
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, facilitator_id)
SELECT n, 9, 'confirmed', 'not_required', now(), 1 + n % 4 FROM generate_series(1, {BOOKINGS}) n;
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, facilitator_id, cancelled_at)
SELECT {POPULAR}, 8, 'cancelled', 'not_required', now(), 1, now() FROM generate_series(1, {BOOKINGS} / 4) n;
INSERT INTO users (email, name, role)
SELECT 'reviewer' || n || '@example.com', 'Reviewer', 'user' FROM generate_series(1, 2000) n;
INSERT INTO reviews (event_id, user_id, rating, created_at) SELECT {POPULAR}, 9 + n, 5, now()
FROM generate_series(1, 2000) n;
ANALYZE
"""


# Takes 3 s: an index shows in a plan only where a table has many rows.
@pytest.fixture(scope="module")
async def filled(shared_database: asyncpg.Connection, shared_database_url: str) -> AsyncIterator[ExplainedDatabase]:
    await shared_database.execute(_FILL)
    database = ExplainedDatabase(shared_database_url)
    yield database
    await database.close()


@pytest.fixture
def explained(filled: ExplainedDatabase) -> ExplainedDatabase:
    filled.asked.clear()
    return filled


PER_ENTRY = 6
"""Of an event, a booking or a review: the row, what belongs to it, and some neighbours of another kind or state."""

CHOICES = {
    "all": EventFilter(),
    "type": EventFilter(kind="Retreat"),
    "category": EventFilter(kind="sound"),
    "no such kind": EventFilter(kind="chess"),
    "facilitator": EventFilter(facilitator_id=UserId(2)),
    "facilitator and category": EventFilter(facilitator_id=UserId(4), kind="sound"),
    "past ones too": EventFilter(active=True),
    "of a month": EventFilter(starts_from=NOW, starts_before=NOW + timedelta(days=30)),
    "category in a month": EventFilter(kind="sound", starts_from=NOW, starts_before=NOW + timedelta(days=30)),
    "cancelled": EventFilter(active=False),
    "cancelled of a type": EventFilter(active=False, kind="retreat"),
    "cancelled of a category": EventFilter(active=False, kind="sound"),
}


@pytest.mark.parametrize("filters", CHOICES.values(), ids=CHOICES)
async def test_page_of_events_is_read_by_an_index(explained: ExplainedDatabase, filters: EventFilter) -> None:
    queries = PostgresEventQueries(explained)
    page = await queries.list(filters, PageRequest(LIMIT), NOW)
    assert (page.next is None) is (filters.kind == "chess")
    if page.next is not None:
        assert (await queries.list(filters, PageRequest(LIMIT, page.next), NOW)).items
    assert await explained.rows_read() < 2 * PER_ENTRY * (LIMIT + 1) * (2 if filters.kind else 1)


async def test_events_of_a_facilitator_are_read_by_an_index(explained: ExplainedDatabase) -> None:
    queries = PostgresEventQueries(explained)
    page = await queries.list_of_facilitator(BUSY, PageRequest(LIMIT))
    await queries.list_of_facilitator(BUSY, PageRequest(LIMIT, page.next))
    assert await explained.rows_read() < 2 * PER_ENTRY * (LIMIT + 1)


@pytest.mark.parametrize("position", [None, cursor_of(BOOKINGS // 2)], ids=["first", "later"])
async def test_bookings_are_read_by_an_index(explained: ExplainedDatabase, position: str | None) -> None:
    queries, page = PostgresBookingQueries(explained), PageRequest(LIMIT, position)
    assert len((await queries.list_of_facilitator(BUSY, page)).items) == LIMIT
    assert len((await queries.list_of_user(STUDENT, BookingFilter(), page)).items) == LIMIT
    await queries.of_event(POPULAR, page)
    assert await explained.rows_read() < 3 * PER_ENTRY * (LIMIT + 1)


async def test_reviews_are_read_by_an_index(explained: ExplainedDatabase) -> None:
    queries = PostgresReviewQueries(explained)
    page = await queries.list_of_event(POPULAR, PageRequest(LIMIT))
    await queries.list_of_event(POPULAR, PageRequest(LIMIT, page.next))
    assert await explained.rows_read() < 2 * PER_ENTRY * (LIMIT + 1)


async def test_pages_are_planned_for_any_values(filled: ExplainedDatabase, shared_database_url: str) -> None:
    """Otherwise PostgreSQL plans each request, which takes longer than reading the page."""
    database = Database(shared_database_url, pool_size=1)
    events, bookings, page = PostgresEventQueries(database), PostgresBookingQueries(database), PageRequest(LIMIT)
    try:
        # After five executions it decides.
        for _ in range(7):
            for filters in CHOICES.values():
                await events.list(filters, page, NOW)
            await events.list_of_facilitator(BUSY, page)
            await bookings.list_of_facilitator(BUSY, page)
            await bookings.list_of_user(STUDENT, BookingFilter(), page)
            await bookings.of_event(POPULAR, page)
            await PostgresReviewQueries(database).list_of_event(POPULAR, page)
        async with database.connection() as connection:
            planned = await connection.fetch("SELECT statement FROM pg_prepared_statements WHERE custom_plans > 5")
    finally:
        await database.close()
    assert [row["statement"] for row in planned] == []
