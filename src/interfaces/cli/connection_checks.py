"""Checks of connections to PostgreSQL: whether the server accepts all of them, and what a pooler lets through."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.replica import ReplicaState, ReplicaStatus, ReplicaWatch
from infrastructure.settings import Settings
from interfaces.cli.checks import Finding, Findings, Level, Processes

COMMANDS = 5
"""Connections left for commands such as `convene migrate`, and for an operator."""

_LIMITS = """SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) AS server,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database"""
"""A role or a database without a limit has -1."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The most connections that the processes open. An API process and a worker have two pools, the CRM has one."""

    of: Processes
    api_pool: int
    worker_pool: int
    crm_pool: int

    @property
    def booking(self) -> int:
        """Those to the database of the booking API."""
        return 2 * self.of.api * self.api_pool + 2 * self.of.worker * self.worker_pool

    @property
    def total(self) -> int:
        return self.booking + self.of.crm * self.crm_pool + COMMANDS

    def __str__(self) -> str:
        return (
            f"{self.of.api} API × 2 × {self.api_pool} + {self.of.worker} worker × 2 × {self.worker_pool}"
            f" + {self.of.crm} CRM × {self.crm_pool} + {COMMANDS} for commands = {self.total} connections"
        )


def pooler_problem(settings: Settings) -> str | None:
    """What is wrong with DATABASE_POOLER or DATABASE_PREPARED_STATEMENTS."""
    return asyncio.run(_pooler_problem(settings))


def replica_status(settings: Settings, replica_url: str) -> ReplicaStatus:
    """Checks the replica, for at most two seconds until it has replayed what the primary had written at the first
    check."""
    return asyncio.run(_replica_status(settings, replica_url))


def connection_findings(settings: Settings, needed: Connections) -> Findings:
    """Compares the connections that the processes open with the limits of the server."""
    server, role, database = asyncio.run(_limits(settings))
    if settings.pooler.transactions:
        yield Finding(
            Level.OK,
            f"{needed} to the pooler: its max_client_conn must be as large, and its connections to PostgreSQL at most"
            f" {server} in all",
        )
        return
    problems = []
    if needed.total > server:
        problems.append(
            f"{needed}, but PostgreSQL accepts {server}: raise max_connections by {needed.total - server}, lower"
            " DATABASE_POOL_SIZE, WORKER_DATABASE_POOL_SIZE or the number of processes, or use PgBouncer"
        )
    for kind, limit in (("role", role), ("database", database)):
        if 0 <= limit < needed.booking:
            problems.append(
                f"API and worker open {needed.booking} connections, but the {kind} of DATABASE_URL has a limit of"
                f" {limit}: raise it (ALTER {kind.upper()} … CONNECTION LIMIT), or lower DATABASE_POOL_SIZE"
            )
    yield from [Finding(Level.FAIL, problem) for problem in problems]
    if not problems:
        yield Finding(Level.OK, f"{needed}, PostgreSQL accepts {server}")


async def _limits(settings: Settings) -> tuple[int, int, int]:
    async with _opened(settings) as database, database.connection() as connection:
        row = await connection.fetchrow(_LIMITS)
        assert row is not None
        return row["server"], row["role"], row["database"]


async def _pooler_problem(settings: Settings) -> str | None:
    async with _opened(settings) as database, database.connection() as connection:
        found = await connection.fetchval("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'")
        expected = database.timeouts.session_settings["lock_timeout"].removesuffix("ms")
    if found != expected:
        return "DATABASE_URL leads to a pooler that ignores settings of a session: set DATABASE_POOLER=transaction"
    if settings.pooler.transactions and settings.pooler.prepared_statements and not await _keeps_statements(settings):
        return (
            "the pooler of DATABASE_URL does not forward prepared statements: set DATABASE_PREPARED_STATEMENTS=false,"
            " or its max_prepared_statements (PgBouncer 1.21 or newer)"
        )
    return None


async def _keeps_statements(settings: Settings) -> bool:
    """Prepares a statement on one server connection and uses it while another client has that connection."""
    statement = "SELECT $1::int"
    with contextlib.suppress(Unavailable):  # a pooler with one server connection
        async with (
            _opened(settings, size=2) as database,
            database.connection() as connection,
            database.connection() as other,
        ):
            await connection.fetchval(statement, 1)
            async with other.transaction():
                try:
                    await connection.fetchval(statement, 1)
                except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
                    return False
    return True


@contextlib.asynccontextmanager
async def _opened(settings: Settings, size: int = 1) -> AsyncIterator[Database]:
    database = Database(
        settings.database_url, pool_size=size, timeout=settings.database_timeout_seconds, pooler=settings.pooler
    )
    try:
        yield database
    finally:
        await database.close()


async def _replica_status(settings: Settings, replica_url: str) -> ReplicaStatus:
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            Database(url, pool_size=1, timeout=2, pooler=settings.pooler)
            for url in (settings.database_url, replica_url)
        ]
        for server in servers:
            stack.push_async_callback(server.close)
        watch = ReplicaWatch(*servers, most_lag_seconds=settings.database_replica_lag_seconds)
        for _ in range(20):
            await watch.check()
            if watch.status.state is not ReplicaState.LAGGING:
                break
            await asyncio.sleep(0.1)
        return watch.status
