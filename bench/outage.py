"""What an hour without a CRM costs, and how fast 100,000 messages that waited are gone: `python -m bench.outage`.

Two workers. The hour passes in SQL: what is due later, and the next look at a destination that is left alone, are moved
back by 30 s at a time.
"""

import asyncio
import json
import signal
import socket
import sys
import time
from datetime import timedelta
from functools import partial

import msgspec

from bench.load import Load, Result
from bench.site import Site, generate, open_site
from infrastructure.embedded import processes
from infrastructure.redis.wake_ups import RedisWakeUps
from tests.support.messages import a_payload, until
from tests.support.processes import running_workers

ORDERING_KEYS = 25_000
MESSAGES = 4 * ORDERING_KEYS
STEP = timedelta(seconds=30)
LOOKS = 120
BOOKINGS_PER_SECOND = 20
BOOKING_SECONDS = 10

_ENQUEUE = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
SELECT 'crm', 'bench:' || lane, 'booking_created', $2, now()
FROM generate_series(1, 4) turn, generate_series(1, $1) lane ORDER BY turn, lane
"""
_PASS = """
WITH destination AS (UPDATE destinations SET tripped_at = tripped_at - $1::interval, probe_at = probe_at - $1::interval)
UPDATE outbox SET due_at = due_at - $1::interval
WHERE status = 'pending' AND destination = 'crm' AND due_at > now() AND claimed_by IS NULL
"""
_PROBES = "SELECT count(*) FROM delivery_attempts WHERE probe"
_ATTEMPTS = """
SELECT count(*) FROM delivery_attempts JOIN outbox ON outbox.id = message_id WHERE destination = 'crm'
"""
_OUT_OF_ORDER = """
SELECT count(*) FROM (
    SELECT settled_at < lag(settled_at) OVER (PARTITION BY lane ORDER BY seq) AS early
    FROM outbox WHERE lane LIKE 'bench:%'
) settled WHERE early
"""


class Recovery(msgspec.Struct, frozen=True):
    """`attempts` were made while the circuit was open, `looks` times 30 s long; `seconds` from the first message that
    arrived to the last; `twice` came more than once, `out_of_order` before one that it should have followed."""

    attempts: int
    seconds: float
    twice: int
    out_of_order: int
    before: Result
    meanwhile: Result


async def measure(site: Site) -> Recovery:
    wake_ups = RedisWakeUps(site.environ["REDIS_URL"])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listening: connections are refused
        environ = site.environ | {"CRM_SERVICE_URL": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        with running_workers(2, environ, site.directory):
            before = await _book(site)
            await site.database.execute(_ENQUEUE, ORDERING_KEYS, json.dumps(a_payload()))
            await until(lambda: _is_open(site))
            await asyncio.sleep(2)  # what was under way when it opened comes to its end
            began = await site.database.fetchval(_ATTEMPTS)
            for look in range(1, LOOKS + 1):
                await site.database.execute(_PASS, STEP)
                wake_ups.notify()
                await until(partial(_looked, site, look))
            attempts = await site.database.fetchval(_ATTEMPTS) - began
            sink = processes.spawn(
                [sys.executable, "-P", "-m", "bench.sink", str(closed.fileno())],
                log=site.directory / "sink.log",
                pass_fds=(closed.fileno(),),
            )
            try:
                await site.database.execute(_PASS, STEP)
                _, meanwhile = await asyncio.gather(_drained(site), _book(site))
            finally:
                await asyncio.to_thread(processes.stop, sink, (signal.SIGTERM, 5))
    await wake_ups.close()
    took: timedelta = await site.database.fetchval(
        "SELECT max(settled_at) - min(settled_at) FROM outbox WHERE lane LIKE 'bench:%'"
    )
    delivered = await site.database.fetchval(f"{_ATTEMPTS} AND result = 'delivered' AND lane LIKE 'bench:%'")
    return Recovery(
        attempts=attempts,
        seconds=took.total_seconds(),
        twice=delivered - MESSAGES,
        out_of_order=await site.database.fetchval(_OUT_OF_ORDER),
        before=before,
        meanwhile=meanwhile,
    )


async def _book(site: Site) -> Result:
    """People who book all the while."""
    load = Load(
        ports=[site.apis[0].address[1]],
        connections=16,
        seconds=BOOKING_SECONDS,
        tokens=site.tokens,
        bookings=site.spread(2 * BOOKING_SECONDS * BOOKINGS_PER_SECOND),
        rate=BOOKINGS_PER_SECOND,
    )
    return await generate(load)


async def _is_open(site: Site) -> bool:
    return bool(await site.database.fetchval("SELECT tripped_at IS NOT NULL FROM destinations WHERE name = 'crm'"))


async def _looked(site: Site, times: int) -> bool:
    return bool(await site.database.fetchval(_PROBES) >= times)


async def _drained(site: Site) -> None:
    left = "SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending' AND lane LIKE 'bench:%')"
    while await site.database.fetchval(left):  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def bench() -> None:
    async with open_site(apis=1) as site:
        began = time.monotonic()
        recovery = await measure(site)
    print(f"an hour away: {recovery.attempts} attempts in {LOOKS} times {STEP.total_seconds():g} s")
    print(f"then {MESSAGES:,} messages in {recovery.seconds:.0f} s, {MESSAGES / recovery.seconds:.0f} a second;")
    print(f"{recovery.twice} came twice, {recovery.out_of_order} too early")
    for name, booked in (("before", recovery.before), ("meanwhile", recovery.meanwhile)):
        print(f"a booking {name}: p50 {booked.p50:.0f} ms, p99 {booked.p99:.0f} ms, {booked.statuses}")
    print(f"all of it took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    asyncio.run(bench())
