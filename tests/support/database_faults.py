"""Errors of PostgreSQL by SQLSTATE: triggers on all tables raise those that a test asks for."""

import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from servicekit import sqlstates
from tests.support.process_harness import LONG_RUN
from tests.support.recorder import Recorder

CONFLICTS = tuple(sqlstates.CONFLICTS)
OUTAGES = (
    *("25006", "53100", "53200", "53300", "57P01", "57P02", "57P03", "57P04", "57P05", "08000", "08006", "08P01"),
    *("55P03", "57014", "25P03", "25P04", "28000", "3D000", "40000", "40003", "58030"),
)
A_FAULT_OF_THE_CODE = "42883"  # undefined_function

_INSTALL = """
CREATE SCHEMA faults;
CREATE TABLE faults.injected (sqlstate text NOT NULL, at_commit boolean NOT NULL, times bigint NOT NULL);
CREATE SEQUENCE faults.raised;
CREATE FUNCTION faults.raise() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE fault faults.injected;
BEGIN
    SELECT * INTO fault FROM faults.injected WHERE at_commit = (TG_ARGV[0] = 'commit');
    IF FOUND AND nextval('faults.raised') <= fault.times THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = fault.sqlstate;
    END IF;
    RETURN NULL;
END $$;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('CREATE TRIGGER fault BEFORE INSERT OR UPDATE OR DELETE ON public.%I
            FOR EACH STATEMENT EXECUTE FUNCTION faults.raise(''statement'')', name);
        EXECUTE format('CREATE CONSTRAINT TRIGGER fault_at_commit AFTER INSERT OR UPDATE OR DELETE ON public.%I
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION faults.raise(''commit'')', name);
    END LOOP;
END $$;
"""
_EVERY_TIME = 1 << 40


@dataclass(frozen=True)
class DatabaseFaults:
    connection: asyncpg.Connection

    @classmethod
    async def install(cls, connection: asyncpg.Connection) -> "DatabaseFaults":
        await connection.execute(_INSTALL)
        return cls(connection)

    @asynccontextmanager
    async def injected(
        self, sqlstate: str, *, at_commit: bool = False, times: int = _EVERY_TIME
    ) -> AsyncIterator[None]:
        """Every write of another connection fails, at its statement or at the commit of its transaction."""
        await self.connection.execute("SELECT setval('faults.raised', 1, false)")
        await self.connection.execute("INSERT INTO faults.injected VALUES ($1, $2, $3)", sqlstate, at_commit, times)
        try:
            yield
        finally:
            await self.connection.execute("DELETE FROM faults.injected")

    async def raised(self) -> int:
        """How often the last injected error was raised, up to its `times`."""
        count: int = await self.connection.fetchval(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM faults.raised"
        )
        return count


Check = Callable[[httpx.Response], None]


@dataclass
class FaultyRecorder(Recorder):
    """Before the first call of each operation its request is sent while writes fail, with one SQLSTATE after the other.
    Each such response is checked by `check`, then the request is repeated without a fault and must succeed.

    `arrange`: SQL by operation that makes its request write. `writes_nothing`: operations that are left out."""

    faults: DatabaseFaults = field(kw_only=True)
    check: Check = field(kw_only=True)
    arrange: Mapping[str, str] = field(kw_only=True, default_factory=dict)
    writes_nothing: Collection[str] = field(kw_only=True, default=())
    written: set[str] = field(default_factory=set)
    """Operations that write to the database."""
    wrong: list[str] = field(default_factory=list)
    _states: "itertools.cycle[str]" = field(default_factory=lambda: itertools.cycle((*OUTAGES, *CONFLICTS)))
    _done: set[str] = field(default_factory=set)

    @property
    def writes(self) -> set[str]:
        """The operations whose method is not safe."""
        return {operation for operation, (method, _) in self.routes.items() if method != "GET"}

    async def send(self, operation: str, method: str, path: str, **request: Any) -> httpx.Response:
        if operation not in self._done and operation not in self.writes_nothing:
            self._done.add(operation)
            if operation in self.arrange:
                await self.faults.connection.execute(self.arrange[operation])
            for sqlstate, at_commit in self._some():
                async with self.faults.injected(sqlstate, at_commit=at_commit):
                    response = await self.client.request(method, path, **request)
                if not await self.faults.raised():
                    break  # it writes nothing
                self.written.add(operation)
                try:
                    self.check(response)
                except AssertionError as error:
                    when = "commit" if at_commit else "statement"
                    self.wrong.append(f"{operation}, {sqlstate} at {when}: {error}")
        return await super().send(operation, method, path, **request)

    def _some(self) -> Sequence[tuple[str, bool]]:
        """All SQLSTATEs at both moments in a long run, otherwise those that are next."""
        if LONG_RUN:
            return [(state, at_commit) for at_commit in (False, True) for state in (*CONFLICTS, *OUTAGES)]
        return [(next(self._states), False), (next(self._states), True)]
