"""Queries about bookings."""

from typing import ClassVar

from application.bookings.ports import BookingQueries, BookingView
from application.use_cases import use_case
from domain.accounts import User
from domain.authorization import require_owner
from domain.bookings import BookingForbidden, BookingNotFound
from domain.errors import Errors
from domain.ids import BookingId


@use_case
class ShowBooking:
    """One booking. For its owner, the facilitator of its event, and admins."""

    raises: ClassVar[Errors] = (BookingNotFound, BookingForbidden)

    reader: BookingQueries

    async def __call__(self, user: User, booking_id: BookingId) -> BookingView:
        booking = await self.reader.get(booking_id)
        require_owner(user, booking.user_id, booking.event.facilitator_id, error=BookingForbidden)
        return booking
