"""What is measured: real servers with default durability, processes, a crowd."""

import asyncio
import contextlib
import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import msgspec

from bench.load import Gate, Load, Result
from bench.usage import Usage, usage
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis, processes
from infrastructure.postgres import migrations
from tests.support.callers import Address, Caller, request
from tests.support.load import Member, many_users, some_events
from tests.support.processes import CRM, WORKER, ApiProcess, running_apis, server_environ
from tests.support.servers import temporary_directory

ROOT = Path(__file__).parents[1]
MEMBERS = 20_000
EVENTS = 1_000
HOT_EVENTS = 100
PATIENT = {"request_queue_ms": "5000"}
"""With the default an API process refuses requests that wait for the database on a busy machine."""
_SECONDS_TO_DELIVER = 600

_UNDELIVERED = "SELECT count(*) FROM outbox WHERE status = 'pending'"
_UNSENT_BY_CRM = "SELECT count(*) FROM notifications WHERE status = 'pending'"


@dataclass(frozen=True, slots=True)
class Site:
    """`members` and the events have consecutive ids. All events are free. Each hot event is booked in one measurement
    only, so that no user has an earlier booking of it."""

    postgres: EmbeddedPostgres
    database: asyncpg.Connection
    directory: Path
    environ: dict[str, str]
    apis: list[ApiProcess]
    members: list[Member]
    events: list[int]
    hot_events: Iterator[int]
    _spread: Iterator[int] = field(default_factory=itertools.count)

    @property
    def tokens(self) -> list[str]:
        return [member.token for member in self.members]

    def spread(self, number: int) -> list[tuple[int, int]]:
        """Pairs of a member's index and an event that no measurement has used; neighbours are of different events."""
        return [pair(n, self.events[0]) for n in itertools.islice(self._spread, number)]


def pair(number: int, first_event: int) -> tuple[int, int]:
    """The `number`th pair of `Site.spread`."""
    member = number % MEMBERS
    return member, first_event + (number // MEMBERS + member * 7) % EVENTS


@contextlib.asynccontextmanager
async def open_site(apis: int, settings: Mapping[str, str] = PATIENT) -> AsyncIterator[Site]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        postgres, redis = EmbeddedPostgres(directory, directory), EmbeddedRedis(directory)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        dsn = postgres.dsn("convene")
        await asyncio.to_thread(migrations.upgrade, dsn)
        environ = server_environ(dsn, redis.url, directory, **settings)
        running = stack.enter_context(running_apis(apis, environ, directory))
        database = await asyncpg.connect(dsn)
        try:
            members = await many_users(database, MEMBERS)
            facilitator = (await many_users(database, 1, role="facilitator"))[0]
            events = await some_events(database, facilitator.id, EVENTS + HOT_EVENTS, capacity=1_000_000, price=0)
            await database.execute("ANALYZE")
            for api in running:
                await api.ready()
            yield Site(postgres, database, directory, environ, running, members, events[:EVENTS], iter(events[EVENTS:]))
        finally:
            await database.close()


@dataclass(frozen=True, slots=True)
class Deliveries:
    """A worker and a CRM beside a site."""

    site: Site
    crm_dsn: str
    worker: int
    crm: int

    def gate(self, most: int) -> Gate:
        counts = {self.site.postgres.dsn("convene"): _UNDELIVERED, self.crm_dsn: _UNSENT_BY_CRM}
        return Gate(counts, most)

    async def all_delivered(self) -> None:
        """Waits until no message is pending, neither in the outbox nor in the CRM."""
        crm = await asyncpg.connect(self.crm_dsn)
        try:
            async with asyncio.timeout(_SECONDS_TO_DELIVER):
                while await self.site.database.fetchval(_UNDELIVERED) or await crm.fetchval(_UNSENT_BY_CRM):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            await crm.close()

    def usage(self) -> Usage:
        """Of one API process, the worker, the CRM and PostgreSQL."""
        assert self.site.postgres.pid
        kinds = {"API": [self.site.apis[0].pid], "worker": [self.worker], "CRM": [self.crm]}
        return usage(kinds, self.site.postgres.pid)


@contextlib.asynccontextmanager
async def running_deliveries(site: Site, **worker_settings: str) -> AsyncIterator[Deliveries]:
    """The outbox is emptied first, so that messages of other measurements are not delivered."""
    await site.database.execute("TRUNCATE outbox, delivery_attempts")
    crm_dsn = site.postgres.dsn("convene_crm")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address: Address = listener.getsockname()
        port = free_port()
        environ = site.environ | {
            "CRM_DATABASE_URL": crm_dsn,
            "CRM_SERVICE_URL": f"http://127.0.0.1:{address[1]}",
            "WORKER_PROBE_PORT": str(port),
        }
        migrated = processes.run([sys.executable, "-P", "-m", "crm", "migrate"], environ=environ)
        if migrated.returncode:
            raise SystemExit(f"the CRM's database: {migrated.stderr}")
        crm = start(site.directory, *CRM, str(listener.fileno()), environ=environ, fds=(listener.fileno(),))
        stack.callback(processes.stop, crm, (signal.SIGTERM, 15))
        worker = start(site.directory, *WORKER, environ=environ | worker_settings)
        stack.callback(processes.stop, worker, (signal.SIGTERM, 15))
        await first_answer(address, "/")
        await first_answer(("127.0.0.1", port), "/health/live")
        yield Deliveries(site, crm_dsn, worker.pid, crm.pid)


def start(logs: Path, *module: str, environ: dict[str, str], fds: tuple[int, ...] = ()) -> "subprocess.Popen[bytes]":
    """A Python process with its own log; the current directory is the repository."""
    log = logs / f"{module[0]}-{module[1]}.log"
    argv = [sys.executable, "-P", "-m", *module]
    return processes.spawn(argv, log=log, environ=environ, pass_fds=fds, cwd=ROOT)


async def first_answer(address: Address, path: str, seconds: float = 60) -> None:
    """Waits until a process listens and answers."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(ConnectionError):
                caller = await Caller.connect(address)
                try:
                    await caller(request("GET", path))
                finally:
                    caller.close()
                return
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def generate(load: Load) -> Result:
    """Runs the load generator. Ends the program for an answer that is neither a success nor, at a given rate, 503."""
    arguments = [sys.executable, "-m", "bench.load"]
    content = msgspec.json.encode(load)
    done = await asyncio.to_thread(
        lambda: subprocess.run(arguments, input=content, stdout=subprocess.PIPE, check=False, cwd=ROOT)
    )
    if done.returncode:
        raise SystemExit("the load generator failed")
    result = msgspec.json.decode(done.stdout, type=Result)
    expected = {"200", "201"} | ({"503"} if load.rate or load.may_close else set())
    expected |= {"lost"} if load.may_close else set()
    if not result.statuses.keys() <= expected:
        raise SystemExit(f"unexpected answers: {result.statuses}")
    return result
