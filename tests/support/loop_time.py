"""How long a callback of the event loop holds it, as CPU time: the load of the machine does not count."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any


class LoopTime:
    """`longest` is the most CPU seconds that one callback took."""

    def __init__(self) -> None:
        self.longest = 0.0

    def reset(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest


@contextlib.contextmanager
def measured_callbacks() -> Iterator[LoopTime]:
    """Of every event loop of this process that is asyncio's own."""
    measured = LoopTime()
    run: Any = asyncio.events.Handle._run

    def timed(handle: Any) -> None:
        began = time.thread_time()
        try:
            run(handle)
        finally:
            measured.longest = max(measured.longest, time.thread_time() - began)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]
    try:
        yield measured
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
