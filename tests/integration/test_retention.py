"""Delivered messages are deleted in time, and a long ordering key does not slow every claim."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from domain.outbox import Delivered, Destination, Failed, Message
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.ordering import PostgresOrderingKeys
from infrastructure.postgres.outbox.retention import PRUNE_MESSAGES
from servicekit.retention import Pruning, Rule
from tests.support.messages import add_message

LEASE = timedelta(seconds=10)
HOUR = timedelta(hours=1)
MESSAGES = Rule("messages", PRUNE_MESSAGES, timedelta(days=30))


def pruning(own: Database, **limits: int) -> Pruning:
    return Pruning(own, lambda *_: None, **limits)


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Database]:
    own = Database(database_url)
    yield own
    await own.close()


async def settled(database: asyncpg.Connection, status: str, *, days_ago: int) -> UUID:
    message_id = await add_message(database)
    await database.execute(
        "UPDATE outbox SET status = $2, settled_at = now() - make_interval(days => $3) WHERE id = $1",
        *(message_id, status, days_ago),
    )
    await database.execute(
        """INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail)
           VALUES ($1, 1, now(), 12, 'delivered', 200, '')""",
        message_id,
    )
    return message_id


async def left(database: asyncpg.Connection) -> set[UUID]:
    return {row["id"] for row in await database.fetch("SELECT id FROM outbox")}


async def test_old_delivered_or_discarded_messages_are_deleted_with_attempts(
    database: asyncpg.Connection, own: Database
) -> None:
    for status in ("delivered", "discarded"):
        await settled(database, status, days_ago=31)
    kept = {await settled(database, status, days_ago=29) for status in ("delivered", "discarded")}
    kept.add(await settled(database, "dead", days_ago=400))
    kept.add(await add_message(database))
    assert await pruning(own).prune(MESSAGES) == 2
    assert await left(database) == kept
    assert await database.fetchval("SELECT count(*) FROM delivery_attempts") == 3
    assert await pruning(own).prune(MESSAGES) == 0


async def test_deletion_runs_in_limited_steps(database: asyncpg.Connection, own: Database) -> None:
    for _ in range(7):
        await settled(database, "delivered", days_ago=31)
    limited = pruning(own, step=2, most_steps=3)
    assert [await limited.prune(MESSAGES) for _ in range(3)] == [6, 1, 0]


async def test_concurrent_deletions_do_not_wait_or_count_twice(database: asyncpg.Connection, own: Database) -> None:
    for _ in range(40):
        await settled(database, "delivered", days_ago=31)
    limited = pruning(own, step=5)
    assert sum(await asyncio.gather(*(limited.prune(MESSAGES) for _ in range(3)))) <= 40
    await limited.prune(MESSAGES)
    assert await left(database) == set()


async def claim(due: PostgresOutboxClaims, limit: int = 8) -> list[Message]:
    return list(await due.claim(Destination.CRM, limit=limit, lease=LEASE, probe_every=LEASE))


async def due_ids(database: asyncpg.Connection) -> set[UUID]:
    return {row["id"] for row in await database.fetch("SELECT id FROM outbox WHERE due_at <= now()")}


async def waits(due: PostgresOutboxClaims, *, retry_in: timedelta = HOUR) -> Message:
    """The first message of the ordering key has failed and waits for its next attempt."""
    [head] = await claim(due)
    await due.record_result(head, Failed("503"), took=LEASE, retry_in=retry_in)
    return head


async def test_messages_behind_a_waiting_one_are_held_back_and_not_rescanned(
    database: asyncpg.Connection, own: Database
) -> None:
    for _ in range(4):
        await add_message(database, ordering_key="long")
    await waits(PostgresOutboxClaims(own))
    other = await add_message(database)
    assert len(await due_ids(database)) == 4
    ordering_keys = PostgresOrderingKeys(own, at_once=2)
    assert [await ordering_keys.delay_blocked() for _ in range(3)] == [2, 1, 0]
    assert await due_ids(database) == {other}


async def test_held_back_message_is_due_when_its_turn_comes(database: asyncpg.Connection, own: Database) -> None:
    ids = [await add_message(database, ordering_key="long") for _ in range(3)]
    due = PostgresOutboxClaims(own)
    await waits(due)
    assert await PostgresOrderingKeys(own).delay_blocked() == 2
    await database.execute("UPDATE outbox SET due_at = now() WHERE id = $1", ids[0])
    outcomes: list[Delivered | Failed] = [Delivered(), Failed("400", permanent=True), Delivered()]
    for message_id, outcome in zip(ids, outcomes, strict=True):
        [message] = await claim(due)
        assert message.id == message_id
        await due.record_result(message, outcome, took=LEASE, retry_in=None)
    assert await claim(due) == []


async def test_message_tried_before_keeps_its_own_due_time(database: asyncpg.Connection, own: Database) -> None:
    first, second = [await add_message(database, ordering_key="long") for _ in range(2)]
    due = PostgresOutboxClaims(own)
    [dead] = await claim(due)
    await due.record_result(dead, Failed("400", permanent=True), took=LEASE, retry_in=None)
    await waits(due)
    await database.execute("UPDATE outbox SET status = 'pending', attempts = 0, due_at = now() WHERE id = $1", first)
    [replayed] = await claim(due)
    await due.record_result(replayed, Delivered(), took=LEASE, retry_in=None)
    assert await claim(due) == [], "the second waits for as long as it was asked to"
    assert await database.fetchval("SELECT due_at - now() > interval '50 min' FROM outbox WHERE id = $1", second)


async def test_nothing_is_held_back_behind_a_message_in_delivery_or_due_soon(
    database: asyncpg.Connection, own: Database
) -> None:
    for _ in range(2):
        await add_message(database, ordering_key=f"being delivered {uuid4()}")
    ordering_key = f"lane:{uuid4()}"
    for _ in range(2):
        await add_message(database, ordering_key=ordering_key)
    due = PostgresOutboxClaims(own)
    claimed = await claim(due)
    assert await PostgresOrderingKeys(own).delay_blocked() == 0
    for message in claimed:
        await due.record_result(message, Failed("503"), took=LEASE, retry_in=timedelta(seconds=2))
    assert await PostgresOrderingKeys(own).delay_blocked() == 0
