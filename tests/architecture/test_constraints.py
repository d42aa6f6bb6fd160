"""The map from constraints to domain errors names constraints that exist, and is the only one."""

from pathlib import Path

import infrastructure.postgres
from infrastructure.postgres.constraints import ERRORS
from infrastructure.postgres.tables import metadata

POSTGRES = Path(infrastructure.postgres.__path__[0])


def test_every_constraint_with_an_error_exists() -> None:
    tables = metadata.sorted_tables
    names = {each.name for table in tables for each in table.constraints}
    names |= {each.name for table in tables for each in table.indexes}
    assert ERRORS.keys() <= names


def test_only_one_module_reads_constraint_names() -> None:
    readers = {path.name for path in POSTGRES.rglob("*.py") if "constraint_name" in path.read_text(encoding="utf-8")}
    assert readers == {"constraints.py"}
