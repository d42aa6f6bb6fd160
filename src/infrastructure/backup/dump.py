"""Copies a database into files, from one snapshot."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from infrastructure.backup.errors import BackupError
from infrastructure.backup.files import new_file
from infrastructure.backup.manifest import CopiedDatabase, CopiedTable

_CONNECT_SECONDS = 5
_SETTINGS = {"application_name": "convene backup", "timezone": "UTC", "datestyle": "ISO"}

TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' AND c.relname <> $1
GROUP BY c.relname ORDER BY c.relname
"""
"""The tables with their columns, without generated columns and without the table of the revision ($1)."""

_SEQUENCES = """
SELECT sequencename AS name, coalesce(last_value, 0) AS last FROM pg_sequences WHERE schemaname = 'public'
"""

Progress = Callable[[str], None]


async def connect(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection without time limits for statements. Raises `BackupError`."""
    try:
        return await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS, server_settings=_SETTINGS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise BackupError(
            f"PostgreSQL is unavailable ({text[:200]}): check DATABASE_URL and CRM_DATABASE_URL"
        ) from None


async def server_time(dsn: str) -> datetime:
    connection = await connect(dsn)
    try:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now
    finally:
        await connection.close()


async def dump(
    dsn: str, directory: Path, prefix: str, *, version_table: str, snapshot_at: datetime, progress: Progress
) -> CopiedDatabase:
    """Copies every table of the schema to `<prefix>-<table>.copy.gz`, in one transaction that sees one moment. The
    copies are streamed. Raises `BackupError`, and the errors of asyncpg for an outage."""
    connection = await connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await _revision(connection, version_table, prefix)
            tables = [
                await _copy(connection, directory, prefix, row["name"], tuple(row["columns"]), progress)
                for row in await connection.fetch(TABLES, version_table)
            ]
        # After the copies: sequences do not belong to the snapshot, and no copied number may be above the last one.
        sequences = {row["name"]: row["last"] for row in await connection.fetch(_SEQUENCES)}
        version = connection.get_server_version()
    finally:
        await connection.close()
    return CopiedDatabase(
        revision=revision,
        server=f"{version.major}.{version.minor}",
        snapshot_at=snapshot_at,
        tables=tuple(tables),
        sequences=sequences,
    )


async def _copy(
    connection: "asyncpg.Connection[Any]",
    directory: Path,
    prefix: str,
    table: str,
    columns: tuple[str, ...],
    progress: Progress,
) -> CopiedTable:
    with new_file(directory, f"{prefix}-{table}.copy.gz") as new:
        status = await connection.copy_from_table(table, columns=columns, output=new.stream)
    assert new.copied is not None
    progress(table)
    return CopiedTable(table=table, columns=columns, rows=copied_rows(status), file=new.copied)


def copied_rows(status: str) -> int:
    """The number of rows in `COPY 12`."""
    return int(status.rpartition(" ")[2])


async def _revision(connection: "asyncpg.Connection[Any]", version_table: str, name: str) -> str:
    known = await connection.fetchval("SELECT to_regclass($1)", version_table)
    revision = await connection.fetchval(f"SELECT version_num FROM {version_table}") if known else None  # noqa: S608
    if not isinstance(revision, str):
        raise BackupError(f"the {name} database has no schema: run `convene migrate` first")
    return revision
