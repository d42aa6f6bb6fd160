"""What it costs to claim from an outbox that remembers millions of deliveries."""

import time
from datetime import timedelta

import msgspec

from bench.site import Site
from domain.outbox import Destination, MessageType
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.claims import _CLAIM, PostgresOutboxClaims

_CLAIMS = 300
_AT_ONCE = 8
_LEASE = timedelta(seconds=30)
_STEP = 500_000

_REMEMBER = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at, status, attempts, settled_at)
SELECT (ARRAY['crm', 'email'])[1 + n % 2], 'booking:' || n / 4, 'booking_created', '{}', now(), 'delivered', 1,
       now() - n * interval '0.5 s'
FROM generate_series($1::int, $2::int) n
"""
_ENQUEUE = """
INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
SELECT 'crm', 'bench:' || n, 'booking_created', '{}', now() FROM generate_series(1, $1) n
"""


class Costs(msgspec.Struct, frozen=True):
    """In ms, the round trip included; `plan` are the scans of the claim."""

    p50: float
    p99: float
    plan: list[str]


async def measure(site: Site, *, delivered: int) -> Costs:
    """Each claim takes eight of the messages due, as a worker does."""
    await site.database.execute("TRUNCATE outbox, delivery_attempts")
    for begin in range(1, delivered + 1, _STEP):
        await site.database.execute(_REMEMBER, begin, min(delivered, begin + _STEP - 1))
    await site.database.execute(_ENQUEUE, (_CLAIMS + 2) * _AT_ONCE)
    await site.database.execute("VACUUM ANALYZE outbox")
    database = Database(site.postgres.dsn("convene"))
    outbox, took = PostgresOutboxClaims(database), []
    try:
        for _ in range(_CLAIMS + 1):
            began = time.perf_counter()
            claimed = await outbox.claim(Destination.CRM, limit=_AT_ONCE, lease=_LEASE, probe_every=_LEASE)
            took.append(1000 * (time.perf_counter() - began))
            assert len(claimed) == _AT_ONCE
        async with database.connection() as connection:
            values = (Destination.CRM, _AT_ONCE, _LEASE, None, list(MessageType), _LEASE)
            rows = await connection.fetch(f"EXPLAIN {_CLAIM}", *values)
    finally:
        await database.close()
    took = sorted(took[1:])  # the first one connects
    plan = [row[0].split("  (cost")[0].strip(" ->") for row in rows if " on outbox" in row[0]]
    return Costs(took[len(took) // 2], took[len(took) * 99 // 100], plan)
