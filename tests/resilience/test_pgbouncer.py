"""Both services behind PgBouncer in transaction mode: bookings, payments and appointments of several clients, while two
connections to PostgreSQL serve them all."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings
from interfaces.cli import checks, doctor
from servicekit.pooler import ANY_POOLER, Pooler
from tests.crm.parts import TOKEN
from tests.support.appointments import a_price_for, free_hour, uuid_of, wanted
from tests.support.command import convene_here
from tests.support.databases import a_database
from tests.support.invariants import broken_invariants
from tests.support.messages import until
from tests.support.people import People, Person
from tests.support.pgbouncer import BEHIND_PGBOUNCER, SERVER_CONNECTIONS, PgBouncer, running_pgbouncer
from tests.support.process_harness import LONG_RUN
from tests.support.processes import (
    ended_elsewhere,
    running_apis,
    running_crm_process,
    running_workers,
    server_environ,
)

ROOT = Path(__file__).parents[2]
CLIENTS = 6
LEFT_OUT = [f"--ignore=tests/contracts/test_queries_of_{what}.py" for what in ("lists", "slots")]
"""They count statements in the log of PostgreSQL. Behind PgBouncer each has others that begin and end a transaction."""
_SHARED = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'convene' AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres) as running:
        yield running


async def test_booking_payment_and_appointment_reach_the_crm(
    postgres: EmbeddedPostgres,
    pgbouncer: PgBouncer,
    database: asyncpg.Connection,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    crm_url = await a_database(postgres, template="template1")
    environ = server_environ(
        pgbouncer.in_front_of(database_url),
        redis_url,
        tmp_path,
        crm_database_url=pgbouncer.in_front_of(crm_url),
        crm_database_direct_url=crm_url,
        crm_bearer_token=TOKEN,
        payment_provider="sandbox",
        rate_limit_enabled="false",
        **BEHIND_PGBOUNCER,
    )
    async with ended_elsewhere() as running:
        crm = running.enter_context(running_crm_process(environ, tmp_path))
        await crm.ready("/")
        environ["CRM_SERVICE_URL"] = "http://{}:{}".format(*crm.address)
        [api] = running.enter_context(running_apis(1, environ, tmp_path))
        running.enter_context(running_workers(1, environ, tmp_path))
        await api.ready()
        async with httpx.AsyncClient(base_url="http://{}:{}".format(*api.address), timeout=60) as client:
            people = People(client, database)
            john, *clients = [await people.facilitator(), *[await people.user() for _ in range(CLIENTS)]]
            event = await john.creates_event(price=300, currency="INR", max_participants=CLIENTS - 1)
            await a_price_for(database_url, await uuid_of(john))
            coach, hour = await uuid_of(john), free_hour()
            made = await asyncio.gather(
                *(each.post("/bookings", {"event_id": event["id"]}) for each in clients),
                *(each.post("/booking", wanted(coach, hour)) for each in clients),
            )
            assert sorted(answer.status_code for answer in made[:CLIENTS]) == [201] * (CLIENTS - 1) + [400]
            assert sorted(answer.status_code for answer in made[CLIENTS:]) == [201] + [400] * (CLIENTS - 1)
            urls = [answer.json()["payment_url"] for answer in made if answer.status_code == 201]
            paid = await asyncio.gather(*(client.post(f"/{url.split('/', 3)[3]}/paid") for url in urls))
            assert {answer.status_code for answer in paid} == {303}
            await until(lambda: _are_paid(clients))
            assert await database.fetchval(_SHARED) <= SERVER_CONNECTIONS
            assert pgbouncer.clients(database_url) >= 2 * CLIENTS
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=environ["CRM_SERVICE_URL"], headers=headers) as client:

            async def has_come() -> bool:
                return len((await client.get("/notifications")).json()) >= 2 * CLIENTS

            await until(has_come)
    assert await broken_invariants(database) == []
    logs = await asyncio.to_thread(lambda: [log.read_text() for log in tmp_path.glob("*.log")])
    assert not any('"level":"error"' in log for log in logs)


async def test_settings_hold_for_each_statement_and_are_not_left_behind(
    pgbouncer: PgBouncer, database_url: str
) -> None:
    """In every way in which the services run statements. The same server connection has the defaults afterwards."""
    own = Database(pgbouncer.in_front_of(database_url), timeout=30, pooler=ANY_POOLER)
    async with own.connection() as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "22500ms"
        assert await connection.fetchval("SELECT current_setting('statement_timeout') || $1", "") == "30s"
        async with connection.transaction():
            assert await connection.fetchval("SHOW enable_seqscan") == "off"
        await connection.execute("CREATE TABLE kept AS SELECT current_setting('jit') AS jit")
        await connection.executemany("INSERT INTO kept VALUES (current_setting('lock_timeout') || $1)", [("",), ("",)])
        kept = await connection.fetch("SELECT jit FROM kept")
        assert [row["jit"] for row in kept] == ["off", "22500ms", "22500ms"]
        assert await connection.fetchval("SHOW timezone") == "UTC"
    async with own.session() as session:
        assert (await session.execute(text("SHOW lock_timeout"))).scalar_one() == "22500ms"
    await own.close()
    other = await asyncpg.connect(pgbouncer.in_front_of(database_url), statement_cache_size=0)
    for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        assert await other.fetchval(f"SHOW {name}") == "0"
    assert await other.fetchval("SHOW enable_seqscan") == "on"
    await other.close()


async def test_statement_outside_of_a_transaction_waits_for_a_lock_no_longer_than_the_timeout(
    pgbouncer: PgBouncer, database: asyncpg.Connection, database_url: str
) -> None:
    own = Database(pgbouncer.in_front_of(database_url), timeout=1, pooler=ANY_POOLER)
    async with database.transaction():
        await database.execute("LOCK TABLE users")
        with pytest.raises(Unavailable) as raised:
            async with own.connection() as connection:
                await connection.execute("DELETE FROM users")
        assert isinstance(raised.value.__cause__, asyncpg.LockNotAvailableError)
    async with own.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM users") == 0
    await own.close()


@pytest.mark.parametrize("prepared", [False, pytest.param(True, id="control")])
async def test_statement_runs_on_another_server_connection_the_next_time(
    pgbouncer: PgBouncer, database_url: str, prepared: bool
) -> None:
    """A statement that was prepared on the first one fails, as without DATABASE_PREPARED_STATEMENTS=false."""
    own = Database(pgbouncer.in_front_of(database_url), pooler=Pooler(transactions=True, prepared_statements=prepared))
    other = await asyncpg.connect(pgbouncer.in_front_of(database_url), statement_cache_size=0)
    pids = []
    with pytest.raises(asyncpg.InvalidSQLStatementNameError) if prepared else nullcontext():
        async with own.connection() as connection:
            for _ in range(2):
                pids.append(await connection.fetchval("SELECT pg_backend_pid() + $1::int", 0))
                await other.execute("BEGIN")  # takes the server connection that was just given back
    assert prepared or len(set(pids)) == 2
    await other.close()
    await own.close()


async def test_without_the_setting_pgbouncer_refuses_the_startup_parameters(
    pgbouncer: PgBouncer, database_url: str
) -> None:
    own = Database(pgbouncer.in_front_of(database_url))
    with pytest.raises(Unavailable) as raised:
        async with own.connection():
            pass
    assert "unsupported startup parameter" in str(raised.value.__cause__)
    await own.close()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "set DATABASE_POOLER=transaction"),
        ({"DATABASE_POOLER": "transaction"}, "set DATABASE_PREPARED_STATEMENTS=false"),
        (BEHIND_PGBOUNCER, None),
    ],
    ids=["direct", "prepared", "right"],
)
def test_doctor_says_which_setting_is_missing(
    pgbouncer: PgBouncer,
    make_settings: Callable[..., Settings],
    database_url: str,
    settings: dict[str, str],
    problem: str | None,
) -> None:
    given = make_settings(database_url=pgbouncer.in_front_of(database_url), **settings)
    [finding] = doctor._findings(checks.database, given, set())
    assert (finding.level == checks.Level.OK) is (problem is None)
    assert problem is None or problem in finding.text


def test_crm_without_the_setting_says_so_at_its_start(pgbouncer: PgBouncer, database_url: str, tmp_path: Path) -> None:
    environ = server_environ(database_url, "redis://localhost", tmp_path) | {
        "CRM_DATABASE_URL": pgbouncer.in_front_of(database_url)
    }
    serve = [sys.executable, "-P", "-m", "crm", "serve", "--port", "0"]
    done = subprocess.run(serve, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "crm: CRM_DATABASE_URL leads to a pooler (unsupported startup parameter: lock_timeout)"
    )


def test_migration_through_the_pooler_is_refused(tmp_path: Path) -> None:
    url = "postgresql://convene@localhost:6432/convene"
    environ = server_environ(url, "redis://localhost", tmp_path, **BEHIND_PGBOUNCER)
    done = convene_here("migrate", cwd=tmp_path, environ=environ)
    assert done.returncode != 0
    assert done.stderr.startswith("convene: DATABASE_DIRECT_URL is not set, but DATABASE_POOLER is transaction")


async def _are_paid(clients: list[Person]) -> bool:
    answers = await asyncio.gather(*(each.get("/bookings") for each in clients))
    bookings = [booking for answer in answers for booking in answer.json()["bookings"]]
    return [booking["payment_status"] for booking in bookings] == ["completed"] * (CLIENTS - 1)


if LONG_RUN:

    @pytest.mark.timeout(3600)
    def test_every_endpoint_of_the_contracts_answers_as_without_pgbouncer() -> None:
        environment = {**os.environ, "TEST_PGBOUNCER": "1", "LONG_RUN": ""}
        environment.pop("PYTEST_XDIST_WORKER", None)
        suite = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "tests/contracts",
            *LEFT_OUT,
        ]
        done = subprocess.run(suite, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
