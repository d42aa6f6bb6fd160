"""How long after a booking the CRM has it, at a steady rate, with a real worker and a real CRM."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from bench.load import Load
from bench.site import Site, running_deliveries
from bench.throughput import generate, spread

RATE = 100
_WARM_UP = timedelta(seconds=2)
_BEYOND_EVERY_OTHER = 15_000_000


class Latency(msgspec.Struct, frozen=True):
    """ms from the booking's `created_at`, which the API takes just before the statement that commits it, to the CRM's
    `received_at`, both from this machine's clock."""

    bookings: int
    p50: float
    p99: float
    most: float


async def measure(site: Site, *, seconds: float) -> Latency:
    """The outbox is emptied first, so that messages of other measurements are not delivered."""
    await site.database.execute("TRUNCATE outbox, delivery_attempts")
    async with running_deliveries(site) as crm_dsn:
        began = datetime.now(UTC)
        await asyncio.to_thread(
            generate,
            Load(
                ports=[site.apis[0].address[1]],
                connections=64,
                seconds=seconds + _WARM_UP.total_seconds(),
                tokens=[member.token for member in site.members],
                bookings=spread(site, _BEYOND_EVERY_OTHER, 10 * round(seconds * RATE)),
                rate=RATE,
            ),
        )
        made = await site.database.fetch("SELECT id, created_at FROM bookings WHERE created_at > $1", began + _WARM_UP)
        received = await _received(crm_dsn, {row["id"] for row in made})
    latencies = sorted(1000 * (received[row["id"]] - row["created_at"]).total_seconds() for row in made)
    count = len(latencies)
    return Latency(count, latencies[count // 2], latencies[count * 99 // 100], latencies[-1])


async def _received(crm_dsn: str, bookings: set[int]) -> dict[int, datetime]:
    crm = await asyncpg.connect(crm_dsn)
    try:
        async with asyncio.timeout(60):
            while True:
                rows = await crm.fetch("SELECT booking_id, received_at FROM notifications")
                received = {row["booking_id"]: row["received_at"] for row in rows}
                if bookings <= received.keys():
                    return received
                await asyncio.sleep(0.2)
    finally:
        await crm.close()
