"""An HTTP server with configurable answers, down to the bytes, that keeps the requests it received."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message_id(self) -> str:
        return self.headers["idempotency-key"]


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    """The bytes of an answer; underscores in a header's name stand for hyphens."""
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[bytes | None]]
"""What to send back; None closes the connection."""


@dataclass
class Receiver:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    behave: Behaviour | None = None

    def __post_init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    def always(self, reply: bytes) -> None:
        async def behave(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
            return reply

        self.behave = behave

    @property
    def message_ids(self) -> list[str]:
        return [request.message_id for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            while request := await _read(reader):
                self.requests.append(request)
                reply = await self.behave(request, writer) if self.behave else answer()
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def close(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def listen(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @contextlib.asynccontextmanager
    async def unavailable(self) -> AsyncIterator[None]:
        """The server is stopped while this is open."""
        port = self._server.sockets[0].getsockname()[1]
        await self.close()
        try:
            yield
        finally:
            await self.listen(port)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.listen(port)
    try:
        yield receiver
    finally:
        await receiver.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))
