"""News for facilitators, as it happens."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType, Protocol

from domain.users import UserId

EntryId = NewType("EntryId", int)


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """`told` is the fact as the CRM is told it."""

    id: EntryId
    fact: str
    told: dict[str, Any]
    occurred_at: datetime


class FeedReader(Protocol):
    async def newest(self, facilitator_id: UserId) -> EntryId:
        """0 where there is none."""
        ...

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[FeedEntry]:
        """The next ones, the oldest first."""
        ...

    async def has_news(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        """Whether there are any after it. May take a moment: what many ask at about the same time is looked up
        once."""
        ...


class Listener(Protocol):
    async def wait(self, seconds: float) -> bool:
        """Until there may be something new (True), or so long."""
        ...


class FeedBell(Protocol):
    """Rings in every process when a facilitator's news were recorded in any. It may miss a ring: whoever waits looks
    again after a while."""

    def listening(self, facilitator_id: UserId) -> AbstractAsyncContextManager[Listener]: ...
