"""What is owed to the world: a message is one fact for one destination, written with the change that caused it."""

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
    """Our own dealings with payment gateways: refunds, checkouts to close, webhooks to apply."""
    CALENDAR = "calendar"
    """The calendars that people have connected."""
    REALTIME = "realtime"
    """Our own live feed, which facilitators follow."""
    NOTIFICATION = "notification"
    """What shows facilitators at once what happened."""


class MessageType(StrEnum):
    """What happened: to a booking (a place in an event, or a coach's time), to an event as such, or to what we keep for
    somebody elsewhere."""

    BOOKING_CREATED = "booking_created"
    BOOKING_CANCELLED = "booking_cancelled"
    BOOKING_CONFIRMED = "booking_confirmed"
    BOOKING_RESCHEDULED = "booking_rescheduled"
    BOOKING_COMPLETED = "booking_completed"
    BOOKING_MOVED = "booking_moved"
    PAYMENT_COMPLETED = "payment_completed"
    PAYMENT_FAILED = "payment_failed"
    BOOKING_REFUNDED = "booking_refunded"
    EVENT_CREATED = "event_created"
    EVENT_UPDATED = "event_updated"
    EVENT_CANCELLED = "event_cancelled"
    REFUND_REQUESTED = "refund_promised"
    CHECKOUT_ENDED = "checkout_ended"
    GATEWAY_EVENT = "gateway_event"
    BOOKING_REMINDER = "booking_reminder"
    FACILITATOR_APPROVED = "facilitator_approved"
    """An operator has approved that an account becomes a facilitator."""
    BOOKING_INVITATION = "booking_invitation"
    """A facilitator has added a person by hand, who is asked to confirm."""
    PARTICIPANT_MESSAGE = "participant_message"
    """A facilitator writes to the participants of an event."""
    CALENDAR_OUTDATED = "calendar_outdated"
    """A connected calendar does not show a booking as it is now."""
    CALENDAR_REVOKED = "calendar_revoked"
    """A calendar refuses us from now on: its owner has to connect it again."""


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
    MessageType.EVENT_CREATED: (Destination.CRM,),
    MessageType.EVENT_UPDATED: (Destination.CRM,),
    MessageType.EVENT_CANCELLED: (Destination.CRM, Destination.REALTIME, Destination.NOTIFICATION),
    MessageType.REFUND_REQUESTED: (Destination.PAYMENTS,),
    MessageType.CHECKOUT_ENDED: (Destination.PAYMENTS,),
    MessageType.GATEWAY_EVENT: (Destination.PAYMENTS,),
    MessageType.BOOKING_REMINDER: (Destination.EMAIL,),
    MessageType.FACILITATOR_APPROVED: (Destination.EMAIL,),
    MessageType.BOOKING_INVITATION: (Destination.EMAIL,),
    MessageType.PARTICIPANT_MESSAGE: (Destination.EMAIL,),
    MessageType.CALENDAR_OUTDATED: (Destination.CALENDAR,),
    MessageType.CALENDAR_REVOKED: (Destination.EMAIL,),
}
ALWAYS_SERVED = frozenset(Destination) - {Destination.NOTIFICATION}


def routes_for(enabled: Collection[Destination]) -> Routes:
    """What is owed where only these destinations are served: for any other a message would wait for ever."""
    return {
        message_type: tuple(destination for destination in destinations if destination in enabled)
        for message_type, destinations in ROUTES.items()
    }


class MessageStatus(StrEnum):
    """`pending` until `delivered`; `dead` when it cannot be delivered as it is, until an operator replays it or
    decides that it is `discarded`."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"


class MessageNotFound(NotFound):
    code = "message_not_found"
    message = "Message not found"


class MessageNotDead(Conflict):
    code = "message_not_dead"
    message = "Only dead messages can be replayed or discarded"


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message. `snapshot` is the booking and the event as they were when the fact happened;
    `attempt` counts from 1; `lane` orders the messages of one booking, or of one event, for one destination.
    A `probe` is sent to a destination that is left alone otherwise, to see whether it is back."""

    id: MessageId
    destination: Destination
    ordering_key: str
    message_type: MessageType
    payload: dict[str, Any]
    attempt: int
    occurred_at: datetime
    request_id: str | None
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has taken it over. `answer` is what it said, cut short."""

    answer: str = ""
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Not delivered.

    `permanent`: sending the same again cannot help. `retry_after`: the wait that the destination asked for.
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


Outcome = Delivered | Failed


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Delays before each attempt, the first one included: at once, 5 s, 5 min, ... (Standard Webhooks, Svix).

    A delay is spread by up to `jitter` in either direction, so that an outage does not end in a stampede.
    """

    delays: tuple[timedelta, ...]
    jitter: float = 0.1

    def next_delay(self, attempts: int, random_fraction: float) -> timedelta | None:
        """How long to wait after `attempts` failed ones; None when there is nothing left to try.
        `luck` lies in [0, 1) and is drawn by the caller."""
        if attempts >= len(self.delays):
            return None
        return self.delays[attempts] * (1 + self.jitter * (2 * random_fraction - 1))
