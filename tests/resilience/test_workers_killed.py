"""Workers that die over what they hold, and workers beside each other: all is delivered, in order, with one effect."""

import asyncio
import json
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.databases import a_database
from tests.support.faulty_worker import faulty_worker
from tests.support.invariants import broken_invariants
from tests.support.messages import a_payload, add_message, until
from tests.support.process_harness import LONG_RUN
from tests.support.processes import WORKER, ended_elsewhere, running_crm_process, running_workers, server_environ
from tests.support.receivers import Receiver, Request, answer, receiving

TAKEN_OVER_SECONDS = 15
"""Promised: what a killed worker held is on its way again."""

CLAIMS = 64
ORDERING_KEYS = 12_500 if LONG_RUN else 150
MESSAGES_PER_ORDERING_KEY = 4


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def environ(database_url: str, redis_url: str, tmp_path: Path, crm: Receiver) -> dict[str, str]:
    return server_environ(
        database_url, redis_url, tmp_path, crm_service_url=crm.url, log_level="info", delivery_retry_schedule="0,1,1"
    )


class HangingReceiver:
    """A CRM that takes everything and answers nothing, until it is mended."""

    def __init__(self, crm: Receiver) -> None:
        self.mended = asyncio.Event()
        crm.behave = self._behave

    async def _behave(self, _request: Request, _writer: asyncio.StreamWriter) -> bytes:
        await self.mended.wait()
        return answer()


