"""A coach's slots of thirty days through HTTP, beside the bare SQL that reads the same rows: `python -m bench.slots`.

Both run in turns against the same server, one after the other on one connection: what is compared is the work of one
request, not how many fit side by side.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from statistics import median

from bench.site import Site, open_site
from tests.support.callers import Caller, request
from tests.support.load import many_users

SESSIONS = 1_000
ROUNDS, CALLS = 5, 60

_FILL = """
INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status, payment_status,
    price, currency, refund_policy, created_at, updated_at)
SELECT $1, $2, s, s + interval '30 minutes', s, s + interval '30 minutes', 'confirmed', 'not_required', 0, 'INR', '[]',
    now(), now()
FROM generate_series(0, $4 - 1) AS n, LATERAL (SELECT $3::timestamptz + n * interval '43 minutes' AS s) AS t
"""

_BARE = """
SELECT busy_from, busy_until FROM coaching_bookings
WHERE status IN ('pending', 'confirmed') AND int8range(coach_id, coach_id, '[]') && int8range($1, $1, '[]')
  AND tstzrange(busy_from, busy_until) && tstzrange($2, $3)
"""


async def measure(site: Site) -> dict[str, float]:
    """ms for one, the median of all calls."""
    client, coach = site.members[0], (await many_users(site.database, 1, role="facilitator"))[0]
    begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    ends = begins + timedelta(days=30)
    await site.database.execute(_FILL, client.id, coach.id, begins, SESSIONS)
    await site.database.execute("ANALYZE coaching_bookings")
    await site.database.execute("SET enable_seqscan = off")  # as the API has it
    uuid = await site.database.fetchval("SELECT uuid FROM users WHERE id = $1", coach.id)
    path = f"/booking/coach/{uuid}/availability?start_date={begins.date()}&end_date={ends.date()}&duration_minutes=15"
    caller = await Caller.connect(site.apis[0].address)

    async def bare() -> None:
        assert len(await site.database.fetch(_BARE, coach.id, begins, ends)) == SESSIONS

    async def slots() -> None:
        answer = await caller(request("GET", path))
        assert answer.status == 200, answer

    async def hello() -> None:
        assert (await caller(request("GET", "/"))).status == 200

    taken: dict[str, list[float]] = {"bare SQL": [], "slots": [], "hello": []}
    for _ in range(ROUNDS):
        for name, call in (("bare SQL", bare), ("slots", slots), ("hello", hello)):
            taken[name] += await _timed(call)
    caller.close()
    return {name: median(times) for name, times in taken.items()}


async def _timed(call: Callable[[], Awaitable[None]]) -> list[float]:
    await call()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(1000 * (time.perf_counter() - began))
    return times


async def bench() -> None:
    async with open_site(apis=1) as site:
        figures = await measure(site)
    for name, took in figures.items():
        print(f"{name:10}{took:8.2f} ms")
    print(f"slots / bare SQL {figures['slots'] / figures['bare SQL']:.1f}")


if __name__ == "__main__":
    asyncio.run(bench())
