"""The database of the PostgreSQL adapters: one for all tests of a module."""

from collections.abc import AsyncIterator

import pytest

from infrastructure.postgres.engine import Database


@pytest.fixture(scope="module")
async def postgres_database(shared_database_url: str) -> AsyncIterator[Database]:
    database = Database(shared_database_url)
    yield database
    await database.close()
