"""A transaction that PostgreSQL rolls back because of another one (SQLSTATE 40001, 40P01) is repeated."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.retries import TransactionConflict, count_once, make_final, repeating
from servicekit import conflicts
from servicekit.conflicts import TRIES
from tests.support.database_faults import DatabaseFaults
from tests.support.people import People, event

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


@dataclass(frozen=True, slots=True)
class Work:
    raises = ()

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
        raises = ()
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
