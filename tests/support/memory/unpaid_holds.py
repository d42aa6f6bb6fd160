"""Unpaid holds in memory: seats and appointments that wait for a payment."""

from domain.accounts import UserId
from domain.appointments import Appointment, AppointmentStatus
from domain.bookings import BookingStatus
from domain.payments import UNPAID
from tests.support.memory.rows import appointments_in, bookings_in
from tests.support.memory.store import Tables


def unpaid_appointments(tables: Tables, client: UserId) -> list[Appointment]:
    return [
        each
        for each in appointments_in(tables)
        if each.client_id == client
        and each.hold_until is not None
        and each.status is AppointmentStatus.PENDING
        and each.payment_status in UNPAID
    ]


def unpaid_holds(tables: Tables, user_id: UserId) -> int:
    """A series counts once."""
    seats = [
        booking
        for booking in bookings_in(tables)
        if booking.user_id == user_id
        and booking.hold_until is not None
        and booking.status is BookingStatus.CONFIRMED
        and booking.payment_status in UNPAID
    ]
    return len(seats) + len({each.series_id or each.id for each in unpaid_appointments(tables, user_id)})
