"""Statements of migrations that others do not wait for: a bound for each lock, and attempts until it is free."""

import asyncio
import random
import re
import time

import asyncpg

from servicekit.migrations.guard import APPLICATION, Driver, Guard, MigrationBlocked

LIMIT_LOCK = "SET LOCAL lock_timeout = '250ms'"
"""A statement that waits for a table makes all later statements on that table wait."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_REPORT_SECONDS = 10
_UNKNOWN = 3
"""Attempts without having seen what they wait for. A wait is short, and may end unseen."""
_OTHER = "another transaction"
_REST = 0.25
"""Seconds after the statement before: those who waited for it go first, and drivers plan their statements anew. A
driver does so once for each use of a statement, so two changes of a table in a row would fail one."""
_IN_USE = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
    AND backend_type = 'client backend' AND application_name <> $1)
"""
_ALTERED = re.compile(r"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE)


def is_retried(error: BaseException | None) -> bool:
    """Whether it is a lock that was not free in time, or a deadlock. Later the same statement may succeed."""
    return isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError)


class Retries:
    """The pauses between attempts at `what`, with jitter and longer each time."""

    def __init__(self, guard: Guard, what: str) -> None:
        self._guard = guard
        self._what = what
        self.begin(what)

    def begin(self, what: str) -> None:
        """Something else is attempted from here on."""
        self._what = what
        self._failures = 0
        self._since = self._reported = 0.0

    async def pause(self, error: BaseException) -> None:
        """After a failed attempt. Raises `MigrationBlocked` if they have failed for the patience of the guard."""
        now = time.monotonic()
        self._since = self._since or now
        self._failures += 1
        if now - self._since > self._guard.patience:
            raise blocked(self._what, self._guard) from error
        blocker = self._guard.blocker
        if now - self._reported > _REPORT_SECONDS and (blocker or self._failures > _UNKNOWN):
            self._guard.report(f"{self._what} waits for {blocker or _OTHER}, and is tried again")
            self._reported = now
        longest = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311


def blocked(what: str, guard: Guard) -> MigrationBlocked:
    return MigrationBlocked(
        f"{what} has waited {guard.patience:.0f} s for {guard.blocker or _OTHER}: end it, then run the command again;"
        " what is done is kept"
    )


class Statements:
    """Runs statements that are committed one by one. Each must do nothing if it was done already."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def run(self, driver: Driver, statement: str) -> None:
        """A statement that needs a lock for a moment, which it waits for 250 ms at a time."""
        retries = Retries(self._guard, _shortened(statement))
        table = None
        if await driver.fetchval(_IN_USE, APPLICATION):
            await asyncio.sleep(_REST)
        while True:
            self._guard.require_lock()
            try:
                async with driver.transaction():
                    if table:
                        # No reader and no writer waits for this lock. After a second the server ends a VACUUM that
                        # holds it; in 250 ms it does not.
                        await driver.execute("SET LOCAL lock_timeout = '3s'")
                        await driver.execute(f"LOCK TABLE {table.group(1)} IN SHARE UPDATE EXCLUSIVE MODE")
                    await driver.execute(LIMIT_LOCK)
                    await driver.execute(statement)
            except asyncpg.PostgresError as error:
                if not is_retried(error):
                    raise
                await retries.pause(error)
                table = _ALTERED.match(statement)
            else:
                return

    async def run_beside(self, driver: Driver, statement: str) -> None:
        """A statement that takes long, and whose locks let others read and write. It is no transaction's part."""
        self._guard.require_lock()
        try:
            with self._guard.unlimited():
                await driver.execute(statement)
        except asyncpg.QueryCanceledError as error:
            raise blocked(_shortened(statement), self._guard) from error

    async def create_index(self, driver: Driver, name: str, statement: str) -> None:
        """Builds the index `name`, unless it exists. What an interrupted build has left is dropped before."""
        retries = Retries(self._guard, f"index {name}")
        while True:
            async with driver.transaction(readonly=True):
                valid = await driver.fetchval(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
                )
            if valid:
                return
            try:
                if valid is not None:
                    await self.run_beside(driver, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                await self.run_beside(driver, statement)
            except asyncpg.PostgresError as error:
                if not is_retried(error):
                    raise
                await retries.pause(error)


def _shortened(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= 80 else words[:77] + "…"
