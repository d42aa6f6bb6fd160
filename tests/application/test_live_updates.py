"""Rules of live updates for facilitators: missed ones first, then new ones; lost signals; outages."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

import pytest

from application.notifications import live_updates
from application.notifications.live_updates import FollowLiveUpdates
from application.notifications.ports import EntryId, LiveUpdate
from domain.accounts import UserId
from domain.errors import Unavailable
from domain.outbox import Destination, Message, MessageId, MessageType
from tests.support.memory.live_updates import MemoryListeners, MemoryLiveUpdates
from tests.support.memory.store import SettableClock, Store

JOHN, JANE = UserId(1), UserId(2)
A_LONG_TIME, AT_ONCE = 60, 0.001


class Feed:
    """`unavailable`: the database does not answer."""

    def __init__(self) -> None:
        self.rows, self.listeners = MemoryLiveUpdates(Store()), MemoryListeners()
        self.unavailable = False
        self._number = 0

    async def publish(self, number: int = 1, *, to: UserId = JOHN, signal: bool = True) -> None:
        for _ in range(number):
            self._number += 1
            at, key = SettableClock().now(), MessageId(UUID(int=self._number))
            message = Message(key, Destination.REALTIME, "key", MessageType.BOOKING_CREATED, {}, 1, at, None)
            await self.rows.record(to, message, {"number": self._number})
        if signal:
            self.listeners.signal(to)

    async def newest(self, facilitator_id: UserId) -> EntryId:
        return await self.rows.newest(facilitator_id)

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[LiveUpdate]:
        if self.unavailable:
            raise Unavailable
        return await self.rows.after(facilitator_id, entry_id, limit=limit)

    async def has_updates(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        if self.unavailable:
            raise Unavailable
        return await self.rows.has_updates(facilitator_id, entry_id)

    def follow(self, poll_every: float = A_LONG_TIME) -> FollowLiveUpdates:
        return FollowLiveUpdates(self, self.listeners, poll_every=poll_every)

    async def followed(
        self, last_seen: EntryId | None = None, *, poll_every: float = A_LONG_TIME, who: UserId = JOHN
    ) -> AsyncGenerator[Sequence[LiveUpdate], None]:
        follow = self.follow(poll_every)
        return follow(who, await follow.begin(who, last_seen))


@pytest.fixture
def feed() -> Feed:
    return Feed()


async def numbers(updates: AsyncGenerator[Sequence[LiveUpdate], None]) -> list[int]:
    """The next entries. A minute would be a whole poll."""
    return [each.payload["number"] for each in await asyncio.wait_for(anext(updates), 10)]


async def test_follower_without_a_last_entry_gets_only_new_ones(feed: Feed) -> None:
    await feed.publish(2)
    updates = await feed.followed()
    assert await numbers(updates) == []
    await feed.publish()
    assert await numbers(updates) == [3]
    await updates.aclose()


async def test_follower_gets_missed_entries_first_and_then_new_ones(feed: Feed) -> None:
    await feed.publish(3)
    updates = await feed.followed(EntryId(1))
    assert await numbers(updates) == [2, 3]
    await feed.publish()
    assert await numbers(updates) == [4]
    await updates.aclose()


async def test_many_missed_entries_are_sent_in_order_without_waiting(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_updates, "AT_ONCE", 2)
    await feed.publish(5, signal=False)
    updates = await feed.followed(EntryId(0))
    assert [await numbers(updates) for _ in range(3)] == [[1, 2], [3, 4], [5]]
    await updates.aclose()


async def test_id_that_was_never_issued_hides_no_entries(feed: Feed) -> None:
    await feed.publish()
    updates = await feed.followed(EntryId(2**63 - 1))
    assert await numbers(updates) == []
    await feed.publish()
    assert await numbers(updates) == [2]
    await updates.aclose()


async def test_entries_of_others_are_not_seen(feed: Feed) -> None:
    updates = await feed.followed(EntryId(0), who=JANE, poll_every=AT_ONCE)
    await feed.publish(to=JOHN)
    assert [await numbers(updates) for _ in range(3)] == [[], [], []]
    await feed.publish(to=JANE)
    assert await numbers(updates) == [2]
    await updates.aclose()


async def test_signal_ends_the_wait(feed: Feed) -> None:
    updates = await feed.followed()
    assert await numbers(updates) == []
    waiting = asyncio.create_task(numbers(updates))
    await asyncio.sleep(0)
    await feed.publish()
    assert await waiting == [1]
    await updates.aclose()


async def test_lost_signal_delays_an_update_by_one_poll(feed: Feed) -> None:
    updates = await feed.followed(poll_every=AT_ONCE)
    assert await numbers(updates) == []
    await feed.publish(signal=False)
    assert await numbers(updates) == [1]
    await updates.aclose()


async def test_follower_without_news_gets_an_empty_sequence(feed: Feed) -> None:
    updates = await feed.followed(poll_every=AT_ONCE)
    assert [await numbers(updates) for _ in range(3)] == [[], [], []]
    await updates.aclose()


async def test_follower_continues_after_an_outage_of_the_database(feed: Feed) -> None:
    updates = await feed.followed(poll_every=AT_ONCE)
    feed.unavailable = True
    await feed.publish(2, signal=False)
    assert [await numbers(updates) for _ in range(3)] == [[], [], []]
    feed.unavailable = False
    assert await numbers(updates) == [1, 2]
    await updates.aclose()
