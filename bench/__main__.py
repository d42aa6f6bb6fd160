"""Measures, and prints a table of what was measured, the limit or peer beside it, and what is to be reached.

Nothing else should run on the machine."""

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench import booking_cost, crm_latency, draining, mails, open_transaction, overload, starting, throughput
from bench.growth.run import growth
from bench.options import Options
from bench.site import PATIENT, Site, open_site
from bench.soak.run import soak
from bench.table import Line, table

PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "asyncpg", "msgspec", "aiohttp")

Part = Callable[[Site, Options], Awaitable[list[Line]]]

PARTS: Mapping[str, Part] = {
    "drain": draining.drain,
    "mail": mails.compose,
    "cost": booking_cost.cost,
    "crm": crm_latency.booking_to_crm,
    "spread": throughput.spread,
    "hot": throughput.hot,
    "page": throughput.page,
    "start": starting.process_start,
    "up": starting.up,
    "memory": booking_cost.memory,
    "open-transaction": open_transaction.open_transaction,
    "overload": overload.overload,
}


async def bench_tables(names: Sequence[str], options: Options) -> list[Line]:
    """Each part on a site of its own: no part measures beside the rows of another."""
    lines: list[Line] = []
    for number, name in enumerate(names):
        async with open_site(apis=2, settings={} if name == "overload" else PATIENT) as site:
            if number == 0:
                await _print_machine(site, options)
            part = await PARTS[name](site, options)
        print("\n".join(map(str, part)), flush=True)
        lines += part
    return lines


async def _print_machine(site: Site, options: Options) -> None:
    print(f"{os.cpu_count()} cores, {_processor()}, load before {os.getloadavg()[0]:.1f}")
    server = await site.database.fetchval("SHOW server_version")
    durability = [f"{name} {await site.database.fetchval(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit")]
    print(f"PostgreSQL {server} ({', '.join(durability)}), Python {platform.python_version()}")
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    print(f"medians of {options.blocks} blocks of {options.seconds:g} s each\n", flush=True)


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    return text.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["tables", "soak", "growth"], default="tables", help="(tables)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="one short block of each: to try it, not to measure")
    parser.add_argument("--blocks", type=int, default=5, help="how often each figure is taken (5)")
    parser.add_argument("--seconds", type=float, default=3, help="for how long each time, at most 3 (3)")
    parser.add_argument(
        "--minutes",
        type=float,
        help="length of crm, memory and open-transaction instead of 15 to 60 s, or of a soak (60)",
    )
    parser.add_argument("--rate", type=float, default=50, help="bookings a second of a soak (50)")
    parser.add_argument("--bookings", type=int, default=1_000_000, help="rows of the large database of growth (10⁶)")
    parser.add_argument("--seed", type=int, default=1, help="order of the faults of a soak (1)")
    return parser


def options_of(arguments: argparse.Namespace) -> Options:
    if arguments.quick:
        return Options(blocks=1, seconds=1)
    return Options(blocks=arguments.blocks, seconds=arguments.seconds, minutes=arguments.minutes)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.what == "soak":
        minutes = round(arguments.minutes or 60)
        return 0 if asyncio.run(soak(minutes=minutes, rate=arguments.rate, seed=arguments.seed)) else 1
    if arguments.what == "growth":
        print(table(asyncio.run(growth(arguments.bookings, options_of(arguments)))))
        return 0
    lines = asyncio.run(bench_tables(arguments.only or list(PARTS), options_of(arguments)))
    print(f"\n{table(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
