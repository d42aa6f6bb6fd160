"""What is measured: real servers with default durability, API processes with default settings, a crowd."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis, processes
from infrastructure.postgres import migrations
from tests.support.callers import Address, Caller, request
from tests.support.load import Member, many_users, some_events
from tests.support.processes import ApiProcess, running_apis, server_environ
from tests.support.servers import temporary_directory

MEMBERS = 20_000
EVENTS = 1_000
HOT_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Site:
    """`members` and the events have consecutive ids. Each hot event is booked in one measurement only, so that no user
    has an earlier booking of it."""

    postgres: EmbeddedPostgres
    database: asyncpg.Connection
    directory: Path
    environ: dict[str, str]
    apis: list[ApiProcess]
    members: list[Member]
    events: list[int]
    hot_events: Iterator[int]


@contextlib.asynccontextmanager
async def open_site(apis: int) -> AsyncIterator[Site]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        postgres, redis = EmbeddedPostgres(directory, directory), EmbeddedRedis(directory)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        dsn = postgres.dsn("convene")
        await asyncio.to_thread(migrations.upgrade, dsn)
        # As for pgbench: paid on the spot, so that both do the same work.
        environ = server_environ(dsn, redis.url, directory, payment_provider="offline", request_queue_ms="500")
        running = stack.enter_context(running_apis(apis, environ, directory))
        database = await asyncpg.connect(dsn)
        try:
            members = await many_users(database, MEMBERS)
            facilitator = (await many_users(database, 1, role="facilitator"))[0]
            events = await some_events(database, facilitator.id, EVENTS + HOT_EVENTS, capacity=1_000_000)
            await database.execute("ANALYZE")
            for api in running:
                await api.ready()
            yield Site(postgres, database, directory, environ, running, members, events[:EVENTS], iter(events[EVENTS:]))
        finally:
            await database.close()


@contextlib.asynccontextmanager
async def running_deliveries(site: Site) -> AsyncIterator[str]:
    """A worker and a CRM beside the site; yields the address of the CRM's database."""
    crm_dsn = site.postgres.dsn("convene_crm")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address: Address = listener.getsockname()
        environ = site.environ | {"CRM_DATABASE_URL": crm_dsn, "CRM_SERVICE_URL": f"http://127.0.0.1:{address[1]}"}

        def start(*module: str, fds: tuple[int, ...] = ()) -> None:
            process = processes.spawn(
                [sys.executable, "-P", "-m", *module],
                log=site.directory / f"{module[0]}-{module[1]}.log",
                environ=environ,
                pass_fds=fds,
            )
            stack.callback(processes.stop, process, (signal.SIGTERM, 15))

        migrated = processes.run([sys.executable, "-P", "-m", "crm", "migrate"], environ=environ)
        if migrated.returncode:
            raise SystemExit(f"the CRM's database: {migrated.stderr}")
        start("crm", "serve", "--fd", str(listener.fileno()), fds=(listener.fileno(),))
        start("interfaces.cli", "worker")
        caller = await Caller.connect(address)
        await caller(request("GET", "/"))
        caller.close()
        yield crm_dsn
