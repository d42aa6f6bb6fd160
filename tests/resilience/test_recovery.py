"""The drills of docs/operations/backup.md that take minutes: a million bookings, and a server lost with its disk."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from crm.migrations import upgrade as upgrade_crm
from infrastructure.backup.dump import TABLES
from infrastructure.embedded import EmbeddedPostgres, placement, processes
from infrastructure.embedded.processes import unprivileged_account
from infrastructure.postgres.migrations import upgrade
from tests.support.command import bare_environ, convene
from tests.support.messages import until
from tests.support.process_harness import LONG_RUN
from tests.support.servers import running_postgres, temporary_directory

Test = TypeVar("Test", bound=Callable[..., Any])
ROOT = Path(__file__).parents[2]
BOOKINGS = 1_000_000
LONGEST_RESTORE = 600
"""Seconds: RTO."""
LONGEST_LOSS = timedelta(seconds=60)
"""RPO."""


def only_in_long_runs(test: Test) -> Test | None:
    return test if LONG_RUN else None


FILL = """
INSERT INTO users (email, name, role)
    SELECT 'person' || n || '@example.com', 'Person ' || n, CASE WHEN n <= 100 THEN 'facilitator' ELSE 'user' END
    FROM generate_series(1, $1::int / 10 + 100) AS n;
INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
    SELECT n % 100 + 1, 'Yoga ' || n, 'Slow', 'session', now() + n * interval '1 min',
           now() + (n + 60) * interval '1 min', 1000, 0, 'INR'
    FROM generate_series(1, $1::int / 100 + 1) AS n;
INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
    SELECT n / 100 + 1, n % ($1::int / 10) + 101, 'confirmed', 'not_required', now() - n * interval '1 s'
    FROM generate_series(1, $1::int) AS n;
INSERT INTO outbox (destination, lane, fact, snapshot, status, attempts, occurred_at, settled_at)
    SELECT d, 'booking:' || n, 'booking_created', jsonb_build_object('booking', jsonb_build_object('id', n,
           'reference', 'BK2026' || n), 'event', repeat('text of an event ', 20)), 'delivered', 1,
           now() - interval '2 h', now() - interval '2 h'
    FROM generate_series(1, $1::int) AS n, unnest(ARRAY['crm', 'email']) AS d;
INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail)
    SELECT id, 1, occurred_at, 12, 'delivered', 200, 'ok' FROM outbox
"""
FILL_CRM = """
INSERT INTO notifications (message_id, body, action, booking_id, status)
    SELECT gen_random_uuid()::text, jsonb_build_object('event', repeat('text of an event ', 20)), 'booking_created', n,
           'skipped'
    FROM generate_series(1, $1::int) AS n
