"""Revisions run beside readers and writers: short waits for locks, attempts, and what an interruption leaves."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from crm import migrations as crm_migrations
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from servicekit.migrations import MigrationBlocked, Migrations
from servicekit.schema_version import SchemaFit, SchemaVersion
from tests.support.databases import a_database
from tests.support.golden.database import schema
from tests.support.messages import until
from tests.support.migration_rules import rendered

HEADER = """from alembic import op
from servicekit.migrations import online

revision, down_revision = {revision!r}, {before!r}

def downgrade():
    pass

def upgrade():
"""
_LOCKS = itertools.count(9_000)


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> str:
    return await a_database(postgres, template="template1")


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Sees a wait for a lock as an error after four times the time that a migration waits."""
    connection = await asyncpg.connect(dsn, server_settings={"lock_timeout": "1s"})
    await connection.execute("CREATE TABLE seats (id int, event int)")
    await connection.execute("INSERT INTO seats SELECT i, i % 10 FROM generate_series(1, 100) AS i")
    yield connection
    await connection.close()


@pytest.fixture
def revisions(tmp_path: Path) -> Callable[..., Migrations]:
    """Migrations of these bodies; keyword arguments are limits."""

    def make(*bodies: str, **limits: Any) -> Migrations:
        for number, body in enumerate(bodies, 1):
            before = f"{number - 1:04}" if number > 1 else None
            lines = "".join(f"    {line}\n" for line in body.splitlines())
            text = HEADER.format(revision=f"{number:04}", before=before) + lines
            (tmp_path / f"{number:04}_made.py").write_text(text)
        return Migrations(version=SchemaVersion(tmp_path, "schema_version"), lock=next(_LOCKS), **limits)

    return make


