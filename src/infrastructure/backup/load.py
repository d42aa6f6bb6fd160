"""Loads the copies of a database into an empty one."""

import gzip
import math
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import asyncpg

from infrastructure.backup.dump import TABLES, Progress, connect, copied_rows
from infrastructure.backup.errors import BackupError
from infrastructure.backup.manifest import CopiedDatabase, CopiedTable

_FILLED_BY_MIGRATIONS = {"calendar_identity"}
SMALLEST_GAP = 1_000

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

# An index that belongs to no constraint. Loading is faster without it, and foreign keys would prescribe an order.
_INDEXES = """
SELECT quote_ident(i.relname) AS name, pg_get_indexdef(i.oid) AS definition
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE i.relnamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.oid AND c.contype IN ('p', 'u', 'x'))
ORDER BY i.relname
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS table, quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY conname
"""

_TRIGGERS = """
SELECT DISTINCT tgrelid::regclass::text AS table FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
WHERE NOT tgisinternal AND c.relnamespace = 'public'::regnamespace
"""

# Each sequence, and the first time in its table's rows that is never null, to count the numbers of a day.
_NUMBERED = """
SELECT s.relname AS sequence, t.relname AS table, (
    SELECT a.attname FROM pg_attribute a
    WHERE a.attrelid = t.oid AND a.atttypid = 'timestamptz'::regtype AND a.attnotnull AND NOT a.attisdropped
    ORDER BY a.attname NOT IN ('created_at', 'occurred_at', 'received_at', 'started_at'), a.attnum LIMIT 1) AS instant
FROM pg_class s
JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class t ON t.oid = d.refobjid
WHERE s.relkind = 'S' AND s.relnamespace = 'public'::regnamespace
"""


async def check_empty(dsn: str, setting: str, revision: str, version_table: str) -> None:
    """Raises `BackupError` if the database has rows, another revision than `revision`, or other clients."""
    connection = await connect(dsn)
    try:
        tables = await connection.fetch(TABLES, version_table)
        for row in tables:
            name = row["name"]
            if name not in _FILLED_BY_MIGRATIONS and await connection.fetchval(f'SELECT true FROM "{name}" LIMIT 1'):  # noqa: S608
                raise BackupError(f"the database of {setting} is not empty ({name} has rows): give an empty database")
        if tables:
            known = await connection.fetchval("SELECT to_regclass($1)", version_table)
            found = await connection.fetchval(f"SELECT version_num FROM {version_table}") if known else None  # noqa: S608
            if found != revision:
                raise BackupError(
                    f"the database of {setting} has the schema {found or 'of something else'}, the backup {revision}:"
                    " drop the database and create it"
                )
        if await connection.fetchval(_OTHERS):
            raise BackupError(f"other programs are connected to the database of {setting}: stop them")
    finally:
        await connection.close()


async def load(
    dsn: str, directory: Path, copied: CopiedDatabase, *, version_table: str, name: str, progress: Progress
) -> Mapping[str, int]:
    """Loads all tables in one transaction, so that an interrupted restore leaves an empty database, and moves the
    sequences on. The schema has the revision of the copy. Returns the last number of each sequence.

    Raises `BackupError`.
    """
    connection = await connect(dsn)
    try:
        async with connection.transaction():
            await _check_schema(connection, copied, version_table, name)
            await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
            tables = ", ".join(f'"{table.table}"' for table in copied.tables)
            foreign_keys, indexes = await connection.fetch(_FOREIGN_KEYS), await connection.fetch(_INDEXES)
            for key in foreign_keys:
                await connection.execute(f"ALTER TABLE {key['table']} DROP CONSTRAINT {key['name']}")
            for index in indexes:
                await connection.execute(f"DROP INDEX {index['name']}")
            await connection.execute(f"TRUNCATE {tables}")
            # The copies include the rows that triggers wrote.
            triggers = await connection.fetch(_TRIGGERS)
            for row in triggers:
                await connection.execute(f"ALTER TABLE {row['table']} DISABLE TRIGGER USER")
            for table in copied.tables:
                await _load_table(connection, directory, table, progress)
            for row in triggers:
                await connection.execute(f"ALTER TABLE {row['table']} ENABLE TRIGGER USER")
            for index in indexes:
                await connection.execute(index["definition"])
            for key in foreign_keys:
                await connection.execute(f"ALTER TABLE {key['table']} ADD CONSTRAINT {key['name']} {key['definition']}")
            moved = await _move_sequences(connection, copied)
        await connection.execute("ANALYZE")
    except (asyncpg.PostgresError, EOFError, gzip.BadGzipFile) as error:
        text = " ".join(str(error).split())[:200]
        raise BackupError(f"the {name} database cannot be restored ({text}): it was left empty") from None
    finally:
        await connection.close()
    return moved


async def _check_schema(
    connection: "asyncpg.Connection[Any]", copied: CopiedDatabase, version_table: str, name: str
) -> None:
    expected = {table.table: set(table.columns) for table in copied.tables}
    found = {row["name"]: set(row["columns"]) for row in await connection.fetch(TABLES, version_table)}
    if expected != found:
        differing = sorted(table for table in expected.keys() | found if expected.get(table) != found.get(table))
        raise BackupError(
            f"the {name} database differs from the backup in {differing[0]}: restore with Convene of the same version"
        )


async def _load_table(
    connection: "asyncpg.Connection[Any]", directory: Path, table: CopiedTable, progress: Progress
) -> None:
    with gzip.open(directory / table.file.name, "rb") as file:
        status = await connection.copy_to_table(table.table, columns=table.columns, source=cast("BinaryIO", file))
    if copied_rows(status) != table.rows:
        raise BackupError(f"{table.file.name} has {copied_rows(status)} rows, not {table.rows}: choose another backup")
    progress(table.table)


async def _move_sequences(connection: "asyncpg.Connection[Any]", copied: CopiedDatabase) -> Mapping[str, int]:
    """Numbers that were given after the snapshot are not known here, but to clients, gateways and receivers."""
    age = await connection.fetchval("SELECT clock_timestamp() - $1::timestamptz", copied.snapshot_at)
    numbered = {row["sequence"]: row for row in await connection.fetch(_NUMBERED)}
    moved = {}
    for sequence, last in copied.sequences.items():
        row = numbered.get(sequence)
        busiest = await _busiest_day(connection, row["table"], row["instant"]) if row and row["instant"] else 0
        moved[sequence] = last + gap(busiest, age)
        await connection.execute("SELECT setval($1::regclass, $2)", sequence, moved[sequence])
    return moved


def gap(busiest_day: int, age: timedelta) -> int:
    """How many numbers are skipped: twice those of the busiest day for each begun day since the snapshot, and at least
    a thousand."""
    days = max(1, math.ceil(age / timedelta(days=1)))
    return max(SMALLEST_GAP, 2 * busiest_day * days)


async def _busiest_day(connection: "asyncpg.Connection[Any]", table: str, instant: str) -> int:
    most = await connection.fetchval(
        f"""SELECT coalesce(max(number), 0) FROM (
                SELECT count(*) AS number FROM "{table}" GROUP BY date_trunc('day', "{instant}")) AS days"""  # noqa: S608
    )
    return int(most)