"""


@pytest.fixture
def durable_postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres("convene", "convene_crm", "new", "new_crm", durable=True) as server:
        upgrade(server.dsn("convene"))
        upgrade_crm(server.dsn("convene_crm"))
        yield server


async def fill(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements.split(";"):
        await connection.execute(statement.replace("$1::int", str(BOOKINGS)))
    await connection.close()


@only_in_long_runs
@pytest.mark.timeout(3_600)
def test_bookings_are_restored_in_time(durable_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    asyncio.run(fill(durable_postgres.dsn("convene"), FILL))
    asyncio.run(fill(durable_postgres.dsn("convene_crm"), FILL_CRM))
    secrets = {
        "CRM_BEARER_TOKEN": "a-token-for-the-tests",
        "JWT_SECRET_KEY": "a key of the tests, 32 bytes long.",
        "BACKUP_PASSPHRASE": "correct horse battery staple",
    }

    def run(name: str, booking: str, crm: str) -> float:
        addresses = {"DATABASE_URL": durable_postgres.dsn(booking), "CRM_DATABASE_URL": durable_postgres.dsn(crm)}
        environ = bare_environ(CONVENE_DATA=str(tmp_path / booking), **addresses, **secrets)
        started = time.monotonic()
        done = convene(name, "backup", cwd=tmp_path, environ=environ, seconds=2 * LONGEST_RESTORE)
        assert (done.returncode, done.stderr) == (0, "")
        print(f"{name} of {BOOKINGS} bookings: {time.monotonic() - started:.0f} s\n{done.stdout}")
        return time.monotonic() - started

    run("backup", "convene", "convene_crm")
    assert run("restore", "new", "new_crm") <= LONGEST_RESTORE
    for old, new in (("convene", "new"), ("convene_crm", "new_crm")):
        before, after = (asyncio.run(counts(durable_postgres.dsn(name))) for name in (old, new))
        assert before == after


async def counts(dsn: str) -> dict[str, int]:
    """The number of rows of each table."""
    connection = await asyncpg.connect(dsn)
    tables = [row["name"] for row in await connection.fetch(TABLES, "")]
    counted = {name: await connection.fetchval(f'SELECT count(*) FROM "{name}"') for name in tables}
    await connection.close()
    return counted


@asynccontextmanager
async def archiving_server(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that archives its log to `directory`/archive as docker-compose.yml says."""
    archive, server = directory / "archive", EmbeddedPostgres(directory / "old", directory / "old")
    script = shutil.copy(ROOT / "docker" / "archive-wal.sh", directory)
    compose = (ROOT / "docker-compose.yml").read_text()
    settings = dict(re.findall(r"- --(\w+_\w+)=(.+)", compose))
    settings["archive_command"] = f"WAL_ARCHIVE={archive} sh {script} %p %f"
    assert settings.keys() >= {"archive_mode", "archive_timeout", "checkpoint_timeout"}
    for path in (archive, directory / "old", directory / "new"):
        path.mkdir(mode=0o700)
        if account := unprivileged_account():
            os.chown(path, account.uid, account.gid)
    server.start()
    server.stop()
    with (directory / "old" / "postgres" / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    server.start()
    try:
        yield server
    finally:
        server.stop()


@only_in_long_runs
@pytest.mark.timeout(600)
async def test_lost_server_is_recovered_from_its_archive() -> None:
    """It is written to for longer than a segment of its log may wait for the archive."""
    with temporary_directory(durable=True) as directory:
        async with archiving_server(directory) as server:
            await asyncio.to_thread(upgrade, server.dsn("convene"))
            _program(
                server, "pg_basebackup", "-D", str(directory / "new" / "postgres"), "-c", "fast", "-h", str(server.run)
            )
            server.stop()
            server.start()
            last = await _write(server, seconds=130)
            assert server.pid is not None
            os.kill(server.pid, 9)
        shutil.rmtree(directory / "old")

        cluster = directory / "new" / "postgres"
        with (cluster / "postgresql.auto.conf").open("a") as file:
            file.write("archive_mode = 'off'\n")
            file.write(f"restore_command = 'gzip -dc {directory}/archive/%f.gz > %p'\n")
        (cluster / "recovery.signal").touch()
        recovered = EmbeddedPostgres(directory / "new", directory / "new")
        recovered.start()
        try:
            connection = await asyncpg.connect(recovered.dsn("convene"))
            await until(lambda: is_recovered(connection), seconds=300)
            kept: datetime = await connection.fetchval("SELECT max(created_at) FROM users")
            lost = last - kept
            print(f"lost: the last {lost.total_seconds():.1f} s")
            assert lost <= LONGEST_LOSS
            page = (ROOT / "docs" / "operations" / "backup.md").read_text()
            [move_on] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
            used = await connection.fetchval("SELECT max(id) FROM users")
            await connection.execute(move_on)
            assert await connection.fetchval("SELECT nextval('users_id_seq')") > used + 1_000
            await connection.close()
        finally:
            recovered.stop()


async def is_recovered(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval("SELECT pg_is_in_recovery()")


async def _write(server: EmbeddedPostgres, *, seconds: float) -> datetime:
    """Adds users, and returns the time of the last one."""
    connection = await asyncpg.connect(server.dsn("convene"))
    started, number = time.monotonic(), 0
    try:
        while True:
            number += 1
            last: datetime = await connection.fetchval(
                "INSERT INTO users (email, name, role, created_at) VALUES ($1, 'Ada', 'user', clock_timestamp())"
                " RETURNING created_at",
                f"person{number}@example.com",
            )
            if time.monotonic() - started >= seconds:
                return last
            await asyncio.sleep(0.2)
    finally:
        connection.terminate()


def _program(server: EmbeddedPostgres, name: str, *arguments: str) -> None:
    done = processes.run(
        [server._program(name), *arguments, "-U", "postgres"],
        account=placement.server_account(server.data),
        environ={"PATH": os.defpath, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
