"""A row that a test expects to be stored."""

from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy


async def stored_row(
    database: asyncpg.Connection | asyncpg.Pool | PoolConnectionProxy, sql: str, *values: Any
) -> asyncpg.Record:
    """The first row of the answer; a test that finds none fails here."""
    row = await database.fetchrow(sql, *values)
    assert row is not None, sql
    return row