@asynccontextmanager
async def open_transaction(dsn: str, statement: str) -> AsyncIterator[int]:
    """Another client, with its locks. The number of its process."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "report"})
    async with connection.transaction():
        await connection.execute(statement)
        yield connection.get_server_pid()
    await connection.close()


async def columns(client: asyncpg.Connection) -> list[str]:
    rows = await client.fetch("SELECT attname FROM pg_attribute WHERE attrelid = 'seats'::regclass AND attnum > 0")
    return [row["attname"] for row in rows]


async def version(client: asyncpg.Connection) -> str | None:
    found: str | None = await client.fetchval("SELECT max(version_num) FROM schema_version")
    return found


ADD_ROW = "ALTER TABLE seats ADD COLUMN IF NOT EXISTS row text"


async def migrate_beside_a_report(dsn: str, client: asyncpg.Connection, made: Migrations) -> list[str]:
    """Reads and writes while a report has the table and the migration waits for it. What the migration says."""
    said: list[str] = []
    waited: asyncpg.LockNotAvailableError | None = None
    async with open_transaction(dsn, "SELECT FROM seats LIMIT 1"):
        migrating = asyncio.create_task(asyncio.to_thread(made.upgrade, dsn, report=said.append))
        try:
            await until(lambda: is_waiting(client))
            for _ in range(20):
                await client.execute("UPDATE seats SET event = event + 1 WHERE id = 7")
                await client.fetchval("SELECT count(*) FROM seats")
                await asyncio.sleep(0.02)
            await until(lambda: bool(said))
        except asyncpg.LockNotAvailableError as error:
            waited = error
    await migrating
    if waited:
        raise waited
    return said


async def is_waiting(client: asyncpg.Connection) -> bool:
    return bool(await client.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def test_others_are_served_while_a_revision_waits(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    for number, step in enumerate((f"online.run({ADD_ROW!r})", f"op.execute({ADD_ROW.replace('row', 'more')!r})")):
        made = revisions(*[f"online.run({ADD_ROW!r})"] * number, step)
        said = await migrate_beside_a_report(dsn, client, made)
        assert "(report, idle in transaction, for " in said[0]
    assert await columns(client) == ["id", "event", "row", "more"]


async def test_others_wait_for_a_revision_without_a_limit(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    """The control: a test of the same shape notices it."""
    made = revisions(f"op.execute(\"SET LOCAL lock_timeout = '30s'\")\nop.execute({ADD_ROW!r})")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await migrate_beside_a_report(dsn, client, made)


async def test_wait_ends_with_one_sentence_and_what_is_done_is_kept(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    made = revisions("op.execute('CREATE TABLE rows ()')", f"online.run({ADD_ROW!r})", patience=0.5)
    async with open_transaction(dsn, "SELECT FROM seats LIMIT 1") as pid:
        with pytest.raises(MigrationBlocked, match=rf"^ALTER TABLE seats .* waited 0 s for process {pid} .*: end it"):
            await asyncio.to_thread(made.upgrade, dsn)
        assert await version(client) == "0001"
    await asyncio.to_thread(made.upgrade, dsn)
    assert (await version(client), await columns(client)) == ("0002", ["id", "event", "row"])


async def test_index_that_an_interrupted_build_left_is_built_again(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    made = revisions("online.create_index('ix_seats', 'seats (id)', unique=True)", patience=0.5)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_seats')"
    async with open_transaction(dsn, "UPDATE seats SET event = 0 WHERE id = 1"):
        with pytest.raises(MigrationBlocked, match="CREATE UNIQUE INDEX CONCURRENTLY"):
            await asyncio.to_thread(made.upgrade, dsn)
    assert await client.fetchval(valid) is False
    await asyncio.to_thread(made.upgrade, dsn)
    assert await client.fetchval(valid) is True


async def test_failed_revision_leaves_those_before(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    made = revisions(f"op.execute({ADD_ROW!r})", "op.execute('CREATE TABLE rows ()')\nop.execute('SELECT 1 / 0')")
    with pytest.raises(Exception, match="division by zero"):
        await asyncio.to_thread(made.upgrade, dsn)
    assert (await version(client), await columns(client)) == ("0001", ["id", "event", "row"])
    assert await client.fetchval("SELECT to_regclass('rows')") is None


async def test_second_migration_waits_for_a_limited_time(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    made, said = revisions(f"online.run({ADD_ROW!r})", patience_for_others=0.3), list[str]()
    async with open_transaction(dsn, f"SELECT pg_advisory_xact_lock({made.lock})") as pid:
        with pytest.raises(MigrationBlocked, match=f"^process {pid} has migrated this database for 0 s"):
            await asyncio.to_thread(made.upgrade, dsn, report=said.append)
    assert said == [f"waiting for another migration of this database, process {pid}"]
    await asyncio.to_thread(made.upgrade, dsn)
    assert await version(client) == "0001"


@pytest.mark.parametrize(
    ("made", "after"),
    [(migrations.MIGRATIONS, "0010"), (crm_migrations.MIGRATIONS, "0002")],
    ids=["booking API", "CRM"],
)
async def test_interrupted_revisions_are_run_again(dsn: str, made: Migrations, after: str) -> None:
    """All but the last step, which stores the version, is done; then all is done again."""
    await asyncio.to_thread(made.upgrade, dsn)
    expected = await schema(dsn)
    connection = await asyncpg.connect(dsn)
    scripts = [script for script in made.scripts().walk_revisions() if script.revision > after]
    in_steps = [script for script in scripts if not rendered(script.module.upgrade)[0].last]
    assert in_steps
    for script in in_steps:
        await connection.execute(f"UPDATE {made.version.table} SET version_num = $1", script.down_revision)
        await asyncio.to_thread(made.upgrade, dsn, script.revision)
    assert await schema(dsn) == expected
    await connection.close()


async def test_schema_names_the_oldest_version_that_can_use_it(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    """A version before the newest revision runs on the newer schema, until a revision takes away what it needs."""
    made = revisions("pass", "pass", "pass", "pass")
    contracting = next(made.version.versions.glob("0004_*"))
    contracting.write_text(contracting.read_text().replace("def downgrade", "oldest_code = '0003'\ndef downgrade"))
    fits = {}
    for step, revision in ((made.upgrade, "0003"), (made.upgrade, "0004"), (made.downgrade, "0003")):
        await asyncio.to_thread(step, dsn, revision)
        fits[revision] = await made.version.fit_of(dsn)
    assert fits == {"0003": SchemaFit("0003", "0004"), "0004": SchemaFit("0004", "0004", "0003")}


@pytest.mark.parametrize("oldest_code", [None, "0001", "0002"])
async def test_migrations_of_an_older_version_leave_a_newer_schema(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations], oldest_code: str | None
) -> None:
    made, said = revisions("pass"), list[str]()
    await asyncio.to_thread(made.upgrade, dsn)
    await client.execute("UPDATE schema_version SET version_num = '0009', oldest_code = $1", oldest_code)
    if oldest_code == "0002":
        with pytest.raises(MigrationBlocked, match="install the newer version"):
            await asyncio.to_thread(made.upgrade, dsn)
    else:
        await asyncio.to_thread(made.upgrade, dsn, report=said.append)
        assert "newer than 0001 of this version" in said[0]
    assert await version(client) == "0009"


async def test_version_table_of_an_older_version_gets_the_new_column(
    dsn: str, client: asyncpg.Connection, revisions: Callable[..., Migrations]
) -> None:
    made = revisions("pass", "pass")
    await asyncio.to_thread(made.upgrade, dsn, "0001")
    await client.execute("ALTER TABLE schema_version DROP COLUMN oldest_code")
    assert await made.version.fit_of(dsn) == SchemaFit("0001", "0002")
    await asyncio.to_thread(made.upgrade, dsn)
    assert await made.version.fit_of(dsn) == SchemaFit("0002", "0002")
