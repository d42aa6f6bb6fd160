"""Structure that others build on stays as it is when the code behind it is renamed.

A red test here means that a path, a schema, a code, a metric, an option, a setting, the parts of a mail, a message or a
table has changed. Where that is meant: `python -m tests.support.golden`, and read the difference.
"""

import asyncio
import difflib

import pytest

from crm.migrations import upgrade as upgrade_crm
from infrastructure.embedded import EmbeddedPostgres
from tests.support.databases import a_database
from tests.support.golden import DIRECTORY, PARTS, Databases, made, path_of


@pytest.fixture(scope="module")
async def databases(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    crm = await a_database(postgres, template="template1")
    await asyncio.to_thread(upgrade_crm, crm)
    return Databases(await a_database(postgres), crm, tmp_path_factory.mktemp("data"))


def test_every_golden_file_is_compared() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == {path_of(name).name for name in PARTS}


@pytest.mark.parametrize("name", PARTS)
async def test_structure_is_unchanged(name: str, databases: Databases) -> None:
    held, now = path_of(name).read_text(encoding="utf-8"), await made(name, databases)
    changes = difflib.unified_diff(held.splitlines(), now.splitlines(), "held", "now", lineterm="", n=2)
    assert held == now, "\n".join(["Meant? Run `python -m tests.support.golden`.", *changes])
