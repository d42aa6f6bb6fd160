"""Questions that many ask at about the same time, put to the database as one."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import Context
from typing import Generic, TypeVar

Question = TypeVar("Question")
Found = TypeVar("Found")


class BatchLoader(Generic[Question, Found]):
    """Waits `window` seconds for more questions. A caller never gets an answer that was read before its question."""

    def __init__(
        self, ask: Callable[[Collection[Question]], Awaitable[Mapping[Question, Found]]], *, window: float
    ) -> None:
        self._ask = ask
        self._window = window
        self._asked: set[Question] = set()
        self._answering: asyncio.Task[Mapping[Question, Found]] | None = None

    async def __call__(self, question: Question) -> Found | None:
        """None where nothing was found. Raises what asking raises."""
        if self._answering is None:
            # It also serves other callers, so it uses neither the context of the first one nor ends with it.
            self._answering = asyncio.create_task(self._answer(), context=Context())
            self._answering.add_done_callback(_noted)
        self._asked.add(question)
        return (await asyncio.shield(self._answering)).get(question)

    async def _answer(self) -> Mapping[Question, Found]:
        await asyncio.sleep(self._window)
        asked, self._asked, self._answering = self._asked, set(), None
        return await self._ask(asked)


def _noted(answering: "asyncio.Task[object]") -> None:
    """An error is no news when everybody who asked has left."""
    if not answering.cancelled():
        answering.exception()
