"""The load generator, a process of its own: reads a `Load` as JSON from stdin, writes a `Result` to stdout.

Every connection sends its next request as soon as it has its answer. The bytes of all requests are made before the
clock starts, so that the generator takes as little as it can of the cores it shares with what it measures.
"""

import asyncio
import collections
import resource
import sys
import time
from typing import Self, cast

import msgspec
import uvloop


class Load(msgspec.Struct, frozen=True):
    """`bookings` are pairs of an index into `tokens` and an event's id. `rate` (per second) spaces them evenly over
    the connections instead of sending as fast as answers come."""

    ports: list[int]
    connections: int
    seconds: float
    tokens: list[str]
    bookings: list[tuple[int, int]]
    rate: float | None = None


class Result(msgspec.Struct, frozen=True):
    """Latencies in ms; `statuses` counts answers; `cpu` is what the generator itself took, in cores."""

    per_second: float
    p50: float
    p99: float
    statuses: dict[str, int]
    cpu: float


class Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, requests: collections.deque[bytes]) -> None:
        self._requests = requests
        self._received = b""
        self._sent_at = 0.0
        self._idle = True
        self.lost = False
        self.stopped = False
        self.latencies: list[float] = []
        self.statuses: collections.Counter[str] = collections.Counter()

    @classmethod
    async def open(cls, port: int, requests: collections.deque[bytes]) -> Self:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(requests), "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self) -> bool:
        """Whether there was a request to send and none to wait for."""
        if not (self._idle and self._requests):
            return False
        self._idle = False
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests.popleft())
        return True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._received = b""
        self._idle = True
        self.latencies.append(time.perf_counter() - self._sent_at)
        self.statuses[head[9:12].decode()] += 1
        if not self.stopped:
            self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True


async def run(load: Load) -> Result:
    requests = collections.deque(_request(load.tokens[member], event) for member, event in load.bookings)
    ports = load.ports
    connections = [await Connection.open(ports[n % len(ports)], requests) for n in range(load.connections)]
    cpu_before, started = time.process_time(), time.perf_counter()
    if load.rate is None:
        for connection in connections:
            connection.send()
        await asyncio.sleep(load.seconds)
    else:
        await _evenly(load.rate, load.seconds, connections)
    for connection in connections:
        connection.stopped = True
    took = time.perf_counter() - started
    latencies = sorted(latency for connection in connections for latency in connection.latencies)
    cpu = (time.process_time() - cpu_before) / took
    await asyncio.sleep(0.3)
    if any(connection.lost for connection in connections):
        raise SystemExit("a server closed a connection amid the load")
    if load.rate is None and not requests:
        raise SystemExit("the load ran out of bookings: give more of them")
    return Result(
        per_second=len(latencies) / took,
        p50=1000 * latencies[len(latencies) // 2],
        p99=1000 * latencies[len(latencies) * 99 // 100],
        statuses=dict(sum((connection.statuses for connection in connections), collections.Counter())),
        cpu=cpu,
    )


async def _evenly(rate: float, seconds: float, connections: list[Connection]) -> None:
    for connection in connections:
        connection.stopped = True
    turns = collections.deque(connections)
    started = time.perf_counter()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0, started + number / rate - time.perf_counter()))
        if not any(connection.send() for connection in turns):
            raise SystemExit("the answers come too late for this rate")
        # A server closes a connection that is idle for some seconds: each has its turn.
        turns.rotate(-1)


def _request(token: str, event: int) -> bytes:
    body = f'{{"event_id":{event}}}'
    return (
        f"POST /bookings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    result = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
