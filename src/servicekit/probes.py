"""Liveness of a process that serves nothing else: `GET /health/live` over HTTP."""

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus

from servicekit.tasks import LongLivedTasks

_SECONDS = 5
_HEAD_BYTES = 8 * 1024


async def serve_probes(port: int, tasks: LongLivedTasks) -> asyncio.Server:
    """Answers on all addresses until the server is closed: 200, or 503 with the names of the tasks that ended. Raises
    OSError if the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, tasks))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, port=port, limit=_HEAD_BYTES)


def _response(head: bytes, tasks: LongLivedTasks) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    body: dict[str, object]
    if path != b"/health/live":
        status, body = HTTPStatus.NOT_FOUND, {"error": "Resource not found"}
    elif method not in {b"GET", b"HEAD"}:
        status, body = HTTPStatus.METHOD_NOT_ALLOWED, {"error": "Method not allowed"}
    elif tasks.ended:
        status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"status": "dead", "ended_tasks": tasks.ended}
    else:
        status, body = HTTPStatus.OK, {"status": "alive"}
    content = json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == b"HEAD" else content)
