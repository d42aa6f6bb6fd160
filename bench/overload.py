"""Twice the sustainable rate of bookings: what is refused, how long accepted bookings take, and whether any is lost."""

from datetime import UTC, datetime

from bench.load import Load
from bench.options import Options
from bench.site import Deliveries, Site, generate, running_deliveries
from bench.table import Goal, Line, at_most

FIND_SECONDS = 5
SECONDS = 15
CONNECTIONS = 400


async def overload(site: Site, options: Options) -> list[Line]:
    """The sustainable rate is that of 32 connections that each wait for their answer, with deliveries beside."""
    async with running_deliveries(site) as deliveries:
        port = site.apis[0].address[1]
        found = await generate(
            Load(
                ports=[port],
                connections=32,
                seconds=FIND_SECONDS,
                tokens=site.tokens,
                bookings=site.spread(8_000 * FIND_SECONDS),
                may_close=True,
            )
        )
        await deliveries.all_delivered()
        rate, seconds = 2 * found.per_second, options.scaled(SECONDS)
        began = datetime.now(UTC)
        result = await generate(
            Load(
                ports=[port],
                connections=CONNECTIONS,
                seconds=seconds,
                tokens=site.tokens,
                bookings=site.spread(round(rate * seconds)),
                rate=rate,
                may_close=True,
            )
        )
        await deliveries.all_delivered()
        lost = await _lost(deliveries, began, result.statuses.get("201", 0))
    refused = result.statuses.get("503", 0)
    return [
        Line(
            f"overload: {rate:.0f} bookings a second, twice what {found.per_second:.0f} can take, for {seconds:g} s",
            f"accepted {result.share('201'):.0%}, 503 {result.share('503'):.0%}, no answer {result.share('lost'):.0%}, "
            f"not sent {result.unsent}; accepted p50 {result.p50:.0f}, p99 {result.p99:.0f} ms; {lost} lost",
            goals=(
                at_most(result.p99, 1000, "ms p99"),
                Goal("every 503 with Retry-After", refused > 0 and result.retry_after >= refused),
                Goal("0 lost", lost == 0),
            ),
        )
    ]


async def _lost(deliveries: Deliveries, began: datetime, accepted: int) -> int:
    """Accepted bookings that are not in the database, and bookings of which a message was not delivered."""
    row = await deliveries.site.database.fetchrow(
        """SELECT count(*) AS made, count(*) FILTER (WHERE EXISTS (
               SELECT FROM outbox WHERE lane = 'booking:' || bookings.id AND status <> 'delivered')) AS undelivered
           FROM bookings WHERE created_at >= $1""",
        began,
    )
    assert row
    return max(0, accepted - int(row["made"])) + int(row["undelivered"])
