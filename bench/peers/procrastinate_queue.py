"""procrastinate with jobs that post to a receiver, as the outbox does.

`python -m bench.peers.procrastinate_queue <dsn> <url> <jobs> <at once>` prints jobs a second from the first post to the
end of the last job; stdin is the body. `... <dsn> wake-up <jobs>` prints p50 and p99 in ms from adding a job to an idle
worker until it runs.
"""

import asyncio
import contextlib
import logging
import sys
import time
from typing import Any

import aiohttp
import procrastinate
import uvloop

from bench.figures import percentile


def _app(dsn: str, connections: int) -> Any:
    """A `procrastinate.App`, which the type checker does not see where it is not fetched."""
    # It warns that its tasks are in the main module, where other processes would not find them.
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, max_size=connections))


async def drain(dsn: str, url: str, jobs: int, at_once: int, body: bytes) -> float:
    app = _app(dsn, at_once)
    began = 0.0
    async with (
        app.open_async(),
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=at_once), headers={"Content-Type": "application/json"}
        ) as client,
    ):
        await app.schema_manager.apply_schema_async()

        async def send() -> None:
            nonlocal began
            began = began or time.perf_counter()
            async with client.post(url, data=body) as response:
                await response.read()
                response.raise_for_status()

        await app.task(send, name="post").batch_defer_async(*({} for _ in range(jobs)))
        await app.run_worker_async(concurrency=at_once, wait=False, install_signal_handlers=False)
        return jobs / (time.perf_counter() - began)


async def wake_up(dsn: str, jobs: int) -> tuple[float, float]:
    app = _app(dsn, 4)
    ran: list[float] = []
    async with app.open_async():
        await app.schema_manager.apply_schema_async()

        async def note(added_at: float) -> None:
            ran.append(1000 * (time.perf_counter() - added_at))

        task = app.task(note, name="note")
        worker = asyncio.create_task(app.run_worker_async(concurrency=24, install_signal_handlers=False))
        await asyncio.sleep(0.5)
        for _ in range(jobs):
            await task.defer_async(added_at=time.perf_counter())
            await asyncio.sleep(0.02)
        async with asyncio.timeout(60):
            while len(ran) < jobs:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return percentile(ran, 0.5), percentile(ran, 0.99)


if __name__ == "__main__":
    address, receiver, *numbers = sys.argv[1:]
    if receiver == "wake-up":
        print(*uvloop.run(wake_up(address, int(numbers[0]))))
    else:
        print(uvloop.run(drain(address, receiver, int(numbers[0]), int(numbers[1]), sys.stdin.buffer.read())))
