"""`convene doctor`: every condition it knows, made true, with what it says and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from interfaces.cli.checks import CHECKS
from tests.support.command import convene
from tests.support.databases import a_database
from tests.support.load import many_users
from tests.support.messages import add_message
from tests.support.processes import server_environ
from tests.support.receivers import Receiver, answer, receiving
from tests.support.servers import free_port


@dataclass(frozen=True)
class Diagnosis:
    status: int
    lines: list[str]

    def of(self, name: str) -> list[str]:
        """The lines about this, level first."""
        return [line.replace(f"{name}: ", "", 1) for line in self.lines if f" {name}: " in line]


Examine = Callable[..., Awaitable[Diagnosis]]


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def examine(database_url: str, redis_url: str, crm: Receiver, tmp_path: Path) -> Examine:
    async def examine(*options: str, **settings: str) -> Diagnosis:
        environ = server_environ(database_url, redis_url, tmp_path, crm_service_url=crm.url)
        environ |= {name.upper(): value for name, value in settings.items()}
        done = await asyncio.to_thread(convene, "doctor", *options, cwd=tmp_path, environ=environ)
        assert done.stderr == ""
        return Diagnosis(done.returncode, done.stdout.splitlines())

    return examine


async def test_second_factor_of_admins_is_recommended(examine: Examine) -> None:
    others = [f"--skip={name}" for name in CHECKS if name not in {"settings", "second-factors"}]
    found = await examine(*others, convene_embedded="")
    assert found.status == 0
    assert found.of("second-factors") == [
        "warn  not required for admins: set MFA_REQUIRED_ROLES=admin, see docs/accounts.md"
    ]


@pytest.mark.usefixtures("new_interpreters")
async def test_healthy_system_has_ok_on_every_line(examine: Examine, database: asyncpg.Connection) -> None:
    await add_message(database)
    found = await examine(mfa_required_roles="admin")
    assert found.status == 0
    assert [line.split()[:2] for line in found.lines] == [
        ["ok", f"{name}:"]
        for name in (
            "settings",
            "database",
            "migrations",
            "connections",
            "clock",
            "time-zones",
            "addresses",
            "deliveries",
            "facilitators",
            "counts",
            "audit",
            "second-factors",
            "redis",
            "crm",
            "mail",
        )
    ]
    assert found.of("deliveries") == ["ok    1 messages pending, none late; 0 seats held"]
    assert found.of("connections") == [
        "ok    1 API × 2 × 4 + 1 worker × 2 × 12 + 1 CRM × 4 + 5 for commands = 41 connections, PostgreSQL accepts 97"
    ]


async def test_more_connections_than_the_server_accepts_are_a_failure(
    examine: Examine, database: asyncpg.Connection
) -> None:
    found = await examine(
        "--api-processes=4", "--worker-processes=2", database_pool_size="6", crm_database_pool_size="2"
    )
    assert found.status == 1
    assert found.of("connections") == [
        "fail  4 API × 2 × 6 + 2 worker × 2 × 18 + 1 CRM × 2 + 5 for commands = 127 connections, but PostgreSQL accepts"
        " 97: raise max_connections by 30, lower DATABASE_POOL_SIZE, WORKER_DATABASE_POOL_SIZE or the number of"
        " processes, or use PgBouncer"
    ]
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 31")
    found = await examine()
    assert found.of("connections") == [
        "fail  API and worker open 32 connections, but the database of DATABASE_URL has a limit of 31: raise it (ALTER"
        " DATABASE … CONNECTION LIMIT), or lower DATABASE_POOL_SIZE"
    ]
    assert (await examine(worker_database_pool_size="11")).of("connections")[0].startswith("ok ")
    await database.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


async def test_outdated_schema_is_a_failure(examine: Examine, database_url: str) -> None:
    await asyncio.to_thread(migrations.downgrade, database_url, "0001")
    found = await examine()
    assert found.status == 1
    [finding] = found.of("migrations")
    assert finding == f"fail  the schema is 0001, this version needs {SCHEMA_VERSION.needed}: run `convene migrate`"


async def test_addresses_older_than_the_rules_are_a_warning(examine: Examine, database: asyncpg.Connection) -> None:
    for email in ("jörg@example.com", "kissa@example.com", "ｋissa@example.com", "ada@faß.de", "ada@fass.de"):
        await database.execute(
            "INSERT INTO users (email, name, role, created_at) VALUES ($1, 'Ada', 'user', now())", email
        )
    found = await examine()
    assert found.status == 0
    assert found.of("addresses") == [
        "warn  2 accounts get no mail, their addresses need a mail server with SMTPUTF8: jörg@example.com (id 1),"
        " ｋissa@example.com (id 3): set MAIL_SMTPUTF8=true if yours has it",
        "warn  accounts with addresses that look alike: ｋissa@example.com (id 3), kissa@example.com (id 2): ask which"
        " one is used, and `convene users deactivate` the other",
    ]
    assert (await examine(mail_smtputf8="true")).of("addresses")[0].startswith("warn  accounts with addresses that")


async def test_accounts_awaiting_approval_are_listed(examine: Examine, database: asyncpg.Connection) -> None:
    """Two of three: the third is a facilitator already."""
    await database.execute(
        """INSERT INTO users (email, name, role, requested_role)
           VALUES ('a@example.com', 'Ada', 'user', 'facilitator'), ('b@example.com', 'Bob', 'user', 'facilitator'),
                  ('c@example.com', 'Cleo', 'facilitator', NULL)"""
    )
    [waiting, _] = (await examine()).of("facilitators")
    assert "2 accounts wait for approval as facilitators: see `convene users list --requested`" in str(waiting)


async def test_broken_chain_of_the_audit_log_is_a_failure(examine: Examine, database: asyncpg.Connection) -> None:
    await database.execute("INSERT INTO audit_chain (head_id, head_hash) VALUES (7, 'the hash of a removed entry')")
    found = await examine()
    assert found.status == 1
    assert "entry 7 of the audit log breaks its chain: it was removed" in str(found.of("audit"))


async def test_wrong_counts_of_a_dashboard_are_a_warning(examine: Examine, database: asyncpg.Connection) -> None:
    await database.execute(
        """INSERT INTO counted_facilitators VALUES (7, now());
           INSERT INTO facilitator_counts (facilitator_id, month, currency, bookings) VALUES (7, '2026-01-01', '', 1)"""
    )
    found = await examine()
    assert found.status == 0
    [line] = found.of("counts")
    assert line.startswith("warn  the dashboards of 1 facilitators show wrong numbers (ids 7)")


async def test_upcoming_bookings_with_deactivated_facilitators_are_a_warning(
    examine: Examine, database: asyncpg.Connection
) -> None:
    """People have paid for them, so nothing is cancelled by itself."""
    [john, jane], [ada, bob] = await many_users(database, 2, role="facilitator"), await many_users(database, 2)
    for facilitator, starts_in in ((john, "7 days"), (john, "-7 days"), (jane, "7 days")):
        event = await database.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price,
                   currency) VALUES ($1, 'Yoga', '', 'session', now() + $2::text::interval,
                   now() + $2::text::interval + interval '1 hour', 9, 30, 'INR') RETURNING id""",
            facilitator.id,
            starts_in,
        )
        for person, paid in ((ada, "completed"), (bob, "pending")):
            await database.execute(
                """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
                   VALUES ($1, $2, 'confirmed', $3, now())""",
                event,
                person.id,
                paid,
            )
    await database.execute("UPDATE users SET is_active = false WHERE id = $1", john.id)
    found = await examine()
    email = await database.fetchval("SELECT email FROM users WHERE id = $1", john.id)
    assert found.of("facilitators") == [
        f"warn  {email} (id {john.id}) is deactivated and has 2 bookings ahead, 1 of them paid:"
        " cancel them as an admin, or `convene users activate`"
    ]
    assert found.status == 0


