"""Compares the schema of a database with the one that this code was written for.

The schema's version table has the newest revision that was run. Its column `oldest_code` has the newest revision of the
oldest version that can use the schema: null until a revision takes away what older versions need. Revisions are numbers
of four digits.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from servicekit.pooler import ANY_POOLER

_CONNECT_SECONDS = 5
_MIGRATE = "`convene migrate`"
_READ = """
SELECT to_jsonb(v) ->> 'version_num' AS found, to_jsonb(v) ->> 'oldest_code' AS oldest_code FROM {table} v
"""


@dataclass(frozen=True, slots=True)
class SchemaFit:
    """`found`: the newest revision that the database has, None without tables. `needed`: that of this code."""

    found: str | None
    needed: str
    oldest_code: str | None = None
    migrate: str = _MIGRATE
    """The command that brings the database to the newest schema."""

    @property
    def usable(self) -> bool:
        """Whether this code can use the database."""
        return self.found is not None and self.found >= self.needed and not self._too_new

    @property
    def current(self) -> bool:
        """Whether the database has the newest revision that this code knows: there is nothing to migrate."""
        return self.found == self.needed

    @property
    def newer(self) -> bool:
        return self.found is not None and self.found > self.needed

    @property
    def sentence(self) -> str | None:
        """What is different and what to do; None if nothing is."""
        if self.found is None:
            return f"this database has no tables yet: run {self.migrate}"
        if self.found < self.needed:
            return f"the schema is {self.found}, this version needs {self.needed}: run {self.migrate}"
        if self._too_new:
            return (
                f"the schema is {self.found}, which versions before {self.oldest_code} cannot use, and this one has"
                f" {self.needed}: install the newer version"
            )
        if self.newer:
            return (
                f"the schema is {self.found}, newer than {self.needed} of this version, which can still use it:"
                " complete the upgrade"
            )
        return None

    @property
    def _too_new(self) -> bool:
        return self.newer and self.oldest_code is not None and self.oldest_code > self.needed


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """`versions` is the directory of the revisions, `table` where Alembic stores the newest one."""

    versions: Path
    table: str
    migrate: str = _MIGRATE

    @property
    def needed(self) -> str:
        """By the names of the files: a process that serves does not import Alembic."""
        return max(path.name[:4] for path in self.versions.glob("[0-9][0-9][0-9][0-9]_*.py"))

    async def fit_of(self, dsn: str) -> SchemaFit:
        """Reads the version of the database at `dsn`."""
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS, **ANY_POOLER.connect_options({}))
        try:
            return await self.fit(connection)
        finally:
            await connection.close()

    async def problem(
        self, connection: Callable[[], AbstractAsyncContextManager[Any]], unavailable: type[Exception]
    ) -> str | None:
        """Why this code cannot use the database; None if it can, and if `connection` raises `unavailable`."""
        with suppress(unavailable):
            async with connection() as opened:
                fit = await self.fit(opened)
            return None if fit.usable else fit.sentence
        return None

    async def fit(self, connection: Any) -> SchemaFit:
        """Reads the version with a connection of asyncpg."""
        try:
            row = await connection.fetchrow(_READ.format(table=self.table))
        except asyncpg.UndefinedTableError:
            row = None
        found, oldest_code = (row["found"], row["oldest_code"]) if row else (None, None)
        return SchemaFit(found, self.needed, oldest_code, self.migrate)
