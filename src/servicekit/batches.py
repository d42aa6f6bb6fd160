"""Batching of concurrent calls: one statement for the work of many callers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")


class Batches(Generic[ItemT, DoneT]):
    """Collects items until `window` seconds after the first one, then calls `work` with all of them, at most `most` at
    a time. One batch is in work; the next one is collected meanwhile.

    `work` gets the items in the order of the calls and returns one result for each. If it fails, every caller gets an
    `unavailable` error; after any other error each item is tried alone, so that an invalid item does not fail the
    others. An item whose caller was cancelled stays in its batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[ItemT]], Awaitable[Sequence[DoneT]]],
        *,
        unavailable: type[Exception],
        window: float = 0,
        most: int = 500,
    ) -> None:
        self._work = work
        self._unavailable = unavailable
        self._window = window
        self._most = most
        self._waiting: list[tuple[ItemT, asyncio.Future[DoneT]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, item: ItemT) -> DoneT:
        done: asyncio.Future[DoneT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._working is None:
            # The task serves several callers, so it has a separate context and goes on if the first one is cancelled.
            self._working = asyncio.create_task(self._run(), context=Context())
        return await done

    async def _run(self) -> None:
        try:
            await asyncio.sleep(self._window)
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._finish(batch)
        finally:
            self._working = None
            for _, done in self._waiting:  # the loop ends
                done.cancel()

    async def _finish(self, batch: Sequence[tuple[ItemT, "asyncio.Future[DoneT]"]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, self._unavailable):
                for each in batch:
                    await self._finish([each])
                return
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        except BaseException:
            for _, done in batch:
                done.cancel()
            raise