@pytest.mark.parametrize(("skew", "level"), [("1 s", "ok"), ("-8 s", "warn"), ("3 min", "fail"), ("-3 min", "fail")])
async def test_clock_difference_beyond_30_seconds_is_a_failure(
    examine: Examine, database: asyncpg.Connection, skew: str, level: str
) -> None:
    name = await database.fetchval("SELECT current_database()")
    await database.execute(
        f"""CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            RETURN pg_catalog.clock_timestamp() + interval '{skew}'"""
    )
    await database.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    found = await examine()
    (line,) = found.of("clock")
    assert found.status == (level == "fail")
    assert line.split()[0] == level
    if level != "ok":
        assert line.removeprefix(level).lstrip().startswith("this machine is ")
        assert "time server" in line
        assert (" behind PostgreSQL" in line) == (not skew.startswith("-"))


async def test_overdue_messages_are_a_failure(examine: Examine, database: asyncpg.Connection) -> None:
    await add_message(database)
    await database.execute("UPDATE outbox SET due_at = now() - interval '30 s'")
    assert (await examine()).status == 0
    await database.execute("UPDATE outbox SET due_at = now() - interval '90 s'")
    found = await examine()
    (line,) = found.of("deliveries")
    assert found.status == 1
    assert line.startswith("fail  messages for crm are due since ")
    assert "`convene worker`" in line


async def test_messages_for_an_unserved_destination_are_a_failure(
    examine: Examine, database: asyncpg.Connection
) -> None:
    await add_message(database, destination="notification")
    found = await examine()
    assert found.status == 1
    assert found.of("deliveries") == [
        "fail  1 messages wait for notification, which no worker serves: set NOTIFICATION_SERVICE_URL"
    ]
    async with receiving() as served:
        found = await examine(notification_service_url=served.url)
    assert found.status == 0
    assert found.of("notification") == [f"ok    {served.url} answers"]


async def test_dead_letters_are_a_warning(examine: Examine, database: asyncpg.Connection) -> None:
    await add_message(database)
    await database.execute("UPDATE outbox SET status = 'dead', settled_at = now()")
    found = await examine()
    assert found.status == 0
    (line,) = found.of("deliveries")
    assert line.startswith("warn  1 dead messages for crm: `convene outbox list --destination crm`")


