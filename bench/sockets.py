"""A thousand followers of the live feed at one API process, beside a WebSocket server that does nothing else.

`python -m bench.sockets`, two minutes: memory for each socket, what they cost while nothing happens, and how long news
take to each of the ten connections of the facilitator whose they are.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from bench.usage import cpu_seconds, resident_megabytes
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from infrastructure.postgres import migrations
from tests.support.followers import a_publisher, a_socket
from tests.support.load import Member, many_users
from tests.support.processes import running_apis, server_environ
from tests.support.servers import temporary_directory

ROOMS, IN_EACH = 100, 10
UPDATES, A_SECOND = 400, 20
IDLE_SECONDS = 10
OPENED_AT_ONCE = 8

Publish = Callable[[int, int], Awaitable[None]]
"""Room and number of a message."""


class Figures(msgspec.Struct, frozen=True):
    """Memory in KiB for each socket; the share of a core that idle sockets cost; latencies in ms."""

    memory: float
    idle: float
    p50: float
    p99: float


async def measure(
    pid: int, opened: Callable[[int], connect], publish: Publish, number_of: Callable[[str], int]
) -> Figures:
    """`number_of` reads the number of a received message."""
    before = resident_megabytes(pid)
    sockets: list[ClientConnection] = []
    rooms = [room for room in range(ROOMS) for _ in range(IN_EACH)]
    for first in range(0, len(rooms), OPENED_AT_ONCE):
        sockets += await asyncio.gather(*(_entered(opened(room)) for room in rooms[first : first + OPENED_AT_ONCE]))
    memory = 1024 * (resident_megabytes(pid) - before) / len(sockets)
    cpu, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)

    published_at: dict[int, float] = {}
    latencies: list[float] = []

    async def follow(socket: ClientConnection) -> None:
        for _ in range(UPDATES // ROOMS):
            said = await socket.recv()
            latencies.append(1000 * (time.perf_counter() - published_at[number_of(str(said))]))

    followers = [asyncio.create_task(follow(socket)) for socket in sockets]
    for number in range(UPDATES):
        published_at[number] = time.perf_counter()
        await publish(number % ROOMS, number)
        await asyncio.sleep(max(0, published_at[0] + (number + 1) / A_SECOND - time.perf_counter()))
    async with asyncio.timeout(30):
        await asyncio.gather(*followers)
    await asyncio.gather(*(socket.close() for socket in sockets))
    latencies.sort()
    return Figures(memory, idle, latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100])


async def of_the_feed(directory: Path) -> Figures:
    with contextlib.ExitStack() as stack:
        postgres, redis = EmbeddedPostgres(directory, directory), EmbeddedRedis(directory)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        dsn = postgres.dsn("convene")
        await asyncio.to_thread(migrations.upgrade, dsn)
        members = await _facilitators(dsn)
        (api,) = stack.enter_context(running_apis(1, server_environ(dsn, redis.url, directory), directory))
        await api.ready()
        async with a_publisher(dsn, redis.url) as publisher:

            async def publish(room: int, number: int) -> None:
                await publisher.publish(members[room].id, number)

            return await measure(
                api.pid,
                lambda room: a_socket(api.address, members[room].token, open_timeout=60),
                publish,
                lambda said: int(msgspec.json.decode(said)["data"]["booking_id"]),
            )


async def of_a_bare_server(directory: Path) -> Figures:
    with running_apis(1, server_environ("", "", directory), directory, ("bench.bare_sockets",)) as (server,):
        url = f"ws://{server.address[0]}:{server.address[1]}"
        publishers = [await connect(f"{url}/publish/{room}", compression=None) for room in range(ROOMS)]
        padding = "x" * 700  # as long as the feed's entries

        async def publish(room: int, number: int) -> None:
            await publishers[room].send(f"{number} {padding}")

        figures = await measure(
            server.pid,
            lambda room: connect(f"{url}/{room}", compression=None, open_timeout=60),
            publish,
            lambda said: int(said.partition(" ")[0]),
        )
        await asyncio.gather(*(publisher.close() for publisher in publishers))
    return figures


async def _facilitators(dsn: str) -> list[Member]:
    database = await asyncpg.connect(dsn)
    try:
        return await many_users(database, ROOMS, role="facilitator")
    finally:
        await database.close()


async def _entered(opening: connect) -> ClientConnection:
    return await opening


async def main() -> None:
    print(f"{ROOMS * IN_EACH} sockets, {UPDATES} news at {A_SECOND} a second, load before {os.getloadavg()[0]:.1f}")
    print(f"{'':16}{'KiB each':>10}{'idle cores':>12}{'p50 ms':>9}{'p99 ms':>9}", flush=True)
    with temporary_directory() as directory:
        for name, part in (("bare server", of_a_bare_server), ("live feed", of_the_feed)):
            figures = await part(directory)
            print(
                f"{name:16}{figures.memory:10.1f}{figures.idle:12.2f}{figures.p50:9.1f}{figures.p99:9.1f}", flush=True
            )


if __name__ == "__main__":
    asyncio.run(main())
