import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from crm.migrations import upgrade
from infrastructure.embedded import EmbeddedPostgres
from tests.crm.parts import MailServer, running_crm, settings_for
from tests.support.servers import running_postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def crm_postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres("crm_template") as server:
        with ThreadPoolExecutor(1) as elsewhere:  # upgrade() has an event loop of its own
            elsewhere.submit(upgrade, server.dsn("crm_template")).result()
        yield server


@pytest.fixture
async def dsn(crm_postgres: EmbeddedPostgres) -> str:
    """A migrated database of the test's own."""
    name = f"crm_{next(_numbers)}"
    await asyncio.to_thread(crm_postgres.execute, f"CREATE DATABASE {name} TEMPLATE crm_template OWNER convene")
    return crm_postgres.dsn(name)


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def crm(dsn: str, mail_server: MailServer, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))
    async with running_crm(settings) as client:
        yield client


@pytest.fixture(scope="session")
async def refusing_crm(
    crm_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """One CRM for the many tests whose every request is refused; it stays empty."""
    crm_postgres.execute("CREATE DATABASE crm_refusing TEMPLATE crm_template OWNER convene")
    data = str(tmp_path_factory.mktemp("crm"))
    async with running_crm(settings_for(crm_postgres.dsn("crm_refusing"), CONVENE_DATA=data)) as client:
        yield client
