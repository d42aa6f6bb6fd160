"""Ports of bookings: repositories, seat reservation, queries, invitations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from application.events.ports import EventView
from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.bookings import Booking, BookingStatus, shows_join_link
from domain.disputes import DisputeStatus
from domain.events import Event, EventId
from domain.ids import BookingId
from domain.invitations import Invitation, InvitationId
from domain.money import Money
from domain.payments import PaymentId, PaymentStatus


class Bookings(Protocol):
    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        """The event of a booking. A caller that changes both locks the event first, which prevents deadlocks."""
        ...

    async def get(self, booking_id: BookingId) -> Booking:
        """Locked until the unit of work ends. Raises `BookingNotFound`."""
        ...

    async def save(self, booking: Booking) -> None:
        """Writes the booking and the effects of its new domain events, including the seat of the locked event: see
        `domain.booking_effects`. A booking without a new transition cannot be saved."""
        ...

    async def has_live_booking(self, event_id: EventId, user_id: UserId) -> bool: ...

    async def add_invited(self, event_id: EventId, user_id: UserId, now: datetime) -> BookingId:
        """Adds a booking, free of charge, whose seat is already reserved. The event must be locked, and the person must
        have no live booking of it."""
        ...

    async def end_holds(self, facilitator_id: UserId, now: datetime) -> None:
        """Ends the holds of unpaid seats in this facilitator's events now; `ExpireHolds` then releases the seats."""
        ...


@dataclass(frozen=True, slots=True)
class ReservedBooking:
    """A new booking, with the data that the response shows."""

    id: BookingId
    reference: str
    payment_status: PaymentStatus
    payment_id: PaymentId | None
    notes: str | None
    created_at: datetime
    user_id: UserId
    user_name: str
    user_email: str
    event_id: EventId
    event_title: str
    facilitator_id: UserId
    price: Decimal
    currency: str
    hold_until: datetime | None


class SeatInventory(Protocol):
    """The seats of events. `reserve` is one atomic step, also with concurrent calls."""

    async def reserve(
        self,
        *,
        event_id: EventId,
        user_id: UserId,
        notes: str | None,
        now: datetime,
        hold_for: timedelta | None,
        request_id: str | None,
        unpaid_at_most: int | None = None,
    ) -> ReservedBooking | None:
        """Writes the booking, its payment and its messages in one transaction. Returns None without a free seat, or if
        the person has `unpaid_at_most` unpaid holds already and this would be another.
        `hold_for`: the maximum time that an unpaid seat is held; None where payments are made on site.

        Raises `AlreadyBooked` if a concurrent request of the person has booked the same event.
        """
        ...

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        """The current event, and whether this person has a live booking of it; to determine the reason of a refusal."""
        ...

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        """The number of unpaid seats and appointments that are held for this person; a recurring booking counts
        once."""
        ...


@dataclass(frozen=True, slots=True)
class BookingView:
    """`price` is the price at the time of booking, `event.price` the present one."""

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
    dispute: DisputeStatus | None = None

    def join_link(self, viewer: User) -> str | None:
        """The event's link for the facilitator, for admins, and for the booking's owner if it is paid or free."""
        own = viewer.id == self.user_id and shows_join_link(self.status, self.payment_status)
        return self.event.virtual_link if own else self.event.join_link(viewer)


@dataclass(frozen=True, slots=True)
class BookingFilter:
    status: BookingStatus | None = None
    payment_status: PaymentStatus | None = None


class BookingQueries(Protocol):
    async def get(self, booking_id: BookingId) -> BookingView:
        """Raises `BookingNotFound`."""
        ...

    async def list_of_user(self, user_id: UserId, filters: BookingFilter, page: PageRequest) -> Page[BookingView]:
        """Newest first."""
        ...

    async def of_event(self, event_id: EventId, page: PageRequest) -> tuple[EventView, Page[BookingView]]:
        """The event and its bookings at one moment, newest first, cancelled ones included. Raises `EventNotFound`."""
        ...

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[BookingView]:
        """Bookings of all events of the facilitator, newest first, cancelled ones included."""
        ...


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The figures and the `recent` bookings of one moment, newest first. `revenue` is the amount received minus refunds
    and what lost disputes took back, by currency; the currency of most payments comes first."""

    total_sessions: int
    active_sessions: int
    upcoming_sessions: int
    total_bookings: int
    revenue: dict[str, Decimal]
    recent: Sequence[BookingView]


class FacilitatorQueries(Protocol):
    async def has_profile(self, user_id: UserId) -> bool: ...

    async def dashboard(self, facilitator_id: UserId, now: datetime, *, recent: int) -> Dashboard:
        """With up to `recent` bookings."""
        ...


class Invitations(Protocol):
    """Invitations within a unit of work. The event is locked before its invitations."""

    async def add(
        self, event_id: EventId, *, name: str, email: str, by: UserId, now: datetime, expires_at: datetime
    ) -> Invitation: ...

    async def find_event_id(self, invitation_id: InvitationId) -> EventId:
        """Raises `InvitationNotFound`."""
        ...

    async def get(self, invitation_id: InvitationId) -> Invitation:
        """Locked until the unit of work ends. Raises `InvitationNotFound`."""
        ...

    async def has_pending(self, event_id: EventId, email: str) -> bool: ...

    async def has_booking(self, event_id: EventId, email: str) -> bool:
        """Whether there is a live booking of the event by an account with that address."""
        ...

    async def save(self, invitation: Invitation) -> None: ...

    async def find_expired(self, now: datetime, *, limit: int) -> Sequence[InvitationId]:
        """Pending invitations that have expired, or whose event has started."""
        ...


@dataclass(frozen=True, slots=True)
class ShownInvitation:
    """An invitation with the details that its page shows."""

    invitation: Invitation
    is_open: bool
    title: str
    starts_at: datetime
    ends_at: datetime
    location: str | None
    facilitator_name: str


class InvitationQueries(Protocol):
    async def show(self, invitation_id: InvitationId, now: datetime) -> ShownInvitation:
        """Raises `InvitationNotFound`."""
        ...

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[Invitation]:
        """Newest first."""
        ...


class InvitationTokens(Protocol):
    """The secret in the link of an invitation. It is derived from the invitation's id and not stored."""

    def token(self, invitation_id: InvitationId) -> str: ...

    def read(self, token: str) -> InvitationId:
        """Raises `InvitationNotFound` for a token that was not derived here."""
        ...
