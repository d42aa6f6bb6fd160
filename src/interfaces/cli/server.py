"""The HTTP server of one API process, and how it ends."""

import logging
import os
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

END_SECONDS = 8
"""From the signal to the end of the last request. Who started the process kills it a little later."""


SOCKETS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": 64 * 1024,
    # Compressing costs each connection some memory for as long as it lasts, and the news are short.
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20,
    "ws_ping_timeout": 20,
}
UNREAD_SECONDS = 20
"""Who takes nothing of what was sent to them for so long is cut off by the kernel (where there is Linux under it):
a server cannot say goodbye to who does not read."""


class DrainingServer(uvicorn.Server):
    """Asked to stop, it goes on answering for `drain` seconds, not ready any more, so that nobody new is sent here;
    then it takes no connection and finishes what it is doing. Asked again, it ends at once."""

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._asked_at: float | None = None

    @property
    def draining(self) -> bool:
        return self._asked_at is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked_at is not None:
            # What is broken off here is rolled back by the database, as if the machine had failed.
            os._exit(0)
        self._captured_signals.append(sig)
        self._asked_at = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        if self._asked_at is not None and time.monotonic() >= self._asked_at + self._drain:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(
    make_app: Callable[[Callable[[], bool]], object], listener: socket.socket, *, drain: float, log_level: str
) -> bool:
    """Until it is stopped; whether it ever served. `make_app` is given whether the process is about to end."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    logging.getLogger("uvicorn.error").addFilter(_not_about_a_socket)
    config = uvicorn.Config(
        lambda: make_app(lambda: server.draining),
        factory=True,
        loop="uvloop",
        http="httptools",
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=END_SECONDS - int(drain),
        log_config=None,
        log_level=log_level,
        **SOCKETS,
    )
    server = DrainingServer(config, drain)
    server.run(sockets=[listener])
    return server.started


def _not_about_a_socket(record: logging.LogRecord) -> bool:
    """uvicorn writes down each WebSocket's address with its query, which our own line leaves away, and takes one that
    was refused with an HTTP answer for one that was not answered."""
    said = str(record.msg)
    return '"WebSocket %s"' not in said and "without completing handshake" not in said
