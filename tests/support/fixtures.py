"""Real servers for the whole run, a fresh database for each test that asks for one, the API over real HTTP.

A plugin that `tests/conftest.py` imports before the first test that may need it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.settings import Settings
from tests.support import fork_server, savings, shared_routes
from tests.support.applications import Applications
from tests.support.command import bare_environ
from tests.support.databases import TEMPLATE, Databases
from tests.support.people import People, Person
from tests.support.pgbouncer import services_behind_pgbouncer
from tests.support.servers import running_postgres, running_redis
from tests.support.settings import settings_for

fork_server.install(bare_environ())
savings.save()
shared_routes.share()
savings.hash_passwords_cheaply()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for each test process, with a migrated database to copy."""
    with running_postgres(TEMPLATE) as server, services_behind_pgbouncer(server):
        migrations.upgrade(server.dsn(TEMPLATE))
        yield server


@pytest.fixture
def new_interpreters() -> Iterator[None]:
    """For tests of how processes start: each is an interpreter that has imported nothing."""
    with fork_server.new_interpreters():
        yield


@pytest.fixture
def recommended_hashing() -> Iterator[None]:
    """Passwords are hashed as slowly as in the product."""
    with savings.recommended_hashing():
        yield


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with running_redis() as server:
        yield server.url


@pytest.fixture(scope="session")
async def databases(postgres: EmbeddedPostgres) -> AsyncIterator[Databases]:
    databases = Databases(postgres)
    yield databases
    await databases.close()


@pytest.fixture(scope="session")
async def applications() -> AsyncIterator[Applications]:
    applications = Applications()
    yield applications
    await applications.close()


@pytest.fixture
async def database_url(databases: Databases, applications: Applications) -> AsyncIterator[str]:
    """A database of one's own, empty and migrated."""
    url = await databases.take()
    yield url
    if not await databases.give_back(url):
        await applications.stop(url)


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
        return settings_for(database_url, redis_url, tmp_path, **changes)

    return make


@pytest.fixture
async def api(
    applications: Applications, database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the booking API, which serves this test alone."""
    yield await applications.of(database_url, redis_url, tmp_path_factory.mktemp("data"))
    await applications.release(database_url)


@pytest.fixture
def people(api: httpx.AsyncClient, database: asyncpg.Connection) -> People:
    return People(api, database)


@pytest.fixture(scope="module")
async def shared_database_url(databases: Databases, applications: Applications) -> AsyncIterator[str]:
    url = await databases.take()
    yield url
    if not await databases.give_back(url):
        await applications.stop(url)


@pytest.fixture(scope="module")
async def shared_database(shared_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(shared_database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def make_shared_settings(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """As `make_settings`, for the database that the tests of a module share."""

    def make(**changes: str) -> Settings:
        return settings_for(shared_database_url, redis_url, tmp_path_factory.mktemp("data"), **changes)

    return make


@pytest.fixture
async def emptied_database(
    databases: Databases, shared_database_url: str, shared_database: asyncpg.Connection
) -> asyncpg.Connection:
    """The database that the tests of a module share, without what the tests before wrote: for applications that run
    through all of them."""
    await databases.empty(shared_database_url)
    return shared_database


@pytest.fixture(scope="module")
async def shared_api(
    applications: Applications, shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """As `api`, for all tests of a module: for those that do not disturb one another."""
    yield await applications.of(shared_database_url, redis_url, tmp_path_factory.mktemp("data"))
    await applications.release(shared_database_url)


@pytest.fixture(scope="module")
def shared_people(shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection) -> People:
    return People(shared_api, shared_database)


@pytest.fixture(scope="module")
async def ada(shared_people: People) -> Person:
    """A user of the shared API."""
    return await shared_people.user()


@pytest.fixture(scope="module")
async def john(shared_people: People) -> Person:
    """A facilitator of the shared API."""
    return await shared_people.facilitator()
