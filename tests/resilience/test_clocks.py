"""Machines with a wrong clock: what is due, expired or started is decided by the clock of the database."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from domain.accounts import UserId
from domain.errors import Unauthenticated
from domain.events import EventId, EventStarted
from infrastructure import container
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres.bookings.seats import RESERVE, PostgresSeatInventory
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings
from tests.support.callers import Caller, request
from tests.support.databases import a_database
from tests.support.load import many_users, some_events
from tests.support.machine_clock import SystemClock
from tests.support.messages import until
from tests.support.processes import (
    ended_elsewhere,
    running_apis,
    running_crm_process,
    running_workers,
    server_environ,
)
from tests.support.wrong_clock import MODULE, wrong_clock

HOURS = timedelta(hours=2)
WEEK = timedelta(days=7)
METRICS_TOKEN = "a-metrics-token-of-these-tests"
SIGNING_SECRET = "bm8gc2VjcmV0LCBvbmx5IG9mIHRoZXNlIHRlc3Rz"


@pytest.fixture
async def holds(database_url: str, database: asyncpg.Connection) -> AsyncIterator[list[int]]:
    """Two unpaid bookings that hold their seats for an hour."""
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=10)
    own = Database(database_url)
    seats = PostgresSeatInventory(own, gateway="sandbox", reserve=RESERVE)
    booked = [
        await seats.reserve(
            event_id=EventId(event),
            user_id=UserId(client.id),
            notes=None,
            now=SystemClock().now(),
            hold_for=timedelta(hours=1),
            request_id=None,
        )
        for client in await many_users(database, 2)
    ]
    yield [each.id for each in booked if each is not None]
    await own.close()


async def expire(database: asyncpg.Connection, booking: int) -> None:
    await database.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", booking)


async def is_cancelled(database: asyncpg.Connection, booking: int) -> bool:
    return bool(await database.fetchval("SELECT status = 'cancelled' FROM bookings WHERE id = $1", booking))


def logged(log: Path, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def rounds(log: Path) -> list[object]:
    """How many holds each round has ended, of those that found some."""
    return [line["done"] for line in logged(log, "periodic_task_done") if line["task"] == "expire_holds"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ahead": HOURS.total_seconds()},
        {"ahead": -HOURS.total_seconds()},
        {"ahead": HOURS.total_seconds(), "jumps": True, "look_every": 0.1},
    ],
    ids=["ahead", "behind", "jumps ahead"],
)
async def test_worker_with_a_wrong_clock_ends_each_hold_at_its_time(
    holds: list[int],
    wrong: dict[str, object],
    database_url: str,
    redis_url: str,
    database: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    overdue, held = holds
    environ = server_environ(database_url, redis_url, tmp_path, crm_service_url="http://127.0.0.1:9", log_level="info")
    log = tmp_path / f"{MODULE}-worker-0.log"
    with running_workers(1, environ, tmp_path, wrong_clock("worker", **wrong)) as (worker,):
        await until(lambda: bool(logged(log, "worker_started")))
        if wrong.get("jumps"):
            assert logged(log, "clock.differs") == []
            os.kill(worker.pid, signal.SIGUSR1)
        await until(lambda: bool(logged(log, "clock.differs")))
        await expire(database, overdue)
        await until(lambda: bool(rounds(log)))
        assert rounds(log) == [1]
        assert await is_cancelled(database, overdue)
        assert not await is_cancelled(database, held)
        await expire(database, held)
        await until(lambda: is_cancelled(database, held))
    (line,) = logged(log, "clock.differs")
    assert line["seconds"] == pytest.approx(wrong["ahead"], abs=1)


async def test_by_a_wrong_clock_of_the_machine_holds_end_too_early_or_too_late(
    holds: list[int], database: asyncpg.Connection, make_settings: Callable[..., Settings]
) -> None:
    """The negative control: the same use case by the machine's clock."""
    overdue, held = holds
    await expire(database, overdue)
    for ahead, expired in ((-HOURS, 0), (HOURS, 2)):
        parts = container.build_deliveries(make_settings(), container.Substitutes(clock=SystemClock(ahead)))
        assert await parts.money.expire_holds() == expired
        await parts.close()
    assert await is_cancelled(database, held)


async def test_facilitator_is_mailed_with_all_processes_a_week_ahead(
    postgres: EmbeddedPostgres, database_url: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """The booking is accepted with a token that the database's clock accepts, and its signed message by the CRM, which
    mails it."""
    crm_dsn = await a_database(postgres, template="template1")
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=10, price=0)
    (tmp_path / "crm").mkdir()
    crm_environ = server_environ(
        database_url, redis_url, tmp_path, crm_database_url=crm_dsn, crm_signing_secrets=SIGNING_SECRET
    )
    ahead = WEEK.total_seconds()
    async with ended_elsewhere() as running:
        crm = running.enter_context(
            running_crm_process(crm_environ, tmp_path / "crm", wrong_clock("crm", "serve", "--fd", ahead=ahead))
        )
        environ = server_environ(
            database_url,
            redis_url,
            tmp_path,
            crm_service_url=f"http://127.0.0.1:{crm.address[1]}",
            delivery_signing_secrets=SIGNING_SECRET,
            metrics_token=METRICS_TOKEN,
        )
        running.enter_context(running_workers(1, environ, tmp_path, wrong_clock("worker", ahead=ahead)))
        (api,) = running.enter_context(running_apis(1, environ, tmp_path, wrong_clock("api", "--fd", ahead=ahead)))
        (client,) = await many_users(database, 1)
        caller = await Caller.connect(api.address)
        assert (await caller(client.booking_request(event))).status == 201
        metrics = (await caller(request("GET", "/metrics", token=METRICS_TOKEN))).body.decode()
        caller.close()
        records = await asyncpg.connect(crm_dsn)
        await until(lambda: records.fetchval("SELECT status = 'sent' FROM notifications"))
        await records.close()
    (line,) = [line for line in metrics.splitlines() if line.startswith("convene_clock_difference_seconds ")]
    assert float(line.split()[1]) == pytest.approx(ahead, abs=1)
    for log in (crm.log, api.log, tmp_path / f"{MODULE}-worker-0.log"):
        assert len(logged(log, "clock.differs")) == 1, log


async def test_by_the_clock_of_the_machine_tokens_expire_and_events_begin_too_early(
    database: asyncpg.Connection, make_settings: Callable[..., Settings]
) -> None:
    """The negative control."""
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=10, price=0)
    (client,) = await many_users(database, 1)
    clock = SystemClock(WEEK + timedelta(hours=1))
    parts = container.build(make_settings(), container.Substitutes(clock=clock))
    with pytest.raises(Unauthenticated):
        await parts.use_cases.authenticate(client.token)
    async with parts.open_work() as work:
        user = await work.users.get(UserId(client.id))
    with pytest.raises(EventStarted):
        await parts.use_cases.book_seat(user, EventId(event), None)
    await parts.close()
