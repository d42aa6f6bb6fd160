from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import Role, UserId
from domain.bookings import (
    Booking,
    BookingAlreadyCancelled,
    BookingChange,
    BookingForbidden,
    BookingOver,
    BookingStatus,
    CancelReason,
)
from domain.money import Money
from domain.payments import PaymentStatus, hold_end, status_at_booking
from domain.refunds import RefundPolicy
from tests.domain.builders import NOW, a_booking, a_user, an_event

AHEAD = NOW + timedelta(microseconds=1)


def test_booking_can_be_cancelled_before_the_event_starts() -> None:
    cancelled = a_booking().cancelled(NOW, event_starts_at=AHEAD, by=UserId(1))
    assert (cancelled.status, cancelled.cancelled_at) == (BookingStatus.CANCELLED, NOW)


@pytest.mark.parametrize("starts_at", [NOW, NOW - timedelta(days=1)])
def test_booking_cannot_be_cancelled_after_the_event_starts(starts_at: object) -> None:
    with pytest.raises(BookingOver):
        a_booking().cancelled(NOW, event_starts_at=starts_at, by=UserId(1))  # type: ignore[arg-type]


def test_cancelled_or_completed_booking_cannot_be_cancelled() -> None:
    with pytest.raises(BookingAlreadyCancelled):
        a_booking(status=BookingStatus.CANCELLED).cancelled(NOW, event_starts_at=AHEAD, by=UserId(1))
    with pytest.raises(BookingOver):
        a_booking(status=BookingStatus.COMPLETED).cancelled(NOW, event_starts_at=AHEAD, by=UserId(1))


def test_booking_belongs_to_its_user_and_admins() -> None:
    booking = a_booking()
    booking.require_owner(a_user(1))
    booking.require_owner(a_user(9, Role.ADMIN))
    for stranger in (a_user(3), a_user(2, Role.FACILITATOR)):
        with pytest.raises(BookingForbidden):
            booking.require_owner(stranger)


def test_cancellation_by_an_admin_is_recorded_as_by_the_organiser() -> None:
    own = a_booking().cancelled(NOW, event_starts_at=AHEAD, by=UserId(1))
    other = a_booking().cancelled(NOW, event_starts_at=AHEAD, by=UserId(9))
    assert (own.cancel_reason, own.cancelled_by) == (CancelReason.BY_PERSON, 1)
    assert (other.cancel_reason, other.cancelled_by) == (CancelReason.BY_ORGANISER, 9)


@given(agreed=st.integers(0, 100), now=st.integers(0, 100), booked_at=st.integers(0, 3), changes=st.integers(0, 3))
def test_cancellation_uses_the_agreed_policy_or_a_full_refund(
    agreed: int, now: int, booked_at: int, changes: int
) -> None:
    """The current policy of the event does not matter."""
    booking = a_booking(refund_policy=RefundPolicy.of([(0, agreed)]), schedule_revision=booked_at)
    event = replace(an_event(refund_policy=RefundPolicy.of([(0, now)])), schedule_revision=booked_at + changes)
    full = RefundPolicy.of([(0, 100)])
    assert booking.policy_of_cancellation(event, UserId(1)) == (full if changes else booking.refund_policy)
    assert booking.policy_of_cancellation(event, UserId(9)) == full


@given(st.timedeltas(timedelta(0), timedelta(days=30)), st.timedeltas(timedelta(microseconds=1), timedelta(days=30)))
def test_hold_ends_at_the_latest_at_the_start(hold_for: timedelta, starts_in: timedelta) -> None:
    until = hold_end(NOW, hold_for, starts_at=NOW + starts_in)
    assert until == NOW + min(hold_for, starts_in)


def test_only_a_seat_with_a_price_waits_for_a_payment() -> None:
    assert status_at_booking(Money(Decimal(0), "INR")) is PaymentStatus.NOT_REQUIRED
    assert status_at_booking(Money(Decimal("0.01"), "INR")) is PaymentStatus.PENDING


AT = NOW + timedelta(hours=1)
MONEY = Money(Decimal(25), "INR")
CANCELLED: dict[str, Any] = {
    "status": BookingStatus.CANCELLED,
    "cancelled_at": AT,
    "cancel_reason": CancelReason.BY_PERSON,
    "cancelled_by": UserId(1),
    "hold_until": None,
}
PAID: dict[str, Any] = {"payment_status": PaymentStatus.COMPLETED, "hold_until": None}
TRANSITIONS: dict[str, tuple[BookingChange, dict[str, Any], Money | None, Callable[[Booking], Booking]]] = {
    "cancelled": (
        BookingChange.CANCELLED,
        CANCELLED,
        None,
        lambda old: old.cancelled(AT, event_starts_at=AT + timedelta(hours=1), by=UserId(1)),
    ),
    "cancelled for another": (
        BookingChange.CANCELLED,
        CANCELLED | {"cancel_reason": CancelReason.BY_ORGANISER, "cancelled_by": UserId(2)},
        None,
        lambda old: old.cancelled(AT, event_starts_at=AT + timedelta(hours=1), by=UserId(2)),
    ),
    "cancelled by the organiser": (
        BookingChange.CANCELLED,
        CANCELLED | {"cancel_reason": CancelReason.BY_ORGANISER},
        None,
        lambda old: old.cancelled_by_organiser(AT, event_starts_at=AT + timedelta(hours=1), by=UserId(1)),
    ),
    "expired": (
        BookingChange.CANCELLED,
        CANCELLED | {"cancel_reason": CancelReason.PAYMENT_EXPIRED, "cancelled_by": None},
        None,
        lambda old: old.expired(AT),
    ),
    "paid": (BookingChange.PAID, PAID, MONEY, lambda old: old.paid(MONEY)),
    "payment failed": (
        BookingChange.PAYMENT_FAILED,
        {"payment_status": PaymentStatus.FAILED},
        MONEY,
        lambda old: old.payment_failed(MONEY),
    ),
    "reinstated": (BookingChange.REINSTATED, PAID, MONEY, lambda old: old.reinstated(MONEY)),
    "refunded": (
        BookingChange.REFUNDED,
        {"payment_status": PaymentStatus.REFUNDED},
        None,
        lambda old: old.refunded(),
    ),
}


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_transition_changes_these_fields_and_records_its_event(transition: str) -> None:
    change, changed, money, apply = TRANSITIONS[transition]
    old = a_booking(hold_until=AT)
    new = apply(old)
    assert new == replace(old, **changed)
    (event,) = new.events
    assert (event.change, event.after, event.money) == (change, new, money)
    assert new.refunded().events[0] is event


def test_reinstated_booking_is_not_cancelled_any_more() -> None:
    new = a_booking().expired(AT).reinstated(MONEY)
    assert new == replace(a_booking(), **PAID)
