"""Work that is repeated after a conflict between transactions (`sqlstates.CONFLICTS`), which rolled it back."""

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import TypeVar

TRIES = 3
FIRST_PAUSE = 0.02
"""Seconds before the second try; four times as long before the third. Each is shortened by up to a half at random, so
that two transactions do not meet again."""

T = TypeVar("T")


async def repeated(work: Callable[[], Awaitable[T]], is_conflict: Callable[[Exception], bool]) -> T:
    """The result of `work`, after up to `TRIES` tries. `work` must have no effect if it raises a conflict."""
    for tried in range(1, TRIES):
        try:
            return await work()
        except Exception as error:
            if not is_conflict(error):
                raise
            import structlog  # here, because the tests of rules import this module, and structlog takes long

            structlog.get_logger(__name__).info("transaction_repeated", tried=tried)
        await asyncio.sleep(FIRST_PAUSE * 4 ** (tried - 1) * uniform(0.5, 1))  # noqa: S311
    return await work()
