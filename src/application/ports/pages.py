"""One page of a list, and the way to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

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
