"""Results of deliveries that are recorded together: a row whose claim was lost or whose record fails affects no other.

tests/crm/test_mail_delivery.py has the crash between sending and recording.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from crm.database import Database
from crm.delivery.queue import Queue
from crm.notification_store import MailClaim, mail_queue
from servicekit.batches import Batches
from tests.crm.parts import connected

LATER = timedelta(hours=1)


@asynccontextmanager
async def a_queue(dsn: str) -> AsyncIterator[Queue[MailClaim]]:
    """Of a process that claims rows for an hour."""
    database = Database(dsn)
    yield mail_queue(database, uuid4(), LATER)
    await database.close()


async def pending(dsn: str, number: int) -> None:
    async with connected(dsn) as connection:
        await connection.execute(
            "INSERT INTO notifications (body, recipient_email, status, next_attempt_at) "
            "SELECT '{\"event\": {}}', 'f@example.com', 'pending', now() FROM generate_series(1, $1)",
            number,
        )


async def leases_end(dsn: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute("UPDATE notifications SET next_attempt_at = now() WHERE status = 'pending'")


async def statuses(dsn: str) -> dict[int, tuple[str, bool]]:
    """Status of each row, and whether it is claimed."""
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT id, status, lease IS NOT NULL AS claimed FROM notifications ORDER BY id")
    return {row["id"]: (row["status"], row["claimed"]) for row in rows}


async def lose_some(dsn: str, queue: Queue[MailClaim], other: Queue[MailClaim]) -> None:
    """The process of `queue` claims four rows; that of `other` claims the first three after the lease. Then the first
    one records all of them at the same moment."""
    await pending(dsn, 4)
    claims = {claim.id: claim for claim in await queue.claim_due(4)}
    await leases_end(dsn)
    for row in (1, 2, 3):
        assert await other.claim(row)
    await asyncio.gather(
        queue.mark_failed(claims[1], "550"),
        queue.retry_later(claims[2], LATER, "451"),
        queue.mark_sent(claims[3], "250"),
        queue.mark_failed(claims[4], "550"),
    )


async def test_result_of_a_lost_claim_changes_nothing_unless_it_was_delivered(dsn: str) -> None:
    async with a_queue(dsn) as queue, a_queue(dsn) as other:
        await lose_some(dsn, queue, other)
    assert await statuses(dsn) == {
        1: ("pending", True),
        2: ("pending", True),
        3: ("sent", False),
        4: ("failed", False),
    }


async def test_without_the_check_of_the_lease_another_process_loses_its_claim(dsn: str) -> None:
    """The negative control."""
    async with a_queue(dsn) as queue, a_queue(dsn) as other:
        queue._record = queue._record.replace("ELSE n.lease = $5 END", "ELSE $5::uuid IS NOT NULL END")
        await lose_some(dsn, queue, other)
    found = await statuses(dsn)
    assert (found[1], found[2]) == (("failed", False), ("pending", False))


@pytest.mark.parametrize("guarded", [True, False])
async def test_row_that_cannot_be_recorded_fails_alone(dsn: str, guarded: bool) -> None:
    """In the negative control every error counts as an outage: the batch is not divided."""
    await pending(dsn, 3)
    async with a_queue(dsn) as queue:
        if not guarded:
            queue._results = Batches(queue._record_all, unavailable=Exception)
        claims = await queue.claim_due(3)
        async with connected(dsn) as connection:
            await connection.execute("ALTER TABLE notifications ADD CONSTRAINT odd CHECK (response <> 'odd') NOT VALID")
        try:
            results = await asyncio.gather(
                *(queue.mark_sent(claim, "odd" if claim.id == 2 else "250") for claim in claims),
                return_exceptions=True,
            )
        finally:
            async with connected(dsn) as connection:
                await connection.execute("ALTER TABLE notifications DROP CONSTRAINT odd")
    failed = [type(result) for result in results if result is not None]
    if guarded:
        assert failed == [asyncpg.CheckViolationError]
        assert await statuses(dsn) == {1: ("sent", False), 2: ("pending", True), 3: ("sent", False)}
    else:
        assert len(failed) == 3
        assert set((await statuses(dsn)).values()) == {("pending", True)}


@pytest.mark.parametrize("number", [1, 8])
async def test_claims_are_renewed_and_released_together(dsn: str, number: int) -> None:
    await pending(dsn, number)
    async with a_queue(dsn) as queue:
        claims = await queue.claim_due(number)
        await leases_end(dsn)
        await asyncio.gather(*(queue.renew(claim) for claim in claims))
        assert await queue.claim_due(number) == []
        await asyncio.gather(*(queue.release(claim) for claim in claims))
    assert await statuses(dsn) == {claim.id: ("pending", False) for claim in claims}
