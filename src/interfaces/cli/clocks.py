"""The database's clock for commands."""

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from domain.errors import Unavailable
from interfaces.cli.environment import command_database
from interfaces.cli.problems import Problem

if TYPE_CHECKING:
    from infrastructure.postgres.engine import Database


async def _read(database: "Database") -> tuple[datetime, timedelta]:
    from servicekit.clock import DatabaseClock

    clock = DatabaseClock(database.connection)
    try:
        await clock.read()
        difference = clock.difference
        if difference is None:
            raise Unavailable
        return clock.now(), difference
    finally:
        await database.close()


def machine_ahead_by(database: "Database") -> timedelta:
    """How far the clock of this machine is ahead of the database's. Raises `Unavailable`."""
    return asyncio.run(_read(database))[1]


def database_time() -> datetime:
    """The time of the database of DATABASE_URL. Raises `Problem`."""
    try:
        return asyncio.run(_read(command_database()))[0]
    except Unavailable:
        raise Problem("the database is unavailable: check DATABASE_URL, or run `convene doctor`") from None
