"""The rules of the replay of dead messages."""

from datetime import timedelta
from uuid import uuid4

import pytest

from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from domain.errors import Invalid
from domain.outbox import Failed, MessageNotDead, MessageNotFound, MessageStatus
from tests.application.deliveries import CRM, EMAIL, MINUTE, SECOND, Deliveries
from tests.support.memory.store import CountedWakeUps


class Replays(Deliveries):
    def __init__(self) -> None:
        super().__init__()
        self.wake_ups = CountedWakeUps()
        self.replay = ReplayMessage(self.dead_letters, self.wake_ups)
        self.replay_all = ReplayMessages(self.dead_letters, self.wake_ups)


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
    assert await replays.replay_all(destination=EMAIL, since=since + timedelta(microseconds=1)) == 0
    assert await replays.replay_all(destination=CRM, since=since) == 1
    assert replays.statuses() == [dead, pending, dead]
    assert await replays.replay_all(destination=None, since=since) == 1
    assert replays.statuses() == [dead, pending, pending]
    assert await replays.replay_all(destination=CRM, since=None) == 1


async def test_repeated_replay_sends_nothing_twice(replays: Replays) -> None:
    for _ in range(3):
        await replays.has_dead()
    assert [await replays.replay_all(destination=CRM, since=None) for _ in range(2)] == [3, 0]
    await replays.deliver()
    assert await replays.replay_all(destination=CRM, since=None) == 0
    await replays.deliver()
    assert len(replays.crm.received) == 3
