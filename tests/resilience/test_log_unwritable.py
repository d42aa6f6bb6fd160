"""A log that cannot be written stops nothing: bookings are answered and delivered, and processes end in time."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.callers import Caller, request
from tests.support.databases import a_database, drop
from tests.support.load import many_users, some_events
from tests.support.messages import until
from tests.support.processes import (
    API,
    CRM,
    WORKER,
    ended_elsewhere,
    running_apis,
    running_crm_process,
    running_workers,
    server_environ,
)

BOOKINGS = 10
LOGS = (f"{API[0]}-0.log", f"{WORKER[0]}-worker-0.log", f"{CRM[0]}-0.log")
RAISING = "tests.support.raising_log"
RAISING_LOGS = (f"{RAISING}-0.log", f"{RAISING}-worker-0.log")


@pytest.fixture
async def crm_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    dsn = await a_database(postgres, template="template1")
    yield dsn
    await drop(postgres, dsn)


@contextlib.contextmanager
def unwritable(kind: str, directory: Path, names: tuple[str, ...] = LOGS) -> Iterator[list[int]]:
    """The logs of processes, which write to them as to a file. Yields the reading ends of the pipes among them."""
    with contextlib.ExitStack() as stack:
        pipes = []
        for name in names:
            if kind == "full":
                (directory / name).symlink_to("/dev/full")
                continue
            os.mkfifo(directory / name)
            reading = os.open(directory / name, os.O_RDONLY | os.O_NONBLOCK)
            pipes.append(reading)
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
            if kind == "unread":
                stack.callback(os.close, reading)
                writing = os.open(directory / name, os.O_WRONLY | os.O_NONBLOCK)
                os.write(writing, b"x" * 4096)
                os.close(writing)
        yield pipes


@pytest.mark.parametrize("kind", ["full", "closed", "unread"])
async def test_bookings_are_answered_and_delivered(
    kind: str, database_url: str, crm_dsn: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=100, price=0)
    guests = await many_users(database, BOOKINGS + 1)
    environ = server_environ(database_url, redis_url, tmp_path, log_level="info", crm_database_url=crm_dsn)
    with unwritable(kind, tmp_path) as pipes:
        async with ended_elsewhere() as running:
            crm = running.enter_context(running_crm_process(environ, tmp_path))
            environ |= {"CRM_SERVICE_URL": f"http://{crm.address[0]}:{crm.address[1]}"}
            (worker,) = running.enter_context(running_workers(1, environ, tmp_path))
            (api,) = running.enter_context(running_apis(1, environ, tmp_path))
            if kind == "closed":
                for pipe in pipes:
                    os.close(pipe)
            caller = await Caller.connect(api.address)
            assert (await caller(request("GET", "/health"))).status == 200

            # Errors are logged with their tracebacks while the tables are missing.
            crm_database = await asyncpg.connect(crm_dsn)
            for each, table in ((database, "outbox"), (crm_database, "notifications")):
                await each.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
            failed = await caller(guests[-1].booking_request(event))
            assert (failed.status, failed.json["code"]) == (500, "internal_error")
            await asyncio.sleep(2.2)  # The worker claims every two seconds, the CRM every second.
            for each, table in ((database, "outbox"), (crm_database, "notifications")):
                await each.execute(f"ALTER TABLE {table}_away RENAME TO {table}")

            for guest in guests[:BOOKINGS]:
                assert (await caller(guest.booking_request(event))).status == 201
            caller.close()
            pending = "SELECT count(*) FROM outbox WHERE status <> 'delivered'"
            await until(lambda: _is_zero(database, pending))
            await until(lambda: _is_zero(crm_database, "SELECT count(*) FROM notifications WHERE status <> 'sent'"))
            assert await crm_database.fetchval("SELECT count(*) FROM notifications") == BOOKINGS
            await crm_database.close()
            for process in (worker, api.process, crm.process):
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0


async def test_with_a_log_that_raises_services_fail(
    database_url: str, crm_dsn: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """The negative control."""
    environ = server_environ(database_url, redis_url, tmp_path, log_level="info", crm_database_url=crm_dsn)
    environ |= {"CRM_SERVICE_URL": "http://127.0.0.1:9"}
    with unwritable("full", tmp_path, RAISING_LOGS):
        async with ended_elsewhere() as running:
            (worker,) = running.enter_context(running_workers(1, environ, tmp_path, (RAISING, "worker")))
            (api,) = running.enter_context(running_apis(1, environ, tmp_path, (RAISING, "api", "--fd")))
            caller = await Caller.connect(api.address)
            answers = []
            with contextlib.suppress(ConnectionError):
                for _ in range(2):
                    answers.append((await caller(request("GET", "/events"))).status)
            assert answers in ([], [200])
            assert await asyncio.to_thread(worker.wait, 20) != 0


async def _is_zero(database: asyncpg.Connection, query: str) -> bool:
    return bool(await database.fetchval(query) == 0)
