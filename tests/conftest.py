"""Real servers for the whole run, a fresh database for each test that asks for one, the API over real HTTP."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.database import migrations
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.settings import Settings, load_settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import People
from tests.support.servers import running_postgres, running_redis

TEMPLATE = "convene_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for each test process, with a migrated database to copy."""
    with running_postgres(TEMPLATE) as server:
        migrations.upgrade(server.dsn(TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with running_redis() as server:
        yield server.url


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> str:
    """A database of one's own, empty and migrated."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(postgres.superuser_dsn())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER convene")
    await connection.close()
    return postgres.dsn(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, to look and to arrange."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def make_settings(database_url: str, redis_url: str, tmp_path: Any) -> Callable[..., Settings]:
    """Settings for this test's database; keyword arguments are environment variables in lower case."""

    def make(**changes: str) -> Settings:
        environ = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "CONVENE_DATA": str(tmp_path),
            "CONVENE_EMBEDDED": "1",
            "JWT_SECRET_KEY": "k" * 32,
            "CRM_BEARER_TOKEN": "a token of the tests",
            "RATE_LIMIT_ENABLED": "false",
            "LOG_LEVEL": "warning",
        }
        return load_settings(environ | {name.upper(): value for name, value in changes.items()})

    return make


@pytest.fixture
async def api(make_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the booking API, which runs for this test alone."""
    async with serving(create_app(make_settings())) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


@pytest.fixture
def people(api: httpx.AsyncClient) -> People:
    return People(api)
