"""Booking APIs for tests: each serves one database and is used again together with it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httpx

from infrastructure import container
from infrastructure.observability.logging import configure_logging
from infrastructure.postgres.engine import Database
from interfaces.http.app import assemble
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.settings import settings_for


@dataclass
class _Application:
    client: httpx.AsyncClient
    headers: httpx.Headers
    database: Database
    log_level: str
    leaving: asyncio.Event
    serving: "asyncio.Task[None]"


class Applications:
    """Applications with the settings of `settings_for`. A new one takes 0.5 s of CPU.

    Between tests an application runs on without connections to its database, which is emptied or dropped then."""

    def __init__(self) -> None:
        self._by_database: dict[str, _Application] = {}

    async def of(self, database_url: str, redis_url: str, data: Path) -> httpx.AsyncClient:
        """A client of the application of this database. `data`: the directory of a new application."""
        application = self._by_database.get(database_url)
        if application is None:
            self._by_database[database_url] = application = await _started(database_url, redis_url, data)
        # The log is written where this test reads it.
        configure_logging(application.log_level)
        return application.client

    async def release(self, database_url: str) -> None:
        """Closes the connections to the database; forgets cookies and headers of the client."""
        application = self._by_database[database_url]
        application.client.cookies.clear()
        application.client.headers = application.headers
        await application.database.close()

    async def stop(self, database_url: str) -> None:
        """Stops the application of this database, if there is one."""
        application = self._by_database.pop(database_url, None)
        if application is not None:
            application.leaving.set()
            await application.serving

    async def close(self) -> None:
        for database_url in list(self._by_database):
            await self.stop(database_url)


async def _started(database_url: str, redis_url: str, data: Path) -> _Application:
    settings = settings_for(database_url, redis_url, data)
    parts = container.build(settings)
    ready: asyncio.Future[httpx.AsyncClient] = asyncio.get_running_loop().create_future()
    leaving = asyncio.Event()

    async def serve() -> None:
        async with serving(assemble(parts)) as address, a_client(address) as client:
            ready.set_result(client)
            await leaving.wait()

    task = asyncio.create_task(serve())
    await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        await task  # raises why it did not start
    client = ready.result()
    return _Application(client, client.headers.copy(), parts.database, settings.log_level, leaving, task)
