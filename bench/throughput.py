"""Bookings per second, spread over many events and on one, through HTTP and by pgbench, in alternating blocks."""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import pgbench
from bench.load import Load, Result
from bench.site import EVENTS, MEMBERS, Site

CONNECTIONS = 32
PGBENCH_SPREAD = (8, 16, 32)
PGBENCH_HOT = (2, 8, 32)
_AS_MANY_AS_A_SECOND_CAN_TAKE = 6_000


class Row(msgspec.Struct, frozen=True):
    """The medians over the blocks. Latencies in ms; `cores` is what each part took of the processors."""

    name: str
    per_second: float
    p50: float
    p99: float
    cores: dict[str, float]


class Measure:
    def __init__(self, site: Site, seconds: float) -> None:
        self._site = site
        self._seconds = seconds
        self._bases = itertools.count(0, 200_000)

    def pgbench(self, clients: int, *, hot: bool) -> Row:
        site = self._site
        figures = pgbench.run(
            site.postgres,
            site.postgres.dsn("convene"),
            hot=hot,
            clients=clients,
            seconds=self._seconds,
            base=0 if hot else next(self._bases),
            members=MEMBERS,
            events=EVENTS,
            first_person=site.members[0].id,
            first_event=next(site.hot_events) if hot else site.events[0],
        )
        return Row(f"pgbench, {clients} clients", figures.per_second, figures.p50, figures.p99, {})

    def http(self, apis: int, *, hot: bool) -> Row:
        site = self._site
        numbers = range(round(self._seconds * _AS_MANY_AS_A_SECOND_CAN_TAKE))
        if hot:
            event = next(site.hot_events)
            bookings = [(number % MEMBERS, event) for number in numbers[:MEMBERS]]
        else:
            bookings = spread(site, next(self._bases), len(numbers))
        used = site.apis[:apis]
        pids = [api.pid for api in used]
        before, before_postgres = _cpu_seconds(pids), _cpu_seconds(_backends(site.postgres.pid))
        result = generate(
            Load(
                ports=[api.address[1] for api in used],
                connections=CONNECTIONS,
                seconds=self._seconds,
                tokens=[member.token for member in site.members],
                bookings=bookings,
            )
        )
        if set(result.statuses) != {"201"}:
            raise SystemExit(f"not every booking was made: {result.statuses}")
        api = _cores(before, _cpu_seconds(pids), self._seconds)
        postgres = _cores(before_postgres, _cpu_seconds(_backends(site.postgres.pid)), self._seconds)
        return Row(
            f"HTTP, {apis} process{'es' if apis > 1 else ''}",
            result.per_second,
            result.p50,
            result.p99,
            {"API": api, "PostgreSQL": postgres, "load": result.cpu},
        )


def measure(site: Site, *, blocks: int, seconds: float) -> tuple[list[Row], list[Row]]:
    """Spread over the events, and on one hot event."""
    measure = Measure(site, seconds)
    measure.http(len(site.apis), hot=False)  # warms caches and pools; not counted
    spread_blocks, hot_blocks = [], []
    for _ in range(blocks):
        spread_blocks.append(_block(measure, PGBENCH_SPREAD, len(site.apis), hot=False))
        hot_blocks.append(_block(measure, PGBENCH_HOT, len(site.apis), hot=True))
    return medians(spread_blocks), medians(hot_blocks)


def _block(measure: Measure, clients: Sequence[int], apis: int, *, hot: bool) -> list[Row]:
    rows = [measure.http(number, hot=hot) for number in range(1, apis + 1)]
    return rows + [measure.pgbench(number, hot=hot) for number in clients]


def medians(blocks: Sequence[Sequence[Row]]) -> list[Row]:
    return [
        Row(
            rows[0].name,
            per_second=statistics.median(row.per_second for row in rows),
            p50=statistics.median(row.p50 for row in rows),
            p99=statistics.median(row.p99 for row in rows),
            cores={part: statistics.median(row.cores[part] for row in rows) for part in rows[0].cores},
        )
        for rows in zip(*blocks, strict=True)
    ]


def spread(site: Site, base: int, number: int) -> list[tuple[int, int]]:
    """Pairs of person and event from the `base`th on, each another; neighbours are of different events. pgbench's
    script makes the same pairs."""
    return [
        ((base + n) % MEMBERS, site.events[((base + n) // MEMBERS + (base + n) % MEMBERS * 7) % EVENTS])
        for n in range(number)
    ]


def generate(load: Load) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=msgspec.json.encode(load), stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise SystemExit("the load generator failed")
    return msgspec.json.decode(done.stdout, type=Result)


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """What each process has taken so far."""
    taken = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            taken[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return taken


def _cores(before: dict[int, float], after: dict[int, float], seconds: float) -> float:
    """A process that ended meanwhile (an autovacuum worker) counts for nothing."""
    return sum(now - before.get(pid, 0) for pid, now in after.items()) / seconds


def _backends(postmaster: int | None) -> list[int]:
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return [int(pid) for pid in children.split()]
