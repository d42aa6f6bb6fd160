"""Batching of concurrent calls: one statement for the work of many callers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeAlias, TypeVar

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")
_Call: TypeAlias = "tuple[ItemT, asyncio.Future[DoneT]]"


class Batches(Generic[ItemT, DoneT]):
    """Collects items until `window` seconds after the first one, then calls `work` with all of them, at most `most` at
    a time. One batch is in work; the next one is collected meanwhile.

    `work` gets the items in the order of the calls and returns one result for each. After an `unavailable` error every
    caller gets it, also those who wait, as they would wait as long again; after any other error each item is tried
    alone, so that an invalid item does not fail the others. An item whose caller was cancelled stays in its batch.
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
        self._waiting: list[_Call[ItemT, DoneT]] = []
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
                if (outage := await self._finish(batch)) is not None:
                    waiting, self._waiting = self._waiting, []
                    _fail(waiting, outage)
        finally:
            self._working = None
            for _, done in self._waiting:  # the loop ends
                done.cancel()

    async def _finish(self, batch: "Sequence[_Call[ItemT, DoneT]]") -> Exception | None:
        """Returns the `unavailable` error, if that is why the work failed."""
        try:
            results = await self._work([item for item, _ in batch])
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)
        except Exception as error:
            if not isinstance(error, self._unavailable) and len(batch) > 1:
                return await self._finish_each(batch)
            _fail(batch, error)
            return error if isinstance(error, self._unavailable) else None
        except BaseException:
            for _, done in batch:
                done.cancel()
            raise
        return None

    async def _finish_each(self, batch: "Sequence[_Call[ItemT, DoneT]]") -> Exception | None:
        for place, call in enumerate(batch, start=1):
            if (outage := await self._finish([call])) is not None:
                _fail(batch[place:], outage)
                return outage
        return None


def _fail(calls: "Iterable[_Call[Any, Any]]", error: Exception) -> None:
    for _, done in calls:
        if not done.done():
            done.set_exception(error)
