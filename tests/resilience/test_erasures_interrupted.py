"""Workers that are killed between two steps of an erasure: the next one goes on, and nothing of the person is left."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.faulty_worker import faulty_worker
from tests.support.messages import until
from tests.support.people import PASSWORD, People, Person
from tests.support.person_search import PersonSearch
from tests.support.processes import WORKER, ended_elsewhere, running_workers, server_environ
from tests.support.receivers import Receiver, receiving

NAME = "Zoë Quillfeather-Ōkubo"
ERASED = "SELECT erased_at IS NOT NULL FROM erasures"
CONFIRMED_BY_CRM = "SELECT status = 'delivered' FROM outbox WHERE fact = 'user_erased'"


@pytest.fixture
async def zoe(api: httpx.AsyncClient, database: asyncpg.Connection) -> Person:
    """Has booked two events, and has requested the erasure."""
    people = People(api, database)
    john, zoe = await people.facilitator(), await people.user(NAME)
    events = [await john.creates_event(price=0) for _ in range(2)]
    await database.execute("DELETE FROM outbox")
    for created in events:
        await zoe.books(created["id"])
    answer = await api.request("DELETE", "/profile", headers=zoe.headers, json={"password": PASSWORD})
    assert answer.status_code == 202, answer.text
    return zoe


class Steps:
    """One worker at a time, which dies after a step."""

    def __init__(self, database: asyncpg.Connection, environ: dict[str, str], data: Path, person: Person) -> None:
        self.database = database
        self.environ = environ
        self.data = data
        self.search = PersonSearch(person.name, person.email)

    async def die(self, **how: Any) -> None:
        async with ended_elsewhere() as running:
            module = faulty_worker(lease=1, **how)
            (killed,) = running.enter_context(running_workers(1, self.environ, self.data, module))
            await until(lambda: killed.poll() is not None)
            assert killed.poll() == -signal.SIGKILL

    async def finish(self) -> None:
        async with ended_elsewhere() as running:
            running.enter_context(running_workers(1, self.environ, self.data, WORKER))
            await until(lambda: self.database.fetchval(CONFIRMED_BY_CRM))

    async def statuses(self) -> list[str]:
        rows = await self.database.fetch("SELECT status FROM bookings ORDER BY status")
        return [row["status"] for row in rows]

    async def found(self) -> tuple[bool, bool]:
        """Whether the person is named in the database, and in files of mails and logs."""
        return bool(await self.search.in_database(self.database)), bool(self.search.in_files(self.data))


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def steps(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path, crm: Receiver, zoe: Person
) -> Steps:
    environ = server_environ(database_url, redis_url, tmp_path, crm_service_url=crm.url, log_level="info")
    environ |= {"DELIVERY_RETRY_SCHEDULE": "0" + ",1" * 30}
    return Steps(database, environ, tmp_path, zoe)


# Takes 7 s: six workers, and leases of 1 s.
async def test_killed_workers_leave_nothing_of_the_person(steps: Steps, crm: Receiver, zoe: Person) -> None:
    await steps.die(dies_after="cancelled")
    assert await steps.statuses() == ["cancelled", "confirmed"]
    await steps.die(dies_after="calendars")
    assert await steps.statuses() == ["cancelled", "cancelled"]
    assert await steps.found() == (True, True)
    await steps.die(dies_after="files")
    assert await steps.found() == (True, False)
    await steps.die(dies_after="erased")
    assert await steps.found() == (False, False)
    await steps.die(dies=True)
    assert not await steps.database.fetchval(CONFIRMED_BY_CRM)
    await steps.finish()
    assert await steps.found() == (False, False)
    erased = [each for each in crm.requests if each.json["action"] == "user_erased"]
    assert len(erased) == 2, "once more after the crash before its answer was recorded"
    assert {each.message_id for each in erased} == {erased[0].json["message_id"]}
    for each in erased:
        assert each.json == {
            "action": "user_erased",
            "message_id": each.message_id,
            "occurred_at": each.json["occurred_at"],
            "user": {"id": zoe.id},
        }


async def test_files_that_are_to_be_deleted_after_the_person_stay_after_a_crash(steps: Steps) -> None:
    await steps.die(dies_after="erased before files")
    await steps.finish()
    assert await steps.found() == (False, True)
