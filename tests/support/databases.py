"""Databases for tests: copies of a migrated template, made in a few hundredths of a second and used repeatedly."""

import asyncio
import itertools
from dataclasses import dataclass

import asyncpg
from sqlalchemy import make_url

from infrastructure.embedded import EmbeddedPostgres

TEMPLATE = "convene_template"
_numbers = itertools.count(1)

_MOST_GROWTH = 2 << 20
"""Bytes by which the files of a database may have grown: a longer table is read by another plan."""

_FILLED_BY_MIGRATIONS = ("alembic_version", "calendar_identity")
_RESTARTED = "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"
_OTHER_CLIENTS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
_CATALOGS = (
    "class",
    "attribute",
    "attrdef",
    "constraint",
    "index",
    "trigger",
    "proc",
    "type",
    "namespace",
    "statistic",
)
_DEFINITIONS = ", ".join(
    (
        *(
            f"pg_stat_get_tuples_{change}('pg_{catalog}'::regclass)"
            for catalog in _CATALOGS
            for change in ("inserted", "updated", "deleted")
        ),
        "(SELECT string_agg(t::text, '' ORDER BY setdatabase, setrole) FROM pg_db_role_setting t)",
        *(f"(SELECT string_agg(t::text, '') FROM {table} t)" for table in _FILLED_BY_MIGRATIONS),
    )
)
"""How often tables, constraints, functions, statistics of the planner and so on have changed, the settings, and the
rows of migrations."""


async def a_database(postgres: EmbeddedPostgres, *, template: str = TEMPLATE) -> str:
    """The address of a new database; `template` is `template1` for one without any table."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(postgres.superuser_dsn())
    # Copying files takes half as long as writing a log of them, where nothing waits for the disk.
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER convene STRATEGY file_copy")
    await connection.close()
    return postgres.dsn(name)


async def drop(postgres: EmbeddedPostgres, dsn: str) -> None:
    """Removes a database that nothing uses any more: thousands of them would be 10 MB and 350 files each."""
    connection = await asyncpg.connect(postgres.superuser_dsn())
    await connection.execute(f"DROP DATABASE {make_url(dsn).database} WITH (FORCE)")
    await connection.close()


_ADDED = """
DO $$ DECLARE name text; BEGIN
    SET LOCAL session_replication_role = replica;
    SET LOCAL lock_timeout = '10s';
    FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND relname NOT IN ('alembic_version', 'calendar_identity')
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
END $$
"""
"""All but the rows that migrations write. Without triggers: foreign keys would ask for an order."""


async def delete_rows(superuser: asyncpg.Connection) -> None:
    """Makes a migrated database empty again, in a few milliseconds. Its sequences go on, so no number comes twice."""
    await superuser.execute(_ADDED)


@dataclass
class _Database:
    dsn: str
    superuser: asyncpg.Connection
    definitions: tuple[object, ...]
    size: int


class Databases:
    """Empty, migrated databases. One that is given back is emptied and used again, which takes 5 ms instead of the
    50 ms of a new one, unless a test has changed more than rows or has left a connection open."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._free: list[_Database] = []
        self._used: dict[str, _Database] = {}

    async def take(self) -> str:
        database = self._free.pop() if self._free else await self._new()
        self._used[database.dsn] = database
        return database.dsn

    async def give_back(self, dsn: str) -> bool:
        """Whether it is used again."""
        database = self._used.pop(dsn)
        try:
            reusable = await self._is_reusable(database)
        except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
            reusable = False  # without its tables, or all connections were ended
        if reusable:
            await delete_rows(database.superuser)
            await database.superuser.execute(_RESTARTED)
            self._free.append(database)
        else:
            await self._drop(database)
        return reusable

    async def close(self) -> None:
        for database in (*self._free, *self._used.values()):
            await database.superuser.close()

    async def empty(self, dsn: str) -> None:
        """Deletes what tests have written to a database in use."""
        await delete_rows(self._used[dsn].superuser)

    async def _new(self) -> _Database:
        dsn = await a_database(self._postgres)
        superuser = await asyncpg.connect(self._postgres.superuser_dsn(str(make_url(dsn).database)))
        definitions, size = await self._definitions(superuser), await self._size(superuser)
        return _Database(dsn, superuser, definitions, size)

    async def _is_reusable(self, database: _Database) -> bool:
        superuser = database.superuser
        if await self._size(superuser) > database.size + _MOST_GROWTH:
            return False
        # The server notices the end of a connection a moment after its client.
        for _ in range(20):
            if not await superuser.fetchval(_OTHER_CLIENTS):
                return bool(await self._definitions(superuser) == database.definitions)
            await asyncio.sleep(0.005)
        return False

    async def _definitions(self, superuser: asyncpg.Connection) -> tuple[object, ...]:
        [row] = await superuser.fetch(f"SELECT {_DEFINITIONS}")
        return tuple(row)

    async def _size(self, superuser: asyncpg.Connection) -> int:
        return int(await superuser.fetchval("SELECT pg_database_size(current_database())"))

    async def _drop(self, database: _Database) -> None:
        await database.superuser.close()
        await drop(self._postgres, database.dsn)
