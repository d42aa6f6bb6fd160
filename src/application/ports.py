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
    """At most `times` in any period of `per`, counted under `name`."""

    name: str
    times: int
    per: timedelta


class RateLimiter(Protocol):
    async def take(self, limit: Limit, who: str) -> None:
        """Counts one attempt, atomically over all processes. Raises `TooManyRequests`, which has the name of the limit,
        when it is reached; such an attempt does not count."""
        ...

    async def take_all(self, attempts: Sequence[tuple[Limit, str]]) -> None:
        """As `take`, for several limits at once: when one of them is reached, none counts. Of several that are reached
        the error names the one with the longest wait."""
        ...

    async def give_back(self, limit: Limit, who: str) -> None:
        """Uncounts one attempt, which turned out to be legitimate."""
        ...


T = TypeVar("T")


MAX_PAGE = 500

DEFAULT_PAGE = 50
"""Entries of a page. Lists that contracts A to D document show `MAX_PAGE` by default, all others `DEFAULT_PAGE`."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`after` is the opaque cursor of the previous page."""

    limit: int = MAX_PAGE
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next` is the cursor of the next page; None on the last."""

    items: Sequence[T]
    next: str | None = None


class Health(Protocol):
    """Whether the database and Redis respond. Redis sends wake-ups to the worker and counts login attempts."""

    async def database_answers(self) -> bool: ...

    async def database_writes(self) -> bool:
        """Whether the database accepts writes. A replica and a server with a full disk do not."""
        ...

    async def redis_answers(self) -> bool: ...
