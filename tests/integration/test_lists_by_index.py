"""What operators list is read by an index, however much was delivered and paid: the outbox has 300,000 messages.

PostgreSQL itself says what a page read: the plan of each statement that went through, run once more with its values.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from application.outbox.ports import MessageFilter
from application.ports import PageRequest
from domain.outbox import Destination, MessageStatus
from domain.payments import PaymentStatus
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.payments.audit import PostgresPaymentAudit
from tests.support.plans import ExplainedDatabase
from tests.support.process_harness import LONG_RUN

MESSAGES = 300_000 if LONG_RUN else 60_000
SECONDS = 300_000 // MESSAGES
"""Between two messages: a day has more than a quarter of them."""
PAYMENTS = 20_000
LIMIT = 50
RARE = {"dead": 400, "discarded": 200, "pending": 2_000}
"""Of each status so many, spread over the whole table; the others are delivered."""

NOW = datetime.now(UTC)

# Ids follow time. Two of three messages are for the CRM.
_OUTBOX = f"""
INSERT INTO outbox (id, destination, lane, fact, snapshot, status, occurred_at, due_at, settled_at)
SELECT uuidv7(n * interval '{SECONDS} second' - $1 * interval '{SECONDS} second'),
       CASE n % 6 WHEN 0 THEN 'email' WHEN 1 THEN 'realtime' ELSE 'crm' END, 'booking:' || n, 'booking_created', '{{}}',
       status, at, at, CASE WHEN status IN ('delivered', 'discarded') THEN at END
FROM generate_series(1, $1::int) n,
     LATERAL (SELECT now() + n * interval '{SECONDS} second' - $1 * interval '{SECONDS} second' AS at,
                     CASE WHEN n % ($1 / $2::int) = 0 THEN 'dead' WHEN n % ($1 / $3::int) = 1 THEN 'discarded'
                          WHEN n % ($1 / $4::int) = 2 THEN 'pending' ELSE 'delivered' END AS status) s
"""
_PAYMENTS = """
WITH person AS (
    INSERT INTO users (email, name, role) VALUES ('payer@example.com', 'Payer', 'user') RETURNING id
), event AS (
    INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
    SELECT id, 'Yoga', '', 'session', now(), now() + interval '1 hour', 1000000, 30, 'INR' FROM person RETURNING id
), booking AS (
    INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, cancelled_at)
    SELECT event.id, person.id, 'cancelled', 'pending', now(), now() FROM event, person RETURNING id
)
INSERT INTO payments (id, booking_id, gateway, amount, currency, status, created_at, gateway_reference)
SELECT uuidv7(n * interval '1 minute' - $1 * interval '1 minute'), booking.id, 'stripe', 30, 'INR',
       CASE WHEN n % 1000 = 0 THEN 'refunded' ELSE 'completed' END,
       now() + n * interval '1 minute' - $1 * interval '1 minute', 'order ' || n
FROM booking, generate_series(1, $1::int) n
"""
_AROUND_PAYMENTS = """
INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at)
SELECT id, 1, 'INR', 'booking_cancelled', CASE WHEN row_number() OVER () % 1000 = 0 THEN 'failed' ELSE 'processed' END,
       created_at FROM payments
