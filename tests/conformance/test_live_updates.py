"""The port of live updates, in memory and in PostgreSQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from application.notifications.ports import EntryId, LiveUpdateQueries
from domain.accounts import UserId
from domain.outbox import Destination, Message, MessageId, MessageType
from infrastructure.postgres.live_updates import PostgresLiveUpdates
from tests.conformance.booking_adapters import NOW, BookingAdapters, in_memory, in_postgres
from tests.support.memory.live_updates import MemoryLiveUpdates
from tests.support.memory.store import Store


class RecordedUpdates(LiveUpdateQueries, Protocol):
    async def record(self, facilitator_id: UserId, message: Message, payload: Mapping[str, object]) -> None: ...


@dataclass
class Feed:
    updates: RecordedUpdates
    facilitator: UserId
    other: UserId

    async def record(self, number: int = 1, *, to: UserId | None = None, key: UUID | None = None) -> None:
        message = Message(
            MessageId(key or uuid4()), Destination.REALTIME, "key", MessageType.BOOKING_CREATED, {}, 1, NOW, None
        )
        await self.updates.record(to or self.facilitator, message, {"number": number})

    async def numbers(self, after: EntryId, *, limit: int = 100) -> list[object]:
        return [each.payload["number"] for each in await self.updates.after(self.facilitator, after, limit=limit)]


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> tuple[BookingAdapters, RecordedUpdates]:
    if request.param == "memory":
        return in_memory(), MemoryLiveUpdates(Store())
    database = request.getfixturevalue("postgres_database")
    return in_postgres(database), PostgresLiveUpdates(database)


@pytest.fixture
async def feed(adapters: tuple[BookingAdapters, RecordedUpdates]) -> Feed:
    accounts, updates = adapters
    return Feed(updates, (await accounts.person()).id, (await accounts.person()).id)


async def test_updates_are_read_in_the_order_in_which_they_were_recorded(feed: Feed) -> None:
    for number in range(1, 6):
        await feed.record(number)
    assert await feed.numbers(EntryId(0)) == [1, 2, 3, 4, 5]
    first, second, *_ = await feed.updates.after(feed.facilitator, EntryId(0), limit=2)
    assert first.id < second.id
    assert (first.message_type, first.payload, first.occurred_at) == ("booking_created", {"number": 1}, NOW)
    assert await feed.numbers(second.id) == [3, 4, 5]
    assert await feed.numbers(second.id, limit=2) == [3, 4]


async def test_message_is_recorded_once(feed: Feed) -> None:
    key = uuid4()
    for _ in range(2):
        await feed.record(key=key)
    assert await feed.numbers(EntryId(0)) == [1]


async def test_updates_of_others_are_not_read(feed: Feed) -> None:
    await feed.record(to=feed.other)
    assert await feed.updates.newest(feed.facilitator) == 0
    assert await feed.numbers(EntryId(0)) == []
    assert not await feed.updates.has_updates(feed.facilitator, EntryId(0))
    assert await feed.updates.has_updates(feed.other, EntryId(0))


async def test_newest_is_the_id_of_the_last_update(feed: Feed) -> None:
    assert await feed.updates.newest(feed.facilitator) == 0
    for number in (1, 2):
        await feed.record(number)
    newest = await feed.updates.newest(feed.facilitator)
    *_, last = await feed.updates.after(feed.facilitator, EntryId(0), limit=10)
    assert newest == last.id
    assert not await feed.updates.has_updates(feed.facilitator, newest)
    await feed.record(3)
    assert await feed.updates.has_updates(feed.facilitator, newest)
