"""How messages leave the house."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from domain.circuits import Tally
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

    async def claim(
        self, destination: Destination, *, limit: int, lease: timedelta, probe_every: timedelta
    ) -> Sequence[Message]:
        """Due messages, the oldest of each lane; no other worker gets them while the lease lasts. None of a destination
        that is paused or halted; of one whose circuit is open a single probe, every so often among all workers."""
        ...

    async def renew(self, message: Message, *, lease: timedelta) -> None: ...

    async def settle(self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None) -> None:
        """Records the attempt and what it came to: delivered, to be tried again after `retry_in`, or dead (None). It is
        counted for the destination, and for the message unless it `halts` the destination."""
        ...

    async def release(self, message: Message) -> None:
        """Gives a claim back as if it had never been made, at a clean stop."""
        ...


class Circuits(Protocol):
    """What keeps destinations from being delivered to, shared by all workers. Every method raises `Unavailable`."""

    async def pause(self, destination: Destination, wait: timedelta, *, reason: str) -> None:
        """Nothing is claimed for so long, or for longer where that was asked for before."""
        ...

    async def halt(self, destination: Destination, *, reason: str) -> None:
        """Nothing is claimed until an operator resumes it."""
        ...

    async def tally(self, destination: Destination, *, window: timedelta) -> Tally: ...

    async def trip(self, destination: Destination, *, probe_in: timedelta, reason: str) -> None:
        """Opens the circuit; does nothing where it is open already."""
        ...

    async def close(self, destination: Destination) -> None:
        """It is back: everything is claimed again, and what was counted so far is forgotten."""
        ...


class Courier(Protocol):
    """Hands a message over to one destination, in a bounded time. Never raises for what the destination did: that is
    a `Failed`."""

    async def deliver(self, message: Message) -> Outcome: ...
