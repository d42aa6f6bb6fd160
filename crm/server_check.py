"""The database server that a command of the CRM needs."""

from __future__ import annotations

import sys
from typing import Any

import asyncpg
from asyncpg.exceptions import InterfaceError

from servicekit.pooler import ANY_POOLER, Pooler
from servicekit.schema_version import SchemaVersion

OLDEST_POSTGRES = 16


class StartError(Exception):
    """The service cannot start. The message is one line that says what and what to do."""


async def check_server(dsn: str, schema: SchemaVersion | None = None, pooler: Pooler = ANY_POOLER) -> None:
    """Raises StartError unless a new enough PostgreSQL answers, reached as `pooler` says, with a schema this code can
    use where one is given."""
    connect: Any = asyncpg.connect
    options = Pooler(pooler.transactions, prepared_statements=False).connect_options({"lock_timeout": "5s"})
    try:
        connection = await connect(dsn, timeout=5, **options)
    except asyncpg.ProtocolViolationError as error:
        raise StartError(
            f"CRM_DATABASE_URL leads to a pooler ({one_line(error)}): set DATABASE_POOLER=transaction"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, InterfaceError, ValueError) as error:
        raise StartError(
            f"cannot reach the database of CRM_DATABASE_URL ({one_line(error)}): start it, or correct the setting"
        ) from error
    try:
        if connection.get_server_version().major < OLDEST_POSTGRES:
            raise StartError(f"the database server is too old: PostgreSQL {OLDEST_POSTGRES} or newer is needed")
        if schema is None:
            return
        fit = await schema.fit(connection)
        if not fit.usable:
            raise StartError(f"CRM_DATABASE_URL: {fit.sentence}")
        if fit.sentence:
            sys.stderr.write(f"crm: CRM_DATABASE_URL: {fit.sentence}\n")
    finally:
        await connection.close()


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
