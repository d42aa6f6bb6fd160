"""HTTP/1.1 over one kept connection, so lean that hundreds of callers race each other and not their own client."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Self

Address = tuple[str, int]
"""Host and port."""


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.decode().lower() == name.lower():
                return value.strip().decode()
        return None


def request(method: str, path: str, *, token: str | None = None, body: Any = None, key: str | None = None) -> bytes:
    """The bytes of a request; `body` becomes JSON, `key` its idempotency key."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if key:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join([*lines, "", ""]).encode() + content


class Caller(asyncio.Protocol):
    """Sends one request after the other. A connection that ends meanwhile raises ConnectionError."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._awaited: asyncio.Future[Answer] | None = None

    @classmethod
    async def connect(cls, address: Address) -> Self:
        _, caller = await asyncio.get_running_loop().create_connection(cls, *address)
        return caller

    async def __call__(self, request: bytes) -> Answer:
        if self._transport.is_closing():
            raise ConnectionResetError
        self._awaited = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._awaited

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, length = head.lower().partition(b"content-length:")
        size = int(length.partition(b"\r\n")[0] or 0)
        if len(rest) >= size and self._awaited and not self._awaited.done():
            self._received = rest[size:]
            self._awaited.set_result(Answer(int(head[9:12]), head, rest[:size]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._awaited and not self._awaited.done():
            self._awaited.set_exception(error or ConnectionResetError("the server closed the connection"))


CallerJob = Callable[[Caller], Awaitable[Any]]


async def race(addresses: list[Address], jobs: list[CallerJob]) -> list[Any]:
    """Runs all jobs at once, each on a connection of its own, spread over the addresses; none starts before all are
    connected. Returns their results in the order given."""
    callers = [await Caller.connect(addresses[number % len(addresses)]) for number in range(len(jobs))]
    try:
        return await asyncio.gather(*(job(caller) for job, caller in zip(jobs, callers, strict=True)))
    finally:
        for caller in callers:
            caller.close()
