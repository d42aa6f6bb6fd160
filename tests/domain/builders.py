"""Events, bookings and people, made through the domain."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.accounts import Role, User, UserId
from domain.bookings import Booking, BookingStatus
from domain.events import Event, EventDetails, EventId, EventStatus
from domain.ids import BookingId
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def an_interval(*, starts_in: timedelta = timedelta(days=7), lasts: timedelta = timedelta(hours=1)) -> Interval:
    return Interval(NOW + starts_in, NOW + starts_in + lasts)


def a_plan(**changes: Any) -> EventDetails:
    usual: dict[str, Any] = {
        "title": "Yoga",
        "interval": an_interval(),
        "capacity": 10,
        "price": Money(Decimal(25), "INR"),
    }
    return EventDetails(**usual | changes)


def an_event(
    *, booked: int = 0, status: EventStatus = EventStatus.ACTIVE, facilitator_active: bool = True, **details: Any
) -> Event:
    return Event(
        id=EventId(1),
        facilitator_id=UserId(2),
        details=a_plan(**details),
        booked=booked,
        status=status,
        revision=0,
        version=1,
        created_at=NOW - timedelta(days=1),
        facilitator_active=facilitator_active,
    )


def a_user(user_id: int = 1, role: Role = Role.USER) -> User:
    return User(
        id=UserId(user_id),
        uuid=UUID(int=user_id),
        email=f"user{user_id}@example.com",
        name="Ada",
        role=role,
        phone=None,
        is_active=True,
        is_verified=False,
        token_version=1,
        created_at=NOW,
    )


def a_booking(**changes: Any) -> Booking:
    booking = Booking(
        id=BookingId(1),
        reference="BK2026000001",
        event_id=EventId(1),
        user_id=UserId(1),
        status=BookingStatus.CONFIRMED,
        payment_status=PaymentStatus.PENDING,
        notes=None,
        created_at=NOW,
        cancelled_at=None,
        price=Money(Decimal(25), "INR"),
        refund_policy=RefundPolicy(),
    )
    return replace(booking, **changes)
