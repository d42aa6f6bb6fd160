"""An event loop in which waiting takes no time: the clock moves on to the next timer when nothing else is to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is left to wait for"
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self._of_time = selector

    def time(self) -> float:
        return self._of_time.now


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which may wait only for timers and for itself, not for files, sockets or threads."""
    with asyncio.Runner(loop_factory=lambda: _Loop(_Selector())) as runner:
        return runner.run(work)
