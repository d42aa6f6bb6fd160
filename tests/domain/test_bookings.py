from datetime import timedelta
from decimal import Decimal

import pytest

from domain.bookings import BookingAlreadyCancelled, BookingOver, BookingStatus, NotYourBooking
from domain.money import Money
from domain.payments import PaymentStatus, status_at_booking
from domain.users import Role
from tests.domain.builders import NOW, a_booking, a_user

AHEAD = NOW + timedelta(microseconds=1)


def test_a_booking_is_cancelled_before_its_event_begins() -> None:
    cancelled = a_booking().cancelled(NOW, event_starts_at=AHEAD)
    assert (cancelled.status, cancelled.cancelled_at) == (BookingStatus.CANCELLED, NOW)


@pytest.mark.parametrize("starts_at", [NOW, NOW - timedelta(days=1)])
def test_not_once_it_has_begun(starts_at: object) -> None:
    with pytest.raises(BookingOver):
        a_booking().cancelled(NOW, event_starts_at=starts_at)  # type: ignore[arg-type]


def test_not_twice_and_not_when_it_is_completed() -> None:
    with pytest.raises(BookingAlreadyCancelled):
        a_booking(status=BookingStatus.CANCELLED).cancelled(NOW, event_starts_at=AHEAD)
    with pytest.raises(BookingOver):
        a_booking(status=BookingStatus.COMPLETED).cancelled(NOW, event_starts_at=AHEAD)


def test_a_booking_belongs_to_its_booker_and_to_admins() -> None:
    booking = a_booking()
    booking.require_owner(a_user(1))
    booking.require_owner(a_user(9, Role.ADMIN))
    for stranger in (a_user(3), a_user(2, Role.FACILITATOR)):
        with pytest.raises(NotYourBooking):
            booking.require_owner(stranger)


def test_only_a_priced_place_waits_for_a_payment() -> None:
    assert status_at_booking(Money(Decimal(0), "INR")) is PaymentStatus.NOT_REQUIRED
    assert status_at_booking(Money(Decimal("0.01"), "INR")) is PaymentStatus.PENDING
