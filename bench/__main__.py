"""Measures, prints a table and the goals. Takes about three minutes; the machine should have nothing else to do."""

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench import claims, crm_latency, draining, throughput
from bench.crm_latency import Latency
from bench.site import EVENTS, Site, open_site
from bench.soak.run import soak
from bench.throughput import Row

PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "asyncpg", "msgspec")


async def bench_deliveries(*, blocks: int, seconds: float, delivered: int) -> None:
    """`delivered` rows (0: none) are generated; five million take a minute or two and 3 GB."""
    async with open_site(apis=1) as site:
        await _print_machine(site, blocks, seconds)
        latency = await crm_latency.measure(site, seconds=5 * seconds)
        rates = await draining.measure(site, blocks=blocks)
        costs = await claims.measure(site, delivered=delivered) if delivered else None
    _print_goals(_latency_goal(latency))
    print(f"drained {rates.drained:.0f} a second, the bare client {rates.bare:.0f}: {rates.drained / rates.bare:.2f}")
    if costs:
        print(f"a claim beside {delivered:,} delivered messages: p50 {costs.p50:.1f} ms, p99 {costs.p99:.1f} ms")
        print("\n".join(f"    {line}" for line in costs.plan))


async def bench_bookings(*, blocks: int, seconds: float) -> None:
    async with open_site(apis=2) as site:
        await _print_machine(site, blocks, seconds)
        spread, hot = throughput.measure(site, blocks=blocks, seconds=seconds)
        resident = max(throughput.resident_megabytes(api.pid) for api in site.apis)
    _print_rows(f"spread over {EVENTS} events", spread)
    _print_rows("one hot event", hot)
    _print_goals(_booking_goals(spread, hot, resident))


async def _print_machine(site: Site, blocks: int, seconds: float) -> None:
    print(f"{os.cpu_count()} cores, {_processor()}, load before {os.getloadavg()[0]:.1f}")
    server = await site.database.fetchval("SHOW server_version")
    durability = [f"{name} {await site.database.fetchval(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit")]
    print(f"PostgreSQL {server} ({', '.join(durability)}), Python {platform.python_version()}")
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    print(f"medians of {blocks} blocks of {seconds:g} s each, {throughput.CONNECTIONS} HTTP connections", flush=True)


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    return text.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()


def _print_rows(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title:28}{'per s':>8}{'p50 ms':>9}{'p99 ms':>9}   cores")
    for row in rows:
        cores = ", ".join(f"{part} {share:.2f}" for part, share in row.cores.items())
        print(f"{row.name:28}{row.per_second:8.0f}{row.p50:9.2f}{row.p99:9.2f}   {cores}")


Goal = tuple[str, str, str, bool]
"""What, how much it was, how much it should be, and whether it is so."""


def _print_goals(goals: Sequence[Goal]) -> None:
    print(f"\n{'goal':56}{'measured':>10}{'wanted':>10}")
    for name, measured, wanted, met in goals:
        print(f"{name:56}{measured:>10}{wanted:>10}   {'met' if met else 'MISSED'}")


def _booking_goals(spread: Sequence[Row], hot: Sequence[Row], resident: float) -> list[Goal]:
    def best(rows: Sequence[Row], kind: str) -> float:
        return max(row.per_second for row in rows if row.name.startswith(kind))

    one_spread, one_hot = spread[0].per_second, hot[0].per_second
    return [
        _ratio("one process / pgbench's best, spread", one_spread / best(spread, "pgbench"), 0.15),
        _ratio("best of HTTP / pgbench's best, spread", best(spread, "HTTP") / best(spread, "pgbench"), 0.15),
        _ratio("one process / pgbench's best, hot event", one_hot / best(hot, "pgbench"), 0.5),
        _ratio("best of HTTP / pgbench's best, hot event", best(hot, "HTTP") / best(hot, "pgbench"), 0.5),
        ("an API process after the load, MB resident", f"{resident:.0f}", "<= 150", resident <= 150),
    ]


def _latency_goal(latency: Latency) -> list[Goal]:
    name = f"booking to CRM at {crm_latency.RATE} a second, p99 ms (p50 {latency.p50:.0f}, most {latency.most:.0f})"
    return [(name, f"{latency.p99:.0f}", "<= 250", latency.p99 <= 250)]


def _ratio(name: str, measured: float, wanted: float) -> Goal:
    return name, f"{measured:.2f}", f">= {wanted}", measured >= wanted


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["tables", "soak"], default="tables", help="(tables)")
    parser.add_argument("--minutes", type=int, default=60, help="length of a soak (60)")
    parser.add_argument("--rate", type=float, default=50, help="bookings a second of a soak (50)")
    parser.add_argument("--seed", type=int, default=1, help="order of the faults of a soak (1)")
    parser.add_argument("--blocks", type=int, default=3, help="how often each figure is taken (3)")
    parser.add_argument("--seconds", type=float, default=3, help="for how long each time, at most 3 (3)")
    parser.add_argument("--only", choices=["bookings", "deliveries"], help="one half of it (both)")
    parser.add_argument("--delivered", type=int, default=0, help="rows that a claim is measured beside (none)")
    options = parser.parse_args()
    if options.what == "soak":
        sys.exit(0 if asyncio.run(soak(minutes=options.minutes, rate=options.rate, seed=options.seed)) else 1)
    if options.only != "deliveries":
        asyncio.run(bench_bookings(blocks=options.blocks, seconds=options.seconds))
    if options.only != "bookings":
        asyncio.run(bench_deliveries(blocks=options.blocks, seconds=options.seconds, delivered=options.delivered))
