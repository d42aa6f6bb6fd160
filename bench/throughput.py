"""Requests per second: bookings spread over many events beside a bare handler, bookings of one hot event beside
pgbench, and a page of events beside a bare "hello"."""

from collections.abc import Sequence
from functools import partial

import msgspec

from bench import pgbench
from bench.figures import alternating, median_of, median_ratio
from bench.load import Load
from bench.options import Options
from bench.site import EVENTS, MEMBERS, Site, generate
from bench.table import Line, at_least, at_most
from tests.support.processes import ApiProcess, running_apis

CONNECTIONS = 32
PGBENCH_HOT = (2, 8, 32)
PAGE = 20
_AS_MANY_AS_A_SECOND_CAN_TAKE = 8_000
_BARE = ("bench.peers.bare_api",)


class Rate(msgspec.Struct, frozen=True):
    """Latencies in ms."""

    per_second: float
    p50: float
    p99: float

    @property
    def text(self) -> str:
        return f"{self.per_second:,.0f} (p50 {self.p50:.0f}, p99 {self.p99:.0f} ms)"


async def spread(site: Site, options: Options) -> list[Line]:
    """The bare handler reads the token with PyJWT and sends the same statement over a pool of the same size."""
    with running_apis(1, site.environ, site.directory, _BARE) as (bare,):
        await bare.ready()
        await _book(site, [bare], 1)
        await _book(site, site.apis[:1], 1)
        figures = await alternating(
            options.blocks,
            {
                "product": partial(_book, site, site.apis[:1], options.seconds),
                "bare": partial(_book, site, [bare], options.seconds),
            },
        )
    ratio = median_ratio(figures["product"], figures["bare"], _per_second)
    return [
        Line(
            f"bookings a second, spread over {EVENTS:,} events, {CONNECTIONS} connections, one API process",
            f"{medians(figures['product']).text}: {ratio:.2f} of the limit",
            f"Litestar with JWT and the same statement: {medians(figures['bare']).text}",
            (at_least(ratio, 0.7, "of the limit"),),
        )
    ]


async def hot(site: Site, options: Options) -> list[Line]:
    """All bookings are of one event; each block and each client count takes another event."""
    await _book(site, site.apis, 1)
    figures = await alternating(
        options.blocks,
        {f"{number} API": partial(_book_hot, site, site.apis[:number], options.seconds) for number in (1, 2)}
        | {f"{clients} clients": partial(_pgbench, site, clients, options.seconds) for clients in PGBENCH_HOT},
    )
    best = max((f"{clients} clients" for clients in PGBENCH_HOT), key=lambda name: medians(figures[name]).per_second)
    lines = []
    for number in (1, 2):
        mine = figures[f"{number} API"]
        ratio, rate = median_ratio(mine, figures[best], _per_second), medians(mine)
        lines.append(
            Line(
                f"bookings a second, one hot event, {CONNECTIONS} connections, API processes: {number}",
                f"{rate.text}: {ratio:.2f} of the limit",
                f"pgbench, {best}: {medians(figures[best]).text}",
                (at_least(ratio, 1.5, "of the limit"), at_most(rate.p99, 60, "ms p99")),
            )
        )
    return lines


async def page(site: Site, options: Options) -> list[Line]:
    path = f"/events?limit={PAGE}"
    with running_apis(1, site.environ, site.directory, _BARE) as (bare,):
        await bare.ready()
        await _get(site.apis[:1], path, 1)
        await _get([bare], "/hello", 1)
        figures = await alternating(
            options.blocks,
            {
                "product": partial(_get, site.apis[:1], path, options.seconds),
                "hello": partial(_get, [bare], "/hello", options.seconds),
            },
        )
    ratio = median_ratio(figures["product"], figures["hello"], _per_second)
    return [
        Line(
            f"pages of {PAGE} events a second, {CONNECTIONS} connections",
            f"{medians(figures['product']).text}: {ratio:.2f} of the limit",
            f'Litestar "hello" on uvicorn: {medians(figures["hello"]).text}',
            (at_least(ratio, 0.5, "of the limit"),),
        )
    ]


def medians(rates: Sequence[Rate]) -> Rate:
    return Rate(
        median_of(rates, _per_second), median_of(rates, lambda rate: rate.p50), median_of(rates, lambda rate: rate.p99)
    )


async def _book(site: Site, apis: Sequence[ApiProcess], seconds: float) -> Rate:
    return await _send(site, apis, seconds, site.spread(round(seconds * _AS_MANY_AS_A_SECOND_CAN_TAKE)))


async def _book_hot(site: Site, apis: Sequence[ApiProcess], seconds: float) -> Rate:
    event = next(site.hot_events)
    return await _send(site, apis, seconds, [(member, event) for member in range(MEMBERS)])


async def _send(site: Site, apis: Sequence[ApiProcess], seconds: float, bookings: list[tuple[int, int]]) -> Rate:
    ports = [api.address[1] for api in apis]
    load = Load(ports=ports, connections=CONNECTIONS, seconds=seconds, tokens=site.tokens, bookings=bookings)
    result = await generate(load)
    return Rate(result.per_second, result.p50, result.p99)


async def _get(apis: Sequence[ApiProcess], path: str, seconds: float) -> Rate:
    ports = [api.address[1] for api in apis]
    result = await generate(Load(ports=ports, connections=CONNECTIONS, seconds=seconds, path=path))
    return Rate(result.per_second, result.p50, result.p99)


async def _pgbench(site: Site, clients: int, seconds: float) -> Rate:
    figures = pgbench.run_hot(
        site.postgres,
        site.postgres.dsn("convene"),
        clients=clients,
        seconds=seconds,
        members=MEMBERS,
        first_person=site.members[0].id,
        event=next(site.hot_events),
    )
    return Rate(figures.per_second, figures.p50, figures.p99)


def _per_second(rate: Rate) -> float:
    return rate.per_second
