"""The HTTP server of one API process, and how it ends."""

import os
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

END_SECONDS = 8
"""From the signal to the end of the last request. Who started the process kills it a little later."""


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
    )
    server = DrainingServer(config, drain)
    server.run(sockets=[listener])
    return server.started