def kill(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    worker.wait()


def died_of(number: signal.Signals, worker: "subprocess.Popen[bytes]") -> bool:
    return worker.poll() == -number


async def add_messages(database: asyncpg.Connection, ordering_keys: int, each: int) -> None:
    """Messages with so many ordering keys; those of one key are far from each other."""
    await database.execute(
        """INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
           SELECT 'crm', 'test:' || lane, 'booking_created', $3, now()
           FROM generate_series(1, $2) turn, generate_series(1, $1) lane ORDER BY turn, lane""",
        ordering_keys,
        each,
        json.dumps(a_payload()),
    )


async def number_of(database: asyncpg.Connection, which: str) -> int:
    number: int = await database.fetchval(f"SELECT count(*) FROM outbox WHERE {which}")
    return number


async def out_of_order(database: asyncpg.Connection, requests: Sequence[Request]) -> list[str]:
    """The ordering keys whose messages arrived in another order."""
    place = {str(row["id"]): (row["lane"], row["seq"]) for row in await database.fetch("SELECT * FROM outbox")}
    came = defaultdict(list)
    for request in requests:
        ordering_key, seq = place[request.message_id]
        came[ordering_key].append(seq)
    return [ordering_key for ordering_key, order in came.items() if order != sorted(order)]


# Takes 12 s: a lease of 10 s ends by itself.
async def test_messages_of_a_killed_worker_are_reclaimed_in_time(
    database: asyncpg.Connection, crm: Receiver, environ: dict[str, str], tmp_path: Path
) -> None:
    stuck = HangingReceiver(crm)
    await add_messages(database, CLAIMS, 1)
    async with ended_elsewhere() as running:
        (killed,) = running.enter_context(running_workers(1, environ, tmp_path, faulty_worker(at_once=CLAIMS)))
        await until(lambda: len(crm.requests) == CLAIMS)
        running.enter_context(running_workers(1, environ, tmp_path, WORKER))
        await until(lambda: "worker_started" in (tmp_path / f"{WORKER[0]}-worker-0.log").read_text())
        assert await broken_invariants(database) == []
        stuck.mended.set()
        kill(killed)
        await until(lambda: set(Counter(crm.message_ids).values()) == {2}, TAKEN_OVER_SECONDS)
        await until(lambda: _all(database, "delivered", CLAIMS))
    assert await number_of(database, "attempts = 2") == CLAIMS
    assert await broken_invariants(database) == []


async def test_without_short_leases_messages_of_a_killed_worker_stay_claimed(
    database: asyncpg.Connection, crm: Receiver, environ: dict[str, str], tmp_path: Path
) -> None:
    HangingReceiver(crm)
    await add_messages(database, CLAIMS, 1)
    async with ended_elsewhere() as running:
        long_lease = faulty_worker(at_once=CLAIMS, lease=3600)
        (killed,) = running.enter_context(running_workers(1, environ, tmp_path, long_lease))
        await until(lambda: len(crm.requests) == CLAIMS)
        kill(killed)
    assert len(await broken_invariants(database)) == CLAIMS


# Takes 5 s: two leases of 1 s, and the CRM.
async def test_message_repeated_after_a_crash_has_the_same_id_and_one_effect(
    postgres: EmbeddedPostgres, database: asyncpg.Connection, environ: dict[str, str], tmp_path: Path
) -> None:
    message_id = await add_message(database, ordering_key="test:1")
    crm_dsn = await a_database(postgres, template="template1")
    environ |= {"CRM_DATABASE_URL": crm_dsn, "DELIVERY_RETRY_SCHEDULE": "0" + ",1" * 30}
    async with ended_elsewhere() as running:
        crm = running.enter_context(running_crm_process(environ, tmp_path))
        await crm.ready("/")
        environ |= {"CRM_SERVICE_URL": f"http://{crm.address[0]}:{crm.address[1]}"}
        effects = await asyncpg.connect(crm_dsn)
        for attempt in (1, 2):
            dying = faulty_worker(dies=True, lease=1)
            (killed,) = running.enter_context(running_workers(1, environ, tmp_path, dying))
            await until(lambda killed=killed: died_of(signal.SIGKILL, killed))  # type: ignore[misc]
            row = await database.fetchrow("SELECT status, attempts FROM outbox")
            assert row is not None
            # On a loaded machine the lease of 1 s can end before the answer, and the message is claimed once more.
            assert row["status"] == "pending"
            assert row["attempts"] >= attempt
            assert [tuple(row) for row in await effects.fetch("SELECT message_id FROM notifications")] == [
                (str(message_id),)
            ]
        # Negative control: a receiver without a unique key has the second effect.
        await effects.execute("ALTER TABLE notifications DROP CONSTRAINT uq_notifications_message_id")
        running.enter_context(running_workers(1, environ, tmp_path, WORKER))
        await until(lambda: _all(database, "delivered", 1))
        assert await effects.fetchval("SELECT count(*) FROM notifications") == 2
        await effects.close()


# Takes 8 s: 2,000 messages.
async def test_two_workers_deliver_in_order_once_and_dead_letter_the_poison_message(
    database: asyncpg.Connection, crm: Receiver, environ: dict[str, str], tmp_path: Path
) -> None:
    number = ORDERING_KEYS * MESSAGES_PER_ORDERING_KEY
    await add_messages(database, ORDERING_KEYS, MESSAGES_PER_ORDERING_KEY)
    poison = await database.fetchval(
        """UPDATE outbox SET snapshot = jsonb_set(snapshot, '{event,starts_at}', '"the day after tomorrow"')
           WHERE seq = (SELECT min(seq) + 300 FROM outbox) RETURNING id"""
    )
    # On a loaded machine the receiver can take longer than a claim lasts: it would come twice.
    patient = faulty_worker(lease=150, seconds=120)
    async with ended_elsewhere() as running:
        running.enter_context(running_workers(2, environ, tmp_path, patient))
        await until(lambda: _is_dry(database), 600)
    assert await number_of(database, "status = 'delivered'") == number - 1
    assert len(crm.requests) == len(set(crm.message_ids)) == number - 1
    assert await out_of_order(database, crm.requests) == []
    assert await database.fetchval("SELECT id FROM outbox WHERE status = 'dead' AND attempts = 3") == poison
    logs = [(tmp_path / f"{patient[0]}-worker-{index}.log").read_text() for index in range(2)]
    assert all("message_delivered" in log for log in logs)
    assert await broken_invariants(database) == []


async def test_without_ordering_keys_the_order_is_broken(
    database: asyncpg.Connection, crm: Receiver, environ: dict[str, str], tmp_path: Path
) -> None:
    seen: set[str] = set()

    async def refuses_some_at_first(request: Request, _writer: asyncio.StreamWriter) -> bytes:
        is_new = request.message_id not in seen
        seen.add(request.message_id)
        return answer(500 if is_new and len(seen) % 7 == 0 else 200)

    crm.behave = refuses_some_at_first
    await add_messages(database, 2, 50)
    async with ended_elsewhere() as running:
        running.enter_context(running_workers(1, environ, tmp_path, faulty_worker(unordered=True)))
        await until(lambda: _all(database, "delivered", 100))
    assert await out_of_order(database, crm.requests) != []


async def _is_dry(database: asyncpg.Connection) -> bool:
    """Asked seldom: there are other things to do meanwhile."""
    await asyncio.sleep(0.2)
    return await number_of(database, "status = 'pending'") == 0


async def _all(database: asyncpg.Connection, status: str, number: int) -> bool:
    return await number_of(database, f"status = '{status}'") == number
