"""Claims and bookings while a transaction stays open, so that vacuum can remove no dead row of the outbox.

The worker has a role of its own, for which the server logs some of the statements with their times: the time of a claim
is the one that the server takes to execute it.
"""

import asyncio
import re
from collections.abc import Iterator

import asyncpg
import msgspec

from bench.figures import percentile
from bench.load import Load, Result
from bench.options import Options
from bench.site import Site, generate, running_deliveries
from bench.table import Line, at_most

RATE = 100
SECONDS_BEFORE = 20
SECONDS_OPEN = 60
SECONDS_AFTER = 60
_LOGGED_PER_SECOND = 60
"""Statements; a worker sends up to a thousand a second."""

_ROLE = """
CREATE ROLE bench_worker LOGIN IN ROLE convene;
ALTER ROLE bench_worker SET role = 'convene';
ALTER ROLE bench_worker SET log_min_duration_sample = 0;
ALTER ROLE bench_worker SET log_statement_sample_rate = {};
"""
_STATEMENT = re.compile(
    r"duration: ([\d.]+) ms  execute [^:]*: (.*?)(?=^\d{4}-\d\d-\d\d |\Z)", re.DOTALL | re.MULTILINE
)


class Phase(msgspec.Struct, frozen=True):
    """`claims` in ms."""

    result: Result
    claims: list[float]

    @property
    def claim_p99(self) -> float:
        return percentile(self.claims, 0.99)


async def open_transaction(site: Site, options: Options) -> list[Line]:
    """`--minutes 10` for the figure of the table."""
    open_for = options.long(SECONDS_OPEN)
    await asyncio.to_thread(site.postgres.execute, _ROLE.format(min(1.0, _LOGGED_PER_SECOND / 500)))
    worker_dsn = site.postgres.dsn("convene", "bench_worker")
    async with running_deliveries(site, DATABASE_URL=worker_dsn) as deliveries:
        await _phase(site, 2)
        before = await _phase(site, options.scaled(SECONDS_BEFORE))
        holder = await asyncpg.connect(site.postgres.dsn("convene"))
        try:
            await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM destinations")
            during = await _phase(site, open_for)
        finally:
            await holder.close()
        await _phase(site, options.scaled(SECONDS_AFTER))
        after = await _phase(site, options.scaled(SECONDS_BEFORE))
        await deliveries.all_delivered()
    during_ratio, after_ratio = during.result.p50 / before.result.p50, after.result.p50 / before.result.p50
    return [
        Line(
            f"claim while a transaction is open for {open_for / 60:g} min at {RATE} bookings a second",
            f"p99 {during.claim_p99:.1f} ms ({before.claim_p99:.1f} before, {after.claim_p99:.1f} a minute after)"
            f"{during.result.refused}",
            goals=(at_most(during.claim_p99, 10, "ms p99"),),
        ),
        Line(
            "booking meanwhile, and a minute after",
            f"p50 {during_ratio:.2f} × and {after_ratio:.2f} × that before ({before.result.p50:.1f} ms)",
            goals=(at_most(during_ratio, 1.2, "× meanwhile"), at_most(after_ratio, 1.2, "× after")),
        ),
    ]


async def _phase(site: Site, seconds: float) -> Phase:
    log = site.postgres.log
    size = log.stat().st_size
    result = await generate(
        Load(
            ports=[site.apis[0].address[1]],
            connections=32,
            seconds=seconds,
            tokens=site.tokens,
            bookings=site.spread(round(seconds * RATE)),
            rate=RATE,
        )
    )
    with log.open(errors="replace") as lines:
        lines.seek(size)
        return Phase(result, list(claim_times(lines.read())))


def claim_times(log: str) -> Iterator[float]:
    """The times in ms of the statements in a server's log that claim messages."""
    for took, statement in _STATEMENT.findall(log):
        if "SKIP LOCKED" in statement and "claimed_by" in statement:
            yield float(took)
