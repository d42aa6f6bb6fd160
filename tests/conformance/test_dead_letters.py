"""The port of stored messages for operators, in memory and in PostgreSQL."""

from datetime import timedelta
from uuid import uuid4

import pytest

from application.outbox.ports import KeptMessages, MessageFilter, Replay
from application.ports import PageRequest
from domain.outbox import (
    Delivered,
    Destination,
    Failed,
    Held,
    Message,
    MessageNotDead,
    MessageNotDiscardable,
    MessageNotFound,
    MessageStatus,
)
from tests.conformance.outbox_adapters import EMAIL, LONG, Outbox


async def test_messages_are_listed_newest_first_in_pages(outbox: Outbox) -> None:
    keys = await outbox.enqueue(1, 1, 1)
    first = await outbox.dead_letters.list(MessageFilter(), PageRequest(limit=2))
    second = await outbox.dead_letters.list(MessageFilter(), PageRequest(limit=2, after=first.next))
    assert [message.ordering_key for message in (*first.items, *second.items)] == keys[::-1]
    assert (len(first.items), second.next) == (2, None)


async def test_messages_are_filtered(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    (key,) = await outbox.enqueue(1)

    async def listed(filter_: MessageFilter) -> list[str]:
        page = await outbox.dead_letters.list(filter_, PageRequest())
        return [message.ordering_key for message in page.items]

    assert await listed(MessageFilter(status=MessageStatus.DEAD)) == [dead.ordering_key]
    assert await listed(MessageFilter(status=MessageStatus.PENDING, destination=EMAIL)) == [key]
    assert await listed(MessageFilter(destination=EMAIL)) == [key, dead.ordering_key]
    assert await listed(MessageFilter(destination=Destination.CRM)) == []
    assert await listed(MessageFilter(since=dead.occurred_at)) == [key, dead.ordering_key]
    assert await listed(MessageFilter(since=dead.occurred_at + LONG)) == []


async def test_claimed_message_is_shown_in_flight(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    message = await outbox.claimed()
    assert (await outbox.show(message)).in_flight
    await outbox.claims.release(message)
    assert not (await outbox.show(message)).in_flight


async def test_replayed_message_keeps_its_id_and_starts_its_schedule_again(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    await outbox.dead_letters.replay(dead.id)

    again = await outbox.claimed()
    assert (again.id, again.attempt) == (dead.id, 1)
    shown = await outbox.show(again)
    assert (shown.settled_at, len(shown.attempts_made)) == (None, 1)


async def test_discarded_message_is_never_delivered(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    await outbox.dead_letters.discard(dead.id)
    assert (await outbox.show(dead)).message.status is MessageStatus.DISCARDED
    assert await outbox.claim() == []
    with pytest.raises(MessageNotDead):
        await outbox.dead_letters.replay(dead.id)


async def test_only_dead_messages_are_replayed_and_discarded(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    message = await outbox.claimed()
    refusals = ((outbox.dead_letters.replay, MessageNotDead), (outbox.dead_letters.discard, MessageNotDiscardable))
    for change, refusal in refusals:
        with pytest.raises(refusal):
            await change(message.id)
        with pytest.raises(MessageNotFound):
            await change(uuid4())
    with pytest.raises(MessageNotFound):
        await outbox.dead_letters.show(uuid4())


async def test_held_messages_are_discarded_by_id_or_by_status(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    await outbox.enqueue(1, 1, 1)
    held = await outbox.claim()
    for message in held:
        await outbox.record(message, Held("ada@example.com", "held: reason"))
    letters = outbox.dead_letters
    with pytest.raises(MessageNotDead):
        await letters.replay(held[0].id)
    await letters.discard(held[0].id)
    status, since = MessageStatus.HELD, held[0].occurred_at
    assert await letters.discard_all(destination=Destination.CRM, since=None, status=status) == 0
    assert await letters.discard_all(destination=EMAIL, since=since + LONG, status=status) == 0
    assert await letters.discard_all(destination=EMAIL, since=since, status=status) == 2
    assert {(await outbox.show(message)).message.status for message in held} == {MessageStatus.DISCARDED}
    assert (await outbox.show(dead)).message.status is MessageStatus.DEAD
    assert await outbox.held.release(limit=10) == 0


async def test_dead_messages_that_match_both_filters_are_changed(outbox: Outbox) -> None:
    first, second = await outbox.has_dead(), await outbox.has_dead()
    await outbox.enqueue(1)
    letters = outbox.dead_letters
    assert await letters.replay_all(destination=Destination.CRM, since=None) == 0
    assert await letters.discard_all(destination=EMAIL, since=second.occurred_at + LONG) == 0

    assert await letters.replay_all(destination=EMAIL, since=first.occurred_at) == 2
    assert await letters.replay_all(destination=None, since=None) == 0
    claimed = {message.id: message for message in await outbox.claim()}
    assert {first.id, second.id} < set(claimed)
    await outbox.record(claimed[first.id], Failed("refused", permanent=True))
    assert await letters.discard_all(destination=None, since=None) == 1
    assert (await outbox.show(first)).message.status is MessageStatus.DISCARDED


async def delivered(outbox: Outbox, *numbers: int) -> list[Message]:
    """Delivers that many messages of another ordering key for each number; in the order of their delivery."""
    await outbox.enqueue(*numbers)
    messages = []
    while claimed := await outbox.claim():
        for message in claimed:
            await outbox.record(message, Delivered())
            messages.append(message)
    return messages


async def test_delivered_and_dead_messages_since_a_time_become_pending(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    (first, other, second) = await delivered(outbox, 2, 1)
    assert (first.ordering_key, second.ordering_key) == (second.ordering_key, first.ordering_key)
    letters, rate = outbox.dead_letters, 1_000_000
    since = dead.occurred_at
    assert await letters.replay_since(Destination.CRM, since, per_second=rate, most=10) == Replay(0, 0)
    assert await letters.replay_since(EMAIL, since + LONG, per_second=rate, most=10) == Replay(0, 0)
    assert (await letters.replay_since(EMAIL, since, per_second=rate, most=3)).messages == 4
    assert await outbox.claim() == []

    replay = await letters.replay_since(EMAIL, since, per_second=rate, most=4)
    assert (replay.messages, replay.last > 0) == (4, True)
    shown = [await outbox.show(message) for message in (dead, first, other, second)]
    assert {(each.message.status, each.message.attempts, each.settled_at) for each in shown} == {
        (MessageStatus.PENDING, 0, None)
    }


async def test_replayed_messages_are_due_by_ordering_key_at_the_rate(outbox: Outbox) -> None:
    first, other, second = await delivered(outbox, 2, 1)
    await outbox.dead_letters.replay_since(EMAIL, first.occurred_at, per_second=1, most=10)
    start, third, same = [(await outbox.show(message)).message.due_at for message in (first, other, second)]
    assert (third - start, same - start) == (timedelta(seconds=2), timedelta(0))


async def test_kept_messages_are_shown_by_destination_and_status(outbox: Outbox) -> None:
    assert await outbox.dead_letters.kept() == []
    dead = await outbox.has_dead()
    (first, last) = await delivered(outbox, 1, 1)
    assert await outbox.dead_letters.kept() == [
        KeptMessages(EMAIL, MessageStatus.DEAD, dead.occurred_at, dead.occurred_at),
        KeptMessages(EMAIL, MessageStatus.DELIVERED, first.occurred_at, last.occurred_at),
    ]
