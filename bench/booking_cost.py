"""CPU of one free booking, delivered to the CRM, to the mailboxes of participant and facilitator, and to the live feed,
by kind of process; and the memory of the processes afterwards.

Everything is counted from the first request until nothing is pending, also what the processes do between bookings.
Mails are written to files, as by default.
"""

import statistics
import time

import msgspec

from bench.figures import median_of
from bench.load import Load
from bench.options import Options
from bench.site import Deliveries, Site, generate, running_deliveries
from bench.table import Line, at_least, at_most
from bench.usage import Usage, resident_megabytes

RATE = 60
SECONDS_PER_BLOCK = 10
CONNECTIONS = 32
UNDELIVERED_AT_MOST = 300
MEMORY_RATE = 100
MEMORY_SECONDS = 60
_AS_MANY_AS_A_SECOND_CAN_TAKE = 3_000


class Cost(msgspec.Struct, frozen=True):
    """Seconds of CPU for each booking; `delivered` bookings a second."""

    each: Usage
    delivered: float


async def cost(site: Site, options: Options) -> list[Line]:
    """Blocks at a steady rate and at saturation alternate. At saturation bookings are made as fast as they are
    delivered: the load waits while more than a few messages are pending."""
    steady, saturated = [], []
    seconds = options.scaled(SECONDS_PER_BLOCK)
    async with running_deliveries(site) as deliveries:
        await _block(deliveries, 2, rate=RATE)
        for _ in range(options.blocks):
            steady.append(await _block(deliveries, seconds, rate=RATE))
            saturated.append(await _block(deliveries, seconds))
    return [
        _line(f"ms of CPU of one booking, delivered, at {RATE} a second", steady, 5),
        _line("ms of CPU of one booking, delivered, at saturation", saturated, 4),
        _rate_line(saturated),
    ]


async def memory(site: Site, options: Options) -> list[Line]:
    """Resident memory after a load with deliveries; `--minutes 60` for the figure of the table."""
    seconds = options.long(MEMORY_SECONDS)
    async with running_deliveries(site) as deliveries:
        await _block(deliveries, seconds, rate=MEMORY_RATE)
        resident = {
            "API": (resident_megabytes(site.apis[0].pid), 110),
            "worker": (resident_megabytes(deliveries.worker), 100),
            "CRM": (resident_megabytes(deliveries.crm), 80),
        }
    now = ", ".join(f"{kind} {megabytes:.0f}" for kind, (megabytes, _) in resident.items())
    goals = tuple(at_most(megabytes, wanted, f"MB {kind}") for kind, (megabytes, wanted) in resident.items())
    return [Line(f"MB resident after {seconds / 60:g} min at {MEMORY_RATE} bookings a second", now, goals=goals)]


async def _block(deliveries: Deliveries, seconds: float, *, rate: float | None = None) -> Cost:
    site = deliveries.site
    before, began = deliveries.usage(), time.perf_counter()
    result = await generate(
        Load(
            ports=[site.apis[0].address[1]],
            connections=CONNECTIONS,
            seconds=seconds,
            tokens=site.tokens,
            bookings=site.spread(round(seconds * (rate or _AS_MANY_AS_A_SECOND_CAN_TAKE)) + CONNECTIONS),
            rate=rate,
            gate=None if rate else deliveries.gate(UNDELIVERED_AT_MOST),
        )
    )
    await deliveries.all_delivered()
    made = result.statuses["201"]
    return Cost(deliveries.usage().since(before).shared_by(made), made / (time.perf_counter() - began))


def _line(work: str, costs: list[Cost], wanted: float) -> Line:
    total = 1000 * median_of(costs, lambda each: each.each.total)
    kinds = Usage({kind: statistics.median(c.each.seconds[kind] for c in costs) for kind in costs[0].each.seconds})
    return Line(work, f"{total:.1f} ({kinds.milliseconds()})", goals=(at_most(total, wanted, "ms"),))


def _rate_line(costs: list[Cost]) -> Line:
    delivered = median_of(costs, lambda each: each.delivered)
    return Line(
        "delivered bookings a second, one process of each kind", f"{delivered:.0f}", goals=(at_least(delivered, 450),)
    )
