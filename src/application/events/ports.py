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
from domain.reviews import Review, ReviewId


class Events(Protocol):
    """Within a unit of work. `add`, `save` and `complete_ended` also write, in the same transaction, what follows from
    the change: see `domain.event_effects`."""

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event: ...

    async def get(self, event_id: EventId) -> Event:
        """Locked until the unit of work ends. Raises `EventNotFound`."""
        ...

    async def get_including_deleted(self, event_id: EventId) -> Event:
        """As `get`, but a deleted event is found too: its bookings live on."""
        ...

    async def save(self, event: Event) -> None:
        """Writes the event and what follows from its new domain events. An event that no transition has changed cannot
        be saved."""
        ...

    async def complete_ended(self, now: datetime, *, limit: int) -> int:
        """Completes at most so many events that have ended, with their confirmed bookings; returns how many. An event
        whose seats are still held for a payment waits until those holds end; events that another worker is completing
        are left out."""
        ...

    async def release_seat(self, event_id: EventId) -> None:
        """One live booking or held seat less. The event is locked. Saving a cancelled booking does it."""
        ...

    async def occupy_seat(self, event_id: EventId) -> None:
        """One live booking or held seat more. The event is locked, and `refuse_booking` has allowed it."""
        ...

    async def set_facilitator_active(self, facilitator_id: UserId, *, active: bool) -> None:
        """In each of their events; waits for bookings that are being made. The account is locked."""
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
    viewer_has_seat: bool = False
    """Whether the person who asks has a booking that shows the link to join."""

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
    """`kind` matches the event's type or its category, ignoring case. `active` None means what can be had: active and
    not yet over. `facilitator_id` narrows to one person's events, `least_rating` to those rated that well,
    `text` to those with all of its words in title, description, category or facilitator's name."""

    kind: str | None = None
    facilitator_id: UserId | None = None
    active: bool | None = None
    least_rating: Decimal | None = None
    text: str | None = None


class EventQueries(Protocol):
    async def get(self, event_id: EventId, *, viewer: UserId | None = None) -> EventView:
        """As `viewer` sees it. Raises `EventNotFound`."""
        ...

    async def list(
        self, filters: EventFilter, page: PageRequest, now: datetime, *, viewer: UserId | None = None
    ) -> Page[EventView]:
        """The next to begin first, as `viewer` sees them, without those of deactivated facilitators. Raises `Invalid`
        for a cursor it did not make."""
        ...

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[EventView]:
        """All of them, cancelled and past ones included, the latest start first."""
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


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`revenue` is money received minus money given back, by currency; that of most payments comes first."""

    total_sessions: int
    active_sessions: int
    upcoming_sessions: int
    total_bookings: int
    revenue: dict[str, Decimal]


class FacilitatorQueries(Protocol):
    async def has_profile(self, user_id: UserId) -> bool: ...

    async def dashboard(self, facilitator_id: UserId, now: datetime) -> Dashboard: ...
