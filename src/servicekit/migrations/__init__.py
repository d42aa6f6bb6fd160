"""Schema migrations with Alembic, while services work. Migrations of one database run one after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.migrations.guard import Guard, MigrationBlocked, Report, connect, guarded
from servicekit.migrations.statements import LIMIT_LOCK, Retries, Statements, is_retried
from servicekit.schema_version import SchemaVersion
from servicekit.uuidv7 import ENSURE_UUIDV7

__all__ = ["MigrationBlocked", "Migrations"]


# As Alembic makes it, with a column that Alembic does not touch. ALTER TABLE would wait for readers each time.
_VERSION_TABLE = """
DO $do$ BEGIN
    CREATE TABLE IF NOT EXISTS {table}
        (version_num varchar(32) NOT NULL CONSTRAINT {table}_pkc PRIMARY KEY, oldest_code text);
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = 'oldest_code') THEN
        ALTER TABLE {table} ADD oldest_code text;
    END IF;
END $do$
"""


def _discard(_sentence: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Migrations:
    """The revisions of one database. Each call blocks and runs an event loop.

    Each revision is a transaction, and `online` has what is committed within one. A lock that is not free within 250 ms
    is tried again, for `patience` seconds. `lock` is the number of the advisory lock that concurrent migrations wait
    for, `patience_for_others` seconds at most; it must never change. The calls raise `MigrationBlocked` and the
    exceptions of Alembic, SQLAlchemy and asyncpg; `report` receives a sentence about each long wait.
    """

    version: SchemaVersion
    lock: int
    patience: float = 300
    patience_for_others: float = 1800

    def upgrade(self, dsn: str, revision: str = "head", *, report: Report = _discard) -> None:
        """Brings the database at `dsn` to `revision`. A newer schema is left as it is, if this code can use it."""
        fit = asyncio.run(self.version.fit_of(dsn))
        if fit.newer:
            if not fit.usable:
                raise MigrationBlocked(str(fit.sentence))
            report(str(fit.sentence))
            return
        asyncio.run(self._migrate(dsn, lambda config: command.upgrade(config, revision), report))

    def downgrade(self, dsn: str, revision: str = "base", *, report: Report = _discard) -> None:
        """Takes the database at `dsn` back to `revision`."""
        asyncio.run(self._migrate(dsn, lambda config: command.downgrade(config, revision), report))

    def scripts(self) -> ScriptDirectory:
        """The revisions as Alembic reads them."""
        return ScriptDirectory.from_config(self._config())

    def _config(self, **attributes: Any) -> Config:
        config = Config()
        config.set_main_option("script_location", _escaped(Path(__file__).parent))
        config.set_main_option("version_locations", _escaped(self.version.versions))
        config.set_main_option("path_separator", "newline")
        config.attributes.update(attributes, version_table=self.version.table)
        return config

    async def _migrate(self, dsn: str, step: Callable[[Config], None], report: Report) -> None:
        async with (
            guarded(
                dsn, self.lock, report, patience=self.patience, patience_for_others=self.patience_for_others
            ) as guard,
            _connected(dsn) as connection,
            _watched(dsn, connection, guard),
        ):
            await self._run(connection, step, guard)

    async def _run(self, connection: AsyncConnection, step: Callable[[Config], None], guard: Guard) -> None:
        """Continues with the revision that found a lock in use."""
        retries = Retries(guard, "the first revision")

        def revision_done(ctx: MigrationContext, step: MigrationInfo, heads: set[str], **_done: Any) -> None:
            self._store_oldest_code(ctx, heads)
            retries.begin(f"the revision after {step.up_revision_id}")

        def run(connection: Connection) -> None:
            connection.exec_driver_sql(_VERSION_TABLE.format(table=self.version.table))
            connection.exec_driver_sql(ENSURE_UUIDV7)
            connection.commit()
            step(
                self._config(connection=connection, statements=Statements(guard), on_version_apply=revision_done),
            )
            connection.commit()

        event.listen(connection.sync_connection, "begin", _limit_lock)
        while True:
            guard.require_lock()
            try:
                return await connection.run_sync(run)
            except DBAPIError as error:
                if not is_retried(_driver_error(error)):
                    raise
                await connection.rollback()
                await retries.pause(error)

    def _store_oldest_code(self, context: MigrationContext, heads: set[str]) -> None:
        """Each revision that takes something away has an attribute `oldest_code`."""
        done = [script for head in heads for script in self.scripts().iterate_revisions(head, "base")]
        oldest = max((getattr(script.module, "oldest_code", "") for script in done), default="")
        assert context.connection is not None
        context.connection.exec_driver_sql(
            f"UPDATE {self.version.table} SET oldest_code = $1 WHERE oldest_code IS DISTINCT FROM $1",  # noqa: S608
            (oldest or None,),
        )


def _limit_lock(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(LIMIT_LOCK)


def _driver_error(error: DBAPIError) -> BaseException | None:
    return error.orig.__cause__ if error.orig else None


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[AsyncConnection]:
    # asyncpg parses the DSN, so that one spelling (`?host=/socket/directory`) serves the pool and the migrations.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(dsn), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _watched(dsn: str, connection: AsyncConnection, guard: Guard) -> AsyncIterator[None]:
    raw = await connection.get_raw_connection()
    assert raw.driver_connection is not None
    watching = asyncio.create_task(guard.watch(dsn, raw.driver_connection.get_server_pid()))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await watching


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
