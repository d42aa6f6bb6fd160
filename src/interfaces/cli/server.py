"""The HTTP server of one API process, and how it ends."""

import logging
import os
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import uvicorn

from infrastructure.settings import Settings
from interfaces.http.entrance import PROBES
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.errors import ErrorResponse, body_of
from interfaces.http.middleware import SECURITY_HEADERS
from servicekit.http_limits import HttpLimits
from servicekit.http_server import prepare, server_options

END_SECONDS = 8
"""Seconds from the signal to the end of the last request. The supervisor kills the process a little later."""


SOCKETS: dict[str, Any] = {
    "ws_max_size": 64 * 1024,
    # Compression takes memory for the life of each connection, and live updates are short.
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20,
    "ws_ping_timeout": 20,
}


def http_limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        max_connections=settings.http_max_connections,
        max_idle_connections=settings.http_max_idle_connections,
        max_streams=settings.http_max_streams,
        head_bytes=settings.http_head_bytes,
        head_seconds=settings.http_head_seconds,
        body_seconds=settings.http_body_seconds,
        idle_seconds=settings.http_idle_seconds,
        operator_paths=PROBES,
        stream_paths=frozenset({"/facilitator/feed"}),
    )


def error_body(path: str | None, _method: str, status: int, code: str, message: str, request_id: str) -> bytes:
    """The error in the format of the path's contract; for an unknown path in that of B and D."""
    return msgspec.json.encode(body_of(ErrorResponse(status, code, message), ERROR_FORMATS.of(path or "/"), request_id))


class DrainingServer(uvicorn.Server):
    """After SIGTERM it serves for `drain` more seconds while `/health/ready` returns 503, so that no new requests
    arrive; then it accepts no connection and finishes its requests. A second signal ends it immediately."""

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._asked_at: float | None = None

    @property
    def draining(self) -> bool:
        return self._asked_at is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked_at is not None:
            # The database rolls back interrupted transactions, as after a failure of the machine.
            os._exit(0)
        self._captured_signals.append(sig)
        self._asked_at = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        if self._asked_at is not None and time.monotonic() >= self._asked_at + self._drain:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(
    make_app: Callable[[Callable[[], bool]], object],
    listener: socket.socket,
    *,
    drain: float,
    limits: HttpLimits,
    log_level: str,
) -> bool:
    """Serves until it is stopped. Returns whether it has ever served. `make_app` receives a function that returns
    whether the process is shutting down."""
    listeners = prepare(listener, limits)
    logging.getLogger("uvicorn.error").addFilter(_not_about_a_socket)
    config = uvicorn.Config(
        lambda: make_app(lambda: server.draining),
        factory=True,
        loop="uvloop",
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=END_SECONDS - int(drain),
        log_config=None,
        log_level=log_level,
        **SOCKETS,
        **server_options(limits, error_body, headers=SECURITY_HEADERS, sockets=True),
    )
    server = DrainingServer(config, drain)
    server.run(sockets=listeners)
    return server.started


def _not_about_a_socket(record: logging.LogRecord) -> bool:
    """Filters records of uvicorn about WebSockets: they contain the address with its query, which the request log
    omits, and report a handshake that was rejected with an HTTP response as unanswered."""
    said = str(record.msg)
    return '"WebSocket %s"' not in said and "without completing handshake" not in said
