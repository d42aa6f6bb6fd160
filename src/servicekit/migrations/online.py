"""What revisions are made of, so that services work on while a database is migrated.

Each call is committed by itself, and does nothing that was done before: an interrupted revision is run again from its
beginning. So a statement says IF NOT EXISTS, IF EXISTS or OR REPLACE. A revision that changes one table at most may
also use `op.execute` alone; then all of it is one transaction.

Rows are never changed here: a periodic task of the worker fills new columns in batches, and the code accepts rows that
are not filled yet. tests/architecture/test_migrations.py has the rules.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from alembic import op

from servicekit.migrations.guard import Driver
from servicekit.migrations.statements import Statements


def run(statement: str) -> None:
    """A statement that changes the catalogue and no row."""
    _commit([statement], lambda statements, driver: statements.run(driver, statement))


def create_index(name: str, on: str, *, unique: bool = False) -> None:
    """An index; `on` is what follows ON, such as `bookings (user_id) WHERE hold_until IS NOT NULL`."""
    statement = f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}"
    _commit([statement], lambda statements, driver: statements.create_index(driver, name, statement))


def add_constraint(table: str, name: str, definition: str) -> None:
    """A check or a foreign key; it replaces one of the same name. New rows are checked first, then those that exist."""
    run(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} {definition} NOT VALID")
    validate_constraint(table, name)


def validate_constraint(table: str, name: str) -> None:
    """Checks the rows of a NOT VALID constraint, while others read and write."""
    statement = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    _commit([statement], lambda statements, driver: statements.run_beside(driver, statement))


def _commit(rendered: list[str], step: Callable[[Statements, Driver], Awaitable[None]]) -> None:
    context = op.get_context()
    with context.autocommit_block():
        if context.as_sql:
            for statement in rendered:
                op.execute(statement)
            return
        statements: Statements = context.opts["statements"]
        adapted: Any = op.get_bind().connection.dbapi_connection
        adapted.run_async(lambda driver: step(statements, driver))
