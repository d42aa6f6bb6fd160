"""How deliveries stand, as operators and their instruments ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from application.ports.pages import Page, PageRequest
from domain.messages import Destination, MessageId, MessageStatus


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


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """None leaves that out. `since`: what happened then or later."""

    status: MessageStatus | None = None
    destination: Destination | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, for an operator's eyes; it may be of a newer version, with a destination and a fact unknown here."""

    id: MessageId
    destination: str
    fact: str
    lane: str
    status: MessageStatus
    attempts: int
    occurred_at: datetime
    due_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """`took_ms` in milliseconds. A `probe` tried whether a failing destination is back."""

    attempt: int
    started_at: datetime
    took_ms: int
    result: str
    status_code: int | None
    detail: str
    probe: bool


@dataclass(frozen=True, slots=True)
class OpenedLetter:
    """Everything kept about a message: what it says holds personal data."""

    letter: Letter
    settled_at: datetime | None
    request_id: str | None
    in_flight: bool
    attempts_made: Sequence[AttemptMade]
    snapshot: dict[str, Any]


class DeadLetters(Protocol):
    """The outbox as an operator sees and mends it. Only dead messages can be decided about, and one that is named must
    be: `MessageNotFound`, `MessageNotDead`."""

    async def list(self, wanted: LetterFilter, page: PageRequest) -> Page[Letter]:
        """The newest first."""
        ...

    async def show(self, message_id: UUID) -> OpenedLetter:
        """Raises `MessageNotFound`."""
        ...

    async def replay(self, message_id: UUID) -> None:
        """Makes it due again with a fresh schedule."""
        ...

    async def replay_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        """Those owed to that destination, and of what happened since; answers how many."""
        ...

    async def discard(self, message_id: UUID) -> None:
        """It is never delivered."""
        ...

    async def discard_all(self, *, destination: Destination | None, since: datetime | None) -> int: ...
