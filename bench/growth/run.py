"""Fills two databases and measures every read on both in turn."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import asyncpg

from bench.figures import alternating, median_of, median_ratio
from bench.growth.reads import CRM_READS, READS, Cost, Reader, bytes_of
from bench.growth.rows import BOOKING_TABLES, CRM_TABLES, MEMBER, REGULAR, Size, fill
from bench.options import Options
from bench.site import PATIENT
from bench.table import Line, at_most
from crm import migrations as crm_migrations
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from infrastructure.postgres import migrations
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.facilitator_counts import FacilitatorCounts
from tests.support.databases import a_database
from tests.support.load import tokens_of
from tests.support.processes import CRM, ApiProcess, running_apis, server_environ
from tests.support.servers import temporary_directory

SMALL = 1_000
MOST_GROWTH = 1.2
_REQUESTS = 20
_WARM_UP = 8
"""After five executions PostgreSQL decides on the plan of a prepared statement."""


@dataclass(frozen=True, slots=True)
class Filled:
    """One of the two sizes, with its processes."""

    size: Size
    api: ApiProcess
    crm: ApiProcess
    database: asyncpg.Connection
    crm_database: asyncpg.Connection
    tokens: Mapping[int, str]
    uuids: Mapping[str, str]

    def reader(self, name: str) -> Reader:
        if name in CRM_READS:
            content = bytes_of(CRM_READS[name], self.size, self.uuids, token="a-token-of-the-tests")
            return Reader(self.crm.address, self.crm.pid, self.crm_database, content)
        path, account = READS[name]
        content = bytes_of(path, self.size, self.uuids, token=None if account is None else self.tokens[account])
        return Reader(self.api.address, self.api.pid, self.database, content)


async def growth(bookings: int, options: Options) -> list[Line]:
    """A line for each read: its cost at both sizes, and the ratio. The databases are deleted at the end."""
    lines: list[Line] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        postgres, redis = EmbeddedPostgres(directory, directory), EmbeddedRedis(directory)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        filled = partial(_filled, postgres, redis.url, directory)
        async with filled(SMALL) as small, filled(bookings) as large:
            for name in (*READS, *CRM_READS):
                lines.append(await _line(name, small, large, options))
                print(lines[-1], flush=True)
    return lines


async def _line(name: str, small: Filled, large: Filled, options: Options) -> Line:
    readers = {"small": small.reader(name), "large": large.reader(name)}
    for reader in readers.values():
        await reader.cost(_WARM_UP)
    costs = await alternating(options.blocks, {size: partial(each.cost, _REQUESTS) for size, each in readers.items()})
    ratio = median_ratio(costs["large"], costs["small"], lambda cost: cost.total)
    now = f"{ratio:.2f} ({_text(costs['large'])})"
    return Line(f"growth: {name}", now, _text(costs["small"]), (at_most(round(ratio, 2), MOST_GROWTH),))


def _text(costs: list[Cost]) -> str:
    process, postgresql = median_of(costs, lambda cost: cost.process), median_of(costs, lambda cost: cost.postgresql)
    return f"{process:.2f} + {postgresql:.2f} ms of CPU"


@contextlib.asynccontextmanager
async def _filled(postgres: EmbeddedPostgres, redis_url: str, directory: Path, bookings: int) -> AsyncIterator[Filled]:
    size = Size(bookings, datetime.now(UTC).replace(microsecond=0))
    dsn, crm_dsn = [await a_database(postgres, template="template1") for _ in range(2)]
    await asyncio.to_thread(migrations.upgrade, dsn)
    await asyncio.to_thread(crm_migrations.upgrade, crm_dsn)
    for address, tables in ((dsn, BOOKING_TABLES), (crm_dsn, CRM_TABLES)):
        await fill(postgres.superuser_dsn(address.partition("?")[0].rpartition("/")[2]), size, tables)
    database, crm_database = await asyncpg.connect(dsn), await asyncpg.connect(crm_dsn)
    await _count(dsn)
    tokens = await tokens_of(database, [1, MEMBER, MEMBER - 1])
    uuids = {
        name: str(await database.fetchval("SELECT uuid FROM users WHERE id = $1", user))
        for name, user in (("coach", 1), ("client", MEMBER), ("regular", REGULAR))
    }
    with tempfile.TemporaryDirectory(dir=directory) as logs:
        environ = server_environ(dsn, redis_url, directory, crm_database_url=crm_dsn, **PATIENT)
        with running_apis(1, environ, Path(logs)) as (api,), running_apis(1, environ, Path(logs), CRM) as (crm,):
            await api.ready()
            await crm.ready()
            try:
                print(f"filled: {bookings:,} bookings, {size.events:,} events", flush=True)
                yield Filled(size, api, crm, database, crm_database, tokens, uuids)
            finally:
                await database.close()
                await crm_database.close()


async def _count(dsn: str) -> None:
    """As a worker does after a migration."""
    database = Database(dsn, timeout=60)
    try:
        await FacilitatorCounts(database).count_due()
    finally:
        await database.close()
