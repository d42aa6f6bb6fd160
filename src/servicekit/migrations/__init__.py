"""Schema migrations with Alembic, while services work. Migrations of one database run one after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.migrations.guard import CONNECT_SECONDS, Guard, MigrationBlocked, Report, connect, guarded
from servicekit.migrations.statements import LIMIT_LOCK, Retries, Statements, is_retried
from servicekit.pooler import ANY_POOLER
from servicekit.uuidv7 import ENSURE_UUIDV7

__all__ = ["MigrationBlocked", "Migrations"]


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

    versions: Path
    """The directory of the revisions."""
    version_table: str
    lock: int
    patience: float = 300
    patience_for_others: float = 1800

    def upgrade(self, dsn: str, revision: str = "head", *, report: Report = _discard) -> None:
        """Brings the database at `dsn` to `revision`."""
        asyncio.run(self._migrate(dsn, lambda config: command.upgrade(config, revision), report))

    def downgrade(self, dsn: str, revision: str = "base", *, report: Report = _discard) -> None:
        """Takes the database at `dsn` back to `revision`."""
        asyncio.run(self._migrate(dsn, lambda config: command.downgrade(config, revision), report))

    def head(self) -> str:
        """The newest revision of this code."""
        revision = self.scripts().get_current_head()
        assert revision is not None
        return revision

    def scripts(self) -> ScriptDirectory:
        """The revisions as Alembic reads them."""
        return ScriptDirectory.from_config(self._config())

    def is_current(self, dsn: str) -> bool:
        """Whether the database at `dsn` has the newest revision."""

        async def found() -> str | None:
            options = ANY_POOLER.connect_options({})
            connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, **options)
            try:
                if await connection.fetchval("SELECT to_regclass($1)", self.version_table) is None:
                    return None
                revision: str | None = await connection.fetchval(f"SELECT version_num FROM {self.version_table}")  # noqa: S608
                return revision
            finally:
                await connection.close()

        return asyncio.run(found()) == self.head()

    def _config(self, **attributes: Any) -> Config:
        config = Config()
        config.set_main_option("script_location", _escaped(Path(__file__).parent))
        config.set_main_option("version_locations", _escaped(self.versions))
        config.set_main_option("path_separator", "newline")
        config.attributes.update(attributes, version_table=self.version_table)
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

        def revision_done(**done: Any) -> None:
            retries.begin(f"the revision after {done['step'].up_revision_id}")

        def run(connection: Connection) -> None:
            step(
                self._config(connection=connection, statements=Statements(guard), on_version_apply=revision_done),
            )
            connection.commit()

        event.listen(connection.sync_connection, "begin", _limit_lock)
        await connection.exec_driver_sql(ENSURE_UUIDV7)
        await connection.commit()
        while True:
            guard.require_lock()
            try:
                return await connection.run_sync(run)
            except DBAPIError as error:
                if not is_retried(_driver_error(error)):
                    raise
                await connection.rollback()
                await retries.pause(error)


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
