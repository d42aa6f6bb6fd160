"""A user's place in an event."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType

from domain.errors import Conflict, Forbidden, NotFound
from domain.events import EventId
from domain.payments import PaymentStatus
from domain.users import User, UserId

BookingId = NewType("BookingId", int)

MAX_NOTES = 2_000


class BookingStatus(StrEnum):
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class BookingNotFound(NotFound):
    code = "booking_not_found"
    message = "Booking not found"


class NotYourBooking(Forbidden):
    code = "not_your_booking"
    message = "You can only access your own bookings"


class BookingAlreadyCancelled(Conflict):
    code = "booking_already_cancelled"
    message = "Booking is already cancelled"


class BookingOver(Conflict):
    code = "booking_over"
    message = "The event has already started"


class BookingIsCancelled(Conflict):
    code = "booking_cancelled"
    message = "Booking is cancelled"


@dataclass(frozen=True, slots=True)
class Booking:
    """`reference` is what people say on the phone: `BK`, the year it was made, its number (`BK2026000123`)."""

    id: BookingId
    reference: str
    event_id: EventId
    user_id: UserId
    status: BookingStatus
    payment_status: PaymentStatus
    notes: str | None
    created_at: datetime
    cancelled_at: datetime | None

    def require_owner(self, user: User) -> None:
        if user.id != self.user_id and user.role != "admin":
            raise NotYourBooking

    def cancelled(self, now: datetime, *, event_starts_at: datetime) -> "Booking":
        if self.status is BookingStatus.CANCELLED:
            raise BookingAlreadyCancelled
        if self.status is BookingStatus.COMPLETED or event_starts_at <= now:
            raise BookingOver
        return replace(self, status=BookingStatus.CANCELLED, cancelled_at=now)

    def paid(self) -> "Booking":
        return replace(self, payment_status=PaymentStatus.COMPLETED)
