"""A log that cannot be written stops nothing: bookings are answered and delivered, and processes end in time."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.callers import Address, Caller, request
from tests.support.databases import a_database, drop
from tests.support.load import many_users, some_events
from tests.support.messages import until
from tests.support.processes import (
    API,
    CRM,
    WORKER,
    ApiProcess,
    ended_elsewhere,
    running_apis,
    running_crm_process,
    running_workers,
    server_environ,
)

BOOKINGS = 10
LOGS = (f"{API[0]}-0.log", f"{WORKER[0]}-worker-0.log", f"{CRM[0]}-0.log")
RAISING = "tests.support.raising_log"
RAISING_LOGS = (f"{RAISING}-0.log", f"api/{RAISING}-0.log", f"{RAISING}-worker-0.log")
Process: TypeAlias = "subprocess.Popen[bytes]"


@pytest.fixture
async def crm_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    dsn = await a_database(postgres, template="template1")
    yield dsn
    await drop(postgres, dsn)


@pytest.fixture
def raising_environ(database_url: str, crm_dsn: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    environ = server_environ(database_url, redis_url, tmp_path, log_level="info", crm_database_url=crm_dsn)
    return environ | {"CRM_SERVICE_URL": "http://127.0.0.1:9"}


@contextlib.contextmanager
def unwritable(kind: str, directory: Path, names: tuple[str, ...] = LOGS) -> Iterator[list[int]]:
    """The logs of processes, which write to them as to a file. Yields the reading ends of the pipes among them."""
    with contextlib.ExitStack() as stack:
        pipes = []
        for name in names:
            (directory / name).parent.mkdir(exist_ok=True)
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


@contextlib.asynccontextmanager
async def raising(environ: dict[str, str], directory: Path) -> AsyncIterator[tuple[ApiProcess, ApiProcess, Process]]:
    """CRM, API and worker with a log that blocks and raises where standard error does."""
    async with ended_elsewhere() as running:
        crm = running.enter_context(running_crm_process(environ, directory, (RAISING, "crm", "serve", "--fd")))
        (api,) = running.enter_context(running_apis(1, environ, directory / "api", (RAISING, "api", "--fd")))
        (worker,) = running.enter_context(running_workers(1, environ, directory, (RAISING, "worker")))
        yield crm, api, worker


async def test_with_a_log_that_raises_services_fail(raising_environ: dict[str, str], tmp_path: Path) -> None:
    """The negative control of "full" and "closed"."""
    with unwritable("full", tmp_path, RAISING_LOGS):
        async with raising(raising_environ, tmp_path) as (crm, api, worker):
            for process, path in ((api, "/events"), (crm, "/")):
                answers = []
                with contextlib.suppress(ConnectionError):
                    caller = await Caller.connect(process.address)
                    for _ in range(2):
                        answers.append((await caller(request("GET", path))).status)
                assert answers in ([], [200])
            assert await asyncio.to_thread(worker.wait, 20) != 0


async def test_with_a_log_that_blocks_services_stop(raising_environ: dict[str, str], tmp_path: Path) -> None:
    """The negative control of "unread": the event loop of each process waits for the reader of the pipe."""
    with unwritable("unread", tmp_path, RAISING_LOGS):
        async with raising(raising_environ, tmp_path) as (crm, api, worker):
            requests = [
                asyncio.create_task(_ask(process.address, path)) for process, path in ((api, "/events"), (crm, "/"))
            ]
            for process in (crm.process, api.process, worker):
                await until(lambda pid=process.pid: "pipe_write" in Path(f"/proc/{pid}/wchan").read_text())  # type: ignore[misc]
                process.kill()  # it would not end by a signal that its event loop has to handle
            await asyncio.gather(*requests, return_exceptions=True)


async def _ask(address: Address, path: str) -> None:
    await (await Caller.connect(address))(request("GET", path))


async def _is_zero(database: asyncpg.Connection, query: str) -> bool:
    return bool(await database.fetchval(query) == 0)
