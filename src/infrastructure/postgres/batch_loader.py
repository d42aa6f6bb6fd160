"""Batching of concurrent lookups into one query."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import Context
from typing import Generic, TypeVar

Question = TypeVar("Question")
Found = TypeVar("Found")


class BatchLoader(Generic[Question, Found]):
    """Waits `window` seconds for more lookups. A caller never gets a result that was read before its call."""

    def __init__(
        self, ask: Callable[[Collection[Question]], Awaitable[Mapping[Question, Found]]], *, window: float
    ) -> None:
        self._ask = ask
        self._window = window
        self._asked: set[Question] = set()
        self._answering: asyncio.Task[Mapping[Question, Found]] | None = None

    async def __call__(self, question: Question) -> Found | None:
        """Returns None if nothing was found. Raises the exceptions of the query."""
        if self._answering is None:
            # The task serves several callers, so it has a separate context and continues if the first one is cancelled.
            self._answering = asyncio.create_task(self._answer(), context=Context())
            self._answering.add_done_callback(_noted)
        self._asked.add(question)
        return (await asyncio.shield(self._answering)).get(question)

    async def _answer(self) -> Mapping[Question, Found]:
        await asyncio.sleep(self._window)
        asked, self._asked, self._answering = self._asked, set(), None
        return await self._ask(asked)


def _noted(answering: "asyncio.Task[object]") -> None:
    """Retrieves the exception of a task, so that asyncio does not log it if all callers were cancelled."""
    if not answering.cancelled():
        answering.exception()
