"""Cancellation of asyncio tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def cancel(tasks: Iterable["asyncio.Task[Any]"], *, again_after: float = 1) -> None:
    """Cancels the tasks and waits until each has ended. Their exceptions are ignored.

    A task that has not ended after `again_after` seconds is cancelled again, because a cancellation can get lost:
    `asyncio.wait_for` of Python 3.11 drops one that comes just as the inner task ends (python/cpython#86296), and
    redis-py waits that way for its connections.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=again_after)
        for task in done:
            if not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not log it
