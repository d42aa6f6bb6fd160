"""Messages that arrive together are stored by one statement, each with its own answer (docs/decisions/0015)."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from crm.batched_inserts import BatchedInserts
from crm.database import Database, DatabaseUnavailable
from crm.facilitator_events import remember_event
from crm.notification_store import MessageIdReused, NotificationStore, Recorded
from crm.notifications import read_notification
from crm.webhook_store import Destination, Stored, WebhookStore
from crm.webhooks import read_webhook
from tests.crm.parts import a_message, connected, emptied, until
from tests.support.settings import DATABASE_TIMEOUT_SECONDS

Message = tuple[str | None, dict[str, Any]]
"""The message id and the body."""


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, timeout=float(DATABASE_TIMEOUT_SECONDS))
    yield database
    await database.close()


async def recorded(database: Database, messages: Sequence[Message], *, together: bool = True) -> list[Any]:
    """The results, or the errors."""
    store = NotificationStore(database, uuid4(), timedelta(seconds=60))

    async def record(key: str | None, body: dict[str, Any]) -> Recorded:
        return await store.record(read_notification(body), msgspec.json.encode(body).decode(), key)

    if together:
        return await asyncio.gather(*(record(*each) for each in messages), return_exceptions=True)
    return [await record(*each) for each in messages]


async def stored_webhooks(database: Database, webhooks: Sequence[Message]) -> list[Any]:
    store = WebhookStore(database, forwards=True)

    async def record(key: str | None, body: dict[str, Any]) -> Stored:
        return await store.record(read_webhook(body), msgspec.json.encode(body).decode(), key)

    return await asyncio.gather(*(record(*each) for each in webhooks), return_exceptions=True)


def a_webhook(booking: int, **fields: Any) -> dict[str, Any]:
    return {"booking_id": booking, "user_id": 5, "event_id": 7, "facilitator_id": 2, **fields}


async def refuse(dsn: str, table: str, condition: str) -> None:
    """Rows of the condition are refused by the database."""
    async with connected(dsn) as connection:
        await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (NOT ({condition})) NOT VALID")


async def test_concurrent_messages_are_one_transaction_with_an_answer_for_each(database: Database, dsn: str) -> None:
    results = await recorded(database, [(None, a_message(booking_id=number)) for number in range(1, 11)])
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT id, mail_id, booking_id, xmin::text FROM notifications")
    assert len({row["xmin"] for row in rows}) == 1
    by_id = {row["id"]: row for row in rows}
    assert [by_id[result.id]["booking_id"] for result in results] == list(range(1, 11))
    for result in results:
        assert result.claim.mail_id == by_id[result.id]["mail_id"]
        assert result.claim.notification.booking_id == by_id[result.id]["booking_id"]


async def test_concurrent_webhooks_are_one_transaction_with_their_deliveries(database: Database, dsn: str) -> None:
    paid = {2, 4}
    webhooks = [
        (None, a_webhook(number, payment_status="paid" if number in paid else "pending")) for number in range(1, 6)
    ]
    results = await stored_webhooks(database, webhooks)
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT id, booking_id, body, xmin::text FROM crm_bookings")
        deliveries = await connection.fetch("SELECT crm_booking_id, destination, body FROM crm_booking_deliveries")
    assert len({row["xmin"] for row in rows}) == 1
    bookings = {row["id"]: row["booking_id"] for row in rows}
    assert [bookings[result.id] for result in results] == list(range(1, 6))
    enqueued = {(bookings[row["crm_booking_id"]], row["destination"]): row["body"] for row in deliveries}
    assert set(enqueued) == {(number, "forward") for number in range(1, 6)} | {(number, "payment") for number in paid}
    assert msgspec.json.decode(enqueued[1, "forward"]) == webhooks[0][1]
    assert msgspec.json.decode(enqueued[2, "payment"]) == {"booking_id": 2, "user_id": 5, "event_id": 7}
    assert results[0].destinations == (Destination.TRANSITIONS,)
    assert results[1].destinations == (Destination.TRANSITIONS, Destination.PAYMENT)


async def test_repeated_key_of_a_batch_has_one_effect(database: Database, dsn: str) -> None:
    other = a_message(booking_id=13)
    results = await recorded(database, [("a", a_message()), ("a", a_message()), ("a", other), ("b", other)])
    assert results[0].id == results[1].id
    assert results[0].claim is not None
    assert results[1].claim is None
    assert isinstance(results[2], MessageIdReused)
    assert results[3].id != results[0].id
    webhooks = await stored_webhooks(database, [("a", a_webhook(1)), ("a", a_webhook(1)), ("a", a_webhook(2))])
    assert webhooks[0] == webhooks[1]
    assert isinstance(webhooks[2], MessageIdReused)
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 2
        assert await connection.fetchval("SELECT count(*) FROM crm_booking_deliveries") == 1


async def test_refused_row_does_not_fail_the_others_of_its_batch(own_dsn: str) -> None:
    await refuse(own_dsn, "notifications", "booking_id = 3")
    await refuse(own_dsn, "crm_bookings", "booking_id = 3")
    database = Database(own_dsn)
    try:
        results = await recorded(database, [(None, a_message(booking_id=number)) for number in range(1, 6)])
        webhooks = await stored_webhooks(database, [(None, a_webhook(number)) for number in range(1, 6)])
    finally:
        await database.close()
    for each in (results, webhooks):
        assert isinstance(each.pop(2), asyncpg.CheckViolationError)
        assert not any(isinstance(result, BaseException) for result in each)
    async with connected(own_dsn) as connection:
        for table in ("notifications", "crm_bookings"):
            rows = await connection.fetch(f"SELECT booking_id FROM {table} ORDER BY 1")
            assert [row["booking_id"] for row in rows] == [1, 2, 4, 5]


async def test_without_the_second_try_a_refused_row_fails_its_batch(
    own_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refuse(own_dsn, "notifications", "booking_id = 3")
    insert_all = BatchedInserts._insert_all

    async def once(self: BatchedInserts, rows: Sequence[Any]) -> Any:
        if len(rows) == 1:
            raise RuntimeError("not tried again")
        return await insert_all(self, rows)

    monkeypatch.setattr(BatchedInserts, "_insert_all", once)
    database = Database(own_dsn)
    try:
        results = await recorded(database, [(None, a_message(booking_id=number)) for number in range(1, 6)])
    finally:
        await database.close()
    assert all(isinstance(result, RuntimeError) for result in results)
    async with connected(own_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 0


async def one_by_one(self: BatchedInserts, rows: Sequence[Any]) -> Sequence[Any]:
    """A batch of as many transactions as rows."""
    async with self._database.connection() as connection:
        return [await connection.fetchrow(self._insert_one, *row) for row in rows]


@pytest.mark.parametrize("is_one_statement", [True, False])
async def test_connection_lost_before_the_commit_answers_nobody_and_stores_nothing(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch, *, is_one_statement: bool
) -> None:
    """Without the one statement (the negative control) the retries store a part of the batch twice."""
    if not is_one_statement:
        monkeypatch.setattr(BatchedInserts, "_insert_all", one_by_one)
    event = a_message()["event"]
    messages = [(None, a_message(booking_id=number, event={**event, "id": number})) for number in range(1, 6)]
    async with connected(dsn) as owner, connected(dsn) as watch:
        transaction = owner.transaction()
        await transaction.start()
        await remember_event(owner, read_notification(messages[2][1]))  # the third message waits for its event
        recording = asyncio.create_task(recorded(database, messages))
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

        async def waits() -> Any:
            return await watch.fetchval(waiting)

        await until(waits)
        assert not recording.done()
        await watch.execute(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w")
        results = await recording
        await transaction.rollback()
        assert [type(result) for result in results] == [DatabaseUnavailable] * 5
        assert all(isinstance(result, Recorded) for result in await recorded(database, messages))
        stored = [row["booking_id"] for row in await watch.fetch("SELECT booking_id FROM notifications ORDER BY 1")]
        assert (stored == [1, 2, 3, 4, 5]) is is_one_statement


@pytest.mark.parametrize("has_guard", [True, False])
async def test_batch_whose_answer_is_lost_after_the_commit_is_stored_once(
    own_dsn: str, monkeypatch: pytest.MonkeyPatch, *, has_guard: bool
) -> None:
    """Without the unique message id (the negative control) the retries store it again."""
    insert_all, lost = BatchedInserts._insert_all, list[int]()

    async def lose_answer(self: BatchedInserts, rows: Sequence[Any]) -> Sequence[Any]:
        inserted = await insert_all(self, rows)
        if not lost:
            lost.append(len(rows))
            raise DatabaseUnavailable
        return inserted

    monkeypatch.setattr(BatchedInserts, "_insert_all", lose_answer)
    messages: list[Message] = [(f"m-{number}", a_message(booking_id=number)) for number in range(1, 6)]
    database = Database(own_dsn)
    async with connected(own_dsn) as connection:
        if not has_guard:
            await connection.execute("ALTER TABLE notifications DROP CONSTRAINT uq_notifications_message_id")
        try:
            results = await recorded(database, messages)
            again = await recorded(database, messages)
        finally:
            await database.close()
        assert lost == [5]
        assert [type(result) for result in results] == [DatabaseUnavailable] * 5
        assert all(isinstance(result, Recorded) for result in again)
        stored = await connection.fetchval("SELECT count(*) FROM notifications")
        assert (stored == 5) is has_guard


KNOWN = """
SELECT (SELECT json_agg(e ORDER BY id) FROM (
    SELECT id, facilitator_id, title, bookings_count, is_active, version FROM facilitator_events) e),
    (SELECT json_agg(f ORDER BY id) FROM (SELECT id, name, email FROM facilitators) f)
