"""The database of the PostgreSQL adapters: one for all tests of a module. The outbox of both kinds of adapters."""

from collections.abc import AsyncIterator

import pytest

from infrastructure.postgres.engine import Database
from tests.conformance.booking_adapters import BookingAdapters, in_memory, in_postgres
from tests.conformance.outbox_adapters import Outbox, memory_outbox, postgres_outbox


@pytest.fixture(scope="module")
async def postgres_database(shared_database_url: str) -> AsyncIterator[Database]:
    database = Database(shared_database_url)
    yield database
    await database.close()


@pytest.fixture
async def empty_outbox(postgres_database: Database) -> Outbox:
    async with postgres_database.connection() as connection:
        await connection.execute("TRUNCATE outbox, delivery_attempts, destinations, destination_minutes")
    return postgres_outbox(postgres_database)


@pytest.fixture(params=["memory", "postgres"])
def outbox(request: pytest.FixtureRequest) -> Outbox:
    if request.param == "memory":
        return memory_outbox()
    found: Outbox = request.getfixturevalue("empty_outbox")
    return found


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> BookingAdapters:
    if request.param == "memory":
        return in_memory()
    database: Database = request.getfixturevalue("postgres_database")
    return in_postgres(database)
