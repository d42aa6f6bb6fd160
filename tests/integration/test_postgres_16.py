"""PostgreSQL 16, the oldest supported version: the schema, uuidv7() and the contracts."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from crm import migrations as crm_migrations
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from interfaces.http.app import create_app
from servicekit.uuidv7 import ENSURE_UUIDV7
from tests.conftest import a_client
from tests.crm.parts import a_message, running_crm
from tests.crm.parts import settings_for as crm_settings_for
from tests.support.appointments import at, uuid_of, wanted
from tests.support.http import serving
from tests.support.invariants import broken_invariants
from tests.support.people import People
from tests.support.process_harness import LONG_RUN
from tests.support.servers import running_postgres
from tests.support.settings import settings_for

ROOT = Path(__file__).parents[2]
SUITES = ["tests/contracts", "tests/payments", "tests/crm", "tests/integration"]
"""In LONG_RUN all of them run once more, on PostgreSQL 16."""


@pytest.fixture(scope="module")
def postgres_16() -> Iterator[EmbeddedPostgres]:
    with running_postgres("convene", "convene_crm", version=16) as server:
        yield server


async def test_generated_ids_are_uuids_of_version_7_in_order_of_time(postgres_16: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_16.dsn("convene"))
    await connection.execute(ENSURE_UUIDV7)
    await connection.execute(ENSURE_UUIDV7)
    before = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)")
    ids = [
        row["id"]
        for row in await connection.fetch(
            "SELECT uuidv7() AS id FROM generate_series(1, 3000), LATERAL (SELECT pg_sleep(0)) AS pause"
        )
    ]
    after = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)")
    await connection.close()
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == len(ids)
    instants = [each.int >> 80 for each in ids]
    assert instants == sorted(instants)
    assert before <= instants[0] <= instants[-1] <= after


# Takes 5 s: all migrations, thrice.
async def test_schema_bookings_and_appointments_work(
    postgres_16: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    """The schema goes up, down and up; of two who want the last seat, or the same time of a coach, one gets it."""
    dsn = postgres_16.dsn("convene")
    await asyncio.to_thread(migrations.upgrade, dsn)
    await asyncio.to_thread(migrations.downgrade, dsn, "base")
    await asyncio.to_thread(migrations.upgrade, dsn)
    async with serving(create_app(settings_for(dsn, redis_url, tmp_path))) as address, a_client(address) as client:
        people = People(client)
        john, ada, bob = await people.facilitator(), await people.user(), await people.user()
        created = await john.creates_event(max_participants=1, price=0)
        answers = await asyncio.gather(*(each.post("/bookings", {"event_id": created["id"]}) for each in (ada, bob)))
        assert sorted(answer.status_code for answer in answers) == [201, 400]
        assert {answer.json().get("error") for answer in answers} == {None, "Event is full"}
        session = wanted(await uuid_of(john), at(10))
        answers = await asyncio.gather(*(each.post("/booking", session) for each in (ada, bob)))
        assert sorted(answer.status_code for answer in answers) == [201, 400], [answer.text for answer in answers]
        assert (await john.post(f"/facilitator/events/{created['id']}/cancel")).status_code == 200
    connection = await asyncpg.connect(dsn)
    assert await broken_invariants(connection) == []
    await connection.close()


async def test_schema_and_notifications_of_the_crm_work(postgres_16: EmbeddedPostgres, tmp_path: Path) -> None:
    dsn = postgres_16.dsn("convene_crm")
    await asyncio.to_thread(crm_migrations.upgrade, dsn)
    async with running_crm(crm_settings_for(dsn, CONVENE_DATA=str(tmp_path))) as crm:
        answer = await crm.post("/notify", json=a_message())
        assert (answer.status_code, answer.json()["email_sent"]) == (200, True)


if LONG_RUN:

    @pytest.mark.timeout(3600)
    def test_suites_pass() -> None:
        environment = {**os.environ, "TEST_POSTGRES_VERSION": "16"}
        environment.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
