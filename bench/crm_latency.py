"""How long after a booking the CRM has it, at a steady rate, with a real worker and a real CRM."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from bench.draining import wake_up
from bench.figures import percentile
from bench.load import Load
from bench.options import Options
from bench.site import Site, generate, running_deliveries
from bench.table import Line, at_most

RATE = 200
SECONDS = 15
_WARM_UP = timedelta(seconds=2)
_SECONDS_TO_ARRIVE = 300


async def booking_to_crm(site: Site, options: Options) -> list[Line]:
    """From the booking's `created_at`, which the API takes just before the statement that commits it, to the CRM's
    `received_at`, both from this machine's clock. `--minutes 10` for the figure of the table."""
    seconds = options.long(SECONDS)
    async with running_deliveries(site) as deliveries:
        began = datetime.now(UTC)
        load = await generate(
            Load(
                ports=[site.apis[0].address[1]],
                connections=64,
                seconds=seconds + _WARM_UP.total_seconds(),
                tokens=site.tokens,
                bookings=site.spread(round((seconds + _WARM_UP.total_seconds()) * RATE)),
                rate=RATE,
            )
        )
        made = await site.database.fetch("SELECT id, created_at FROM bookings WHERE created_at > $1", began + _WARM_UP)
        received = await _received(deliveries.crm_dsn, {row["id"] for row in made})
    latencies = [1000 * (received[row["id"]] - row["created_at"]).total_seconds() for row in made]
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    peer = await wake_up(site)
    return [
        Line(
            f"booking to CRM at {RATE} a second for {seconds / 60:g} min",
            f"p50 {p50:.0f}, p99 {p99:.0f}, most {max(latencies):.0f} ms{load.refused}",
            f"procrastinate, idle, from adding to running: p50 {peer[0]:.1f}, p99 {peer[1]:.1f} ms"
            if peer
            else "procrastinate: could not be fetched",
            (at_most(p50, 15, "ms p50"), at_most(p99, 100, "ms p99")),
        )
    ]


async def _received(crm_dsn: str, bookings: set[int]) -> dict[int, datetime]:
    crm = await asyncpg.connect(crm_dsn)
    try:
        async with asyncio.timeout(_SECONDS_TO_ARRIVE):
            while True:
                rows = await crm.fetch("SELECT booking_id, received_at FROM notifications")
                received = {row["booking_id"]: row["received_at"] for row in rows}
                if bookings <= received.keys():
                    return received
                await asyncio.sleep(0.2)
    finally:
        await crm.close()
