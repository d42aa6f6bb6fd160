"""Concurrent lookups that share queries."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import Context
from copy import copy
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

Question = TypeVar("Question")
Found = TypeVar("Found")

MOST = 64
"""Lookups that wait for one query."""


class _Repeat(Enum):
    """The query failed because of an error in the data or the code: the caller repeats the lookup by itself."""

    ALONE = "alone"


_Waiting: TypeAlias = "tuple[Question, asyncio.Future[Found | None | _Repeat]]"


class QueuedLookups(Generic[Question, Found]):
    """Carries out a lookup immediately if no other one is under way. Those that come meanwhile wait, and are then
    answered by one query. So no lookup waits for a timer, and a caller never gets a result that was read before its
    call.

    - `ask` carries out one lookup, `ask_all` several, in the order of the calls. It returns what was found.
    - A lookup waits for at most `seconds`, then it raises `unavailable`. While `MOST` wait, others do not wait but are
      carried out by themselves.
    - A caller that is cancelled does not cancel the query that others wait for.
    - After an `unavailable` error each caller gets an exception of its own. After another error each lookup is repeated
      by itself, so that one of them does not fail the others.
    """

    def __init__(
        self,
        ask: Callable[[Question], Awaitable[Found | None]],
        ask_all: Callable[[Collection[Question]], Awaitable[Mapping[Question, Found]]],
        *,
        unavailable: type[Exception],
        seconds: float,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called when no lookup is under way any more."""
        self._ask = ask
        self._ask_all = ask_all
        self._unavailable = unavailable
        self._seconds = seconds
        self._ended = ended
        self._is_busy = False
        self._waiting: list[_Waiting[Question, Found]] = []
        self._answering: asyncio.Task[None] | None = None

    async def __call__(self, question: Question) -> Found | None:
        """Returns None if nothing was found. Raises the exceptions of the query, `unavailable`."""
        if not self._is_busy:
            self._is_busy = True
            try:
                return await self._ask(question)
            finally:
                self._continue()
        if len(self._waiting) >= MOST:
            return await self._ask(question)
        answer: asyncio.Future[Found | None | _Repeat] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        try:
            async with asyncio.timeout(self._seconds):
                found = await answer
        except TimeoutError as error:
            raise self._unavailable from error
        return await self._ask(question) if isinstance(found, _Repeat) else found

    def _continue(self) -> None:
        """Answers the lookups that have waited for the query that has just ended."""
        waiting = [each for each in self._waiting if not each[1].done()]  # else its caller has gone
        self._waiting = []
        self._is_busy = bool(waiting)
        if waiting:
            # The task serves several callers, so it has a separate context and continues if one is cancelled.
            self._answering = asyncio.create_task(self._answer(waiting), context=Context())
        else:
            self._ended()

    async def _answer(self, waiting: "Sequence[_Waiting[Question, Found]]") -> None:
        try:
            found = await self._ask_all(dict.fromkeys(question for question, _ in waiting))
        except Exception as error:
            if isinstance(error, self._unavailable):
                _fail(waiting, error)
            for _, answer in waiting:
                if not answer.done():
                    answer.set_result(_Repeat.ALONE)
        else:
            for question, answer in waiting:
                if not answer.done():
                    answer.set_result(found.get(question))
        finally:
            _fail(waiting, self._unavailable())  # those without an answer, if this task was cancelled
            self._continue()


def _fail(waiting: "Sequence[_Waiting[Question, Found]]", error: Exception) -> None:
    """Each caller gets an exception of its own, because tracebacks are added to it."""
    for _, answer in waiting:
        if not answer.done():
            own = copy(error)
            own.__cause__ = error
            answer.set_exception(own)
