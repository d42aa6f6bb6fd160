"""Events of a facilitator, and the rules of booking their seats."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, NewType

from domain.accounts import User, UserId
from domain.authorization import require_organiser
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.text import line, link, optional_line, text_with_lines
from domain.time import Interval, entered_interval

EventId = NewType("EventId", int)

MAX_CAPACITY = 1_000_000

RESCHEDULED = "rescheduled"
"""The reason of a message to participants about a new time or place."""


class EventType(StrEnum):
    SESSION = "session"
    WORKSHOP = "workshop"
    RETREAT = "retreat"


class EventStatus(StrEnum):
    ACTIVE = "active"
    CANCELLED = "cancelled"


class EventNotFound(NotFound):
    code = "event_not_found"
    message = "Event not found"


class EventFull(Conflict):
    code = "event_full"
    message = "Event is full"


class EventCancelled(Conflict):
    code = "event_cancelled"
    message = "Event is cancelled"


class EventStarted(Conflict):
    code = "event_started"
    message = "Event has already started"


class EventOver(Conflict):
    code = "event_over"
    message = "Event is over"


class AlreadyBooked(Conflict):
    code = "already_booked"
    message = "You have already booked this event"


class EventForbidden(Forbidden):
    code = "not_your_event"
    message = "You can only manage your own events"


class CapacityBelowBookings(Conflict):
    code = "capacity_below_bookings"
    message = "There are more bookings than that"


class CurrencyOfBookings(Conflict):
    code = "currency_of_bookings"
    message = "The currency cannot change while people hold bookings"


@dataclass(frozen=True, slots=True)
class VisibleDetails:
    """The details that calendar entries show. Participants are mailed when one of them changes."""

    title: str
    interval: Interval
    location: str | None
    virtual_link: str | None


@dataclass(frozen=True, slots=True)
class EventDetails:
    """The details of an event that its facilitator sets. `entered` validates text and dates of a request."""

    title: str
    interval: Interval
    capacity: int
    price: Money
    event_type: EventType = EventType.SESSION
    description: str = ""
    category: str | None = None
    location: str | None = None
    virtual_link: str | None = None
    refund_policy: RefundPolicy = field(default_factory=RefundPolicy)

    def __post_init__(self) -> None:
        if not 1 <= self.capacity <= MAX_CAPACITY:
            raise Invalid({"max_participants": f"Must be between 1 and {MAX_CAPACITY}"})

    def entered(self, earlier: "EventDetails | None" = None) -> "EventDetails":
        """The details with validated and trimmed text and validated dates. Values that equal those of `earlier` are
        stored already and stay, also if the present rules reject them. Raises `Invalid`, naming the field."""
        entered_interval(self.interval, earlier.interval if earlier else None)
        texts = {name: getattr(self, name) for name in _TEXT_RULES}
        changed = [name for name, text in texts.items() if not earlier or text != getattr(earlier, name)]
        checked: dict[str, Any] = {name: _TEXT_RULES[name](texts[name]) for name in changed}
        return replace(self, **checked)

    @property
    def visible(self) -> VisibleDetails:
        return VisibleDetails(self.title, self.interval, self.location, self.virtual_link)

    def is_visibly_changed_from(self, earlier: "EventDetails") -> bool:
        """Whether title, time, location or link differ. Participants then get an update of their calendar entry."""
        return self.visible != earlier.visible

    def is_rescheduled_from(self, earlier: "EventDetails") -> bool:
        """Whether time or location differ, so that participants may cancel for a full refund."""
        # A new link counts as neither.
        return (self.interval, self.location) != (earlier.interval, earlier.location)


_TEXT_RULES: dict[str, Callable[[Any], str | None]] = {
    "title": partial(line, "title", at_most=200),
    "description": partial(text_with_lines, "description", at_most=10_000),
    "category": partial(optional_line, "category", at_most=80),
    "location": partial(optional_line, "location", at_most=300),
    "virtual_link": partial(link, "virtual_link"),
}


class EventChange(StrEnum):
    """A kind of change of an event. A change of its details has one kind, EDITED to MOVED."""

    CREATED = "created"
    EDITED = "edited"
    """Only details that calendar entries do not show."""
    CORRECTED = "corrected"
    """Title, place or link, after the event has ended."""
    RENAMED = "renamed"
    """Title or link."""
    RESCHEDULED = "rescheduled"
    """Location or end."""
    MOVED = "moved"
    """Start."""
    POLICY_CHANGED = "policy_changed"
    """The refund policy; recorded besides the change of details."""
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    """It has ended, and no seat is held for a payment any more."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventChanged:
    """A domain event: one transition of an event. `domain.event_effects` defines its effects, which are written when
    the event is saved. `before` is None for a new event; `reason` goes into the messages to participants."""

    change: EventChange
    before: "Event | None"
    after: "Event"
    at: datetime
    by: UserId | None = None
    reason: str | None = None

    @property
    def takes_time(self) -> bool:
        """Whether the event occupies time of its facilitator that was free before."""
        return self.before is None or self.before.details.interval != self.after.details.interval


