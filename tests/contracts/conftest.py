import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.crm.fixtures import *  # noqa: F403
from tests.support import endpoint_coverage
from tests.support.statement_log import StatementLog


@pytest.fixture(scope="module", autouse=True)
def walk() -> None:
    """A module walks its part of a document as a whole: `--dist=loadfile` keeps its tests together and in order."""
    endpoint_coverage.begin()


@pytest.fixture
async def statements(postgres: EmbeddedPostgres, database_url: str) -> StatementLog:
    """Every statement of the sessions that begin after this: request it before `api` and `people`."""
    superuser = await asyncpg.connect(postgres.superuser_dsn())
    name = database_url.partition("?")[0].rpartition("/")[2]
    await superuser.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
    await superuser.close()
    return StatementLog(postgres.log)
