"""Ports of the outbox: writing, claiming and recording messages, circuit breakers, dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.calendars import ConnectionId
from domain.circuit_breaker import AttemptCounts
from domain.events import EventId
from domain.ids import AppointmentId, BookingId
from domain.invitations import InvitationId
from domain.money import Money
from domain.outbox import Destination, Message, MessageId, MessageStatus, Outcome
from domain.participant_messages import ParticipantMessage
from domain.payments import Payment


class WakeUps(Protocol):
    def notify(self) -> None:
        """Wakes the worker. Never blocks and never fails: polling finds the messages of a lost wake-up."""
        ...


class OutboxClaims(Protocol):
    """Claims of a worker. A claim is a lease that ends unless its result is recorded or it is renewed in time.

    A call for an expired claim is logged and changes nothing. An adapter may combine concurrent calls. Every method
    raises `Unavailable` when the outbox cannot be reached.
    """

    async def claim(
        self, destination: Destination, *, limit: int, lease: timedelta, probe_every: timedelta
    ) -> Sequence[Message]:
        """Claims due messages, the oldest of each ordering key, for the length of the lease. Returns none for a paused
        or halted destination, and one probe every `probe_every` over all workers while its circuit is open."""
        ...

    async def renew(self, message: Message, *, lease: timedelta) -> None: ...

    async def record_result(
        self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None
    ) -> bool:
        """Records the attempt and its result: delivered, held, pending again after `retry_in`, or dead (None). The
        attempt counts for the destination, and for the message except with `stop_destination` or `not_attempted`. A
        held message was not attempted. Returns
        whether the next message of the ordering key can be claimed now."""
        ...

    async def release(self, message: Message) -> None:
        """Releases a claim without an attempt, at a graceful shutdown."""
        ...


class CircuitBreakers(Protocol):
    """Circuit breakers, pauses and halts of destinations, shared by all workers. Every method raises `Unavailable`."""

    async def pause(self, destination: Destination, wait: timedelta, *, reason: str) -> None:
        """Stops claims for `wait`, or until the end of an earlier, longer pause."""
        ...

    async def halt(self, destination: Destination, *, reason: str) -> None:
        """Stops claims until an operator resumes the destination."""
        ...

    async def counts(self, destination: Destination, *, window: timedelta) -> AttemptCounts: ...

    async def trip(self, destination: Destination, *, probe_in: timedelta, reason: str) -> None:
        """Opens the circuit; no effect while it is open."""
        ...

    async def close(self, destination: Destination) -> None:
        """Closes the circuit and resets the counted attempts."""
        ...


class Sender(Protocol):
    """Delivers a message to one destination in a bounded time. Failures of the destination are returned as `Failed`."""

    async def deliver(self, message: Message) -> Outcome: ...


class CircuitBreaker(StrEnum):
    """`open`: no deliveries, the destination kept failing. `half_open`: the next message is a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class DestinationStatistics:
    """`oldest_due_seconds`: seconds since the oldest due message became due; None without one. `halted` lasts until an
    operator resumes the destination. `paused_until`: a future time or None. `reason`: cause of the present state."""

    destination: Destination
    pending: int
    oldest_due_seconds: float | None
    held: int
    dead: int
    circuit: CircuitBreaker
    paused_until: datetime | None
    halted: bool
    reason: str | None


class DeliveryStatistics(Protocol):
    async def by_destination(self) -> Sequence[DestinationStatistics]:
        """One entry for every destination."""
        ...


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """None disables a filter. `since`: lower bound of `occurred_at`."""

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
    """`took_ms`: milliseconds. `probe`: a test of a destination whose circuit was open."""

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


@dataclass(frozen=True, slots=True)
class KeptMessages:
    """The stored messages of one destination and status, by the times when they happened."""

    destination: str
    status: MessageStatus
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True)
class Replay:
    """`messages`: how many are sent again. `last`: the greatest sequence number of them, 0 for none. `kept`: what there
    is instead, if a use case found no message."""

    messages: int
    last: int
    kept: Sequence[KeptMessages] = ()


