"""Pages of 500 long entries are built without holding the event loop for long."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from interfaces.http import middleware
from interfaces.http.app import create_app
from tests.support.callers import Caller, request
from tests.support.loop_time import measured_callbacks
from tests.support.people import People, Person
from tests.support.process_harness import LONG_RUN
from tests.support.settings import settings_for

HELD_SECONDS = 0.05
ENTRIES = 500
EVENTS = """
INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object(
    'id', nextval(pg_get_serial_sequence('events', 'id')), 'description', repeat('日', 9000),
    'starts_at', now() + n * interval '1 day', 'ends_at', now() + n * interval '1 day' + interval '1 hour'))).*
FROM events e, generate_series(1, $2::int) AS n WHERE e.id = $1
"""
BOOKINGS = """
INSERT INTO bookings ({columns}) SELECT {values}
FROM bookings b, events e WHERE b.id = $1 AND e.id <> b.event_id
"""


@pytest.fixture(scope="module")
async def facilitator(shared_people: People, shared_database: asyncpg.Connection) -> Person:
    """Has 500 events with descriptions of 27 KB, all booked by one user."""
    john = await shared_people.facilitator()
    event = await john.creates_event()
    # The words of so many texts take 10 s, and no page uses them.
    await shared_database.execute("DROP INDEX ix_events_search")
    await shared_database.execute(EVENTS, event["id"], ENTRIES)
    return john


@pytest.fixture(scope="module")
async def user(shared_people: People, facilitator: Person, shared_database: asyncpg.Connection) -> Person:
    ada = await shared_people.user()
    event = (await facilitator.get("/facilitator/events")).json()["events"][0]
    booking = await ada.books(event["id"])
    columns = await shared_database.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'bookings' "
        "AND is_generated = 'NEVER' AND column_name <> 'id'"
    )
    names = [row["column_name"] for row in columns]
    values = ["e.id" if name == "event_id" else f"b.{name}" for name in names]
    await shared_database.execute(BOOKINGS.format(columns=", ".join(names), values=", ".join(values)), booking["id"])
    return ada


async def test_large_answer_is_sent_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them other requests have their turn."""
    monkeypatch.setattr(middleware, "SENT_AT_ONCE", 1_000)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": "/docs/openapi.json",
        "raw_path": b"/docs/openapi.json",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"a.example"), (b"accept", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app: Any = create_app(settings_for("postgresql://localhost/none", "redis://localhost", tmp_path))
    await app(scope, asyncio.Event().wait, send)
    start, *parts = sent
    assert start["status"] == 200
    assert len(parts) > 10
    assert all(len(part["body"]) <= 1_000 for part in parts)
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert json.loads(b"".join(part["body"] for part in parts))["openapi"]


# A list of each kind, each in another contract; the lists of other contracts are the same with other names of fields.
PAGES = [("/events", "user"), ("/api/facilitator/sessions", "facilitator"), ("/api/my-bookings", "user")]
if LONG_RUN:
    PAGES += [("/api/events", "user"), ("/api/sessions", "user"), ("/facilitator/events", "facilitator")]
    PAGES += [("/bookings", "user"), ("/api/bookings/my", "user")]


@pytest.mark.parametrize(("path", "who"), PAGES)
async def test_large_page_does_not_block_the_event_loop(
    shared_api: httpx.AsyncClient, facilitator: Person, user: Person, path: str, who: str
) -> None:
    parts = urlsplit(str(shared_api.base_url))
    person = facilitator if who == "facilitator" else user
    assert parts.hostname and parts.port
    caller = await Caller.connect((parts.hostname, parts.port))
    with measured_callbacks() as held:
        await caller(request("GET", "/health"))
        idle = held.reset()
        longest = []
        for _ in range(3):
            answer = await caller(request("GET", path, token=person.access_token))
            longest.append(held.reset())
    caller.close()
    assert answer.status == 200
    print(f"{path} {len(answer.body)} bytes, {min(longest) * 1000:.1f} ms (idle {idle * 1000:.1f} ms)")
    assert min(longest) < idle + HELD_SECONDS
