"""How fast a worker empties a full outbox, beside what its HTTP client does alone against the same receiver."""

import asyncio
import contextlib
import dataclasses
import json
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from application.outbox.delivery import DeliverMessages
from bench.site import Site
from infrastructure.embedded import processes
from tests.support.messages import a_payload
from tests.support.processes import running_workers

MESSAGES = 3_000
_AT_ONCE = {field.name: field.default for field in dataclasses.fields(DeliverMessages)}["at_once"]

_ENQUEUE = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
SELECT 'crm', 'bench:' || n, 'booking_created', $2, now() FROM generate_series(1, $1) n
"""


class Rates(msgspec.Struct, frozen=True):
    """A second; medians."""

    drained: float
    bare: float


async def measure(site: Site, *, blocks: int) -> Rates:
    """The two in turns. One worker, with the settings it has by default."""
    body = json.dumps(a_payload()).encode()
    drained, bare = [], []
    with _running_sink(site) as url:
        for _ in range(blocks):
            bare.append(await asyncio.to_thread(_post, url, body))
            drained.append(await _drain(site, url))
    return Rates(statistics.median(drained), statistics.median(bare))


async def _drain(site: Site, url: str) -> float:
    await site.database.execute("TRUNCATE outbox, delivery_attempts")
    await site.database.execute(_ENQUEUE, MESSAGES, json.dumps(a_payload()))
    await site.database.execute("ANALYZE outbox")
    environ = site.environ | {"CRM_SERVICE_URL": url, "LOG_LEVEL": "info"}
    with running_workers(1, environ, site.directory):
        while await site.database.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    took: timedelta = await site.database.fetchval("SELECT max(settled_at) - min(settled_at) FROM outbox")
    return MESSAGES / took.total_seconds()


def _post(url: str, body: bytes) -> float:
    argv = [sys.executable, "-m", "bench.bare_client", f"{url}/notify", str(MESSAGES), str(_AT_ONCE)]
    return float(subprocess.run(argv, input=body, stdout=subprocess.PIPE, check=True).stdout)


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
