"""The version before serves while the schema is migrated: none of its statements fails, or waits long for a lock."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from crm import migrations as crm_migrations
from domain.outbox import MessageType
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.postgres.engine import SERVER_SETTINGS
from servicekit.migrations import Migrations, statements
from tests.support import released
from tests.support.databases import a_database
from tests.support.messages import until
from tests.support.process_harness import LONG_RUN

pytestmark = pytest.mark.timeout(3600 if LONG_RUN else 180)

BOOKINGS = 300_000 if LONG_RUN else 2_000
LOCK_TIMEOUT = "500ms" if LONG_RUN else "1s"
"""A client that waits longer for a lock fails. A migration waits 250 ms, and the rest is for a busy machine."""

FILL = f"""
INSERT INTO users (email, name, role)
SELECT 'user' || i || '@example.com', 'User ' || i, CASE WHEN i <= 10 THEN 'facilitator' ELSE 'user' END
FROM generate_series(1, {BOOKINGS // 20}) AS i;
INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
SELECT 1 + i % 10, 'Yoga ' || i, repeat('Breathe in, breathe out. ', 12), 'session', now() + i * interval '1 hour',
       now() + (i + 1) * interval '1 hour', 100000, 25, 'INR'
FROM generate_series(1, {BOOKINGS // 40}) AS i;
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
SELECT 1 + i % {BOOKINGS // 40}, 1 + i / {BOOKINGS // 40}, 'confirmed', 'pending', now()
FROM generate_series(0, {BOOKINGS - 1}) AS i;
UPDATE events SET booked = (SELECT count(*) FROM bookings WHERE event_id = events.id);
INSERT INTO payments (booking_id, gateway, amount, currency, status, created_at)
SELECT id, 'stripe', 25, 'INR', 'pending', now() FROM bookings;
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
SELECT 'crm', 'booking:' || id, 'booking_created', '{{}}', now() FROM bookings;
INSERT INTO gateway_events (gateway, id, kind, payload, received_at, settled_at)
SELECT 'stripe', id::text, 'payment', '{{}}', now(), now() FROM bookings;
UPDATE users SET is_active = false WHERE id = 10;
"""
FILL_CRM = f"""
INSERT INTO notifications (message_id, body, booking_id, event_id, facilitator_id, status)
SELECT i::text, '{{}}', i, i % 50, 2, 'skipped' FROM generate_series(1, {BOOKINGS}) AS i
"""

TABLES = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE '%version'
"""
MISCOUNTED = """
SELECT count(*) FROM events e
WHERE booked <> (SELECT count(*) FROM bookings b WHERE b.event_id = e.id AND b.status = 'confirmed')
"""

Request = Callable[[asyncpg.Connection, int], Awaitable[object]]


async def book_pay_and_refund(client: asyncpg.Connection, turn: int) -> None:
    event, user = 1 + turn % 7, await client.fetchval(released.REGISTER, f"new{turn}@example.com", "Ada")
    await client.fetch(released.EVENTS, datetime.now(UTC), 20)
    row = await client.fetchrow(released.EVENT, event, user)
    assert row is not None
    assert not row["mine"]
    now = datetime.now(UTC)
    hold_until = now + timedelta(minutes=30)
    booked = await client.fetchrow(released.RESERVE, event, user, None, now, None, "stripe", hold_until)
    assert booked is not None
    await client.execute(released.WEBHOOK, f"new{turn}")
    payment = await client.fetchval(released.PAY, booked["id"])
    assert len(await client.fetch(released.BOOKINGS_OF_USER, None, 20, user)) == 1
    async with client.transaction():
        await client.execute(released.CANCEL[0], booked["id"])
        await client.execute(released.CANCEL[1], event)
        await client.execute(released.REFUND, payment)


async def book_an_appointment(client: asyncpg.Connection, turn: int) -> None:
    appointment = await client.fetchval(released.APPOINTMENT, 20, 1 + turn % 5, turn)
    await client.execute(released.CANCEL_APPOINTMENT, appointment)


async def claim_messages(client: asyncpg.Connection, turn: int) -> None:
    minute = timedelta(minutes=1)
    token = "00000000-0000-7000-8000-000000000001"
    await client.fetch(released.CLAIM, "crm", 5, minute, token, list(MessageType), minute)


async def notify(client: asyncpg.Connection, turn: int) -> None:
    notification = await client.fetchval(released.NOTIFY, f"new{turn}", turn)
    assert await client.fetch(released.NOTIFICATIONS)
    await client.execute(released.MAILED, notification)


class Drill:
    """Clients that use a database, and a report that reads all tables in one transaction when the migration begins."""

    def __init__(self, dsn: str, *requests: Request) -> None:
        self.dsn = dsn
        self.requests = requests
        self.done = dict.fromkeys((request.__name__ for request in requests), 0)
        self.said: list[str] = []
        self._turns = itertools.count(1)

    async def migrate(self, made: Migrations) -> None:
        """Raises what a client got. In LONG_RUN there is a report again and again."""
        migrating: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                clients = [tasks.create_task(self._client(request)) for request in self.requests]
                await until(lambda: all(self.done.values()))
                report = tasks.create_task(self._report())
                await asyncio.sleep(0.1)
                migrating = asyncio.create_task(asyncio.to_thread(made.upgrade, self.dsn, report=self.said.append))
                await asyncio.shield(migrating)
                report.cancel()
                before = dict(self.done)
                await until(lambda: all(self.done[name] > before[name] for name in before))
                for client in clients:
                    client.cancel()
        finally:
            # A thread is not cancelled, and Alembic runs in one thread at a time.
            if migrating:
                await asyncio.wait([migrating])

    async def _client(self, request: Request) -> None:
        client = await asyncpg.connect(self.dsn, server_settings=SERVER_SETTINGS | {"lock_timeout": LOCK_TIMEOUT})
        try:
            while True:
                await request(client, next(self._turns))
                self.done[request.__name__] += 1
                await asyncio.sleep(0.005)
        finally:
            client.terminate()

    async def _report(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        tables = [row[0] for row in await connection.fetch(TABLES)]
        try:
            for pause in itertools.count() if LONG_RUN else (0, 0):
                async with connection.transaction():
                    for table in tables:
                        await connection.execute(f"SELECT FROM {table} LIMIT 1")
                    if pause:
                        await asyncio.sleep(0.5)
                    else:
                        await until(lambda: bool(self.said))
                await asyncio.sleep(0.5)
        finally:
            connection.terminate()


async def filled(postgres: EmbeddedPostgres, made: Migrations, revision: str, fill: str) -> str:
    dsn = await a_database(postgres, template="template1")
    await asyncio.to_thread(made.upgrade, dsn, revision)
    connection = await asyncpg.connect(dsn)
    await connection.execute(fill)
    await connection.execute("ANALYZE")
    await connection.close()
    return dsn


BOOKING_REQUESTS = (book_pay_and_refund, book_an_appointment, claim_messages)


async def test_booking_api_serves_while_it_is_upgraded(postgres: EmbeddedPostgres) -> None:
    dsn = await filled(postgres, migrations.MIGRATIONS, "0010", FILL)
    drill = Drill(dsn, *BOOKING_REQUESTS)
    await drill.migrate(migrations.MIGRATIONS)
    assert drill.said[0].endswith("and is tried again")
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval(MISCOUNTED) == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    await connection.close()


async def test_crm_serves_while_it_is_upgraded(postgres: EmbeddedPostgres) -> None:
    dsn = await filled(postgres, crm_migrations.MIGRATIONS, "0002", FILL_CRM)
    drill = Drill(dsn, notify)
    await drill.migrate(crm_migrations.MIGRATIONS)
    assert drill.said


async def test_drill_fails_if_migrations_wait_without_a_limit(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the report holds a lock, the revision waits for it, and the clients behind the revision."""
    dsn = await filled(postgres, crm_migrations.MIGRATIONS, "0002", FILL_CRM)
    monkeypatch.setattr(statements, "LIMIT_LOCK", "SET LOCAL lock_timeout = '20s'")
    with pytest.raises(ExceptionGroup) as failed:
        await Drill(dsn, notify).migrate(crm_migrations.MIGRATIONS)
    assert failed.value.subgroup(asyncpg.LockNotAvailableError)
