"""Asyncio tasks: supervision of those that run until the end of a process, and cancellation."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


class LongLivedTasks:
    """The tasks of a process that run until its end. One that ends earlier is logged and named in `ended`, and `on_end`
    is called once, to end the process: its supervisor starts it again with all tasks."""

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self._on_end = on_end
        self._stopping: set[asyncio.Task[Any]] = set()
        self._ended: list[str] = []

    @property
    def ended(self) -> tuple[str, ...]:
        """The names of the tasks that ended unexpectedly."""
        return tuple(self._ended)

    def start(
        self, name: str, work: Coroutine[Any, Any, Any], *, may_return: bool = False, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        """Starts a task. `may_return`: its return is expected, an exception or a cancellation is not."""
        task = asyncio.create_task(work, name=name, context=context)
        task.add_done_callback(lambda task: self._done(task, may_return=may_return))
        return task

    async def stop(self, tasks: Iterable["asyncio.Task[Any]"]) -> None:
        """Cancels tasks and waits until each has ended."""
        stopped = set(tasks)
        self._stopping |= stopped
        try:
            await cancel(stopped)
        finally:
            self._stopping -= stopped

    def _done(self, task: "asyncio.Task[Any]", *, may_return: bool) -> None:
        if task in self._stopping:
            return
        error = None if task.cancelled() else task.exception()
        if may_return and error is None and not task.cancelled():
            return
        how = "cancelled" if task.cancelled() else "failed" if error is not None else "returned"
        _log.critical("task.ended", task=task.get_name(), how=how, exc_info=error)
        self._ended.append(task.get_name())
        if len(self._ended) == 1:
            self._on_end()


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
