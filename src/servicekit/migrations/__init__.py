"""Schema migrations with Alembic. Concurrent migrations of one database run one after the other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.pooler import ANY_POOLER
from servicekit.uuidv7 import ENSURE_UUIDV7

_CONNECT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Migrations:
    """The revisions of one database. Each call blocks, runs an event loop and is one transaction.

    `lock` is the number of the advisory lock that concurrent migrations wait for, and must never change.
    The calls raise the exceptions of Alembic, SQLAlchemy and asyncpg.
    """

    versions: Path
    """The directory of the revisions."""
    version_table: str
    lock: int

    def upgrade(self, dsn: str, revision: str = "head") -> None:
        """Brings the database at `dsn` to `revision`."""
        self._run(dsn, lambda config: command.upgrade(config, revision))

    def downgrade(self, dsn: str, revision: str = "base") -> None:
        """Takes the database at `dsn` back to `revision`."""
        self._run(dsn, lambda config: command.downgrade(config, revision))

    def head(self) -> str:
        """The newest revision of this code."""
        revision = ScriptDirectory.from_config(self._config()).get_current_head()
        assert revision is not None
        return revision

    def is_current(self, dsn: str) -> bool:
        """Whether the database at `dsn` has the newest revision."""
        found: list[str | None] = []

        def read(connection: Connection) -> None:
            context = MigrationContext.configure(connection, opts={"version_table": self.version_table})
            found.append(context.get_current_revision())

        asyncio.run(_with_connection(dsn, read, **ANY_POOLER.connect_options({})))
        return found == [self.head()]

    def _config(self, connection: Connection | None = None) -> Config:
        config = Config()
        config.set_main_option("script_location", _escaped(Path(__file__).parent))
        config.set_main_option("version_locations", _escaped(self.versions))
        config.set_main_option("path_separator", "newline")
        config.attributes.update(connection=connection, version_table=self.version_table)
        return config

    def _run(self, dsn: str, step: Callable[[Config], None]) -> None:
        def locked(connection: Connection) -> None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.lock})
            # A statement that waits for a table makes all later statements on that table wait.
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            connection.exec_driver_sql(ENSURE_UUIDV7)
            step(self._config(connection))

        asyncio.run(_with_connection(dsn, locked))


async def _with_connection(dsn: str, step: Callable[[Connection], None], **options: Any) -> None:
    connect: Any = asyncpg.connect
    # asyncpg parses the DSN, so that one spelling (`?host=/socket/directory`) serves the pool and the migrations.
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(dsn, timeout=_CONNECT_SECONDS, **options),
        poolclass=NullPool,
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(step)
    finally:
        await engine.dispose()


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
