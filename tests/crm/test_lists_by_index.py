"""Lists of the CRM are read by an index: PostgreSQL reads the rows of a page, and not those beside them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from crm.database import Database
from crm.facilitator_events import FacilitatorEvents
from crm.notification_store import NotificationStore
from crm.refused_webhooks import RefusedWebhooks
from tests.support.plans import Explains

ROWS = 4_000
"""Of two notifications one is about an event as such; of a hundred webhooks one was refused."""
LIMIT = 10
_FILL = f"""
INSERT INTO notifications (message_id, body, booking_id, event_id, facilitator_id, status)
SELECT n::text, '{{}}', CASE WHEN n % 2 = 0 THEN n END, n, 2, 'skipped' FROM generate_series(1, {ROWS}) n;
INSERT INTO facilitator_events (id, facilitator_id, is_active, version, bookings_count)
SELECT n, n % 2, true, 1, 3 FROM generate_series(1, {ROWS}) n;
INSERT INTO crm_bookings (id, message_id, body, booking_id)
SELECT uuidv7(n * interval '1 minute'), n::text, '{{}}', n FROM generate_series(1, {ROWS}) n;
INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, status, response, next_attempt_at, sent_at)
SELECT id, 'payment', '{{}}', CASE WHEN booking_id % 100 = 0 THEN 'failed' ELSE 'sent' END,
       'Payment report failed: 404 booking_not_found', NULL, CASE WHEN booking_id % 100 <> 0 THEN now() END
FROM crm_bookings;
ANALYZE;
"""


class ExplainedDatabase(Explains, Database):  # type: ignore[misc]
    """The pool of the CRM."""


@pytest.fixture
async def explained(dsn: str) -> AsyncIterator[ExplainedDatabase]:
    connection = await asyncpg.connect(dsn)
    await connection.execute(_FILL)
    await connection.close()
    database = ExplainedDatabase(dsn)
    yield database
    await database.close()


async def test_pages_are_read_by_an_index(explained: ExplainedDatabase) -> None:
    notifications = NotificationStore(explained, uuid4(), timedelta(seconds=10))
    first = await notifications.items(limit=LIMIT)
    second = await notifications.items(limit=LIMIT, before=first[-1].id)
    assert [item.booking_id for item in (*first, *second)] == list(range(ROWS, ROWS - 4 * LIMIT, -2))
    assert len(await notifications.items(limit=LIMIT, with_events=True)) == LIMIT
    assert len(await FacilitatorEvents(explained).of(1, limit=LIMIT)) == LIMIT
    assert await explained.rows_read() <= 5 * LIMIT

    webhooks, last = RefusedWebhooks(explained), None
    for chosen in (None, "failed", "mismatch"):
        seen: list[UUID] = []
        for _ in range(2):
            page = await webhooks.items(limit=LIMIT, before=last if seen else None, chosen=chosen)
            last = page[-1].id
            seen += [item.id for item in page]
        assert seen == sorted(set(seen), reverse=True)
        assert len(seen) == 2 * LIMIT
    # The webhook, its deliveries, and twice as many refused ones.
    assert await explained.rows_read() <= 6 * 4 * LIMIT
