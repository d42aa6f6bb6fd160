"""The outbox, PostgreSQL's and ours, between workers that race, die and come too late; the CRM is a real server."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, Failed, RetrySchedule
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import claims
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from interfaces.workers.delivery import Deliveries, DestinationQueue
from tests.support.messages import add_message, deliver_due, until
from tests.support.receivers import Receiver, Request, answer, receiving
from tests.support.rows import stored_row

LEASE = timedelta(seconds=10)
SHORT = timedelta(milliseconds=20)


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def relay(database_url: str, crm: Receiver) -> AsyncIterator[Callable[..., DeliverMessages]]:
    """Makes relays: each has its own pool and its own token, as a worker process has."""
    async with contextlib.AsyncExitStack() as stack:

        def make(*, tries: int = 8, delay: timedelta = SHORT, **options: Any) -> DeliverMessages:
            database = Database(database_url)
            sender = CrmSender(crm.url, "t", seconds=5)
            stack.push_async_callback(database.close)
            stack.push_async_callback(sender.close)
            schedule = RetrySchedule((timedelta(0), *[delay] * (tries - 1)))
            parts = PostgresOutboxClaims(database), PostgresCircuitBreakers(database), {Destination.CRM: sender}
            return DeliverMessages(*parts, schedule, **options)

        yield make


async def run_once(*relays: DeliverMessages) -> None:
    """Until nothing is due."""
    await asyncio.gather(*(deliver_due(each, Destination.CRM) for each in relays))


async def run_until_settled(database: asyncpg.Connection, *relays: DeliverMessages) -> None:
    """Until nothing is pending, sweeping all the time."""
    workers = [Deliveries(each, [Destination.CRM], poll_every=0.01) for each in relays]
    serving = [asyncio.create_task(worker.serve()) for worker in workers]
    try:
        await until(lambda: _nothing_is_pending(database))
    finally:
        for worker in workers:
            worker.close()
        await asyncio.gather(*serving)


async def _nothing_is_pending(database: asyncpg.Connection) -> bool:
    return not await database.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')")


async def _is(database: asyncpg.Connection, message_id: UUID, status: str) -> bool:
    return bool((await row(database, message_id))["status"] == status)


async def row(database: asyncpg.Connection, message_id: UUID) -> asyncpg.Record:
    return await stored_row(database, "SELECT *, due_at - now() AS due_in FROM outbox WHERE id = $1", message_id)


def refuses(status: int, times: int, whom: Callable[[Request], bool] = lambda _request: True) -> Any:
    left = times

    async def behave(request: Request, _writer: asyncio.StreamWriter) -> bytes:
        nonlocal left
        if whom(request) and left:
            left -= 1
            return answer(status, b"not now")
        return answer()

    return behave


async def test_delivery_is_recorded_with_its_attempt(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    crm.always(answer(201, b'{"notification_id": 4}'))
    message_id = await add_message(database)
    await run_once(relay())
    kept = await row(database, message_id)
    assert (kept["status"], kept["attempts"], kept["claimed_by"]) == ("delivered", 1, None)
    assert kept["settled_at"] is not None
    made = await stored_row(database, "SELECT * FROM delivery_attempts")
    assert (made["message_id"], made["attempt"], made["result"]) == (message_id, 1, "delivered")
    assert (made["status_code"], made["detail"]) == (201, '{"notification_id": 4}')


async def test_ordering_key_keeps_its_order_under_retries_and_blocks_no_other(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    slow = [str(await add_message(database, ordering_key="slow")) for _ in range(4)]
    quick = [str(await add_message(database, ordering_key="quick")) for _ in range(4)]
    crm.behave = refuses(503, 3, lambda request: request.message_id == slow[1])
    await run_until_settled(database, relay(), relay())
    order = crm.message_ids
    assert [each for each in order if each in slow] == [slow[0], *[slow[1]] * 4, slow[2], slow[3]]
    assert [each for each in order if each in quick] == quick
    assert order.index(quick[3]) < order.index(slow[3])


async def test_message_is_dead_after_the_retry_schedule(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    message_id = await add_message(database)
    crm.always(answer(500, b"\x00broken\xff"))
    await run_until_settled(database, relay(tries=3))
    kept = await row(database, message_id)
    assert (kept["status"], kept["attempts"], len(crm.requests)) == ("dead", 3, 3)
    assert kept["last_error"] == "500 Internal Server Error: broken�"
    attempts = await database.fetch("SELECT attempt, result, status_code FROM delivery_attempts ORDER BY id")
    assert [tuple(each) for each in attempts] == [(1, "failed", 500), (2, "failed", 500), (3, "failed", 500)]


async def test_two_concurrent_workers_deliver_each_message_once(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    ids = {str(await add_message(database)) for _ in range(200)}
    await run_once(relay(), relay())
    assert Counter(crm.message_ids) == Counter(ids)


async def test_without_skip_locked_the_same_race_delivers_twice(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_guard = claims._CLAIM.replace("FOR UPDATE SKIP LOCKED", "")
    assert without_guard != claims._CLAIM
    monkeypatch.setattr(claims, "_CLAIM", without_guard)
    for _ in range(20):
        crm.requests.clear()
        for _ in range(50):
            await add_message(database)
        await run_once(relay(), relay(), relay(), relay())
        if max(Counter(crm.message_ids).values()) > 1:
            return
    pytest.fail("the race never happened, so the test beside this one proves nothing")


async def two_workers(relay: Callable[..., DeliverMessages]) -> tuple[PostgresOutboxClaims, PostgresOutboxClaims]:
    first, second = relay().outbox, relay().outbox
    assert isinstance(first, PostgresOutboxClaims)
    assert isinstance(second, PostgresOutboxClaims)
    return first, second


async def late_settlement(database: asyncpg.Connection, relay: Callable[..., DeliverMessages]) -> str:
    """A worker settles a message that another has taken over meanwhile; what the message then is."""
    message_id = await add_message(database)
    late, current = await two_workers(relay)
    [old] = await late.claim(Destination.CRM, limit=1, lease=timedelta(0), probe_every=LEASE)
    [new] = await current.claim(Destination.CRM, limit=1, lease=LEASE, probe_every=LEASE)
    assert new.id == old.id
    await late.record_result(old, Failed("too late", permanent=True), took=SHORT, retry_in=None)
    return str((await row(database, message_id))["status"])


async def test_result_after_a_lost_lease_is_ignored(
    database: asyncpg.Connection, relay: Callable[..., DeliverMessages]
) -> None:
    assert await late_settlement(database, relay) == "pending"
    made = await database.fetch("SELECT attempt, split_part(detail, ':', 1) FROM delivery_attempts ORDER BY id")
    assert [tuple(each) for each in made] == [(1, "reclaimed"), (1, "too late")]


async def test_without_claim_check_a_late_result_overwrites(
    database: asyncpg.Connection, relay: Callable[..., DeliverMessages], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_guard = claims._RECORD.replace("claimed_by = $2 AND attempts = own.attempt", "$2::uuid IS NOT NULL")
    assert without_guard != claims._RECORD
    monkeypatch.setattr(claims, "_RECORD", without_guard)
    assert await late_settlement(database, relay) == "dead"


@pytest.mark.parametrize(("renew_every", "doubled"), [(timedelta(seconds=0.1), False), (timedelta(hours=1), True)])
async def test_lease_is_renewed_during_a_long_delivery(
    database: asyncpg.Connection,
    crm: Receiver,
    relay: Callable[..., DeliverMessages],
    renew_every: timedelta,
    doubled: bool,
) -> None:
    lease = timedelta(seconds=0.7 if doubled else 2)

    async def slowly(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
        if len(crm.requests) == 1 and doubled:
            await until(lambda: len(crm.requests) > 1)
        elif len(crm.requests) == 1:
            await asyncio.sleep(lease.total_seconds() + 0.3)
        return answer()

    crm.behave = slowly
    await add_message(database)
    options = {"lease": lease, "renew_every": renew_every}
    await run_until_settled(database, relay(**options), relay(**options))
    assert (len(crm.requests) > 1) == doubled


async def test_message_that_cannot_be_written_for_the_crm_becomes_a_dead_letter_alone(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    invalid = await add_message(database, event={"starts_at": "the day after tomorrow"})
    others = {str(await add_message(database)) for _ in range(30)}
    await run_until_settled(database, relay(tries=2))
    assert set(crm.message_ids) == others
    kept = await row(database, invalid)
    assert (kept["status"], kept["attempts"]) == ("dead", 2)
    assert "starts_at" in kept["last_error"]


async def test_unknown_message_type_is_left_to_newer_workers(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    newer, known = await add_message(database, message_type="place_raffled"), await add_message(database)
    await run_once(relay())
    assert crm.message_ids == [str(known)]
    assert (await row(database, newer))["attempts"] == 0


async def test_wake_up_delivers_while_another_message_hangs(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    hanging = str(await add_message(database))
    let_go = asyncio.Event()

    async def behave(request: Request, _writer: asyncio.StreamWriter) -> bytes:
        if request.message_id == hanging:
            await let_go.wait()
        return answer()

    crm.behave = behave
    consumer = DestinationQueue(relay(), Destination.CRM).consumer()
    running = asyncio.create_task(consumer.run_until_idle())
    await until(lambda: bool(crm.requests))
    later = await add_message(database)
    consumer.notify()
    await until(lambda: _is(database, later, "delivered"))
    let_go.set()
    await running


async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def test_graceful_stop_releases_unfinished_messages(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    crm.behave = hang
    ids = [await add_message(database) for _ in range(3)]
    worker = Deliveries(relay(), [Destination.CRM], grace=0.1)
    serving = asyncio.create_task(worker.serve())
    await until(lambda: len(crm.requests) == 3)
    worker.close()
    await serving
    for message_id in ids:
        kept = await row(database, message_id)
        assert (kept["status"], kept["attempts"], kept["claimed_by"]) == ("pending", 0, None)
        assert kept["due_in"] <= timedelta(0)


async def test_stopped_consumer_claims_nothing(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    await add_message(database)
    consumer = DestinationQueue(relay(), Destination.CRM).consumer()
    consumer.stop()
    await consumer.run()
    assert crm.requests == []


async def test_concurrency_limit_is_respected(
    database: asyncpg.Connection, crm: Receiver, relay: Callable[..., DeliverMessages]
) -> None:
    at_once = most = 0

    async def count(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return answer()

    crm.behave = count
    for _ in range(20):
        await add_message(database)
    await run_once(relay(at_once=3))
    assert most == 3
    assert len(crm.requests) == 20
