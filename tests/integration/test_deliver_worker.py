"""The worker as a process: without Redis, without PostgreSQL for a while, stopped, killed, misconfigured."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from tests.support.messages import EXPIRE_LEASES, add_message, until
from tests.support.receivers import Receiver, Request, answer, receiving
from tests.support.servers import running_postgres

Start = Callable[..., Awaitable["RunningWorker"]]


class RunningWorker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            self._lines.append(line.decode())

    def said(self, text: str) -> bool:
        return any(text in line for line in self._lines)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int, str]:
        """The exit status and what was said on standard error."""
        await asyncio.wait_for(self._reading, 30)
        return await self._process.wait(), "".join(self._lines)

    async def stop(self) -> list[dict[str, Any]]:
        """Asks it to stop, as an init system does; its log."""
        self.send(signal.SIGTERM)
        status, said = await self.end()
        assert status == 0, said
        assert "Traceback" not in said
        return [json.loads(line) for line in said.splitlines()]

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.end()


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def start(crm: Receiver, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a worker for a database; there is no Redis."""
    workers: list[RunningWorker] = []

    async def start(database_url: str, **environ: str) -> RunningWorker:
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": f"unix://{tmp_path}/no-redis.sock",
            "CONVENE_DATA": str(tmp_path),
            "JWT_SECRET_KEY": "k" * 32,
            "CRM_SERVICE_URL": crm.url,
            "CRM_BEARER_TOKEN": "a token of the tests",
            "BACKEND_SERVICE_TOKEN": "another token of the tests",
            "LOG_LEVEL": "info",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interfaces.cli", "worker"),
            env=os.environ | settings | environ,
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
        )
        workers.append(RunningWorker(process))
        return workers[-1]

    yield start
    for worker in workers:
        await worker.kill()


async def status_of(database: asyncpg.Connection, message_id: UUID) -> str:
    return str(await database.fetchval("SELECT status FROM outbox WHERE id = $1", message_id))


async def is_delivered(database: asyncpg.Connection, message_id: UUID) -> bool:
    return await status_of(database, message_id) == "delivered"


async def test_worker_without_redis_delivers_everywhere_and_stops_cleanly(
    database_url: str, database: asyncpg.Connection, crm: Receiver, start: Start, tmp_path: Path
) -> None:
    sent, mailed = await add_message(database), await add_message(database, destination="email")
    worker = await start(database_url)
    for message_id in (sent, mailed, await add_message(database)):
        await until(partial(is_delivered, database, message_id))
    log = await worker.stop()
    assert len(crm.requests) == 2
    assert len(await asyncio.to_thread(lambda: list((tmp_path / "mail").glob("*.eml")))) == 1
    assert [line["event"] for line in log].count("redis_unavailable") == 1
    [line] = [line for line in log if line.get("message_id") == str(sent)]
    assert line["event"] == "message_delivered"
    known = {name: line[name] for name in ("request_id", "destination", "attempt", "result", "status_code")}
    assert known == {
        "request_id": "req-1",
        "destination": "crm",
        "attempt": 1,
        "result": "delivered",
        "status_code": 200,
    }


async def test_stopping_worker_finishes_deliveries_in_flight(
    database_url: str, database: asyncpg.Connection, crm: Receiver, start: Start
) -> None:
    async def slowly(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.5)
        return answer()

    crm.behave = slowly
    message_id = await add_message(database)
    worker = await start(database_url)
    await until(lambda: bool(crm.requests))
    await worker.stop()
    assert await is_delivered(database, message_id)


async def test_message_of_a_killed_worker_is_delivered_by_the_next(
    database_url: str, database: asyncpg.Connection, crm: Receiver, start: Start
) -> None:
    async def hang_at_first(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
        if len(crm.requests) == 1:
            await asyncio.sleep(3600)
        return answer()

    crm.behave = hang_at_first
    message_id = await add_message(database)
    killed = await start(database_url)
    await until(lambda: bool(crm.requests))
    await killed.kill()
    assert await status_of(database, message_id) == "pending"
    await database.execute(EXPIRE_LEASES)
    await start(database_url)
    await until(lambda: is_delivered(database, message_id))
    assert crm.message_ids == [str(message_id)] * 2


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres("convene") as server:
        migrations.upgrade(server.dsn("convene"))
        yield server


async def test_worker_survives_a_restart_of_postgresql(own_postgres: EmbeddedPostgres, start: Start) -> None:
    worker = await start(own_postgres.dsn("convene"))
    database = await asyncpg.connect(own_postgres.dsn("convene"))
    first_id = await add_message(database)
    # Its destinations have made their first claims then: of those in flight some would succeed during the shutdown.
    await until(lambda: is_delivered(database, first_id))
    await database.close()
    own_postgres.stop()
    await until(lambda: worker.said("database_unavailable"))
    own_postgres.start()
    database = await asyncpg.connect(own_postgres.dsn("convene"))
    message_id = await add_message(database)
    await until(lambda: is_delivered(database, message_id))
    await database.close()
    events = [line["event"] for line in await worker.stop()]
    assert events.count("database_unavailable") == 1
    assert events.count("database_recovered") == 1


async def test_worker_without_a_database_waits_for_its_clock_until_it_is_stopped(start: Start) -> None:
    worker = await start("postgresql://convene@127.0.0.1:1/convene")
    await until(lambda: worker.said("clock.not_read"))
    events = [line["event"] for line in await worker.stop()]
    assert events.count("clock.not_read") == 1
    assert "worker_started" not in events
    assert events[-1] == "worker_stopped"


async def test_database_without_tables_is_reported_in_one_line(postgres: EmbeddedPostgres, start: Start) -> None:
    connection = await asyncpg.connect(postgres.superuser_dsn())
    await connection.execute("CREATE DATABASE without_tables OWNER convene")
    await connection.close()
    status, said = await (await start(postgres.dsn("without_tables"))).end()
    assert status != 0
    # The log is written by a thread, so its last line may come later.
    [line] = [line for line in said.splitlines() if not line.startswith("{")]
    assert line.startswith("convene: DATABASE_URL: this database has no tables yet: run `convene migrate`")
    assert "Traceback" not in said


async def test_invalid_smtp_url_is_reported_in_one_line(database_url: str, start: Start) -> None:
    status, said = await (await start(database_url, SMTP_URL="smtp://mail.example?tls=yes")).end()
    assert status != 0
    assert said == (
        "convene: SMTP_URL: after the host and port only ?starttls=1 or ?starttls=0 is understood, "
        "for example smtp://user:password@host:587?starttls=1\n"
    )