@pytest.mark.parametrize(
    ("state", "level", "advice"),
    [
        ("halted_at = now()", "fail", "`convene outbox resume crm`"),
        ("paused_until = now() + interval '1 h'", "warn", "requested a pause until"),
        ("tripped_at = now(), probe_at = now() + interval '10 s'", "warn", "is tried again automatically"),
    ],
)
async def test_unserved_destination_is_reported_with_advice(
    examine: Examine, database: asyncpg.Connection, state: str, level: str, advice: str
) -> None:
    await add_message(database)
    await database.execute("UPDATE outbox SET due_at = now() - interval '5 min'")  # which is not the worker's fault
    await database.execute("INSERT INTO destinations (name, reason) VALUES ('crm', '503 Service Unavailable')")
    await database.execute(f"UPDATE destinations SET {state}")
    found = await examine()
    (line,) = found.of("deliveries")
    assert line.startswith(level)
    assert "(503 Service Unavailable)" in line
    assert advice in line
    assert found.status == (level == "fail")


async def test_expired_holds_are_a_failure(examine: Examine, database: asyncpg.Connection) -> None:
    await database.execute(
        """WITH u AS (INSERT INTO users (email, name, role) VALUES ('john@example.com', 'John', 'facilitator')
                      RETURNING id),
                e AS (INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity,
                          price, currency, booked)
                      SELECT id, 'Yoga', '', 'session', now() + '1 d', now() + '2 d', 3, 5, 'INR', 1 FROM u
                      RETURNING id)
           INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, hold_until)
           SELECT e.id, u.id, 'confirmed', 'pending', now(), now() - interval '2 min' FROM u, e"""
    )
    found = await examine()
    assert found.status == 1
    assert found.of("deliveries") == ["fail  1 holds of seats are overdue: start a worker, `convene worker`"]


async def test_unavailable_or_failing_services_are_failures(examine: Examine, crm: Receiver) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    crm.always(answer(500))
    found = await examine(
        notification_service_url=nowhere, email_service_url=nowhere, redis_url=f"redis://{nowhere[7:]}"
    )
    assert found.status == 1
    assert found.of("crm") == [f"fail  {crm.url} answers 500: see the log of that service, or correct CRM_SERVICE_URL"]
    for name, setting in (
        ("notification", "NOTIFICATION_SERVICE_URL"),
        ("mail", "EMAIL_SERVICE_URL"),
        ("redis", "REDIS_URL"),
    ):
        (line,) = found.of(name)
        assert line.startswith("fail")
        assert f"correct {setting}" in line


async def test_mail_server_connection_is_tested(examine: Examine) -> None:
    port = free_port()
    server = Controller(Sink(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        assert (await examine(smtp_url=f"smtp://127.0.0.1:{port}")).of("mail") == [
            "ok    the mail server accepts the login"
        ]
    finally:
        server.stop()
    found = await examine(smtp_url=f"smtp://127.0.0.1:{port}")
    assert found.status == 1
    assert "correct SMTP_URL" in found.of("mail")[0]


NEEDS_DATABASE = "fail  cannot be checked without the database: see its line"


# Takes 6 s: PostgreSQL that hangs has 5 s for its answer.
async def test_without_a_database_all_other_checks_run(examine: Examine, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"postgresql://convene@127.0.0.1:{free_port()}/convene"
        unmade = database_url.replace("/test_", "/none_")
        hanging = f"postgresql://convene@127.0.0.1:{silent.getsockname()[1]}/convene"
        expected = {nowhere: "start it", hanging: "Timeout", unmade: "`convene migrate`"}
        diagnoses = await asyncio.gather(*(examine(database_url=url) for url in expected))
        for found, said in zip(diagnoses, expected.values(), strict=True):
            assert found.status == 1
            assert said in found.of("database")[0]
            for name in ("migrations", "clock", "addresses", "deliveries"):
                assert found.of(name) == [NEEDS_DATABASE]
            assert found.of("redis") == ["ok    answers"]


async def test_database_without_tables_is_a_failure(examine: Examine, postgres: EmbeddedPostgres) -> None:
    found = await examine(database_url=await a_database(postgres, template="template1"))
    assert found.status == 1
    assert found.of("migrations") == ["fail  this database has no tables yet: run `convene migrate`"]
    assert found.of("deliveries") == ["fail  cannot be checked before `convene migrate`"]


# Takes 6 s: each of three servers, asked at the same time, has 5 s for its answer.
async def test_servers_that_accept_and_do_not_answer_are_failures(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hanging = {
            "redis": ("redis_url", f"redis://{address}/0"),
            "crm": ("crm_service_url", f"http://{address}"),
            "mail": ("smtp_url", f"smtp://{address}"),
        }
        diagnoses = await asyncio.gather(*(examine(**{setting: url}) for setting, url in hanging.values()))
    for found, (name, (setting, _)) in zip(diagnoses, hanging.items(), strict=True):
        assert found.status == 1
        (said,) = found.of(name)
        assert said.startswith("fail ") and f"correct {setting.upper()}" in said
