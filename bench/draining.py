"""How fast a worker empties a full outbox over HTTP, beside its HTTP client alone and beside other queues, all with the
same body and the same receiver."""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from application.outbox.delivery import DeliverMessages
from bench.figures import alternating, median_of, median_ratio
from bench.options import Options
from bench.peers.installed import ROOT, fetched, node_peer, python_peer
from bench.site import Site
from bench.table import Line, at_least
from infrastructure.embedded import processes
from tests.support.messages import a_payload
from tests.support.processes import running_workers

MESSAGES_PER_SECOND = 1_500
_AT_ONCE = {field.name: field.default for field in dataclasses.fields(DeliverMessages)}["at_once"]

_ENQUEUE = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
SELECT 'crm', 'bench:' || n, 'booking_created', $2, now() FROM generate_series(1, $1) n
"""
# Without those that were recorded first, which took a time that is not known.
_RATE = """
SELECT count(*) FILTER (WHERE settled_at > first) / extract(epoch FROM max(settled_at) - min(first))
FROM outbox, (SELECT min(settled_at) AS first FROM outbox) began
"""


async def drain(site: Site, options: Options) -> list[Line]:
    """One worker, with the settings it has by default. Every peer has as many requests at once as the worker."""
    messages = round(MESSAGES_PER_SECOND * options.seconds)
    body = json.dumps(a_payload()).encode()
    with _running_sink(site) as url:
        measures: dict[str, Callable[[], Awaitable[float]]] = {
            "product": functools.partial(_drain, site, url, messages),
            "aiohttp": functools.partial(_post, f"{url}/notify", 3 * messages, body),
        }
        if await asyncio.to_thread(fetched, "procrastinate"):
            measures["procrastinate"] = functools.partial(_procrastinate, site, f"{url}/notify", messages, body)
        if await asyncio.to_thread(fetched, "graphile"):
            measures["graphile-worker"] = functools.partial(_graphile, site, f"{url}/notify", messages, body)
        figures = await alternating(options.blocks, measures)
    return lines(figures)


def lines(figures: dict[str, list[float]]) -> list[Line]:
    """The median rates of the product and of its peers; a peer that could not be fetched is named as such."""
    product, bare = figures["product"], figures["aiohttp"]
    ratio = median_ratio(product, bare, float)
    goals = [at_least(ratio, 0.25, "of aiohttp")]
    now = f"{median_of(product, float):,.0f}: {ratio:.2f} of aiohttp"
    limits = [f"aiohttp, {_AT_ONCE} at once: {median_of(bare, float):,.0f}"]
    for name, wanted in (("procrastinate", 4), ("graphile-worker", None)):
        if name not in figures:
            limits.append(f"{name}: could not be fetched")
            continue
        times = median_ratio(product, figures[name], float)
        now += f", {times:.1f} × {name}"
        limits.append(f"{name}: {median_of(figures[name], float):,.0f}")
        if wanted:
            goals.append(at_least(times, wanted, f"× {name}"))
    return [Line("messages a second, outbox drained over HTTP, one worker", now, "; ".join(limits), tuple(goals))]


async def wake_up(site: Site, jobs: int = 200) -> tuple[float, float] | None:
    """p50 and p99 of procrastinate from adding a job to running it, in ms. None if it could not be fetched."""
    if not await asyncio.to_thread(fetched, "procrastinate"):
        return None
    async with _database_of_peer(site) as dsn:
        command, environ = python_peer("bench.peers.procrastinate_queue", dsn, "wake-up", str(jobs))
        p50, p99 = (await _output(command, environ=environ)).split()
    return float(p50), float(p99)


async def _drain(site: Site, url: str, messages: int) -> float:
    await site.database.execute("TRUNCATE outbox, delivery_attempts")
    await site.database.execute(_ENQUEUE, messages, json.dumps(a_payload()))
    await site.database.execute("ANALYZE outbox")
    environ = site.environ | {"CRM_SERVICE_URL": url, "LOG_LEVEL": "info"}
    with running_workers(1, environ, site.directory):
        while await site.database.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return float(await site.database.fetchval(_RATE))


async def _post(url: str, messages: int, body: bytes) -> float:
    argv = [sys.executable, "-m", "bench.peers.bare_client", url, str(messages), str(_AT_ONCE)]
    return float(await _output(argv, body))


async def _procrastinate(site: Site, url: str, messages: int, body: bytes) -> float:
    async with _database_of_peer(site) as dsn:
        command, environ = python_peer("bench.peers.procrastinate_queue", dsn, url, str(messages), str(_AT_ONCE))
        return float(await _output(command, body, environ=environ))


async def _graphile(site: Site, url: str, messages: int, body: bytes) -> float:
    async with _database_of_peer(site) as dsn:
        return float(await _output(node_peer("graphile_queue.cjs", dsn, url, str(messages), str(_AT_ONCE)), body))


_numbers = itertools.count()


@contextlib.asynccontextmanager
async def _database_of_peer(site: Site) -> AsyncIterator[str]:
    """A new database, on the same server."""
    name = f"bench_peer_{next(_numbers)}"
    await asyncio.to_thread(site.postgres.execute, f"CREATE DATABASE {name} OWNER convene")
    try:
        yield site.postgres.dsn(name)
    finally:
        await asyncio.to_thread(site.postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")


async def _output(argv: Sequence[str], stdin: bytes = b"", *, environ: dict[str, str] | None = None) -> str:
    done = await asyncio.to_thread(
        lambda: subprocess.run(argv, input=stdin, env=environ, stdout=subprocess.PIPE, check=False, cwd=ROOT)
    )
    if done.returncode:
        raise SystemExit(f"a peer failed: {' '.join(argv[:4])}")
    return done.stdout.decode()


@contextlib.contextmanager
def _running_sink(site: Site) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = processes.spawn(
            [sys.executable, "-P", "-m", "bench.sink", str(listener.fileno())],
            log=site.directory / "sink.log",
            pass_fds=(listener.fileno(),),
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            processes.stop(process, (signal.SIGTERM, 5))
