"""Destinations that fail, ask for a pause or want nothing more, between two workers; the CRM is a real server.

Time is the database's: a test moves what is stored back instead of waiting.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, RetrySchedule
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import claims
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from tests.support.messages import add_message, deliver_due, spend_attempts_given_back
from tests.support.receivers import Receiver, answer, receiving

Relay = Callable[[], DeliverMessages]


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def relay(database_url: str, crm: Receiver) -> AsyncIterator[Relay]:
    """Makes workers: each has its own pool and its own token. Nothing is tried twice within a test's time."""
    async with contextlib.AsyncExitStack() as stack:

        def make() -> DeliverMessages:
            own, sender = Database(database_url), CrmSender(crm.url, "t", seconds=5)
            stack.push_async_callback(own.close)
            stack.push_async_callback(sender.close)
            schedule = RetrySchedule(tuple(timedelta(hours=1) for _ in range(8)))
            senders = {Destination.CRM: sender, Destination.EMAIL: sender}
            return DeliverMessages(PostgresOutboxClaims(own), PostgresCircuitBreakers(own), senders, schedule)

        yield make


async def work(*relays: DeliverMessages, destination: Destination = Destination.CRM) -> None:
    """Until nothing can be claimed."""
    await asyncio.gather(*(deliver_due(each, destination) for each in relays))


async def pass_by(database: asyncpg.Connection, seconds: float) -> None:
    """As if that time had passed, for destinations and for what is counted of them."""
    for column in ("tripped_at", "probe_at", "paused_until", "halted_at"):
        await database.execute(
            f"UPDATE destinations SET {column} = {column} - $1::interval", timedelta(seconds=seconds)
        )
    await database.execute("UPDATE destination_minutes SET minute = minute - $1::interval", timedelta(seconds=seconds))


async def state(database: asyncpg.Connection) -> asyncpg.Record | None:
    return await database.fetchrow("SELECT * FROM destinations WHERE name = 'crm'")


async def is_open(database: asyncpg.Connection) -> bool:
    kept = await state(database)
    return kept is not None and kept["tripped_at"] is not None


async def add_messages(database: asyncpg.Connection, number: int) -> list[UUID]:
    return [await add_message(database) for _ in range(number)]


@pytest.fixture
async def tripped(database: asyncpg.Connection, crm: Receiver, relay: Relay) -> None:
    """The CRM failed ten times; it has come to its senses since, and five more messages are due."""
    crm.always(answer(500))
    await add_messages(database, 10)
    await work(relay())
    assert await is_open(database)
    crm.requests.clear()
    crm.behave = None
    await add_messages(database, 5)


async def test_failures_of_all_workers_are_counted_together(
    database: asyncpg.Connection, crm: Receiver, relay: Relay
) -> None:
    crm.always(answer(503))
    for worker in (relay(), relay()):
        await add_messages(database, 5)
        await work(worker)
    assert await is_open(database)


async def test_old_failures_do_not_count(database: asyncpg.Connection, crm: Receiver, relay: Relay) -> None:
    crm.always(answer(500))
    await add_messages(database, 9)
    await work(relay())
    await pass_by(database, 301)
    await add_message(database)
    await work(relay())
    assert not await is_open(database)


async def probes_of_two_workers(database: asyncpg.Connection, crm: Receiver, relay: Relay) -> int:
    """How many of two workers that come at the same moment try whether the CRM is back."""
    crm.always(answer(500))
    first, second = relay(), relay()
    await work(first, second)  # connections are open now
    crm.requests.clear()
    await pass_by(database, 31)
    await work(first, second)
    return len(crm.requests)


TRIPPED = "AND name IN (SELECT name FROM due WHERE tripped)"
TURN = " AND probe_at <= now()\n      AND name IN"


@pytest.mark.usefixtures("tripped")
@pytest.mark.parametrize(("guarded", "probes"), [(True, 1), (False, 2)])
async def test_concurrent_workers_send_one_probe_and_without_guard_two(
    database: asyncpg.Connection,
    crm: Receiver,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
    probes: int,
) -> None:
    assert TURN in claims._CLAIM, "the claim has another shape now: take its guard out here as well"
    claim = claims._CLAIM if guarded else claims._CLAIM.replace(TURN, " AND name IN")
    # Long enough for both to have looked before either has written.
    slow = claim.replace(TRIPPED, f"{TRIPPED} AND pg_sleep(1) IS NOT NULL")
    monkeypatch.setattr(claims, "_CLAIM", slow)
    assert await probes_of_two_workers(database, crm, relay) == probes


TAKES_TURN = "SET probe_at = now() + $6::interval"


@pytest.mark.usefixtures("tripped")
@pytest.mark.parametrize(("guarded", "delivered"), [(True, 5), (False, 0)])
async def test_dead_worker_delays_the_next_probe_and_without_expiry_blocks_it(
    database: asyncpg.Connection,
    crm: Receiver,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
    delivered: int,
) -> None:
    assert TAKES_TURN in claims._CLAIM, "the claim has another shape now: take its guard out here as well"
    if not guarded:  # as with a probe mark that never expires
        endless = "SET probe_at = greatest('infinity', now() + $6::interval)"
        monkeypatch.setattr(claims, "_CLAIM", claims._CLAIM.replace(TAKES_TURN, endless))
    await pass_by(database, 31)
    dead, other = relay(), relay()
    every = dead.rule.probe_every
    [held] = await dead.outbox.claim(Destination.CRM, limit=8, lease=dead.lease, probe_every=every)
    assert held.probe
    await database.execute("UPDATE outbox SET due_at = due_at - $1::interval", dead.lease)
    await work(other)
    assert crm.requests == []
    await pass_by(database, 31)
    await work(other)
    assert len(crm.requests) == delivered
    assert await is_open(database) is not guarded


async def test_shorter_pause_does_not_replace_a_longer_one(database: asyncpg.Connection, relay: Relay) -> None:
    circuit_breakers = relay().circuit_breakers
    await circuit_breakers.pause(Destination.CRM, timedelta(hours=2), reason="busy")
    await circuit_breakers.pause(Destination.CRM, timedelta(seconds=1), reason="busy")
    left = await database.fetchval("SELECT paused_until - now() FROM destinations")
    assert left > timedelta(hours=1)


@pytest.mark.parametrize(("guarded", "becomes"), [(True, "delivered"), (False, "dead")])
async def test_answer_410_uses_no_attempt_and_without_refund_of_attempts_kills_messages(
    database: asyncpg.Connection,
    crm: Receiver,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
    becomes: str,
) -> None:
    if not guarded:
        spend_attempts_given_back(monkeypatch)
    message_id = await add_message(database)
    worker = relay()
    assert isinstance(worker.circuit_breakers, PostgresCircuitBreakers)
    crm.always(answer(410))
    for _ in worker.schedule.delays:
        await work(worker)
        await worker.circuit_breakers.resume(Destination.CRM)
    crm.behave = None
    await work(worker)
    assert await database.fetchval("SELECT status FROM outbox WHERE id = $1", message_id) == becomes
