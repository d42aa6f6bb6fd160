"""How messages leave the house."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from domain.messages import Destination, Message, Outcome


class WakeUps(Protocol):
    def nudge(self) -> None:
        """Says that there is something to deliver. Never waits, never fails: the sweep finds what a lost nudge left."""
        ...


class DueMessages(Protocol):
    """The outbox as a worker sees it. A claim is a lease: who does not settle or renew it in time may lose it.

    What is said about a claim that was lost meanwhile is logged and changes nothing. Every method raises `Unavailable`
    when the outbox cannot be reached.
    """

    async def claim(self, destination: Destination, *, limit: int, lease: timedelta) -> Sequence[Message]:
        """Due messages, the oldest of each lane; no other worker gets them while the lease lasts."""
        ...

    async def renew(self, message: Message, *, lease: timedelta) -> None: ...

    async def settle(self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None) -> None:
        """Records the attempt and what it came to: delivered, to be tried again after `retry_in`, or dead (None)."""
        ...

    async def release(self, message: Message) -> None:
        """Gives a claim back as if it had never been made, at a clean stop."""
        ...


class Courier(Protocol):
    """Hands a message over to one destination, in a bounded time. Never raises for what the destination did: that is
    a `Failed`."""

    async def deliver(self, message: Message) -> Outcome: ...