class DeadLetters(Protocol):
    """Stored messages, for operators. Only dead messages can be replayed by their id, and only dead and held ones
    discarded; for any other id the methods raise `MessageNotFound`, `MessageNotDead` or `MessageNotDiscardable`."""

    async def list(self, filter_: MessageFilter, page: PageRequest) -> Page[StoredMessage]:
        """Newest first."""
        ...

    async def show(self, message_id: UUID) -> StoredMessageDetail:
        """Raises `MessageNotFound`."""
        ...

    async def replay(self, message_id: UUID) -> None:
        """Makes the message due again with a new retry schedule."""
        ...

    async def replay_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        """Replays the dead messages that match both filters; returns their number."""
        ...

    async def replay_since(self, destination: Destination, since: datetime, *, per_second: int, most: int) -> Replay:
        """Replays the messages of the destination that were delivered since then, and its dead ones that happened since
        then: all of them or none. Messages of one ordering key become due together, after those of keys that were
        delivered earlier, `per_second` messages in a second. Changes nothing and returns `most` + 1 as the number if
        more than `most` match."""
        ...

    async def kept(self) -> Sequence[KeptMessages]:
        """One entry for each destination and status that has messages, in this order."""
        ...

    async def discard(self, message_id: UUID) -> None:
        """Marks the message as never to be delivered."""
        ...

    async def discard_all(
        self, *, destination: Destination | None, since: datetime | None, status: MessageStatus = MessageStatus.DEAD
    ) -> int:
        """Discards the messages of this status, which is one of `DISCARDABLE`, that match both filters; returns their
        number."""
        ...


class HeldMessages(Protocol):
    async def release(self, *, limit: int) -> int:
        """Makes held messages pending whose address is not limited any more, the oldest of each address first. Returns
        their number, at most `limit`. Messages that others have locked are left to the next call."""
        ...


class Messages(Protocol):
    """Writes messages with the state of the current transaction."""

    async def enqueue_booking_refunded(self, booking_id: BookingId, *, reason: str, money: Money) -> None:
        """The gateway has paid the refund. All other messages about one booking are enqueued by saving it."""
        ...

    async def enqueue_for_participants(self, event_id: EventId, message: ParticipantMessage) -> int:
        """Enqueues a mail to each confirmed participant of the event; returns their number."""
        ...

    async def enqueue_email_verification(self, user_id: UserId) -> None:
        """Enqueues the mail with the link that verifies the account's address."""
        ...

    async def enqueue_password_reset(self, email: str) -> None:
        """Enqueues the mail with the link that sets a new password. The account is looked up when the mail is sent, so
        that the call is the same for addresses without an account."""
        ...

    async def enqueue_password_changed(self, user_id: UserId) -> None:
        """Enqueues the mail that informs the owner of a new password."""
        ...

    async def enqueue_email_change(self, user: User, *, new_email: str, request: UUID) -> None:
        """Enqueues a mail to the account's present address with the link that undoes the change, and one to the new
        address with the link that makes it. The worker adds the links by the request's id."""
        ...

    async def enqueue_email_changed(self, user: User) -> None:
        """Enqueues the mail that tells the address of `user` that the account has another one now."""
        ...

    async def enqueue_login_from_new_network(self, user: User, network: str) -> None:
        """Enqueues the mail that tells the owner of a login from this network."""
        ...

    async def enqueue_erasure_requested(self, user: User, due_at: datetime) -> None:
        """A mail to the owner. It is written before the address is erased."""
        ...

    async def enqueue_second_factor_changed(self, user_id: UserId) -> None:
        """Enqueues the mail that informs the owner of other second factors or recovery codes."""
        ...

    async def enqueue_facilitator_approved(self, user_id: UserId) -> None:
        """Enqueues the mail about the approval as a facilitator."""
        ...

    async def enqueue_invitation(self, invitation_id: InvitationId) -> None:
        """Enqueues the mail that asks the person to confirm."""
        ...

    async def enqueue_appointment_refunded(self, appointment_id: AppointmentId, *, reason: str, money: Money) -> None:
        """The gateway has paid the refund. All other messages about an appointment are enqueued by saving it."""
        ...

    async def enqueue_calendar_syncs_of(self, appointments: Sequence[AppointmentId]) -> None:
        """Enqueues one sync job for each appointment and calendar that its client or coach has connected."""
        ...

    async def enqueue_calendar_syncs_for(self, user_id: UserId) -> None:
        """Enqueues jobs for every future appointment of the account, for each of its connected calendars."""
        ...

    async def enqueue_calendar_revoked(self, connection_id: ConnectionId) -> None:
        """Enqueues the e-mail that asks the owner to connect the calendar again."""
        ...

    async def enqueue_checkout_close(self, payment: Payment) -> None:
        """Enqueues the job that closes the checkout at the gateway."""
        ...

    async def enqueue_webhook(self, gateway: str, event_id: str) -> None:
        """Enqueues the job that applies a webhook."""
        ...
