"""The load generator, a process of its own: reads a `Load` as JSON from stdin, writes a `Result` to stdout.

Without a rate every connection sends its next request as soon as it has its answer. With a rate requests are due at
even intervals; one that finds no idle connection waits, and its latency counts from when it was due. The bytes of all
requests are made before the clock starts, so that the generator takes as little as it can of the cores it shares with
what it measures.
"""

import asyncio
import collections
import itertools
import resource
import sys
import time
from collections.abc import Iterator
from typing import cast

import asyncpg
import msgspec
import uvloop

from bench.figures import percentile

_LOOKS_PER_SECOND = 20


class Gate(msgspec.Struct, frozen=True):
    """No request is sent while the counts (address of a database → SQL) add up to more than `most`."""

    counts: dict[str, str]
    most: int


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`bookings` are pairs of an index into `tokens` and an event's id; `path` is requested over and over instead.
    `rate` is per second."""

    ports: list[int]
    connections: int
    seconds: float
    tokens: list[str] = []
    bookings: list[tuple[int, int]] = []
    path: str | None = None
    rate: float | None = None
    gate: Gate | None = None
    may_close: bool = False
    """Whether the server may close connections. They are opened again, and a request without an answer is counted."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Rate and latencies (ms) of successful answers. `statuses` counts all answers, and requests without one as `lost`;
    `retry_after` answers had that header; `unsent` requests were due and found no connection; `cpu` is what the
    generator took, in cores."""

    per_second: float
    p50: float
    p99: float
    statuses: dict[str, int]
    retry_after: int
    unsent: int
    cpu: float

    def share(self, status: str) -> float:
        """Of all answers."""
        return self.statuses.get(status, 0) / max(1, sum(self.statuses.values()))

    @property
    def refused(self) -> str:
        """To be added to a figure: a machine that is too slow for the rate refuses some requests."""
        return f"; {self.share('503'):.0%} refused" if "503" in self.statuses else ""


class Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._received = b""
        self._due_at = 0.0
        self.awaits_answer = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due_at: float) -> None:
        self.awaits_answer = True
        self._due_at = due_at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        if not end or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            return
        self._received = b""
        self.awaits_answer = False
        self._generator.answered(self, head, time.perf_counter() - self._due_at)

    def connection_lost(self, _error: Exception | None) -> None:
        self._generator.closed(self)


class Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = _requests(load)
        self._due: collections.deque[float] = collections.deque()
        self._idle: collections.deque[Connection] = collections.deque()
        self._ended = False
        self._shut = False
        self._opening: set[asyncio.Task[None]] = set()
        self.ran_out = False
        self.lost_connection = False
        self.retry_after = 0
        self.latencies: list[float] = []
        self.statuses: collections.Counter[str] = collections.Counter()

    @property
    def unsent(self) -> int:
        return len(self._due)

    async def open(self) -> None:
        for number in range(self._load.connections):
            await self._connect(self._load.ports[number % len(self._load.ports)])

    async def run(self) -> None:
        gate = asyncio.create_task(self._watch(self._load.gate)) if self._load.gate else None
        try:
            if self._load.rate is None:
                self._send()
                await asyncio.sleep(self._load.seconds)
            else:
                await self._evenly(self._load.rate)
        finally:
            self._ended = True
            if gate:
                gate.cancel()

    async def last_answers(self) -> None:
        """Waits for the answers of the requests that are under way, at most ten seconds."""
        for _ in range(100):
            if len(self._idle) + len(self._opening) == self._load.connections:
                return
            await asyncio.sleep(0.1)

    def answered(self, connection: Connection, head: bytes, seconds: float) -> None:
        status = head[9:12].decode()
        self.statuses[status] += 1
        self.retry_after += b"\r\nretry-after: " in head
        if status.startswith("2"):
            self.latencies.append(seconds)
        self._idle.append(connection)
        self._send()

    def closed(self, connection: Connection) -> None:
        if self._ended and not connection.awaits_answer:
            return
        self.lost_connection = True
        if connection.awaits_answer:
            self.statuses["lost"] += 1
        else:
            self._idle.remove(connection)
        task = asyncio.ensure_future(self._connect(self._load.ports[0]))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                self._idle.append(connection)
                return

    def _send(self) -> None:
        while self._idle and not (self._ended or self._shut) and (self._load.rate is None or self._due):
            request = next(self._requests, None)
            if request is None:
                self.ran_out = True
                return
            due_at = self._due.popleft() if self._due else time.perf_counter()
            # A server closes a connection that is idle for some seconds: each has its turn.
            self._idle.popleft().send(request, due_at)

    async def _evenly(self, rate: float) -> None:
        started = time.perf_counter()
        for number in range(round(rate * self._load.seconds)):
            due_at = started + number / rate
            await asyncio.sleep(max(0, due_at - time.perf_counter()))
            self._due.append(due_at)
            self._send()

    async def _watch(self, gate: Gate) -> None:
        connections = [(await asyncpg.connect(dsn), count) for dsn, count in gate.counts.items()]
        while True:
            self._shut = sum([await connection.fetchval(count) for connection, count in connections]) > gate.most
            self._send()
            await asyncio.sleep(1 / _LOOKS_PER_SECOND)


async def run(load: Load) -> Result:
    generator = Generator(load)
    await generator.open()
    cpu_before, started = time.process_time(), time.perf_counter()
    await generator.run()
    took = time.perf_counter() - started
    in_time = len(generator.latencies)
    cpu = (time.process_time() - cpu_before) / took
    await generator.last_answers()
    if generator.lost_connection and not load.may_close:
        raise SystemExit("a server closed a connection amid the load")
    if generator.ran_out:
        raise SystemExit("the load ran out of bookings: give more of them")
    if not in_time:
        raise SystemExit(f"no request succeeded: {dict(generator.statuses)}")
    return Result(
        per_second=in_time / took,
        p50=1000 * percentile(generator.latencies, 0.5),
        p99=1000 * percentile(generator.latencies, 0.99),
        statuses=dict(generator.statuses),
        retry_after=generator.retry_after,
        unsent=generator.unsent,
        cpu=cpu,
    )


def _requests(load: Load) -> Iterator[bytes]:
    if load.path is not None:
        return itertools.repeat(f"GET {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return iter([_booking(load.tokens[member], event) for member, event in load.bookings])


def _booking(token: str, event: int) -> bytes:
    body = f'{{"event_id":{event}}}'
    return (
        f"POST /bookings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    result = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
