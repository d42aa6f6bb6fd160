"""Repetition of a use case whose transaction conflicted with another one.

Every use case that the container hands out repeats itself: nothing of a rolled back transaction is left. It does not
after an effect that a repetition would have a second time: a commit, or a request to another service.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from domain.errors import Unavailable
from servicekit.conflicts import repeated

T = TypeVar("T")


class TransactionConflict(Unavailable):
    """The transaction was rolled back because of another one."""


@dataclass(slots=True)
class _Run:
    """A use case in progress. `counted`: its attempts at rate limits."""

    is_final: bool = False
    counted: set[tuple[str, str]] = field(default_factory=set)


_RUN: ContextVar[_Run | None] = ContextVar("run_of_use_case", default=None)


def make_final() -> None:
    """The use case in progress is not repeated any more."""
    run = _RUN.get()
    if run is not None:
        run.is_final = True


async def request_follows(_request: object) -> None:
    """A hook of httpx clients of other services."""
    make_final()


def count_once(limit: str, who: str) -> bool:
    """Whether an attempt counts at a rate limit: once for a use case, however often it is repeated."""
    run = _RUN.get()
    if run is None:
        return True
    is_first = (limit, who) not in run.counted
    run.counted.add((limit, who))
    return is_first


def repeating(parts: T) -> T:
    """These parts of a container, a dataclass, with use cases that repeat themselves. Use cases are dataclasses,
    adapters are not."""
    assert is_dataclass(parts)
    assert not isinstance(parts, type)
    values = {each.name: getattr(parts, each.name) for each in fields(parts)}
    changes = {name: _repeating(value) for name, value in values.items() if is_dataclass(value)}
    return replace(parts, **changes)


def _repeating(use_case: Any) -> Any:
    kind: Any = type(use_case)
    return _subclass(kind)(**{each.name: getattr(use_case, each.name) for each in fields(use_case)})


@functools.cache
def _subclass(use_case: type) -> type:
    """The same class, whose public coroutines are repeated."""
    methods = {
        name: _repeated_method(getattr(use_case, name))
        for name in dir(use_case)
        if inspect.iscoroutinefunction(getattr(use_case, name)) and (name == "__call__" or not name.startswith("_"))
    }
    return type(use_case.__name__, (use_case,), {"__slots__": (), "__module__": use_case.__module__, **methods})


def _repeated_method(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    @functools.wraps(method)
    async def call(*arguments: Any, **named: Any) -> T:
        if _RUN.get() is not None:
            return await method(*arguments, **named)  # repeated by the use case that calls this one
        run = _Run()
        token = _RUN.set(run)
        try:
            return await repeated(
                lambda: method(*arguments, **named),
                lambda error: isinstance(error, TransactionConflict) and not run.is_final,
            )
        finally:
            _RUN.reset(token)

    return call
