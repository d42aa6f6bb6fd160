"""The search of events finds what comparing every event finds, and reads few events, also of words that many have."""

import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from application.events.ports import EventFilter
from application.ports import PageRequest
from domain.accounts import UserId
from infrastructure.postgres.events import queries
from infrastructure.postgres.events.queries import PostgresEventQueries
from tests.support.plans import ExplainedDatabase

NOW = datetime.now(UTC)
EVENTS = 6_000
"""One an hour, of 5 facilitators by turns; the last half is ahead."""
LIMIT = 10
WORDS = {
    2: "Sound",
    5: "gathering",
    50: "Übersee",
    60: "Anna",
    70: "瞑想",
    EVENTS // 2: "unicorn",
}
"""Each `n`th event has the word."""

_PEOPLE = """
INSERT INTO users (email, name, role)
SELECT 'person' || n || '@example.com', (ARRAY['Anna Berg', 'Anna Übel', 'Ben 5', 'Cleo', 'Dora'])[n], 'facilitator'
FROM generate_series(1, 5) n;
INSERT INTO facilitator_profiles (user_id) SELECT generate_series(1, 5);
"""
# What is compared with: nothing but the words' definition.
_COMPARED = """
SELECT e.id FROM events e JOIN users f ON f.id = e.facilitator_id
WHERE e.hidden_at IS NULL AND f.is_active
  AND CASE WHEN $2::bool IS NULL THEN e.status = 'active' AND e.completed_at IS NULL AND e.ends_at > $3
           WHEN $2 THEN e.status = 'active' ELSE e.status = 'cancelled' END
  AND ($4::bigint IS NULL OR e.facilitator_id = $4)
  AND ($5::text IS NULL OR lower($5) IN (lower(e.event_type), lower(e.category)))
  AND (SELECT bool_and(search_vector(e.title || ' ' || e.description || ' ' || coalesce(e.category, '')) @@ word.query
                       OR search_vector(f.name) @@ word.query)
       FROM (SELECT (quote_literal(word) || CASE WHEN length(word) > 1 THEN ':*' ELSE '' END)::tsquery AS query
             FROM unnest(tsvector_to_array(search_vector($1))) word) word)
ORDER BY e.starts_at, e.id
"""


def an_event(number: int) -> tuple[object, ...]:
    starts_at = NOW + timedelta(hours=1) * (number - EVENTS // 2)
    cancelled = number % 11 == 0
    return (
        1 + number % 5,
        f"Event {number % 90}",
        " ".join(word for each, word in WORDS.items() if number % each == 1),
        ("session", "retreat")[number % 3 == 0],
        ("Yoga", None)[number % 4 == 0],
        starts_at,
        starts_at + timedelta(minutes=30),
        "cancelled" if cancelled else "active",
        starts_at + timedelta(hours=1) if starts_at < NOW and not cancelled else None,
    )


# Takes 3 s: an index shows in a plan only where a table has many rows.
@pytest.fixture(scope="module")
async def filled(shared_database: asyncpg.Connection, shared_database_url: str) -> AsyncIterator[ExplainedDatabase]:
    await shared_database.execute(_PEOPLE)
    await shared_database.executemany(
        """INSERT INTO events (facilitator_id, title, description, event_type, category, starts_at, ends_at, status,
                               completed_at, capacity, price, currency)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, 0, 'INR')""",
        [an_event(number) for number in range(1, EVENTS + 1)],
    )
    await shared_database.execute("VACUUM ANALYZE events")
    database = ExplainedDatabase(shared_database_url)
    yield database
    await database.close()


@pytest.fixture
def explained(filled: ExplainedDatabase) -> ExplainedDatabase:
    filled.asked.clear()
    return filled


BY_INDEX = 200
"""Entries of the indexes that a search of a rare word reads, for all of its parts."""


@pytest.mark.parametrize(
    ("text", "filters", "read"),
    [
        ("sound", {}, 10 * LIMIT),
        ("gathering", {}, 20 * LIMIT),
        ("gath sou", {}, 30 * LIMIT),
        ("gathering", {"active": False}, 20 * LIMIT),
        ("gathering", {"active": True, "kind": "yoga"}, 20 * LIMIT),
        ("gathering", {"facilitator_id": UserId(2)}, 20 * LIMIT),
        ("ben", {}, 20 * LIMIT),
        ("unicorn", {}, BY_INDEX),
        ("unicorn sound", {}, BY_INDEX),
        ("nothing", {}, BY_INDEX),
        ("nothing", {"facilitator_id": UserId(2)}, BY_INDEX),
    ],
)
async def test_search_reads_few_events(
    explained: ExplainedDatabase, text: str, filters: dict[str, object], read: int
) -> None:
    await PostgresEventQueries(explained).list(EventFilter(text=text, **filters), PageRequest(LIMIT), NOW)  # type: ignore[arg-type]
    next_events = queries.NEXT_EVENTS * (LIMIT + 1)
    assert await explained.rows_read() < read + (next_events if read == BY_INDEX else 0)


TEXTS = [
    "sound",
    "SOUND gathering",
    "übersee",
    "Ü",
    "a",
    "anna",
    "anna sound",
    "anna über",
    "anna ben",
    "5",
    "event 5 gath",
    "瞑",
    "瞑想 event",
    "unicorn",
    "unic yoga",
    "ound",
    "sound-gathering",
    "gathering & sound | nothing",
]


@pytest.mark.parametrize(("near", "most"), [(0, 0), (2, 60), (25, 5_000)], ids=["index", "mixed", "usual"])
async def test_search_finds_what_comparing_every_event_finds(
    explained: ExplainedDatabase,
    shared_database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    near: int,
    most: int,
) -> None:
    monkeypatch.setattr(queries, "NEXT_EVENTS", near)
    monkeypatch.setattr(queries, "_MOST_EVENTS", most)
    combined = list(itertools.product([None, True, False], [None, UserId(1), UserId(3)], [None, "yoga"]))
    chosen = random.Random(near)
    for text in TEXTS:
        for active, owner, kind in chosen.sample(combined, 4):
            filters = EventFilter(text=text, active=active, facilitator_id=owner, kind=kind)
            expected = await shared_database.fetch(_COMPARED, text, active, NOW, owner, kind)
            assert await walked(explained, filters) == [row["id"] for row in expected][: 3 * LIMIT], (near, filters)


async def walked(database: ExplainedDatabase, filters: EventFilter) -> list[int]:
    """The first three pages."""
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        page = await PostgresEventQueries(database).list(filters, PageRequest(LIMIT, cursor), NOW)
        seen += [event.id for event in page.items]
        cursor = page.next
        if cursor is None:
            break
    return seen
