"""A soak: the load, a fault every minute, and the invariants at the end."""

import asyncio
import collections
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import msgspec

from bench.soak import faults
from bench.soak.clients import Plan, Visit
from bench.soak.system import Disk, ServiceProcess, System, mounted_disk
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis, processes
from infrastructure.postgres import migrations
from tests.support.invariants import broken_invariants
from tests.support.load import many_users, some_events
from tests.support.processes import server_environ
from tests.support.servers import temporary_directory

ROOT = Path(__file__).parents[2]
MEMBERS = 20_000
EVENTS = 500
PATIENCE_SECONDS = 120
DRAIN_SECONDS = 900
DISK_MEGABYTES = 8_000
HOLD_MINUTES = 3

_WAITING = "SELECT count(*) FROM outbox WHERE status = 'pending' AND destination <> 'notification'"
_HELD = "SELECT count(*) FROM bookings WHERE status <> 'cancelled' AND hold_until IS NOT NULL"
_DEAD = "SELECT destination || ': ' || count(*) FROM outbox WHERE status = 'dead' GROUP BY destination"
_UNSETTLED = """
SELECT 'payment ' || p.id || ' arrived, and its booking is ' || b.payment_status
FROM payments p JOIN bookings b ON b.id = p.booking_id
WHERE p.received_at IS NOT NULL AND b.payment_status NOT IN ('completed', 'refunded')
"""
_TO_CRM = "SELECT id::text FROM outbox WHERE destination = 'crm' AND status = 'delivered'"
_AT_CRM = "SELECT message_id FROM notifications WHERE message_id IS NOT NULL"


async def soak(*, minutes: int, rate: float, seed: int) -> bool:
    """Prints a line for each minute and each broken invariant. Returns whether all invariants hold."""
    chance = random.Random(seed)
    async with _running() as (system, disk):
        plan = await _plan(system, round(60 * minutes * rate), rate)
        kinds = faults.available(disk)
        schedule = _schedule(list(kinds), minutes, chance)
        print(f"{len(plan.visits):,} visits, {rate:g} a second, {minutes} minutes, seed {seed}")
        print(f"{len(kinds)} kinds of faults" + ("" if disk else "; no full disk: mounting is not allowed here"))

        clients = await _start(plan)
        async with asyncio.TaskGroup() as together:
            supervisor = together.create_task(_supervise(system))
            visits = (await asyncio.gather(_finish(clients), _cause(system, kinds, schedule, chance)))[0]
            _print_minutes(visits, schedule)
            took = await _drained(system)
            supervisor.cancel()
        broken = await _broken(system, visits)
        print(
            f"{len(plan.visits) - len(visits)} visits left out, drained {took:.0f} s after the last; starts: "
            + ", ".join(f"{service.name} {service.starts}" for service in system.services)
        )
        for sentence in broken[:50]:
            print(f"BROKEN: {sentence}")
        print("all invariants hold" if not broken else f"{len(broken)} invariants are broken")
        return not broken


def _stop(services: Sequence[ServiceProcess]) -> None:
    for service in services:
        service.stop()


async def _plan(system: System, visits: int, rate: float) -> Plan:
    """Nine visits of ten are for free events, which have seats for nine of ten of them; the rest for priced ones."""
    database = await asyncpg.connect(system.postgres.dsn("convene"))
    members = await many_users(database, MEMBERS)
    (host,) = await many_users(database, 1, role="facilitator")
    seats = max(2, visits * 81 // 100 // EVENTS)
    free = await some_events(database, host.id, EVENTS, capacity=seats, price=0)
    priced = await some_events(database, host.id, EVENTS, capacity=seats, price=30)
    await database.execute("ANALYZE")
    await database.close()
    return Plan(
        addresses=[api.address for api in system.named("api")],
        tokens=[member.token for member in members],
        visits=[_visit(number, free, priced) for number in range(visits)],
        rate=rate,
        patience=PATIENCE_SECONDS,
    )


def _visit(number: int, free: Sequence[int], priced: Sequence[int]) -> tuple[int, int, str]:
    """No member visits an event twice: the events move on with each round through the members."""
    member, turn = number % MEMBERS, number // MEMBERS
    event = (number * 7 + turn) % EVENTS
    if number % 10 == 0:
        return member, priced[event], "pay" if number % 30 else ""
    return member, free[event], "cancel" if number % 20 == 5 else ""


def _schedule(kinds: list[str], minutes: int, chance: random.Random) -> list[str]:
    """A fault for each minute but the first and the last; each kind once before one comes again."""
    order: list[str] = []
    while len(order) < minutes:
        order += chance.sample(kinds, len(kinds))
    return ["", *order[: max(0, minutes - 2)], ""][:minutes]


async def _start(plan: Plan) -> asyncio.subprocess.Process:
    clients = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "bench.soak.clients"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=1 << 20,
    )
    assert clients.stdin
    clients.stdin.write(msgspec.json.encode(plan))
    clients.stdin.close()
    return clients


async def _finish(clients: asyncio.subprocess.Process) -> list[Visit]:
    output, errors = await clients.communicate()
    if clients.returncode:
        raise SystemExit(f"the clients failed: {errors.decode()[-2000:]}")
    return [msgspec.json.decode(line, type=Visit) for line in output.splitlines()]


