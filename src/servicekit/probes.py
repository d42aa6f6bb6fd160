"""Liveness and metrics of a process that serves nothing else: `GET /health/live` and `GET /metrics` over HTTP."""

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from servicekit.tasks import LongLivedTasks

_SECONDS = 5
_HEAD_BYTES = 8 * 1024
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the text format of Prometheus."""


@dataclass(frozen=True, slots=True)
class ProcessMetrics:
    """`expose` returns the metrics of the process for requests with the bearer `token`. Without a token there are
    none."""

    token: str | None
    expose: Callable[[], bytes]


async def serve_probes(port: int, tasks: LongLivedTasks, metrics: ProcessMetrics | None = None) -> asyncio.Server:
    """Answers on all addresses until the server is closed. Liveness is 200, or 503 with the names of the tasks that
    ended. Raises OSError if the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, tasks, metrics))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, port=port, limit=_HEAD_BYTES)


def _response(head: bytes, tasks: LongLivedTasks, metrics: ProcessMetrics | None) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    served = {b"/health/live"} | ({b"/metrics"} if metrics and metrics.token else set())
    headers, kind = {}, "application/json"
    body: dict[str, object] = {}
    content = b""
    if path not in served:
        status, body = HTTPStatus.NOT_FOUND, {"error": "Resource not found"}
    elif method not in {b"GET", b"HEAD"}:
        status, body = HTTPStatus.METHOD_NOT_ALLOWED, {"error": "Method not allowed"}
        headers["Allow"] = "GET, HEAD"
    elif path == b"/metrics" and metrics:
        if _has_token(head, metrics.token or ""):
            status, kind, content = HTTPStatus.OK, EXPOSITION, metrics.expose()
        else:
            status, body = HTTPStatus.UNAUTHORIZED, {"error": "Invalid or missing token"}
            headers["WWW-Authenticate"] = "Bearer"
    elif tasks.ended:
        status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"status": "dead", "ended_tasks": tasks.ended}
    else:
        status, body = HTTPStatus.OK, {"status": "alive"}
    content = content or json.dumps(body).encode()
    return _head(status, kind, len(content), headers) + (b"" if method == b"HEAD" else content)


def _has_token(head: bytes, token: str) -> bool:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"authorization":
            scheme, _, given = value.strip().partition(b" ")
            return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode())
    return False


def _head(status: HTTPStatus, kind: str, length: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
