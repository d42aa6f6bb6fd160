"""The CRM's schema: `upgrade` and `downgrade`, each one transaction, safe when run twice and by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["downgrade", "head", "upgrade"]

# Any number will do, as long as it never changes: it is the lock that two migrations compete for.
MIGRATION_LOCK = 0x63726D


def upgrade(dsn: str) -> None:
    """Bring the database at `dsn` to the newest schema. Blocking, with an event loop of its own."""
    asyncio.run(_migrate(dsn, lambda config: command.upgrade(config, "head")))


def downgrade(dsn: str, revision: str = "base") -> None:
    """Take the schema at `dsn` back to `revision`. Blocking, with an event loop of its own."""
    asyncio.run(_migrate(dsn, lambda config: command.downgrade(config, revision)))


def head() -> str:
    """The newest revision this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


async def _migrate(dsn: str, run: Callable[[Config], None]) -> None:
    def locked(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config = _config()
        config.attributes["connection"] = connection
        run(config)

    connect: Any = asyncpg.connect
    # asyncpg reads the DSN itself, so that one spelling (`?host=/socket/dir`) serves the service and its migrations.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(dsn, timeout=5), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(locked)
    finally:
        await engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
