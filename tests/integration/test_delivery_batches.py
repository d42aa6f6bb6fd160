"""Batches of claims and results in PostgreSQL: what goes wrong with one message changes nothing for the others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from application.outbox.delivery import DeliverMessages
from domain.errors import Unavailable
from domain.outbox import Delivered, Destination, Failed, Message, RetrySchedule
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import claims
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from servicekit.batches import Batches
from tests.support.messages import add_message, deliver_due
from tests.support.receivers import receiving

CRM, EMAIL = Destination.CRM, Destination.EMAIL
LEASE = timedelta(minutes=1)
TOOK = timedelta(milliseconds=20)


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Database]:
    own = Database(database_url)
    yield own
    await own.close()


async def claim(
    worker: PostgresOutboxClaims, destination: Destination = CRM, *, lease: timedelta = LEASE
) -> Sequence[Message]:
    return await worker.claim(destination, limit=8, lease=lease, probe_every=LEASE)


async def record(worker: PostgresOutboxClaims, messages: Sequence[Message], outcome: Any = Delivered("ok", 200)) -> Any:  # noqa: B008
    """In one batch."""
    calls = (worker.record_result(message, outcome, took=TOOK, retry_in=None) for message in messages)
    return await asyncio.gather(*calls, return_exceptions=True)


async def statuses(database: asyncpg.Connection) -> dict[UUID, str]:
    return {row["id"]: row["status"] for row in await database.fetch("SELECT id, status FROM outbox")}


async def transactions(database: asyncpg.Connection) -> int:
    """The number of transactions that changed the messages last."""
    number: int = await database.fetchval("SELECT count(DISTINCT xmin::text) FROM outbox")
    return number


async def test_results_and_claims_of_all_destinations_share_their_statements(
    database: asyncpg.Connection, own: Database
) -> None:
    for destination in (CRM, EMAIL) * 4:
        await add_message(database, destination=destination)
    worker = PostgresOutboxClaims(own)
    assert await transactions(database) == 8
    crm, email = await asyncio.gather(claim(worker, CRM), claim(worker, EMAIL))
    assert [{message.destination for message in each} for each in (crm, email)] == [{CRM}, {EMAIL}]
    assert await transactions(database) == 1
    claimed = await database.fetchval("SELECT min(xmin::text) FROM outbox")
    await record(worker, [*crm, *email])
    assert set((await statuses(database)).values()) == {"delivered"}
    assert await transactions(database) == 1
    assert await database.fetchval("SELECT min(xmin::text) FROM outbox") != claimed
    assert await database.fetchval("SELECT count(*) FROM delivery_attempts WHERE status_code = 200") == 8
    counted = await database.fetch("SELECT destination, attempts, failures FROM destination_minutes ORDER BY 1")
    assert [tuple(row) for row in counted] == [("crm", 4, 0), ("email", 4, 0)]


async def test_concurrent_claims_of_one_destination_share_no_message(
    database: asyncpg.Connection, own: Database
) -> None:
    for _ in range(6):
        await add_message(database)
    worker = PostgresOutboxClaims(own)
    first, second = await asyncio.gather(claim(worker), claim(worker))
    assert (len(first), len(second)) == (6, 0)


async def lost_in_a_batch(database: asyncpg.Connection, own: Database) -> tuple[Any, dict[UUID, str], UUID]:
    """Another worker has taken over one of four messages before their results are recorded together. What each call
    returned, the statuses, and the id of that message."""
    late, other = PostgresOutboxClaims(own), PostgresOutboxClaims(own)
    for _ in range(4):
        await add_message(database)
    messages = await claim(late)
    lost = messages[1]
    await database.execute("UPDATE outbox SET due_at = now() WHERE id = $1", lost.id)
    (again,) = await claim(other)
    assert (again.id, again.attempt) == (lost.id, 2)
    returned = await record(late, messages, Failed("refused", permanent=True, status_code=400))
    return returned, await statuses(database), lost.id


async def test_claim_lost_meanwhile_changes_nothing_and_the_others_are_recorded(
    database: asyncpg.Connection, own: Database
) -> None:
    returned, found, lost = await lost_in_a_batch(database, own)
    assert returned == [False] * 4
    assert {message_id: status for message_id, status in found.items() if status != "dead"} == {lost: "pending"}
    assert await database.fetchval("SELECT claimed_by IS NOT NULL FROM outbox WHERE id = $1", lost)


async def test_without_claim_check_the_batch_overwrites_a_lost_claim(
    database: asyncpg.Connection, own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_guard = claims._RECORD.replace("claimed_by = $2 AND attempts = own.attempt", "$2::uuid IS NOT NULL")
    assert without_guard != claims._RECORD
    monkeypatch.setattr(claims, "_RECORD", without_guard)
    _, found, lost = await lost_in_a_batch(database, own)
    assert found[lost] == "dead"


@pytest.mark.parametrize(("guarded", "recorded"), [(True, 3), (False, 0)])
async def test_result_that_cannot_be_stored_fails_alone_and_without_guard_the_batch(
    database: asyncpg.Connection, own: Database, guarded: bool, recorded: int
) -> None:
    worker = PostgresOutboxClaims(own)
    if not guarded:  # every error counts as an outage: the batch is not divided
        worker._results = Batches(worker._record_all, unavailable=Exception)
    for _ in range(4):
        await add_message(database)
    messages = await claim(worker)
    results = [Delivered("ok", 200), Delivered("ok", 2**40), Delivered("ok", 200), Delivered("ok", 200)]
    calls = (
        worker.record_result(message, outcome, took=TOOK, retry_in=None)
        for message, outcome in zip(messages, results, strict=True)
    )
    returned = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(each, Exception) for each in returned] == [not guarded, True, not guarded, not guarded]
    assert Counter((await statuses(database)).values())["delivered"] == recorded
    assert await database.fetchval("SELECT count(*) FROM delivery_attempts") == recorded


@pytest.mark.parametrize("crashes", [True, False])
async def test_messages_delivered_before_a_crash_are_delivered_again_with_the_same_id(
    database: asyncpg.Connection, own: Database, crashes: bool
) -> None:
    """The worker dies between the answers and the batch that records them. The control does not die."""
    ids = {str(await add_message(database)) for _ in range(5)}
    async with receiving() as crm:
        sender = CrmSender(crm.url, "t")
        outbox = PostgresOutboxClaims(own)
        dying = DeliverMessages(
            outbox, PostgresCircuitBreakers(own), {CRM: sender}, RetrySchedule((timedelta(0), timedelta(0)))
        )

        async def die(results: Sequence[Any]) -> Sequence[Any]:
            raise Unavailable

        if crashes:
            outbox._results = Batches(die, unavailable=Unavailable)
        messages = await dying.claim(CRM, 8)
        outcomes = [await dying.attempt(message) for message in messages]
        recorded = [dying.record(*each, TOOK) for each in zip(messages, outcomes, strict=True)]
        await asyncio.gather(*recorded, return_exceptions=True)
        await database.execute("UPDATE outbox SET due_at = now() WHERE claimed_by IS NOT NULL")
        await deliver_due(replace(dying, outbox=PostgresOutboxClaims(own)), CRM)
        await sender.close()

    assert Counter(crm.message_ids) == dict.fromkeys(ids, 2 if crashes else 1)
    assert all(request.headers["idempotency-key"] == request.message_id for request in crm.requests)
    assert set((await statuses(database)).values()) == {"delivered"}
    attempts = await database.fetch("SELECT attempt, left(detail, 9) AS detail FROM delivery_attempts")
    made = Counter(tuple(row) for row in attempts)
    assert made == ({(1, "reclaimed"): 5, (2, "{}"): 5} if crashes else {(1, "{}"): 5})
