"""Measures, prints a table and the goals. Takes about three minutes; the machine should have nothing else to do."""

import argparse
import asyncio
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench import crm_latency, throughput
from bench.crm_latency import Latency
from bench.site import EVENTS, Site, open_site
from bench.throughput import Row

PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "asyncpg", "msgspec")


async def bench(*, blocks: int, seconds: float) -> None:
    async with open_site(apis=2) as site:
        await _print_machine(site, blocks, seconds)
        spread, hot = throughput.measure(site, blocks=blocks, seconds=seconds)
        resident = max(throughput.resident_megabytes(api.pid) for api in site.apis)
        latency = await crm_latency.measure(site, seconds=2 * seconds)
    _print_rows(f"spread over {EVENTS} events", spread)
    _print_rows("one hot event", hot)
    _print_goals(spread, hot, resident, latency)


async def _print_machine(site: Site, blocks: int, seconds: float) -> None:
    print(f"{os.cpu_count()} cores, {_processor()}, load before {os.getloadavg()[0]:.1f}")
    server = await site.database.fetchval("SHOW server_version")
    durability = [f"{name} {await site.database.fetchval(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit")]
    print(f"PostgreSQL {server} ({', '.join(durability)}), Python {platform.python_version()}")
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    print(f"medians of {blocks} blocks of {seconds:g} s each, {throughput.CONNECTIONS} HTTP connections", flush=True)


def _processor() -> str:
    told = Path("/proc/cpuinfo").read_text()
    return told.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()


def _print_rows(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title:28}{'per s':>8}{'p50 ms':>9}{'p99 ms':>9}   cores")
    for row in rows:
        cores = ", ".join(f"{part} {share:.2f}" for part, share in row.cores.items())
        print(f"{row.name:28}{row.per_second:8.0f}{row.p50:9.2f}{row.p99:9.2f}   {cores}")


def _print_goals(spread: Sequence[Row], hot: Sequence[Row], resident: float, latency: Latency) -> None:
    def best(rows: Sequence[Row], kind: str) -> float:
        return max(row.per_second for row in rows if row.name.startswith(kind))

    one_spread, one_hot = spread[0].per_second, hot[0].per_second
    print(f"\n{'goal':56}{'measured':>10}{'wanted':>10}")
    for name, measured, wanted, met in (
        *_ratio("one process / pgbench's best, spread", one_spread / best(spread, "pgbench"), 0.15),
        *_ratio("best of HTTP / pgbench's best, spread", best(spread, "HTTP") / best(spread, "pgbench"), 0.15),
        *_ratio("one process / pgbench's best, hot event", one_hot / best(hot, "pgbench"), 0.5),
        *_ratio("best of HTTP / pgbench's best, hot event", best(hot, "HTTP") / best(hot, "pgbench"), 0.5),
        ("an API process after the load, MB resident", f"{resident:.0f}", "<= 150", resident <= 150),
        (
            f"booking to CRM at {crm_latency.RATE} a second, p99 ms (p50 {latency.p50:.0f}, most {latency.most:.0f})",
            f"{latency.p99:.0f}",
            "< 500",
            latency.p99 < 500,
        ),
    ):
        print(f"{name:56}{measured:>10}{wanted:>10}   {'met' if met else 'MISSED'}")


def _ratio(name: str, measured: float, wanted: float) -> list[tuple[str, str, str, bool]]:
    return [(name, f"{measured:.2f}", f">= {wanted}", measured >= wanted)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--blocks", type=int, default=3, help="how often each figure is taken (3)")
    parser.add_argument("--seconds", type=float, default=3, help="for how long each time, at most 3 (3)")
    options = parser.parse_args()
    asyncio.run(bench(blocks=options.blocks, seconds=options.seconds))
