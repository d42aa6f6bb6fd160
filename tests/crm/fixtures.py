"""Fixtures of every test of the CRM: shared servers, which each test finds empty."""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from crm.migrations import upgrade
from infrastructure.embedded import EmbeddedPostgres
from tests.crm.parts import MailServer, emptied, running_crm, settings_for

__all__ = [
    "_served_crm",
    "_served_dsn",
    "_shared_dsn",
    "_shared_mail_server",
    "crm",
    "crm_dsn",
    "dsn",
    "mail_server",
    "own_dsn",
    "refusing_crm",
]

_numbers = itertools.count(1)


@functools.cache
def _template(server: EmbeddedPostgres) -> str:
    server.execute("CREATE DATABASE crm_template OWNER convene")
    with ThreadPoolExecutor(1) as elsewhere:  # upgrade() has an event loop of its own
        elsewhere.submit(upgrade, server.dsn("crm_template")).result()
    return "crm_template"


async def _a_database(server: EmbeddedPostgres) -> str:
    name = f"crm_{next(_numbers)}"
    template = _template(server)
    await asyncio.to_thread(
        server.execute, f"CREATE DATABASE {name} TEMPLATE {template} OWNER convene STRATEGY file_copy"
    )
    return server.dsn(name)


@pytest.fixture
async def own_dsn(postgres: EmbeddedPostgres) -> str:
    """A migrated database for this test alone: for those that change the schema."""
    return await _a_database(postgres)


@pytest.fixture(scope="session")
async def _shared_dsn(postgres: EmbeddedPostgres) -> str:
    return await _a_database(postgres)


@pytest.fixture
async def dsn(_shared_dsn: str) -> str:
    """A migrated and empty database that no CRM uses but those the test starts."""
    return await emptied(_shared_dsn)


@pytest.fixture(scope="session")
def _shared_mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def mail_server(_shared_mail_server: MailServer) -> MailServer:
    """A mail server that runs, has no mail and takes everything."""
    _shared_mail_server.reset()
    return _shared_mail_server


@pytest.fixture(scope="module")
async def _served_dsn(postgres: EmbeddedPostgres) -> str:
    return await _a_database(postgres)


@pytest.fixture(scope="module")
async def _served_crm(
    _served_dsn: str, _shared_mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    data = str(tmp_path_factory.mktemp("crm"))
    async with running_crm(settings_for(_served_dsn, SMTP_URL=_shared_mail_server.url, CONVENE_DATA=data)) as client:
        yield client


@pytest.fixture
async def crm_dsn(_served_dsn: str) -> str:
    """The database of `crm`, empty."""
    return await emptied(_served_dsn)


@pytest.fixture
async def crm(_served_crm: httpx.AsyncClient, crm_dsn: str, mail_server: MailServer) -> httpx.AsyncClient:
    """A CRM that starts with nothing and mails to `mail_server`; the tests of a module take turns with it."""
    return _served_crm


@pytest.fixture(scope="session")
async def refusing_crm(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """One CRM for the many tests whose every request is refused; it stays empty."""
    data = str(tmp_path_factory.mktemp("crm"))
    async with running_crm(settings_for(await _a_database(postgres), CONVENE_DATA=data)) as client:
        yield client
