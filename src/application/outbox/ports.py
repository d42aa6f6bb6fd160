"""Ports of the outbox: writing, claiming and recording messages, circuit breakers, dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from application.payments.ports.gateways import GatewayEvent
from application.payments.ports.records import Refund
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.appointments import AppointmentId
from domain.bookings import BookingId, BookingStatus
from domain.calendars import ConnectionId
from domain.circuit_breaker import Tally
from domain.events import EventDetails, EventId
from domain.invitations import InvitationId
from domain.money import Money
from domain.outbox import Destination, Message, MessageId, MessageStatus, MessageType, Outcome
from domain.participant_messages import ParticipantMessage
from domain.payments import Payment


class WakeUps(Protocol):
    def notify(self) -> None:
        """Says that there is something to deliver. Never waits, never fails: the sweep finds what a lost nudge left."""
        ...


class OutboxClaims(Protocol):
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

    async def record_result(
        self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None
    ) -> None:
        """Records the attempt and what it came to: delivered, to be tried again after `retry_in`, or dead (None). It is
        counted for the destination, and for the message unless it `stop_destination` the destination."""
        ...

    async def release(self, message: Message) -> None:
        """Gives a claim back as if it had never been made, at a clean stop."""
        ...


class CircuitBreakers(Protocol):
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


class Sender(Protocol):
    """Hands a message over to one destination, in a bounded time. Never raises for what the destination did: that is
    a `Failed`."""

    async def deliver(self, message: Message) -> Outcome: ...


class CircuitBreaker(StrEnum):
    """`open`: the destination kept failing and is left alone; `half_open`: the next message is a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class DestinationStatistics:
    """`oldest_due_seconds` is how long the message that waits longest could have been tried already; None where none
    waits. `halted` lasts until an operator resumes it; `paused_until` lies ahead or is None; `reason` is why it is not
    served as usual."""

    destination: Destination
    pending: int
    oldest_due_seconds: float | None
    dead: int
    circuit: CircuitBreaker
    paused_until: datetime | None
    halted: bool
    reason: str | None


class DeliveryStatistics(Protocol):
    async def by_destination(self) -> Sequence[DestinationStatistics]:
        """One line for every destination, also for those that are owed nothing."""
        ...


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """None leaves that out. `since`: what happened then or later."""

    status: MessageStatus | None = None
    destination: Destination | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A row of the outbox. A newer version may have written a destination or a message type that is unknown here."""

    id: MessageId
    destination: str
    message_type: str
    ordering_key: str
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
class StoredMessageDetail:
    """A row of the outbox with its attempts and its payload, which contains personal data."""

    message: StoredMessage
    settled_at: datetime | None
    request_id: str | None
    in_flight: bool
    attempts_made: Sequence[AttemptMade]
    payload: dict[str, Any]


class DeadLetters(Protocol):
    """The outbox as an operator sees and mends it. Only dead messages can be decided about, and one that is named must
    be: `MessageNotFound`, `MessageNotDead`."""

    async def list(self, filter_: MessageFilter, page: PageRequest) -> Page[StoredMessage]:
        """The newest first."""
        ...

    async def show(self, message_id: UUID) -> StoredMessageDetail:
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


class Messages(Protocol):
    """Writes what is owed, with the state of this very transaction."""

    async def enqueue_for_booking(
        self, fact: MessageType, booking_id: BookingId, *, reason: str | None = None, money: Money | None = None
    ) -> None: ...

    async def enqueue_for_bookings_of(
        self,
        fact: MessageType,
        event_id: EventId,
        *,
        status: BookingStatus = BookingStatus.CONFIRMED,
        cancelled_at: datetime | None = None,
        reason: str | None = None,
        before: EventDetails | None = None,
    ) -> None:
        """For every booking of the event with that status, or for every one that was cancelled at that very moment.
        `before` is the event's plan before it changed, where the message is about that."""
        ...

    async def enqueue_for_participants(self, event_id: EventId, message: ParticipantMessage) -> int:
        """Enqueues a mail to each confirmed participant of the event; answers how many there are."""
        ...

    async def enqueue_facilitator_approved(self, user_id: UserId) -> None:
        """Enqueues the mail to the person who is a facilitator now."""
        ...

    async def enqueue_invitation(self, invitation_id: InvitationId) -> None:
        """Enqueues the mail that asks the person to confirm."""
        ...

    async def enqueue_for_event(self, fact: MessageType, event_id: EventId) -> None: ...

    async def enqueue_appointment_refunded(self, appointment_id: AppointmentId, *, reason: str, money: Money) -> None:
        """The gateway has paid the refund. All other messages about an appointment are enqueued by saving it."""
        ...

    async def enqueue_calendar_syncs_of(self, appointment_id: AppointmentId) -> None:
        """Enqueues one sync job for each calendar that the client or the coach has connected."""
        ...

    async def enqueue_calendar_syncs_for(self, user_id: UserId) -> None:
        """A person's connected calendars are owed every booking of theirs that is still ahead."""
        ...

    async def enqueue_calendar_revoked(self, connection_id: ConnectionId) -> None:
        """Its owner is owed a word that they have to connect it again."""
        ...

    async def enqueue_checkout_close(self, payment: Payment) -> None:
        """The gateway is owed that the checkout be closed."""
        ...

    async def enqueue_checkout_closes_of(self, event_id: EventId) -> None:
        """The same for every live, unpaid booking of the event."""
        ...

    async def enqueue_refunds(self, refunds: Sequence[Refund]) -> None: ...

    async def enqueue_webhook(self, gateway: str, event: GatewayEvent) -> None:
        """The worker is owed that a webhook be applied."""
        ...
