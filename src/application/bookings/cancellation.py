"""Cancellation of bookings."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from application.idempotency import made_before
from application.outbox.ports import WakeUps
from application.payments.payables import lock_booking
from application.payments.ports.records import Refund
from application.payments.refunds import Refunds, cancellation_terms
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import User, UserId
from domain.bookings import Booking, CancelReason
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.outbox import MessageType
from domain.payments import UNPAID, Payment
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class CancelBooking:
    """Cancels a booking before its event begins; the place is free for the next person at once.

    - What was paid is given back by the refund policy that was agreed when booking. After a change of time or place it
      is given back in full.
    - An admin who cancels the booking of another person cancels for the organiser: everything is given back.
    - A checkout that is still open is closed, so that a cancelled seat cannot be paid.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """What is given back; None where nothing is."""
        if (made := made_before()) is not None:
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


@dataclass(frozen=True, slots=True)
class CancelParticipant:
    """Cancels one participant's booking of the asking facilitator's event, before the event begins. The seat is free
    for the next person at once.

    - Everything that was paid is refunded, also where the refund policy gives less.
    - The participant and the CRM receive the cancellation, and the calendar entry is cancelled.
    - A checkout that is still open is closed.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """The refund; None where nothing was paid."""
        if (made := made_before()) is not None:
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
    """Saves a cancelled booking, which releases its seat, and requests the refund of `back`; an open checkout is
    closed. The event is locked."""
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
