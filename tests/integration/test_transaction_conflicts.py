"""A transaction that PostgreSQL rolls back because of another one (SQLSTATE 40001, 40P01) is repeated."""

import asyncio
import contextlib
import functools
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from domain.errors import Unavailable
from domain.outbox import Destination
from infrastructure.container import build, build_deliveries
from infrastructure.postgres.engine import Database
from infrastructure.retries import TransactionConflict, count_once, make_final, repeating
from infrastructure.settings import Settings
from interfaces.workers.main import periodic_tasks, pruning_tasks
from servicekit import conflicts
from servicekit.conflicts import TRIES
from tests.support.command import convene_here
from tests.support.database_faults import DatabaseFaults
from tests.support.people import People, event
from tests.support.processes import server_environ

Request = Callable[[], Awaitable[httpx.Response]]

MESSAGES = "SELECT fact, destination, count(*) FROM outbox GROUP BY 1, 2 ORDER BY 1, 2"


@pytest.fixture
async def faults(database: asyncpg.Connection) -> DatabaseFaults:
    return await DatabaseFaults.install(database)


@pytest.fixture(params=["unit of work", "statement"])
async def request_of_a_write(request: pytest.FixtureRequest, people: People) -> Request:
    """A new event is written by a unit of work, a booking by one statement."""
    john, ada = await people.facilitator(), await people.user()
    if request.param == "unit of work":
        return functools.partial(john.post, "/events", json=event())
    event_id = (await john.creates_event())["id"]
    return functools.partial(ada.post, "/bookings", json={"event_id": event_id})


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("at_commit", [False, True])
async def test_conflict_is_repeated_without_a_second_message(
    database: asyncpg.Connection, faults: DatabaseFaults, request_of_a_write: Request, sqlstate: str, at_commit: bool
) -> None:
    before = {(row["fact"], row["destination"]): row["count"] for row in await database.fetch(MESSAGES)}
    async with faults.injected(sqlstate, at_commit=at_commit, times=TRIES - 1):
        response = await request_of_a_write()
    assert response.status_code == 201, response.text
    assert await faults.raised() >= TRIES - 1
    after = {(row["fact"], row["destination"]): row["count"] for row in await database.fetch(MESSAGES)}
    added = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
    assert added
    assert set(added.values()) == {1}


async def test_conflict_under_an_idempotency_key_is_repeated(
    people: People, database: asyncpg.Connection, faults: DatabaseFaults
) -> None:
    john, ada = await people.facilitator(), await people.user()
    async with faults.injected("40001", times=TRIES - 1):
        created = await john.post("/events", json=event(), key="event")
    event_id = created.json()["event"]["id"]
    async with faults.injected("40001", at_commit=True, times=TRIES - 1):
        booked = await ada.post("/bookings", json={"event_id": event_id}, key="booking")
    again = await ada.post("/bookings", json={"event_id": event_id}, key="booking")
    assert (created.status_code, booked.status_code) == (201, 201)
    assert again.json() == booked.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert await database.fetchval("SELECT count(*) FROM bookings") == 1


async def test_conflict_without_end_is_an_outage(faults: DatabaseFaults, request_of_a_write: Request) -> None:
    async with faults.injected("40001"):
        response = await request_of_a_write()
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert await faults.raised() == TRIES