@dataclass(frozen=True, slots=True)
class Event:
    """`booked` counts live bookings. `revision` grows with every change that participants see. `version` grows with
    every change; it is the SEQUENCE of calendar entries (RFC 5546), and receivers recognise late messages by it.
    `updated_at` is the time of the facilitator's last change or cancellation, None before the first one.
    `schedule_revision` grows with every change of time or location."""

    id: EventId
    facilitator_id: UserId
    details: EventDetails
    booked: int
    status: EventStatus
    revision: int
    version: int
    created_at: datetime
    updated_at: datetime | None = None
    facilitator_active: bool = True
    """Whether the facilitator's account is active. Otherwise the event cannot be listed or booked."""
    schedule_revision: int = 0
    deleted_at: datetime | None = None
    events: tuple[EventChanged, ...] = field(default=(), compare=False, repr=False)
    """The domain events that its transitions have recorded since it was loaded."""

    def refuse_booking(self, now: datetime, *, already_booked: bool) -> None:
        """Raises the reason why the client cannot reserve a seat now. Events of a deactivated facilitator do not
        exist for clients without a booking.

        The booking statement applies the same rule in the database; a test compares the two.
        """
        if not self.facilitator_active:
            raise EventNotFound
        if self.status is EventStatus.CANCELLED:
            raise EventCancelled
        if self.has_started(now):
            raise EventStarted
        if already_booked:
            raise AlreadyBooked
        if self.booked >= self.details.capacity:
            raise EventFull

    def has_started(self, now: datetime) -> bool:
        return self.details.interval.starts_at <= now

    def is_over(self, now: datetime) -> bool:
        return self.details.interval.ends_at <= now

    def require_manager(self, user: User) -> None:
        require_organiser(user, self.facilitator_id, error=EventForbidden)

    def created(self) -> "Event":
        """A new event, by its facilitator."""
        change = EventChange.CREATED
        event = EventChanged(change=change, before=None, after=self, at=self.created_at, by=self.facilitator_id)
        return replace(self, events=(event,))

    def with_details(self, details: EventDetails, now: datetime) -> "Event":
        """The event with other details, with validation of changed text and dates. Raises an error if the event is
        cancelled, the capacity is less than the number of bookings, the event would be moved after its start or into
        the past, or the currency would change while there are bookings."""
        details = details.entered(self.details)
        if self.status is EventStatus.CANCELLED:
            raise EventCancelled
        if details.capacity < self.booked:
            raise CapacityBelowBookings
        if self.booked and details.price.currency != self.details.price.currency:
            raise CurrencyOfBookings
        if details.interval != self.details.interval:
            refuse_past(details.interval, now)
            if self.has_started(now):
                raise EventStarted
        if details == self.details:
            return self
        visibly = details.is_visibly_changed_from(self.details)
        rescheduled = details.is_rescheduled_from(self.details)
        after = replace(
            self,
            details=details,
            version=self.version + 1,
            revision=self.revision + visibly,
            schedule_revision=self.schedule_revision + rescheduled,
            updated_at=now,
        )
        changed = self
        if details.refund_policy != self.details.refund_policy:
            changed = self._recorded(EventChange.POLICY_CHANGED, after, now)
        reason = RESCHEDULED if rescheduled else None
        return changed._recorded(self._change_of_details(after, now), after, now, reason=reason)

    def _change_of_details(self, after: "Event", now: datetime) -> EventChange:
        if after.revision == self.revision:
            return EventChange.EDITED
        if after.is_over(now):
            return EventChange.CORRECTED
        if after.schedule_revision == self.schedule_revision:
            return EventChange.RENAMED
        moved = after.details.interval.starts_at != self.details.interval.starts_at
        return EventChange.MOVED if moved else EventChange.RESCHEDULED

    def cancelled(self, now: datetime, *, by: UserId) -> "Event":
        """Raises an error if it is cancelled already or has ended: attended bookings are not refunded."""
        if self.status is EventStatus.CANCELLED:
            raise EventCancelled
        if self.is_over(now):
            raise EventOver
        after = replace(
            self,
            status=EventStatus.CANCELLED,
            booked=0,
            version=self.version + 1,
            revision=self.revision + 1,
            updated_at=now,
        )
        return self._recorded(EventChange.CANCELLED, after, now, by=by)

    def deleted(self, now: datetime, *, by: UserId) -> "Event":
        """No list and no search has it any more. One that is still ahead is cancelled first."""
        return self._recorded(EventChange.DELETED, replace(self, deleted_at=now), now, by=by)

    def _recorded(self, change: EventChange, after: "Event", now: datetime, **facts: Any) -> "Event":
        before, after = replace(self, events=()), replace(after, events=())
        event = EventChanged(change=change, before=before, after=after, at=now, **facts)
        return replace(after, events=(*self.events, event))


def refuse_past(interval: Interval, now: datetime) -> None:
    if interval.starts_at <= now:
        raise Invalid({"start_datetime": "Must be in the future"})
