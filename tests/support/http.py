"""An application served over real HTTP on loopback, in the test's own event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn

from tests.support.endpoint_coverage import recorded


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C belongs to pytest."""
        yield


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serves an ASGI application; yields its base address. `options` are those of `uvicorn.Config`."""
    config = uvicorn.Config(
        recorded(app),
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="on",
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=60,  # httpx reuses a connection for 5 s: not one that is closed at the same moment
        **options,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            running.result()
            raise RuntimeError("The application did not start")
        await asyncio.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