async def _cause(
    system: System, kinds: Mapping[str, faults.Fault], schedule: Sequence[str], chance: random.Random
) -> None:
    started = time.monotonic()
    for minute, name in enumerate(schedule):
        await asyncio.sleep(max(0, started + 60 * minute + 10 - time.monotonic()))
        if name:
            await kinds[name](system, chance)


async def _supervise(system: System) -> None:
    while True:
        system.maintain()
        await asyncio.sleep(0.5)


def _print_minutes(visits: Sequence[Visit], schedule: Sequence[str]) -> None:
    by_minute = collections.defaultdict[int, list[Visit]](list)
    for visit in visits:
        by_minute[int(visit.began // 60)].append(visit)
    print(f"{'minute':>6} {'p50 ms':>7} {'p99 ms':>8} {'max s':>6} {'tries':>6}  statuses; fault")
    for minute, made in sorted(by_minute.items()):
        times = sorted(visit.seconds for visit in made)
        statuses = collections.Counter(visit.status for visit in made)
        shown = ", ".join(f"{status or 'none'} {number}" for status, number in sorted(statuses.items()))
        fault = schedule[minute] if minute < len(schedule) else ""
        print(
            f"{minute:6} {1000 * times[len(times) // 2]:7.0f} {1000 * times[len(times) * 99 // 100]:8.0f}"
            f" {times[-1]:6.1f} {sum(visit.tries for visit in made) / len(made):6.2f}  {shown}; {fault}"
        )


async def _drained(system: System) -> float:
    """Seconds until no message waits and no hold is open."""
    began = time.monotonic()
    database = await asyncpg.connect(system.postgres.dsn("convene"))
    while time.monotonic() - began < DRAIN_SECONDS:
        if not await database.fetchval(_WAITING) and not await database.fetchval(_HELD):
            break
        await asyncio.sleep(2)
    await database.close()
    return time.monotonic() - began


async def _broken(system: System, visits: Sequence[Visit]) -> list[str]:
    """A sentence for each broken invariant, and for each visit whose outcome is not in the database."""
    database = await asyncpg.connect(system.postgres.dsn("convene"))
    crm = await asyncpg.connect(system.postgres.dsn("convene_crm"))
    broken = await broken_invariants(database)
    broken += [row[0] for row in await database.fetch(_UNSETTLED)]
    broken += [f"dead letters, {row[0]}" for row in await database.fetch(_DEAD)]
    if left := await database.fetchval(_WAITING):
        broken.append(f"{left} messages still wait")
    stored = {row["id"]: row for row in await database.fetch("SELECT id, status, payment_status FROM bookings")}
    for visit in visits:
        booking = stored.get(visit.booking)
        if visit.error:
            broken.append(f"visit {visit.number} failed: {visit.error}")
        if visit.booking is not None and booking is None:
            broken.append(f"booking {visit.booking} was confirmed to its client and does not exist")
        elif visit.status != 201 and visit.code != "event_full":
            broken.append(f"visit {visit.number} ended with {visit.status or 'no answer'} {visit.code}")
        elif booking and visit.then == 200 and booking["status"] != "cancelled":
            broken.append(f"booking {visit.booking} was cancelled by its client and is {booking['status']}")
    if len(stored) != (known := sum(visit.booking is not None for visit in visits)):
        broken.append(f"{len(stored)} bookings exist, {known} were confirmed to clients")
    sent = {row[0] for row in await database.fetch(_TO_CRM)}
    if missing := len(sent - {row[0] for row in await crm.fetch(_AT_CRM)}):
        broken.append(f"{missing} messages were delivered and are not in the CRM")
    await database.close()
    await crm.close()
    return broken


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[tuple[System, Disk | None]]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        disk = stack.enter_context(mounted_disk(directory / "disk", DISK_MEGABYTES))
        postgres = EmbeddedPostgres(directory / "disk", directory, log=directory / "postgres.log")
        redis = EmbeddedRedis(directory)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        dsn = postgres.dsn("convene")
        await asyncio.to_thread(migrations.upgrade, dsn)
        environ = server_environ(
            dsn,
            redis.url,
            directory,
            crm_database_url=postgres.dsn("convene_crm"),
            payment_provider="sandbox",
            payment_hold_minutes=str(HOLD_MINUTES),
            database_timeout_seconds="4",
            request_queue_ms="500",
        )
        services: list[ServiceProcess] = []
        stack.callback(_stop, services)
        migrated = processes.run([sys.executable, "-P", "-m", "crm", "migrate"], environ=environ)
        if migrated.returncode:
            raise SystemExit(f"the CRM's database: {migrated.stderr}")
        crm = ServiceProcess("crm", ["crm", "serve", "--fd"], environ, directory, listens=True)
        services.append(crm)
        environ = environ | {"CRM_SERVICE_URL": f"http://127.0.0.1:{crm.address[1]}"}
        for number in (1, 2):
            for kind, listens in (("api", True), ("worker", False)):
                argv = ["interfaces.cli", kind, *(["--fd"] if listens else [])]
                services.append(ServiceProcess(f"{kind}-{number}", argv, environ, directory, listens=listens))
        yield System(postgres, redis, services), disk