async def test_control_without_repetition(
    faults: DatabaseFaults, request_of_a_write: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with one try, one conflict is an outage."""
    monkeypatch.setattr(conflicts, "TRIES", 1)
    async with faults.injected("40001", times=1):
        assert (await request_of_a_write()).status_code == 503
    assert (await request_of_a_write()).status_code == 201


@pytest.mark.parametrize("sqlstate", ["25006", "53100", "40001"])
async def test_command_says_in_a_line_that_the_database_is_unavailable(
    people: People, faults: DatabaseFaults, make_settings: Callable[..., Settings], tmp_path: Path, sqlstate: str
) -> None:
    ada, settings = await people.user(), make_settings()
    environ = server_environ(settings.database_url, settings.redis_url, tmp_path)

    async def promote() -> "subprocess.CompletedProcess[str]":
        arguments = ("users", "promote", ada.email, "facilitator")
        return await asyncio.to_thread(convene_here, *arguments, cwd=tmp_path, environ=environ)

    async with faults.injected(sqlstate):
        done = await promote()
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert Unavailable.message in line
    async with faults.injected("40P01", times=1):
        done = await promote()
    assert (done.returncode, done.stdout.strip()) == (0, f"{ada.email} is facilitator"), done.stderr


@pytest.mark.parametrize("sqlstate", ["25006", "53100", "57P01"])
async def test_worker_goes_on_after_an_outage(
    database: asyncpg.Connection, faults: DatabaseFaults, make_settings: Callable[..., Settings], sqlstate: str
) -> None:
    """Every periodic task raises an outage or writes nothing, and works again afterwards."""
    await database.execute(
        """INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
           VALUES ('crm', 'a', 'booking_created', '{}', now())"""
    )
    parts = build_deliveries(make_settings())
    tasks: list[Callable[[], Awaitable[object]]] = [
        *(task.work for task in periodic_tasks(parts)),
        *(functools.partial(task.prune, timedelta(0)) for task in pruning_tasks(parts)),
    ]
    try:
        async with faults.injected(sqlstate):
            for task in tasks:
                with contextlib.suppress(Unavailable):
                    await task()
            with pytest.raises(Unavailable):
                await parts.deliver_due.claim(Destination.CRM, 1)
        for task in tasks:
            await task()
        assert len(await parts.deliver_due.claim(Destination.CRM, 1)) == 1
    finally:
        await parts.close()


@dataclass(frozen=True, slots=True)
class Work:
    steps: list[str] = field(default_factory=list)
    conflicts: int = 1
    effect: Callable[[], Any] = lambda: None

    async def __call__(self) -> int:
        self.steps.append("begin")
        self.effect()
        if self.steps.count("begin") <= self.conflicts:
            raise TransactionConflict
        return len(self.steps)

    async def inside(self) -> int:
        return await self()


@dataclass(frozen=True, slots=True)
class Parts:
    work: Work


def test_every_use_case_of_the_container_is_repeated(make_settings: Callable[..., Settings]) -> None:
    parts = build(make_settings())
    groups = (parts.use_cases, parts.administration, parts.appointment, parts.feeds, parts.calendars)
    values = [getattr(group, each.name) for group in groups for each in fields(group)]
    found = [type(value) for value in values if type(value).__module__.startswith("application.")]
    assert len(found) > 70
    assert all(kind.__bases__[0].__name__ == kind.__name__ for kind in found)


@pytest.mark.parametrize("call", ["__call__", "inside"])
async def test_use_case_is_repeated_as_a_whole(call: str) -> None:
    assert await getattr(repeating(Parts(Work())).work, call)() == 2
    work = Work(conflicts=9)
    with pytest.raises(Unavailable):
        await getattr(repeating(Parts(work)).work, call)()
    assert len(work.steps) == TRIES


async def test_use_case_is_not_repeated_after_an_effect_outside_of_the_transaction() -> None:
    work = Work(effect=make_final)
    with pytest.raises(Unavailable):
        await repeating(Parts(work)).work()
    assert len(work.steps) == 1


async def test_repetition_counts_once_at_a_rate_limit() -> None:
    counted = []
    work = Work(effect=lambda: counted.append(count_once("log-in", "ada")))
    await repeating(Parts(work)).work()
    assert counted == [True, False]
    assert count_once("log-in", "ada")


async def test_commit_and_statement_that_writes_end_the_repetition(database_url: str) -> None:
    database = Database(database_url)
    finals: list[str] = []

    @dataclass(frozen=True, slots=True)
    class Writes:
        statement: str

        async def __call__(self) -> None:
            finals.append(self.statement)
            async with database.connection() as connection:
                await connection.execute(self.statement)
            raise TransactionConflict

    @dataclass(frozen=True, slots=True)
    class Both:
        reads: Writes
        writes: Writes

    both = repeating(Both(Writes("SELECT 1"), Writes("UPDATE users SET name = name")))
    try:
        for use_case in (both.reads, both.writes):
            with pytest.raises(Unavailable):
                await use_case()
    finally:
        await database.close()
    assert [finals.count(each.statement) for each in (both.reads, both.writes)] == [TRIES, 1]
