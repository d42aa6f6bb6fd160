"""Ports of events: repositories and queries."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.authorization import is_owner
from domain.events import Event, EventDetails, EventId, EventStatus, EventType
from domain.refunds import RefundPolicy
from domain.reviews import Review, ReviewId


class Events(Protocol):
    """Events within a unit of work. `add`, `save` and `complete_ended` also write the effects of the change in the same
    transaction, see `domain.event_effects`."""

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event: ...

    async def get(self, event_id: EventId) -> Event:
        """Locked until the unit of work ends. Raises `EventNotFound`."""
        ...

    async def get_including_deleted(self, event_id: EventId) -> Event:
        """As `get`, but also finds a deleted event, whose bookings still exist."""
        ...

    async def save(self, event: Event) -> None:
        """Writes the event and the effects of its new domain events. An event without a new transition cannot be
        saved."""
        ...

    async def complete_ended(self, now: datetime, *, limit: int) -> int:
        """Completes at most `limit` events that have ended, with their confirmed bookings; returns their number. Skips
        events with seats that are still held for a payment, and events that another worker is completing."""
        ...

    async def release_seat(self, event_id: EventId) -> None:
        """Releases the seat of a live booking or an invitation. The event must be locked. Saving a cancelled booking
        does it as well."""
        ...

    async def occupy_seat(self, event_id: EventId) -> None:
        """Occupies a seat for a live booking or an invitation. The event must be locked, and `refuse_booking` must have
        allowed it."""
        ...

    async def set_facilitator_active(self, facilitator_id: UserId, *, active: bool) -> None:
        """Updates all events of the facilitator, and waits for concurrent bookings of them. The account must be
        locked."""
        ...


class Reviews(Protocol):
    async def add(self, review: Review, *, facilitator_id: UserId) -> ReviewId:
        """Raises `AlreadyReviewed`."""
        ...


@dataclass(frozen=True, slots=True)
class EventView:
    id: EventId
    title: str
    description: str
    event_type: EventType
    category: str | None
    starts_at: datetime
    ends_at: datetime
    location: str | None
    virtual_link: str | None
    capacity: int
    booked: int
    price: Decimal
    currency: str
    status: EventStatus
    facilitator_id: UserId
    facilitator_uuid: UUID
    facilitator_name: str
    facilitator_email: str | None
    rating: float | None
    created_at: datetime
    facilitator_active: bool = True
    facilitator_timezone: str | None = None
    viewer_has_seat: bool = False
    """Whether the viewer has a booking that grants access to the link."""

    @property
    def available(self) -> int:
        """Free seats."""
        return self.capacity - self.booked

    def join_link(self, viewer: User | None) -> str | None:
        """`virtual_link` for the facilitator, admins and people with a paid or free seat; None for all others."""
        return self.virtual_link if self.viewer_has_seat or self._is_managed_by(viewer) else None

    def _is_managed_by(self, viewer: User | None) -> bool:
        return viewer is not None and is_owner(viewer, self.facilitator_id)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """`kind` matches the event's type or its category, ignoring case. `active` None selects active events that have not
    ended. `facilitator_id` selects the events of one facilitator, `least_rating` events whose facilitator has at least
    that rating, `text` events with all of its words in the title, the description, the category or the facilitator's
    name.

    `starts_from` and `starts_before` bound the start. `online` True selects events with a link, False those with a
    location: an event can have both. `highest_price` bounds the price, in any currency; 0 selects free events.
    """

    kind: str | None = None
    facilitator_id: UserId | None = None
    active: bool | None = None
    least_rating: Decimal | None = None
    text: str | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    online: bool | None = None
    highest_price: Decimal | None = None


class EventQueries(Protocol):
    async def get(self, event_id: EventId, *, viewer: UserId | None = None) -> EventView:
        """As `viewer` sees it. Raises `EventNotFound`."""
        ...

    async def list(
        self, filters: EventFilter, page: PageRequest, now: datetime, *, viewer: UserId | None = None
    ) -> Page[EventView]:
        """By start time, for `viewer`, without events of deactivated facilitators. Raises `Invalid` for an unknown
        cursor."""
        ...

    async def refund_policy(self, event_id: EventId) -> RefundPolicy:
        """The policy of new bookings. Raises `EventNotFound`."""
        ...

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[EventView]:
        """All events of the facilitator, including cancelled and past ones, latest start first."""
        ...


@dataclass(frozen=True, slots=True)
class ReviewView:
    id: ReviewId
    rating: int
    comment: str | None
    user_id: UserId
    user_name: str
    created_at: datetime


class ReviewQueries(Protocol):
    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[ReviewView]:
        """Newest first."""
        ...
