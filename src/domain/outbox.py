"""Outbox messages: types, routes, states, results, retry schedule.

A message has one type and one destination and is written in the transaction that caused it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from domain.errors import Conflict, NotFound

MessageId = NewType("MessageId", UUID)


class Destination(StrEnum):
    CRM = "crm"
    EMAIL = "email"
    PAYMENTS = "payments"
    """Jobs of the worker at payment gateways: refunds, checkouts to close, webhooks to apply."""
    CALENDAR = "calendar"
    """Calendars that users have connected."""
    REALTIME = "realtime"
    """The live updates of this service (WebSocket and Server-Sent Events)."""
    NOTIFICATION = "notification"
    """The external notification service."""


class MessageType(StrEnum):
    """The kind of change that a message is about: of a booking (a seat or an appointment), an event, a payment or a
    connected calendar."""

    BOOKING_CREATED = "booking_created"
    BOOKING_CANCELLED = "booking_cancelled"
    BOOKING_CONFIRMED = "booking_confirmed"
    BOOKING_RESCHEDULED = "booking_rescheduled"
    BOOKING_COMPLETED = "booking_completed"
    BOOKING_MOVED = "booking_moved"
    PAYMENT_COMPLETED = "payment_completed"
    PAYMENT_FAILED = "payment_failed"
    BOOKING_REFUNDED = "booking_refunded"
    DISPUTE_OPENED = "dispute_opened"
    """The payer disputes a payment at the bank."""
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    EVENT_CREATED = "event_created"
    EVENT_UPDATED = "event_updated"
    EVENT_CANCELLED = "event_cancelled"
    REFUND_REQUESTED = "refund_promised"
    CHECKOUT_ENDED = "checkout_ended"
    GATEWAY_EVENT = "gateway_event"
    BOOKING_REMINDER = "booking_reminder"
    FACILITATOR_APPROVED = "facilitator_approved"
    """An admin has approved an account as a facilitator."""
    EMAIL_VERIFICATION = "email_verification"
    """An account has to verify its e-mail address."""
    PASSWORD_RESET_REQUESTED = "password_reset_requested"  # noqa: S105 (a name)
    """A link that sets a new password was requested for an address, which may have no account."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 (a name)
    """The account has a new password."""
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    """A change of an account's address was requested: to the present address, with a link that undoes it."""
    EMAIL_CHANGE_CONFIRMATION = "email_change_confirmation"
    """The new address has to be confirmed."""
    EMAIL_CHANGED = "email_changed"
    """The account has a new address: to the one before."""
    LOGIN_FROM_NEW_NETWORK = "login_from_new_network"
    """An account has logged in from a network for the first time."""
    SECOND_FACTOR_CHANGED = "second_factor_changed"
    """The second factors or the recovery codes of an account have changed."""
    ERASURE_REQUESTED = "erasure_requested"
    """The account is going to be erased."""
    USER_ERASED = "user_erased"
    """An account was erased. It has the id only; the receiver erases what it has stored."""
    BOOKING_INVITATION = "booking_invitation"
    """A facilitator has added a participant by hand, who has to confirm."""
    PARTICIPANT_MESSAGE = "participant_message"
    """A message of a facilitator to the participants of an event."""
    CALENDAR_OUTDATED = "calendar_outdated"
    """A connected calendar differs from the current state of a booking."""
    CALENDAR_REVOKED = "calendar_revoked"
    """A calendar provider has revoked the access; the owner has to connect the calendar again."""


Routes = Mapping[MessageType, tuple[Destination, ...]]

SUBSCRIBERS = (Destination.CRM, Destination.EMAIL, Destination.REALTIME, Destination.NOTIFICATION)

ROUTES: Routes = {
    MessageType.BOOKING_CREATED: SUBSCRIBERS,
    MessageType.BOOKING_CANCELLED: SUBSCRIBERS,
    MessageType.BOOKING_CONFIRMED: SUBSCRIBERS,
    MessageType.BOOKING_RESCHEDULED: SUBSCRIBERS,
    MessageType.BOOKING_COMPLETED: (Destination.CRM,),
    MessageType.BOOKING_MOVED: (Destination.EMAIL,),
    MessageType.PAYMENT_COMPLETED: SUBSCRIBERS,
    MessageType.PAYMENT_FAILED: (Destination.CRM, Destination.EMAIL, Destination.REALTIME),
    MessageType.BOOKING_REFUNDED: (Destination.CRM, Destination.EMAIL, Destination.REALTIME),
    MessageType.DISPUTE_OPENED: (Destination.CRM, Destination.EMAIL, Destination.REALTIME),
    MessageType.DISPUTE_WON: (Destination.CRM, Destination.EMAIL, Destination.REALTIME),
    MessageType.DISPUTE_LOST: (Destination.CRM, Destination.EMAIL, Destination.REALTIME),
    MessageType.EVENT_CREATED: (Destination.CRM,),
    MessageType.EVENT_UPDATED: (Destination.CRM,),
    MessageType.EVENT_CANCELLED: (Destination.CRM, Destination.REALTIME, Destination.NOTIFICATION),
    MessageType.REFUND_REQUESTED: (Destination.PAYMENTS,),
    MessageType.CHECKOUT_ENDED: (Destination.PAYMENTS,),
    MessageType.GATEWAY_EVENT: (Destination.PAYMENTS,),
    MessageType.BOOKING_REMINDER: (Destination.EMAIL,),
    MessageType.FACILITATOR_APPROVED: (Destination.EMAIL,),
    MessageType.EMAIL_VERIFICATION: (Destination.EMAIL,),
    MessageType.PASSWORD_RESET_REQUESTED: (Destination.EMAIL,),
    MessageType.PASSWORD_CHANGED: (Destination.EMAIL,),
    MessageType.EMAIL_CHANGE_REQUESTED: (Destination.EMAIL,),
    MessageType.EMAIL_CHANGE_CONFIRMATION: (Destination.EMAIL,),
    MessageType.EMAIL_CHANGED: (Destination.EMAIL,),
    MessageType.LOGIN_FROM_NEW_NETWORK: (Destination.EMAIL,),
    MessageType.SECOND_FACTOR_CHANGED: (Destination.EMAIL,),
    MessageType.ERASURE_REQUESTED: (Destination.EMAIL,),
    MessageType.USER_ERASED: (Destination.CRM,),
    MessageType.BOOKING_INVITATION: (Destination.EMAIL,),
    MessageType.PARTICIPANT_MESSAGE: (Destination.EMAIL,),
    MessageType.CALENDAR_OUTDATED: (Destination.CALENDAR,),
    MessageType.CALENDAR_REVOKED: (Destination.EMAIL,),
}
NOT_TO_CLIENTS = frozenset({MessageType.DISPUTE_OPENED, MessageType.DISPUTE_WON, MessageType.DISPUTE_LOST})
"""Types without a mail to the client. The coach of an appointment gets a mail; the facilitator of an event is mailed by
the CRM."""

