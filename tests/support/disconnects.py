"""A client that closes its connection before it has an answer."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from structlog.testing import capture_logs

HowLong = Literal["half of the body", "before the answer"]


@contextlib.contextmanager
def every_line() -> Iterator[list[Any]]:
    """What is logged, of every level."""
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0), cache_logger_on_first_use=False)
    try:
        with capture_logs() as lines:
            yield lines
    finally:
        structlog.configure(**configured)


async def logged(lines: list[Any], event: str) -> list[Any]:
    """The lines of this event, once there is one."""
    async with asyncio.timeout(20):
        while not (found := [line for line in lines if line["event"] == event]):  # noqa: ASYNC110 (logs send no event)
            await asyncio.sleep(0.01)
    return found


async def disconnects(
    address: str, path: str, body: bytes, headers: Mapping[str, str], when: HowLong, *, reset: bool
) -> None:
    """Sends a POST with `body`, or half of it, and leaves: with a reset, or by closing in good order."""
    server = urlsplit(address)
    _, writer = await asyncio.open_connection(server.hostname, server.port)
    head = {"Host": server.netloc, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode())
    writer.write(body if when == "before the answer" else body[: len(body) // 2])
    await writer.drain()
    if when == "half of the body":
        await asyncio.sleep(0.05)  # the server waits for the rest
    if reset:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()
    else:
        writer.close()