"""


def _random_messages(seed: int) -> list[Message]:
    """About two events and two facilitators, in any order of their versions and times. A facilitator changes the
    address with every message, and no two messages have one time."""
    draw = random.Random(seed)
    times = draw.sample(range(1_000), 12)
    messages: list[Message] = []
    for number, seconds in enumerate(times):
        person = draw.choice([2, 3])
        body = a_message(
            booking_id=number + 1,
            occurred_at=f"2026-11-20T10:{seconds // 60:02}:{seconds % 60:02}Z",
            facilitator_id=person,
            facilitator={"id": person, "name": f"Name {number}", "email": f"{number}@example.com"},
            email_facilitator=False,
        )
        versions = [None, 1, 2] if seed % 2 else [None]
        changes = {"id": draw.choice([1, 7]), "version": draw.choice(versions), "title": f"Title {number}"}
        messages.append((draw.choice([None, f"m-{number}"]), {**body, "event": {**body["event"], **changes}}))
    return messages


@pytest.mark.parametrize("seed", range(6))
async def test_batch_leaves_what_its_messages_leave_one_after_the_other(
    database: Database, dsn: str, seed: int
) -> None:
    messages = _random_messages(seed)
    left = []
    for together in (False, True):
        await emptied(dsn)
        await recorded(database, messages, together=together)
        async with connected(dsn) as connection:
            left.append(tuple(await connection.fetchrow(KNOWN)))
    assert left[0] == left[1]
