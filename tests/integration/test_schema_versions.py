"""Each process compares the schema of its database with the one that it needs."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from application.ports import PageRequest
from crm.schema_version import SCHEMA_VERSION as CRM_SCHEMA_VERSION
from crm.server_check import StartError, check_server
from domain.accounts import UserId
from infrastructure.embedded.errors import Unusable
from infrastructure.postgres.backfill import Backfill
from infrastructure.postgres.bookings.backfill import FACILITATOR_ID
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.backfill import FACILITATOR_INACTIVE
from infrastructure.postgres.events.queries import PostgresBookingQueries
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from infrastructure.settings import SettingsError
from interfaces.cli.database_watch import check_schema
from interfaces.workers.main import _require_schema
from servicekit.database import in_transaction

OLDER = "UPDATE alembic_version SET version_num = '0012'"
NEWER = "UPDATE alembic_version SET version_num = '9001'"
TOO_NEW = "UPDATE alembic_version SET version_num = '9001', oldest_code = '9000'"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Database]:
    pool = Database(database_url)
    yield pool
    await pool.close()


async def test_api_is_not_ready_with_a_schema_that_it_cannot_use(
    api: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    async def ready() -> tuple[int, str | None]:
        answer = await api.get("/health/ready")
        return answer.status_code, answer.json().get("message")

    assert await ready() == (200, None)
    await database.execute(OLDER)
    needed = SCHEMA_VERSION.needed
    assert await ready() == (503, f"the schema is 0012, this version needs {needed}: run `convene migrate`")
    assert (await api.get("/health/ready")).json()["status"] == "unavailable"
    await database.execute(NEWER)
    assert await ready() == (200, None)
    await database.execute(TOO_NEW)
    status, message = await ready()
    assert (status, str(message).endswith("install the newer version")) == (503, True)


async def test_api_reports_the_schema_when_it_starts(database_url: str, database: asyncpg.Connection) -> None:
    def check() -> list[str]:
        said: list[str] = []
        check_schema(database_url, 5, said.append)
        return said

    assert await asyncio.to_thread(check) == []
    await database.execute(OLDER)
    with pytest.raises(Unusable, match=r"^DATABASE_URL: the schema is 0012.*run `convene migrate`$"):
        await asyncio.to_thread(check)
    await database.execute(NEWER)
    [sentence] = await asyncio.to_thread(check)
    assert "which can still use it: complete the upgrade" in sentence
    await database.execute(TOO_NEW)
    with pytest.raises(Unusable, match="install the newer version"):
        await asyncio.to_thread(check)


async def test_worker_starts_only_with_a_schema_that_it_can_use(pool: Database, database: asyncpg.Connection) -> None:
    await _require_schema(pool)
    await database.execute(OLDER)
    with pytest.raises(SettingsError, match=r"DATABASE_URL: the schema is 0012.*run `convene migrate`"):
        await _require_schema(pool)
    await database.execute(NEWER)
    await _require_schema(pool)
    await database.execute(TOO_NEW)
    with pytest.raises(SettingsError, match="install the newer version"):
        await _require_schema(pool)


async def test_crm_starts_only_with_a_schema_that_it_can_use(
    database_url: str, database: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await database.execute("CREATE TABLE crm_schema_version (version_num text)")
    needed = CRM_SCHEMA_VERSION.needed
    await database.execute("INSERT INTO crm_schema_version VALUES ($1)", needed)
    await check_server(database_url, CRM_SCHEMA_VERSION)
    assert capsys.readouterr().err == ""
    await database.execute("UPDATE crm_schema_version SET version_num = '0001'")
    with pytest.raises(StartError, match=r"the schema is 0001.*run `convene migrate` or `python -m crm migrate`"):
        await check_server(database_url, CRM_SCHEMA_VERSION)
    await database.execute("UPDATE crm_schema_version SET version_num = '9001'")
    await check_server(database_url, CRM_SCHEMA_VERSION)
    assert f"newer than {needed} of this version" in capsys.readouterr().err


async def test_statement_planned_before_a_migration_is_repeated(pool: Database, database: asyncpg.Connection) -> None:
    """In a transaction the driver cannot plan it anew: that has ended with the error."""
    async with pool.connection() as connection:

        async def columns() -> int:
            row = await connection.fetchrow("SELECT * FROM (SELECT 1) AS one LEFT JOIN delivery_counts ON true")
            assert row is not None
            return len(row)

        before = await in_transaction(connection, columns)
        await database.execute("ALTER TABLE delivery_counts ADD added text")
        assert await in_transaction(connection, columns) == before + 1


async def test_events_from_before_the_migration_are_filled_in_batches(
    pool: Database, database: asyncpg.Connection
) -> None:
    for number, is_active in enumerate((True, False)):
        facilitator = await database.fetchval(
            "INSERT INTO users (email, name, role, is_active) VALUES ($1, 'Ada', 'facilitator', $2) RETURNING id",
            f"{number}@example.com",
            is_active,
        )
        await database.execute(
            """INSERT INTO events
                   (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
               SELECT $1, 'Yoga', '', 'session', now(), now() + interval '1 hour', 5, 0, 'INR'
               FROM generate_series(1, 5)""",
            facilitator,
        )
    fill = Backfill(pool, FACILITATOR_INACTIVE, batch=2)
    # An operator is activating the account: its events are left alone.
    async with database.transaction():
        await database.execute("UPDATE users SET is_active = true WHERE NOT is_active")
        assert await fill() == 0
        await database.execute("UPDATE users SET is_active = false WHERE id = $1", facilitator)
    assert await fill() == 5
    rows = await database.fetch("SELECT facilitator_id, facilitator_active FROM events")
    assert {tuple(row) for row in rows} == {(facilitator - 1, True), (facilitator, False)}
    assert await fill() == 0


async def test_bookings_of_the_version_before_are_listed_and_get_their_facilitator(
    pool: Database, database: asyncpg.Connection
) -> None:
    """Their rows have none until the worker fills it in, and keep their place in the list."""
    ada, ben = [
        await database.fetchval(
            "INSERT INTO users (email, name, role) VALUES ($1, 'Ada', 'facilitator') RETURNING id",
            f"{name}@example.com",
        )
        for name in ("ada", "ben")
    ]
    for facilitator in (ada, ben):
        await database.execute(
            """WITH e AS (
                   INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity,
                                       price, currency)
                   VALUES ($1, 'Yoga', '', 'session', now(), now() + interval '1 hour', 5, 0, 'INR') RETURNING id)
               INSERT INTO bookings (event_id, user_id, status, payment_status, created_at, cancelled_at,
                                     facilitator_id)
               SELECT id, $1, 'cancelled', 'not_required', now(), now(), CASE WHEN n = 2 THEN $1::bigint END
               FROM e, generate_series(1, 5) n""",
            facilitator,
        )
    queries = PostgresBookingQueries(pool)

    async def listed() -> list[int]:
        seen, after = list[int](), None
        while True:
            page = await queries.list_of_facilitator(UserId(ada), PageRequest(2, after))
            seen += [booking.id for booking in page.items]
            after = page.next
            if after is None:
                return seen

    fill = Backfill(pool, FACILITATOR_ID, batch=2)
    before = await listed()
    assert before == sorted(before, reverse=True)
    assert len(before) == 5
    # A booking that a request has locked is left to the next run.
    async with database.transaction():
        await database.execute("SELECT FROM bookings WHERE id = $1 FOR UPDATE", before[0])
        assert await fill() == 7
    assert await fill() == 1
    assert await fill() == 0
    rows = await database.fetch(
        "SELECT DISTINCT b.facilitator_id, e.facilitator_id FROM bookings b JOIN events e ON e.id = b.event_id"
    )
    assert {tuple(row) for row in rows} == {(ada, ada), (ben, ben)}
    assert await listed() == before
