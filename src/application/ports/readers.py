"""What is only looked at: plain read models, each page from one query."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from application.ports.pages import Page, PageRequest
from application.ports.persistence import Credentials
from domain.bookings import BookingId, BookingStatus, shows_join_link
from domain.events import EventId, EventStatus, EventType
from domain.money import Money
from domain.payments import PaymentStatus
from domain.reviews import ReviewId
from domain.users import LoginId, Role, User, UserId


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
        """Places nobody has."""
        return self.capacity - self.booked

    def join_link(self, viewer: User | None) -> str | None:
        """`virtual_link` for the facilitator, admins and people with a paid or free seat; None for all others."""
        return self.virtual_link if self.viewer_has_seat or self._is_managed_by(viewer) else None

    def _is_managed_by(self, viewer: User | None) -> bool:
        return viewer is not None and (viewer.role is Role.ADMIN or viewer.id == self.facilitator_id)


@dataclass(frozen=True, slots=True)
class BookingView:
    """`price` is what was agreed when booking, `event.price` what the event costs now."""

    id: BookingId
    reference: str
    status: BookingStatus
    payment_status: PaymentStatus
    payment_id: str | None
    payment_reference: str | None
    notes: str | None
    created_at: datetime
    cancelled_at: datetime | None
    user_id: UserId
    user_name: str
    user_email: str
    user_phone: str | None
    price: Money
    event: EventView

    def join_link(self, viewer: User) -> str | None:
        """The event's link, for the facilitator and admins, and for the person whose booking is paid or free."""
        own = viewer.id == self.user_id and shows_join_link(self.status, self.payment_status)
        return self.event.virtual_link if own else self.event.join_link(viewer)


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


@dataclass(frozen=True, slots=True)
class BookingFilter:
    status: BookingStatus | None = None
    payment_status: PaymentStatus | None = None


class EventReader(Protocol):
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


class BookingReader(Protocol):
    async def get(self, booking_id: BookingId) -> BookingView:
        """Raises `BookingNotFound`."""
        ...

    async def list_of_user(self, user_id: UserId, filters: BookingFilter, page: PageRequest) -> Page[BookingView]:
        """Newest first."""
        ...

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[BookingView]:
        """Newest first, cancelled ones included."""
        ...

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[BookingView]:
        """Those of all the facilitator's events, newest first, cancelled ones included."""
        ...


@dataclass(frozen=True, slots=True)
class ReviewView:
    id: ReviewId
    rating: int
    comment: str | None
    user_id: UserId
    user_name: str
    created_at: datetime


class ReviewReader(Protocol):
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


class FacilitatorReader(Protocol):
    async def has_profile(self, user_id: UserId) -> bool: ...

    async def dashboard(self, facilitator_id: UserId, now: datetime) -> Dashboard: ...


class ActorReader(Protocol):
    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        """The user, while that login lasts."""
        ...


class GuessedAccounts(Protocol):
    async def find(self, email: str, network: bytes, *, since: datetime) -> tuple[Credentials | None, bool]:
        """The account that somebody tries to log in to, and whether this network has logged in to it since then. One
        query, whether there is such an account or not: time must not tell."""
        ...


class Health(Protocol):
    """Whether they answer: what remembers, and what rings for the worker and counts attempts to log in."""

    async def database_answers(self) -> bool: ...

    async def doorbell_answers(self) -> bool: ...
