"""Migrations, run by Alembic. Hand-written: each is one transaction, and all of them wait for one advisory lock, so
that several processes may start at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

ADVISORY_LOCK = 0x_C0_17_E4_E0


def upgrade(dsn: str, revision: str = "head") -> None:
    """Brings the database to `revision`. Safe to run twice, and by several processes at once."""
    _run(dsn, lambda config: command.upgrade(config, revision))


def downgrade(dsn: str, revision: str) -> None:
    _run(dsn, lambda config: command.downgrade(config, revision))


def is_current(dsn: str) -> bool:
    """Whether the database stands at the newest revision. Raises what the driver raises when it is away."""
    head = ScriptDirectory.from_config(_config()).get_current_head()

    async def current() -> str | None:
        engine = _engine(dsn)
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())

    return asyncio.run(current()) == head


def _run(dsn: str, step: Callable[[Config], None]) -> None:
    async def migrate() -> None:
        engine = _engine(dsn)
        async with engine.begin() as connection:
            await connection.run_sync(_with_connection, step)
        await engine.dispose()

    asyncio.run(migrate())


def _with_connection(connection: Connection, step: Callable[[Config], None]) -> None:
    config = _config()
    config.attributes["connection"] = connection
    step(config)


def _engine(dsn: str) -> AsyncEngine:
    return create_async_engine(make_url(dsn).set(drivername="postgresql+asyncpg"), poolclass=NullPool)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
