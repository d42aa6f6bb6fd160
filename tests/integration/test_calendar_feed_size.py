"""Large calendar feeds: bounded, built off the event loop, and not built at all for readers that have them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.calendars.feeds import ReadFeed
from domain.accounts import UserId
from domain.calendar_feed import MOST_ENTRIES, FeedEntry, FeedRange
from infrastructure.icalendar.components import folded
from tests.support.loop_time import measured_callbacks
from tests.support.people import People
from tests.support.process_harness import LONG_RUN

HELD_SECONDS = 0.05
FILL = """
INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object(
    'id', nextval(pg_get_serial_sequence('events', 'id')), 'title', 'Event ' || day,
    'description', $4::text,
    'starts_at', now() + day * interval '1 day' + interval '1 hour',
    'ends_at', now() + day * interval '1 day' + interval '2 hours'))).*
FROM events e, generate_series($2::int, $3::int) AS day WHERE e.id = $1 AND day <> 0
"""


async def a_feed(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection, first: int, last: int, *, text: str = ""
) -> str:
    """The path of a facilitator's feed with an event each day, today's included."""
    john = await people.facilitator()
    event = await john.creates_event()
    await database.execute(FILL, event["id"], first, last, text)
    await database.execute(
        "UPDATE events SET title = 'Event 0', starts_at = now() + interval '1 hour', "
        "ends_at = now() + interval '2 hours' WHERE id = $1",
        event["id"],
    )
    answer = await john.post("/calendar/feed")
    return httpx.URL(answer.json()["url"]).path


async def test_large_feed_does_not_block_the_event_loop(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    entries = MOST_ENTRIES if LONG_RUN else MOST_ENTRIES // 4
    # The words of 4 MB of text take 3 s, and no feed uses them.
    await database.execute("DROP INDEX ix_events_search")
    path = await a_feed(api, people, database, 1, entries, text="日" * 9_000)
    async with httpx.AsyncClient(base_url=api.base_url, timeout=60) as reader:  # its checks of answers take time too
        with measured_callbacks() as held:
            await reader.get("/health")
            idle = held.reset()
            async with reader.stream("GET", path) as answer:
                size = sum([len(part) async for part in answer.aiter_raw()])
            assert size > 10_000 * entries
            assert held.reset() < idle + HELD_SECONDS
            again = await reader.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
            assert held.reset() < idle + HELD_SECONDS


class Unbuilt:
    """Feeds and a writer that build nothing."""

    format = "1"
    digested = "a"

    async def find(self, fingerprint: bytes) -> UserId | None:
        return UserId(1)

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        return self.digested

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        return []

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        return "built"

    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        raise AssertionError("the reader of a feed opens and closes no address")

    async def close(self, user_id: UserId) -> None:
        raise AssertionError("the reader of a feed opens and closes no address")

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


async def test_conditional_request_takes_one_query() -> None:
    feeds = Unbuilt()
    read = ReadFeed(feeds, feeds, feeds)
    first = await read("token", lambda _: False)
    assert first.text == "built"
    assert (await read("token", lambda version: version == first.version)).text is None
    feeds.digested = "b"
    second = await read("token", lambda version: version == first.version)
    assert (second.text, second.version == first.version) == ("built", False)
    feeds.format = "2"
    third = await read("token", lambda _: False)
    assert third.version not in {first.version, second.version}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET name = 'Somebody Else'",
        "UPDATE events SET title = 'Another'",
        "UPDATE events SET description = 'Another'",
        "UPDATE events SET location = 'Another'",
        "UPDATE events SET starts_at = starts_at + interval '1 minute'",
        "UPDATE events SET virtual_link = 'https://other.example/'",
        "UPDATE bookings SET status = 'cancelled', cancelled_at = now()",
    ],
)
async def test_every_change_of_an_entry_changes_the_version(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection, change: str
) -> None:
    ada, john = await people.user(), await people.facilitator()
    await ada.books((await john.creates_event(price=0))["id"])
    path = httpx.URL((await ada.post("/calendar/feed")).json()["url"]).path
    before = (await api.get(path)).headers["etag"]
    assert (await api.get(path)).headers["etag"] == before
    await database.execute(change)
    assert (await api.get(path)).headers["etag"] != before


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=300))
def test_folded_lines_are_short_and_unfold_to_the_line(line: str) -> None:
    text = folded(line)
    assert all(len(part.encode()) <= 75 for part in text.split("\r\n"))
    assert text.replace("\r\n ", "") == line + "\r\n"


def test_range_of_a_feed_reaches_back_ninety_days() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert FeedRange.at(now).since == now - timedelta(days=90)
