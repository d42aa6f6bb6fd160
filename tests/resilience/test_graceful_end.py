"""Asked to end: not ready first, what is under way is finished, no message waits for a lease; asked twice, at once."""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from application.outbox.delivery import DeliverMessages
from infrastructure.embedded import processes
from tests.support.callers import Address, Caller
from tests.support.command import running_up
from tests.support.load import many_users, some_events
from tests.support.messages import add_message, until
from tests.support.people import People
from tests.support.processes import API, ApiProcess, server_environ
from tests.support.receivers import Receiver, Request, answer, receiving

AT_ONCE: int = inspect.signature(DeliverMessages).parameters["at_once"].default
"""So many messages of a destination a worker hands over at the same time."""

PROMISED_SECONDS = 10
Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


# The API


@contextlib.contextmanager
def an_api(environ: dict[str, str], directory: Path, module: Sequence[str] = API) -> Iterator[ApiProcess]:
    process = ApiProcess(environ, directory / "api.log", module)
    try:
        yield process
    finally:
        process.stop()


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Its exit status. The limit is the promise."""
    return await asyncio.to_thread(process.wait, PROMISED_SECONDS)


async def test_stopping_api_is_unready_first_and_finishes_requests(
    database_url: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    environ = server_environ(database_url, redis_url, tmp_path, drain_seconds="2")
    with an_api(environ, tmp_path) as api:
        await api.ready()
        address = f"http://{api.address[0]}:{api.address[1]}"
        async with httpx.AsyncClient(base_url=address, timeout=20) as client:
            assert (await client.get("/health/ready")).json()["status"] == "ready"
            john = await People(client).facilitator()
            created = await john.creates_event()
            async with database.transaction():
                # A booking waits for this row.
                await database.execute("SELECT 1 FROM events FOR UPDATE")
                booking = asyncio.create_task(john.post("/bookings", {"event_id": created["id"]}))
                await until(lambda: _waits(database_url))
                os.kill(api.pid, signal.SIGTERM)
                await until(lambda: _is_draining(client))
                ready = await client.get("/health/ready")
                assert (ready.status_code, ready.headers["retry-after"]) == (503, "2")
                assert (await client.get("/health/live")).status_code == 200
                assert (await client.get("/health")).status_code == 200
                assert (await client.get("/events")).status_code == 200
                assert not booking.done()
            assert (await booking).status_code == 201
        assert await ended(api.process) == 0


@pytest.mark.parametrize("module", [API, ("tests.support.abrupt_shutdown",)], ids=["graceful", "abrupt"])
# Takes 4 s: 2 s to drain, with requests before and meanwhile.
async def test_keep_alive_clients_lose_no_request_when_a_process_stops(
    database_url: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path, module: tuple[str, ...]
) -> None:
    """Answers carry `Connection: close`, and the process waits until every client has got one. The negative control
    sends none: clients send another request and get no answer."""
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=100_000)
    people = iter(await many_users(database, 4_000))
    booked: list[int] = []

    async def book_until_closed(address: Address, pause: float) -> None:
        caller = await Caller.connect(address)
        connection = None
        while connection != "close":
            answer = await caller(next(people).booking_request(event))
            booked.append(answer.json["booking"]["id"])
            connection = answer.header("Connection")
            await asyncio.sleep(pause)  # a client in the middle of a request at the end gets the header from the server
        caller.close()

    with an_api(server_environ(database_url, redis_url, tmp_path, drain_seconds="2"), tmp_path, module) as api:
        await api.ready()
        # Different pauses, so that some connection is idle at any time.
        busy = [asyncio.create_task(book_until_closed(api.address, 0.1 + 0.07 * n)) for n in range(8)]
        await until(lambda: len(booked) > 20)
        assert not any(task.done() for task in busy)
        os.kill(api.pid, signal.SIGTERM)
        ends = await asyncio.gather(*busy, return_exceptions=True)
        if module is not API:
            assert any(isinstance(end, ConnectionError) for end in ends), ends
            return
        assert ends == [None] * len(busy)
        assert await ended(api.process) == 0
    assert sorted(booked) == [row["id"] for row in await database.fetch("SELECT id FROM bookings ORDER BY id")]


async def test_second_signal_stops_the_api_immediately(
    database_url: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    environ = server_environ(database_url, redis_url, tmp_path, drain_seconds="5")
    with an_api(environ, tmp_path) as api:
        await api.ready()
        address = f"http://{api.address[0]}:{api.address[1]}"
        async with httpx.AsyncClient(base_url=address, timeout=20) as client, database.transaction():
            await database.execute("LOCK TABLE events")
            listing = asyncio.create_task(client.get("/events"))
            await until(lambda: _waits(database_url))
            os.kill(api.pid, signal.SIGTERM)
            await until(lambda: _is_draining(client))
            os.kill(api.pid, signal.SIGTERM)
            assert await ended(api.process) == 0
            with pytest.raises(httpx.HTTPError):  # it was broken off
                await listing


async def _waits(database_url: str) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    finally:
        await connection.close()


async def _is_draining(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/health/ready")).json()["status"] == "draining")


# The worker


@pytest.fixture
def launch(database_url: str, redis_url: str, crm: Receiver, tmp_path: Path) -> Iterator[Launch]:
    """Starts a worker; its log is `worker-N.log`."""
    running: list[subprocess.Popen[bytes]] = []
    environ = server_environ(database_url, redis_url, tmp_path, crm_service_url=crm.url)

    def launch() -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-P", "-m", "interfaces.cli", "worker"]
        log = tmp_path / f"worker-{len(running)}.log"
        running.append(processes.spawn(argv, log=log, environ=environ))
        return running[-1]

    yield launch
    for process in running:
        processes.stop(process)


def log_of(worker: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.read_text().splitlines()]


class HangingReceiver:
    """A CRM that takes everything and answers nothing, until it is mended."""

    def __init__(self, crm: Receiver) -> None:
        self.mended = asyncio.Event()
        crm.behave = self._behave

    async def _behave(self, _request: Request, _writer: asyncio.StreamWriter) -> bytes:
        await self.mended.wait()
        return answer()


@pytest.mark.parametrize("signals", [1, 2])
# Takes 8 s for one signal: a worker has 7 s for deliveries in flight.
async def test_stopped_worker_releases_undelivered_messages_immediately(
    signals: int, database: asyncpg.Connection, crm: Receiver, launch: Launch, tmp_path: Path
) -> None:
    stuck = HangingReceiver(crm)
    ids = [await add_message(database) for _ in range(AT_ONCE + 6)]
    worker = launch()
    await until(lambda: len(crm.requests) == AT_ONCE)
    began = time.monotonic()
    for _ in range(signals):
        worker.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
    assert await ended(worker) == 0
    if signals == 2:
        assert time.monotonic() - began < 7  # the grace of 7 s was not used up
    held = await database.fetchval("SELECT count(*) FROM outbox WHERE claimed_by IS NOT NULL OR due_at > now()")
    assert held == 0
    assert await database.fetchval("SELECT max(attempts) FROM outbox") == 0
    stuck.mended.set()
    launch()
    await until(lambda: _delivered(database, len(ids)))
    assert not [line for line in log_of(tmp_path / "worker-0.log") if line["level"] == "error"]
    assert await database.fetchval("SELECT coalesce(sum(total), 0) FROM delivery_counts WHERE what = 'rescued'") == 0


async def test_without_graceful_stop_messages_wait_for_their_lease(
    database: asyncpg.Connection, crm: Receiver, launch: Launch
) -> None:
    """Negative control: without a graceful stop the lease has to expire."""
    HangingReceiver(crm)
    for _ in range(AT_ONCE + 6):
        await add_message(database)
    worker = launch()
    await until(lambda: len(crm.requests) == AT_ONCE)
    worker.kill()
    await ended(worker)
    held = await database.fetchval("SELECT count(*) FROM outbox WHERE claimed_by IS NOT NULL AND due_at > now()")
    assert held == AT_ONCE


async def _delivered(database: asyncpg.Connection, number: int) -> bool:
    return bool(await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'delivered'") == number)


# Everything


# Takes 10 s: a worker has 7 s for deliveries in flight.
async def test_up_stops_all_processes_gracefully(crm: Receiver, tmp_path: Path) -> None:
    """Deliveries that hang until the worker's grace is over leave it time enough to give its claims back."""
    HangingReceiver(crm)
    with running_up(tmp_path / "data", CRM_SERVICE_URL=crm.url) as up:
        async with httpx.AsyncClient(base_url=up.address("API"), timeout=20) as client:
            john = await People(client).facilitator()
            await john.creates_event()
        await until(lambda: bool(crm.requests))
        assert await asyncio.to_thread(up.stop) == 0
    log = log_of(tmp_path / "data" / "logs" / "worker-1.log")
    assert log[-1]["event"] == "worker_stopped"
