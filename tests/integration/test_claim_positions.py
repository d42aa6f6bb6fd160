"""Claims that begin where the claim before ended, while old row versions stay in the index of due messages."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from domain.outbox import Delivered, Destination, Message
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import claims, positions
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.positions import LATE_COMMIT, LONGEST_REST
from tests.support.messages import add_message

LEASE = timedelta(minutes=1)


class Worker:
    """Its clock stands still, so that a full look comes only after `rest`."""

    def __init__(self, database: Database) -> None:
        self.outbox = PostgresOutboxClaims(database)
        self.seconds = 1.0
        self.outbox._positions.now = lambda: self.seconds

    def rest(self) -> None:
        self.seconds += LONGEST_REST

    async def claim(self, limit: int = 8) -> list[Message]:
        return list(await self.outbox.claim(Destination.CRM, limit=limit, lease=LEASE, probe_every=LEASE))


@pytest.fixture
async def worker(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setattr(positions, "LARGE_BYTES", -1)
    own = Database(database_url)
    worker = Worker(own)
    await worker.claim()
    yield worker
    await own.close()


async def make_due(database: asyncpg.Connection, before: timedelta) -> None:
    """As if the transaction that wrote the message had begun so long before."""
    await database.execute("UPDATE outbox SET due_at = now() - $1::interval WHERE claimed_by IS NULL", before)


async def test_message_that_commits_late_is_found_by_the_next_claim(
    database: asyncpg.Connection, worker: Worker
) -> None:
    await add_message(database)
    await make_due(database, LATE_COMMIT / 2)
    assert len(await worker.claim()) == 1


@pytest.mark.parametrize("looks", [True, False])
async def test_message_that_commits_later_is_found_by_the_next_full_look(
    database: asyncpg.Connection, worker: Worker, looks: bool
) -> None:
    """The negative control never looks at all messages."""
    await add_message(database)
    await make_due(database, timedelta(minutes=5))
    assert await worker.claim() == []
    if looks:
        worker.rest()
    assert len(await worker.claim()) == looks


async def test_messages_with_one_due_time_are_claimed_one_after_the_other(
    database: asyncpg.Connection, worker: Worker
) -> None:
    for _ in range(5):
        await add_message(database)
    await make_due(database, timedelta(minutes=5))
    worker.rest()
    assert [len(await worker.claim(2)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("is_made_due", [True, False])
async def test_message_that_waited_for_its_predecessor_is_found(
    database: asyncpg.Connection, worker: Worker, monkeypatch: pytest.MonkeyPatch, is_made_due: bool
) -> None:
    """Claims have passed its due time meanwhile. The negative control leaves that time as it is."""
    if not is_made_due:
        without = claims._RECORD.replace("OR due_at < now() - interval", "AND due_at < now() - interval")
        assert without != claims._RECORD
        monkeypatch.setattr(claims, "_RECORD", without)
    ordering_key = f"booking:{uuid4()}"
    for _ in range(2):
        await add_message(database, ordering_key=ordering_key)
    await make_due(database, timedelta(minutes=5))
    worker.rest()
    (first,) = await worker.claim()
    assert await worker.claim() == []
    assert await worker.outbox.record_result(first, Delivered(), took=LEASE, retry_in=None) is True
    assert len(await worker.claim()) == is_made_due


async def test_small_index_is_read_from_its_start(database: asyncpg.Connection, database_url: str) -> None:
    own = Database(database_url)
    worker = Worker(own)
    assert await worker.claim() == []
    await add_message(database)
    await make_due(database, timedelta(minutes=5))
    assert len(await worker.claim()) == 1
    await own.close()


async def test_results_are_recorded_by_the_primary_key_also_with_a_plan_made_for_an_empty_table(
    database_url: str,
) -> None:
    own = Database(database_url)
    arrays = [["delivered"], [None], [LEASE], [200], [""], [False], [False], ["crm"], [0]]
    async with own.connection() as connection:
        for statement, values in (
            (claims._RECORD, [[uuid4()], uuid4(), [1], *arrays, 0, [None]]),
            (claims._RENEW, [[uuid4()], uuid4(), [1], LEASE]),
            (claims._RELEASE, [[uuid4()], uuid4(), [1]]),
        ):
            plan = [row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values)]
            changed = next(index for index, line in enumerate(plan) if "Update on outbox " in line)
            scan = next(line for line in plan[changed:] if " on outbox " in line and "Scan" in line)
            assert "using pk_outbox" in scan, plan
    await own.close()
