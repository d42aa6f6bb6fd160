"""How deliveries stand, as operators and their instruments ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from domain.messages import Destination


class Circuit(StrEnum):
    """`open`: the destination kept failing and is left alone; `half_open`: the next message is a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """`oldest_due_seconds` is how long the message that waits longest could have been tried already; None where none
    waits. `halted` lasts until an operator resumes it; `paused_until` lies ahead or is None; `reason` is why it is not
    served as usual."""

    destination: Destination
    pending: int
    oldest_due_seconds: float | None
    dead: int
    circuit: Circuit
    paused_until: datetime | None
    halted: bool
    reason: str | None


class DeliveryReader(Protocol):
    async def figures(self) -> Sequence[DestinationFigures]:
        """One line for every destination, also for those that are owed nothing."""
        ...
