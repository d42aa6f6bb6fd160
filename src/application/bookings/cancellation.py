"""Cancellation of bookings."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.payments.payables import lock_booking
from application.payments.ports.records import Refund
from application.payments.refunds import Refunds, cancellation_terms
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.bookings import (
    Booking,
    BookingAlreadyCancelled,
    BookingForbidden,
    BookingNotFound,
    BookingOver,
    CancelReason,
)
from domain.errors import Errors
from domain.events import EventForbidden
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.outbox import MessageType
from domain.payments import UNPAID, Payment
from domain.refunds import RefundId


@use_case
class CancelBooking:
    """Cancels a booking before its event starts. The seat can be booked again immediately.

    - The refund follows the refund policy that was stored with the booking. After a change of the event's time or
      location it is a full refund.
    - An admin who cancels another account's booking acts for the organiser: it is a full refund.
    - An open checkout is closed, so that a cancelled seat cannot be paid.
    """

    raises: ClassVar[Errors] = (BookingNotFound, BookingForbidden, BookingAlreadyCancelled, BookingOver)

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """Returns the refund; None if nothing is refunded."""
        if (made := recorded_result()) is not None:
            return await _refund_made(self.open_work, made)
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            booking.require_owner(user)
            cancelled = booking.cancelled(now, event_starts_at=event.details.interval.starts_at, by=user.id)
            payment = await work.payments.find_for(BookingRef(booking_id))
            back = cancellation_terms(event, booking, payment, now, by=user.id).refund
            refund = await cancel_seat(work, self.refunds, cancelled, payment, back, by=user.id)
            await work.commit(made=[str(refund.id)] if refund else [])
        self.wake_ups.notify()
        return refund


@use_case
class CancelParticipant:
    """Cancels one participant's booking of an event of the calling facilitator, before the event starts. The seat can
    be booked again immediately.

    - The refund is a full refund, also if the refund policy grants less.
    - The participant and the CRM receive the cancellation, and the calendar entry is cancelled.
    - An open checkout is closed.
    """

    raises: ClassVar[Errors] = (BookingNotFound, EventForbidden, BookingAlreadyCancelled, BookingOver)

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """Returns the refund; None if nothing was paid."""
        if (made := recorded_result()) is not None:
            return await _refund_made(self.open_work, made)
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            event.require_manager(user)
            starts_at = event.details.interval.starts_at
            cancelled = booking.cancelled_by_organiser(now, event_starts_at=starts_at, by=user.id)
            payment = await work.payments.find_for(BookingRef(booking_id))
            back = payment.refundable if payment else Money(Decimal(0), booking.price.currency)
            refund = await cancel_seat(work, self.refunds, cancelled, payment, back, by=user.id)
            await work.commit(made=[str(refund.id)] if refund else [])
        self.wake_ups.notify()
        return refund


async def cancel_seat(
    work: UnitOfWork, refunds: Refunds, cancelled: Booking, payment: Payment | None, back: Money, *, by: UserId
) -> Refund | None:
    """Saves a cancelled booking, which releases its seat, and requests the refund of `back`. Closes an open checkout.
    The event must be locked."""
    reason = CancelReason.BY_ORGANISER if cancelled.cancel_reason is CancelReason.BY_ORGANISER else None
    refund = None
    await work.bookings.save(cancelled)
    if payment is not None and not back.is_zero:
        why = reason or MessageType.BOOKING_CANCELLED
        refund = await refunds.request(work, payment, back, reason=why, by=by)
        await work.bookings.save(cancelled.refunded())
    elif payment is not None and payment.order_id is not None and payment.status in UNPAID:
        await work.messages.enqueue_checkout_close(payment)
    return refund


async def _refund_made(open_work: OpenUnitOfWork, refunds: Sequence[str]) -> Refund | None:
    async with open_work() as work:
        return await work.refunds.get(RefundId(UUID(refunds[0]))) if refunds else None
