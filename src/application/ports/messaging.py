"""How messages leave the house."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from domain.messages import Message, MessageId, Outcome


class WakeUps(Protocol):
    def nudge(self) -> None:
        """Says that there is something to deliver. Never waits, never fails: the sweep finds what a lost nudge left."""
        ...


class DueMessages(Protocol):
    """The outbox as a worker sees it. A claim is a lease: who does not settle or renew it in time loses it."""

    async def claim(self, *, limit: int, lease: timedelta) -> Sequence[Message]:
        """Due messages, the oldest of each lane; no other worker gets them while the lease lasts."""
        ...

    async def renew(self, messages: Sequence[MessageId], *, lease: timedelta) -> None: ...

    async def settle(
        self, message: Message, outcome: Outcome, *, started_at: datetime, took: timedelta, retry_in: timedelta | None
    ) -> None:
        """Records the attempt and what it came to: delivered, to be tried again after `retry_in`, or dead (None)."""
        ...

    async def release(self, messages: Sequence[MessageId]) -> None:
        """Gives claims back untouched, at a clean stop."""
        ...


class Courier(Protocol):
    """Hands a message over to one destination. Never raises for what the destination did: that is a `Failed`."""

    async def deliver(self, message: Message) -> Outcome: ...
