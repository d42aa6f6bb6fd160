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
from domain.events import Event, EventId
from domain.ids import BookingId
from domain.invitations import Invitation, InvitationId
from domain.money import Money
from domain.payments import PaymentId, PaymentStatus


class Bookings(Protocol):
    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        """Which event a booking is for. Who changes both locks the event first, so that no two wait for each other."""
        ...

    async def get(self, booking_id: BookingId) -> Booking:
        """Locked until the unit of work ends. Raises `BookingNotFound`."""
        ...

    async def save(self, booking: Booking) -> None:
        """Writes the booking and what follows from its new events, the seat of the locked event included: see
        `domain.booking_effects`. A booking that no transition has changed cannot be saved."""
        ...

    async def has_live_booking(self, event_id: EventId, user_id: UserId) -> bool: ...

    async def add_invited(self, event_id: EventId, user_id: UserId, now: datetime) -> BookingId:
        """A booking, free of charge, whose seat is taken already. The event is locked, and the person has no live
        booking of it."""
        ...

    async def end_holds(self, facilitator_id: UserId, now: datetime) -> None:
        """The holds of unpaid seats in this facilitator's events end now; `ExpireHolds` gives the seats up."""
        ...


@dataclass(frozen=True, slots=True)
class ReservedBooking:
    """A booking as it was just made, with what its maker wants to see of it."""

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
        """The booking, its payment and its messages, all or nothing; None when there was no free seat, or
        when the person has `unpaid_at_most` unpaid holds already and this would be another.
        `hold_for`: how long an unpaid place is held at most; None where people pay on the spot.

        Raises `AlreadyBooked` when the person's own booking of the same event won the race.
        """
        ...

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        """The event as it is now, and whether this person has a live booking of it; for saying why not."""
        ...

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        """The seats and appointments that are held for this person until they pay; a recurring booking counts once."""
        ...


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

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[BookingView]:
        """Newest first, cancelled ones included."""
        ...

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[BookingView]:
        """Those of all the facilitator's events, newest first, cancelled ones included."""
        ...


class Invitations(Protocol):
    """Within a unit of work. The event is locked before its invitations."""

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
        """Pending invitations whose time to answer is over, or whose event has started."""
        ...


@dataclass(frozen=True, slots=True)
class ShownInvitation:
    """An invitation with what the invited person needs to decide."""

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
        """The newest first."""
        ...


class InvitationTokens(Protocol):
    """The secret in the link of an invitation. It is derived and stored nowhere."""

    def token(self, invitation_id: InvitationId) -> str: ...

    def read(self, token: str) -> InvitationId:
        """Raises `InvitationNotFound` for a token that was not derived here."""
        ...
