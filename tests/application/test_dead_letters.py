"""The rules of the replay of dead and of delivered messages."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.outbox.ports import KeptMessages
from domain.errors import Invalid
from domain.outbox import Destination, Failed, MessageId, MessageNotDead, MessageNotFound, MessageStatus
from tests.application.deliveries import CRM, EMAIL, MINUTE, SECOND, Deliveries
from tests.support.memory.store import CountedWakeUps


class Replays(Deliveries):
    def __init__(self) -> None:
        super().__init__()
        self.wake_ups = CountedWakeUps()
        self.replay = ReplayMessage(self.dead_letters, self.wake_ups)
        self.replay_all = ReplayMessages(self.dead_letters, self.wake_ups, most=5)

    async def replayed(self, *, destination: Destination | None, since: datetime | None) -> int:
        return (await self.replay_all(destination=destination, since=since)).messages

    async def has_delivered(self, *keys: str, destination: Destination = CRM) -> list[MessageId]:
        """The ids of messages with these ordering keys, delivered at this moment."""
        for key in keys:
            self.enqueue(key=key, destination=destination)
        for _ in keys:
            await self.deliver(destination)
        self.crm.received.clear()
        return [message.id for message in self.messages()[-len(keys) :]]


@pytest.fixture
def replays() -> Replays:
    return Replays()


async def test_replayed_message_is_delivered_with_its_id(replays: Replays) -> None:
    message_id = await replays.has_dead()
    await replays.replay(message_id)
    await replays.deliver()
    assert [message.id for message in replays.crm.received] == [message_id]
    assert replays.statuses() == [MessageStatus.DELIVERED]


async def test_retry_schedule_of_a_replayed_message_starts_again(replays: Replays) -> None:
    await replays.replay(await replays.has_dead())
    replays.crm.outcome = Failed("busy")
    (message,) = await replays.deliver()
    assert message.attempt == 1
    assert replays.message().due_at == replays.clock.moment + 5 * SECOND


@pytest.mark.parametrize("status", [MessageStatus.PENDING, MessageStatus.DELIVERED, MessageStatus.DISCARDED])
async def test_only_dead_messages_are_replayed(replays: Replays, status: MessageStatus) -> None:
    message_id = await replays.has_dead()
    replays.message().status = status
    with pytest.raises(MessageNotDead):
        await replays.replay(message_id)
    assert replays.statuses() == [status]
    with pytest.raises(MessageNotFound):
        await replays.replay(uuid4())
    assert replays.wake_ups.calls == 0


async def test_replay_wakes_the_worker(replays: Replays) -> None:
    await replays.replay(await replays.has_dead())
    assert replays.wake_ups.calls == 1
    await replays.replay_all(destination=CRM, since=None)
    assert replays.wake_ups.calls == 2


async def test_replay_of_many_needs_a_filter(replays: Replays) -> None:
    await replays.has_dead()
    with pytest.raises(Invalid) as refused:
        await replays.replay_all(destination=None, since=None)
    assert list(refused.value.details) == ["destination"]
    assert replays.statuses() == [MessageStatus.DEAD]


async def test_dead_messages_are_replayed_by_destination_by_time_or_by_both(replays: Replays) -> None:
    await replays.has_dead()
    replays.clock.advance(MINUTE)
    since = replays.clock.moment
    await replays.has_dead()
    await replays.has_dead(destination=EMAIL)

    pending, dead = MessageStatus.PENDING, MessageStatus.DEAD
    assert await replays.replayed(destination=EMAIL, since=since + timedelta(microseconds=1)) == 0
    assert await replays.replayed(destination=CRM, since=since) == 1
    assert replays.statuses() == [dead, pending, dead]
    assert await replays.replayed(destination=None, since=since) == 1
    assert replays.statuses() == [dead, pending, pending]
    assert await replays.replayed(destination=CRM, since=None) == 1


async def test_repeated_replay_sends_nothing_twice(replays: Replays) -> None:
    for _ in range(3):
        await replays.has_dead()
    assert [await replays.replayed(destination=CRM, since=None) for _ in range(2)] == [3, 0]
    await replays.deliver()
    assert await replays.replayed(destination=CRM, since=None) == 0
    await replays.deliver()
    assert len(replays.crm.received) == 3


async def test_delivered_messages_since_a_time_are_sent_to_the_crm_again_with_their_ids(replays: Replays) -> None:
    await replays.has_delivered("booking:1")
    replays.clock.advance(MINUTE)
    since = replays.clock.moment
    again = await replays.has_delivered("booking:2", "booking:3")
    assert await replays.replayed(destination=CRM, since=since) == 2
    assert replays.wake_ups.calls == 1
    replays.clock.advance(SECOND)
    await replays.deliver()
    assert [message.id for message in replays.crm.received] == again
    assert replays.statuses() == [MessageStatus.DELIVERED] * 3


async def test_delivered_messages_are_selected_by_the_time_of_their_delivery(replays: Replays) -> None:
    replays.enqueue()
    replays.clock.advance(MINUTE)
    since = replays.clock.moment
    await replays.deliver()
    assert await replays.replayed(destination=CRM, since=since + SECOND) == 0
    assert await replays.replayed(destination=CRM, since=since) == 1


@pytest.mark.parametrize("destination", [each for each in Destination if each is not CRM])
async def test_only_the_crm_gets_delivered_messages_again(replays: Replays, destination: Destination) -> None:
    since = replays.clock.moment
    replays.enqueue(destination=destination)
    replays.message().status, replays.message().settled_at = MessageStatus.DELIVERED, since
    assert await replays.replayed(destination=destination, since=since) == 0
    assert replays.statuses() == [MessageStatus.DELIVERED]


async def test_without_a_time_or_a_destination_only_dead_messages_are_sent_again(replays: Replays) -> None:
    since = replays.clock.moment
    await replays.has_delivered("booking:1")
    assert await replays.replayed(destination=CRM, since=None) == 0
    assert await replays.replayed(destination=None, since=since) == 0


async def test_dead_and_delivered_messages_of_one_key_are_sent_in_their_order(replays: Replays) -> None:
    since = replays.clock.moment
    first, refused, last = await replays.has_delivered(*["booking:1"] * 3)
    row = replays.messages()[1]
    row.status = MessageStatus.DEAD
    replays.enqueue(key="booking:1")
    newer = replays.messages()[-1].id
    assert await replays.replayed(destination=CRM, since=since) == 3
    replays.clock.advance(SECOND)
    for _ in range(4):
        await replays.deliver()
    assert [message.id for message in replays.crm.received] == [first, refused, last, newer]


async def test_newer_pending_message_keeps_its_retry_schedule(replays: Replays) -> None:
    since = replays.clock.moment
    await replays.has_delivered("booking:1")
    replays.enqueue(key="booking:1")
    replays.crm.outcome = Failed("busy")
    await replays.deliver()
    newer = replays.messages()[-1]
    schedule = newer.attempts, newer.due_at
    await replays.replayed(destination=CRM, since=since)
    assert (newer.attempts, newer.due_at) == schedule


async def test_delivered_messages_are_sent_again_at_a_rate(replays: Replays) -> None:
    since = replays.clock.moment
    await replays.has_delivered("booking:1", "booking:2", "booking:2", "booking:3")
    await replays.replay_all(destination=CRM, since=since, per_second=1)
    due = [(message.due_at - replays.clock.moment) / SECOND for message in replays.messages()]
    assert due == [0, 1, 1, 3]


async def test_more_delivered_messages_than_the_limit_are_refused(replays: Replays) -> None:
    since = replays.clock.moment
    await replays.has_delivered(*map("booking:{}".format, range(6)))
    with pytest.raises(Invalid) as refused:
        await replays.replayed(destination=CRM, since=since)
    assert list(refused.value.details) == ["since"]
    assert replays.statuses() == [MessageStatus.DELIVERED] * 6


async def test_replay_without_a_match_says_which_messages_are_kept(replays: Replays) -> None:
    moment = replays.clock.moment
    assert (await replays.replay_all(destination=CRM, since=None)).kept == []
    await replays.has_delivered("booking:1")
    await replays.has_dead(destination=EMAIL)
    found = await replays.replay_all(destination=CRM, since=None)
    assert found.kept == [
        KeptMessages(CRM, MessageStatus.DELIVERED, moment, moment),
        KeptMessages(EMAIL, MessageStatus.DEAD, moment, moment),
    ]
    assert (await replays.replay_all(destination=EMAIL, since=None)).kept == ()
