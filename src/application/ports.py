"""Ports that several contexts use: clock, rate limits, pages of lists, health."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `times` in any stretch of `per`, counted under `name`."""

    name: str
    times: int
    per: timedelta


class RateLimiter(Protocol):
    async def take(self, limit: Limit, who: str) -> None:
        """Counts one, atomically over all processes; raises `TooManyRequests`, uncounted, when the limit is reached."""
        ...

    async def give_back(self, limit: Limit, who: str) -> None:
        """Takes one back: the attempt turned out to be legitimate."""
        ...


T = TypeVar("T")


MAX_PAGE = 500

DEFAULT_PAGE = 50
"""Entries of a page. Lists that contracts A to D document show `MAX_PAGE` by default, all others `DEFAULT_PAGE`."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`after` is the opaque cursor of the page before."""

    limit: int = MAX_PAGE
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next` is the cursor of the page that follows; None on the last."""

    items: Sequence[T]
    next: str | None = None


class Health(Protocol):
    """Whether they answer: what remembers, and what rings for the worker and counts attempts to log in."""

    async def database_answers(self) -> bool: ...

    async def redis_answers(self) -> bool: ...
