"""How a calendar's provider misbehaves: one fault for each request, in the order given."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.receivers import Request, answer

Serve = Callable[[], bytes]
Fault = Callable[[Serve, asyncio.StreamWriter], Awaitable[bytes | None]]
"""Gets what would do what was asked, and the connection; answers with the bytes to send, or None to hang up."""


def as_json(body: Any, status: int = 200, **headers: str) -> bytes:
    return answer(status, json.dumps(body).encode(), Content_Type="application/json", **headers)


def saying(reply: bytes) -> Fault:
    """Nothing is done; this is the answer."""

    async def fault(_serve: Serve, _writer: asyncio.StreamWriter) -> bytes:
        return reply

    return fault


async def lost_answer(serve: Serve, _writer: asyncio.StreamWriter) -> bytes | None:
    """The request is executed, and its answer is lost."""
    serve()
    return None


async def hang(_serve: Serve, _writer: asyncio.StreamWriter) -> bytes | None:
    await asyncio.Event().wait()
    return None


async def drip(_serve: Serve, writer: asyncio.StreamWriter) -> bytes | None:
    """A byte every now and then: never silent, never done."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


ten_megabytes = saying(as_json({"id": "x" * 10_000_000}))
server_error = saying(as_json({"error": {"code": 503, "message": "Backend Error", "status": "UNAVAILABLE"}}, 503))
not_json = saying(answer(200, b"<html>\x00 welcome"))
wrong_types = saying(as_json({"id": 7, "value": "none", "calendars": [], "access_token": [], "status": {}}))
elsewhere = saying(answer(302, b"", Location="http://127.0.0.1:1/elsewhere"))


class Faults:
    """`next` are used up first; `always` is for every request after them."""

    def __init__(self) -> None:
        self.next: deque[Fault] = deque()
        self.always: Fault | None = None

    async def __call__(self, serve: Serve, writer: asyncio.StreamWriter) -> bytes | None:
        fault = self.next.popleft() if self.next else self.always
        return await fault(serve, writer) if fault else serve()


def form_of(request: Request) -> dict[str, str]:
    from urllib.parse import parse_qs

    parsed = parse_qs(request.body.decode(), strict_parsing=True)
    assert all(len(values) == 1 for values in parsed.values())
    return {name: values[0] for name, values in parsed.items()}
