"""Queries of payments in memory: what a payment pays for, and holds that have expired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from application.payments.ports.gateways import PaymentRequest
from application.payments.ports.records import OpenRequest, PaidFor, PaymentOverview
from application.ports import Clock
from domain.accounts import User, UserId
from domain.appointments import AppointmentNotFound, AppointmentStatus
from domain.bookings import BookingNotFound, BookingStatus
from domain.events import EventId
from domain.ids import BookingId, BookingRef, PayableRef
from domain.payments import UNPAID, Payment, PaymentId, PaymentNotFound, PaymentStatus
from domain.time import Interval
from tests.support.memory.rows import (
    StoredPayment,
    appointment_in,
    booking_in,
    bookings_in,
    event_in,
    payments_in,
    payments_of,
    user_in,
)
from tests.support.memory.store import Store, Tables

_AWAITED = {BookingStatus.CONFIRMED, AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}


@dataclass(frozen=True, slots=True)
class _PaidFor:
    """A seat or an appointment, as payments see both."""

    reference: str
    status: BookingStatus | AppointmentStatus
    payment_status: PaymentStatus
    hold_until: datetime | None
    title: str
    interval: Interval
    user: User
    facilitator: User
    event_id: EventId | None

    @property
    def is_cancelled(self) -> bool:
        return self.status in {BookingStatus.CANCELLED, AppointmentStatus.CANCELLED}


def _paid_for(tables: Tables, payable: PayableRef) -> _PaidFor:
    if isinstance(payable, BookingRef):
        booking = booking_in(tables, payable.id)
        event = event_in(tables, booking.event_id)
        return _PaidFor(
            reference=booking.reference,
            status=booking.status,
            payment_status=booking.payment_status,
            hold_until=booking.hold_until,
            title=event.details.title,
            interval=event.details.interval,
            user=user_in(tables, booking.user_id),
            facilitator=user_in(tables, event.facilitator_id),
            event_id=event.id,
        )
    appointment = appointment_in(tables, payable.id)
    coach = user_in(tables, appointment.coach_id)
    return _PaidFor(
        reference=str(appointment.id),
        status=appointment.status,
        payment_status=appointment.payment_status,
        hold_until=appointment.hold_until,
        title=f"Coaching with {coach.name}",
        interval=appointment.session,
        user=user_in(tables, appointment.client_id),
        facilitator=coach,
        event_id=None,
    )


class MemoryPaymentQueries:
    """Payments of seats and of appointments."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[BookingId]:
        due = [
            (booking.hold_until, booking.id)
            for booking in bookings_in(self._store.tables)
            if booking.hold_until is not None and booking.has_expired(now)
        ]
        return [booking_id for _, booking_id in sorted(due)][:limit]

    async def client_of(self, payable: PayableRef) -> UserId:
        tables = self._store.tables
        if isinstance(payable, BookingRef):
            if payable.id not in tables.of("bookings"):
                raise BookingNotFound
            return booking_in(tables, payable.id).user_id
        if payable.id not in tables.of("appointments"):
            raise AppointmentNotFound
        return appointment_in(tables, payable.id).client_id

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        tables = self._store.tables
        if payable not in {row.payment.payable for row in payments_in(tables)}:
            return None
        subject = _paid_for(tables, payable)
        is_held = subject.hold_until is None or subject.hold_until > self._clock.now()
        is_unpaid = subject.status in _AWAITED and subject.payment_status in UNPAID
        if not (is_held and is_unpaid and subject.facilitator.is_active):
            return None
        unpaid = [row for row in payments_of(tables, payable) if row.payment.status in UNPAID]
        return (
            OpenRequest(self._request(unpaid[-1].payment), unpaid[-1].payment.gateway, unpaid[-1].checkout_url)
            if unpaid
            else None
        )

    async def request_of(self, payment_id: PaymentId) -> tuple[PaymentRequest, str]:
        payment = self._row(payment_id).payment
        return self._request(payment), payment.gateway

    async def paid_for(self, payment_id: PaymentId) -> PaidFor:
        payment = self._row(payment_id).payment
        subject = _paid_for(self._store.tables, payment.payable)
        return PaidFor(payment.payable, subject.reference, subject.payment_status)

    async def overview(self, payment_id: PaymentId) -> PaymentOverview:
        row = self._row(payment_id)
        subject = _paid_for(self._store.tables, row.payment.payable)
        return PaymentOverview(
            payment_id=payment_id,
            gateway=row.payment.gateway,
            reference=subject.reference,
            title=subject.title,
            starts_at=subject.interval.starts_at,
            ends_at=subject.interval.ends_at,
            timezone=subject.user.timezone,
            price=row.payment.price,
            is_cancelled=subject.is_cancelled,
            payment_status=subject.payment_status,
            hold_until=subject.hold_until,
            checkout_url=row.checkout_url,
            return_url=row.return_url,
        )

    def _row(self, payment_id: PaymentId) -> StoredPayment:
        row: StoredPayment | None = self._store.tables.of("payments").get(payment_id)
        if row is None:
            raise PaymentNotFound
        return row

    def _request(self, payment: Payment) -> PaymentRequest:
        subject = _paid_for(self._store.tables, payment.payable)
        return PaymentRequest(
            payment_id=payment.id,
            payable=payment.payable,
            reference=subject.reference,
            event_id=subject.event_id,
            user_id=subject.user.id,
            user_name=subject.user.name,
            user_email=subject.user.email,
            facilitator_id=subject.facilitator.id,
            price=payment.price,
            title=subject.title,
            until=subject.hold_until,
        )
