"""What feeds need: where their addresses are kept, and who writes them as calendars."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.feeds import FeedEntry, FeedRange
from domain.users import UserId


class Feeds(Protocol):
    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        """In place of the one before, if there is one. False, and nothing is done, when the account has another token
        version: the access with which this was asked for has ended."""
        ...

    async def close(self, user_id: UserId) -> None: ...

    async def find(self, fingerprint: bytes) -> UserId | None:
        """Whose it is; None also for those who may not log in any more."""
        ...

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        """What is not cancelled, in the order of time; in the same order every time."""
        ...

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        """Another one for other entries."""
        ...


class CalendarWriter(Protocol):
    format: str
    """Another one where the same entries would give another text."""

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        """The same entries give the same text. Does not hold the event loop."""
        ...