TO_FACILITATORS = frozenset(
    {
        MessageType.BOOKING_CREATED,
        MessageType.BOOKING_CANCELLED,
        MessageType.PAYMENT_COMPLETED,
        MessageType.PAYMENT_FAILED,
        MessageType.BOOKING_REFUNDED,
        MessageType.DISPUTE_OPENED,
        MessageType.DISPUTE_WON,
        MessageType.DISPUTE_LOST,
        MessageType.EVENT_CANCELLED,
    }
)
"""Types about events that the facilitator is mailed: by the CRM, or from here if mail to the facilitator's address is
limited, so that one place counts the mails to an address."""


def mails_facilitator(message_type: MessageType, reason: str | None) -> bool:
    """Bookings that are cancelled with their event get one mail, about the event."""
    return message_type in TO_FACILITATORS and not (
        message_type is MessageType.BOOKING_CANCELLED and reason == MessageType.EVENT_CANCELLED
    )


ALWAYS_SERVED = frozenset(Destination) - {Destination.NOTIFICATION}

SENT_AGAIN = frozenset({Destination.CRM})
"""Destinations whose delivered messages can be sent again: they store each message once, by its id. Mails and
notifications would reach people twice, jobs at gateways and calendars use the current state, live updates are stored
here."""

REPLAY_RATE = 100
"""Delivered messages that are sent again in a second."""


def routes_for(enabled: Collection[Destination]) -> Routes:
    """The routes to enabled destinations. Messages for others are not written; no worker would deliver them."""
    return {
        message_type: tuple(destination for destination in destinations if destination in enabled)
        for message_type, destinations in ROUTES.items()
    }


class MessageStatus(StrEnum):
    """`pending` until `delivered`. `dead` after a permanent failure or the last attempt; an operator replays or
    discards dead messages. `held` until the address of a mail is verified, when it is pending again, or an operator
    discards it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    HELD = "held"
    DEAD = "dead"
    DISCARDED = "discarded"


class MessageNotFound(NotFound):
    code = "message_not_found"
    message = "Message not found"


DISCARDABLE = (MessageStatus.DEAD, MessageStatus.HELD)
"""Statuses of messages that an operator may discard."""


class MessageNotDiscardable(Conflict):
    code = "message_not_discardable"
    message = "Only dead and held messages can be discarded"


class MessageNotDead(Conflict):
    code = "message_not_dead"
    message = "Only dead messages can be replayed or discarded"


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message.

    `payload` is the state of the booking and the event at `occurred_at`. `attempt` counts from 1. Messages with one
    `ordering_key` are delivered to a destination in order. A `probe` tests a destination whose circuit is open.
    `was_held`: it waited for its address to be verified, so its payload may be outdated.
    """

    id: MessageId
    destination: Destination
    ordering_key: str
    message_type: MessageType
    payload: dict[str, Any]
    attempt: int
    occurred_at: datetime
    request_id: str | None
    probe: bool = False
    was_held: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination accepted the message. `answer` is the beginning of its response."""

    answer: str = ""
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Not delivered.

    `permanent`: another attempt cannot succeed. `retry_after`: the delay that the destination requested.
    `destination_fault`: the destination fails, not this message; the failure counts for its circuit breaker, and
    `retry_after` applies to all its messages. `stop_destination`: the destination accepts nothing more until an
    operator resumes it. `not_attempted`: the cause is on our side, and the attempt does not count.
    """

    reason: str
    permanent: bool = False
    status_code: int | None = None
    retry_after: timedelta | None = None
    destination_fault: bool = False
    stop_destination: bool = False
    not_attempted: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """Not attempted: the address must be verified first. The message does not block its ordering key."""

    address: str
    reason: str


Outcome = Delivered | Failed | Held


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Delays before each attempt, including the first: 0, 5 s, 5 min, ... (Standard Webhooks, Svix).

    `jitter` varies each delay by up to that fraction, so that retries after an outage do not arrive together.
    """

    delays: tuple[timedelta, ...]
    jitter: float = 0.1

    def next_delay(self, attempts: int, random_fraction: float) -> timedelta | None:
        """The delay after `attempts` failed attempts; None after the last. `random_fraction` is in [0, 1)."""
        if attempts >= len(self.delays):
            return None
        return self.delays[attempts] * (1 + self.jitter * (2 * random_fraction - 1))