"""
_DIFFERENCES = """
INSERT INTO payment_differences (gateway, order_id, why, report, seen_at, settled_at)
SELECT 'stripe', 'order ' || n, 'why', '{}', now(), CASE WHEN n % 1000 <> 0 THEN now() END
FROM generate_series(1, $1::int) n
"""


# Takes 4 s: an index shows in a plan only where a table has many rows.
@pytest.fixture(scope="module")
async def filled(shared_database: asyncpg.Connection, shared_database_url: str) -> str:
    """A database with as much in it."""
    every = (RARE["dead"], RARE["discarded"], RARE["pending"])
    async with _indexes_made_afterwards(shared_database, "outbox"):
        await shared_database.execute(_OUTBOX, MESSAGES, *every)
    await shared_database.execute(_PAYMENTS, PAYMENTS)
    await shared_database.execute(_AROUND_PAYMENTS)
    await shared_database.execute(_DIFFERENCES, PAYMENTS)
    await shared_database.execute("ANALYZE outbox, payments, refunds, payment_differences")
    return shared_database_url


@contextlib.asynccontextmanager
async def _indexes_made_afterwards(database: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """For many rows that is faster."""
    indexes = await database.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname NOT LIKE 'pk\\_%'", table
    )
    await database.execute("".join(f"DROP INDEX {index['indexname']};" for index in indexes))
    yield
    await database.execute("".join(f"{index['indexdef']};" for index in indexes))


@pytest.fixture(scope="module")
async def explained(filled: str) -> AsyncIterator[ExplainedDatabase]:
    database = ExplainedDatabase(filled)
    yield database
    await database.close()


@pytest.fixture
def watched(explained: ExplainedDatabase) -> ExplainedDatabase:
    explained.asked.clear()
    return explained


FILTERS = list(
    itertools.product(
        [None, *MessageStatus],
        [None, Destination.CRM, Destination.EMAIL, Destination.PAYMENTS],
        [None, timedelta(days=1)],
    )
)


@pytest.mark.parametrize(("status", "destination", "since"), FILTERS)
async def test_outbox_page_is_read_by_an_index(
    watched: ExplainedDatabase, status: MessageStatus | None, destination: Destination | None, since: timedelta | None
) -> None:
    wanted = MessageFilter(status, destination, None if since is None else NOW - since)
    page = await PostgresDeadLetters(watched).list(wanted, PageRequest(LIMIT))
    if page.next is not None:
        await PostgresDeadLetters(watched).list(wanted, PageRequest(LIMIT, page.next))
    # A page of every status of every destination, twice, and the hour of skew around `since`.
    assert await watched.rows_read() < 2 * (LIMIT + 1) * 13


async def walked(watched: ExplainedDatabase, wanted: MessageFilter) -> list[str]:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(30):
        page = await PostgresDeadLetters(watched).list(wanted, PageRequest(LIMIT, cursor))
        seen += [str(message.id) for message in page.items]
        cursor = page.next
        if cursor is None:
            break
    return seen


@pytest.mark.parametrize("status", ["dead", "discarded"])
async def test_pages_of_a_rare_status_show_each_message_once_newest_first(
    watched: ExplainedDatabase, shared_database: asyncpg.Connection, status: str
) -> None:
    seen = await walked(watched, MessageFilter(MessageStatus(status)))
    rows = await shared_database.fetch("SELECT id FROM outbox WHERE status = $1 ORDER BY id DESC", status)
    assert seen == [str(row["id"]) for row in rows]


async def test_unknown_destination_is_listed(watched: ExplainedDatabase, shared_database: asyncpg.Connection) -> None:
    newest = await shared_database.fetchval("SELECT id FROM outbox WHERE status = 'dead' ORDER BY id DESC LIMIT 1")
    await shared_database.execute("UPDATE outbox SET destination = 'of_tomorrow' WHERE id = $1", newest)
    page = await PostgresDeadLetters(watched).list(MessageFilter(MessageStatus.DEAD), PageRequest(1))
    assert [(message.id, message.destination) for message in page.items] == [(newest, "of_tomorrow")]


@pytest.mark.parametrize("status", [None, *PaymentStatus])
async def test_payments_page_is_read_by_an_index(watched: ExplainedDatabase, status: PaymentStatus | None) -> None:
    audit = PostgresPaymentAudit(watched)
    page = await audit.newest(status=status, page=PageRequest(10))
    assert len(page.items) == (0 if status in {"pending", "failed", "not_required"} else 10)
    if page.next is not None:
        await audit.newest(status=status, page=PageRequest(10, page.next))
    # The payment, its booking, its refunds.
    assert await watched.rows_read() <= 2 * 11 * 3 + 2


async def test_recent_payments_are_compared_without_reading_the_others(
    watched: ExplainedDatabase,
) -> None:
    await PostgresPaymentAudit(watched).payments(
        since=NOW - timedelta(hours=2), after=None, limit=500, at_gateways=True
    )
    assert await watched.rows_read() < 1_000


async def test_payments_that_need_attention_are_read_by_an_index(watched: ExplainedDatabase) -> None:
    audit = PostgresPaymentAudit(watched)
    assert len(await audit.mismatches(since=None)) == PAYMENTS // 1000
    assert len(await audit.stuck_refunds(since=None, older_than=timedelta(0))) == PAYMENTS // 1000
    await audit.dead_jobs(since=None)
    assert await watched.rows_read() < RARE["dead"] + 10 * PAYMENTS // 1000
